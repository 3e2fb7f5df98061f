"""What a check is, what it finds, and how many of them are run side by side."""

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum

import trio
from attrs import frozen

LIMIT = 10.0
"""Seconds for one check, unless it says otherwise."""


class Level(Enum):
    """How bad it is: `fail` stops work, `warn` makes it worse, `skip` was not looked at."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@frozen
class Finding:
    """What one check saw, and what to do about it."""

    level: Level
    detail: str
    advice: str | None = None


def ok(detail: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, detail)


def warn(detail: str, advice: str) -> Finding:
    """It works, worse than it could."""
    return Finding(Level.WARN, detail, advice)


def fail(detail: str, advice: str) -> Finding:
    """Something will not work."""
    return Finding(Level.FAIL, detail, advice)


def skip(detail: str, advice: str | None = None) -> Finding:
    """There was nothing to look at."""
    return Finding(Level.SKIP, detail, advice)


@frozen
class Check:
    """One thing to look at."""

    name: str
    """Stable: scripts read it."""
    run: Callable[[], Awaitable[Finding]]
    subject: str | None = None
    """Which one, where there may be several of this name: a server's address."""
    limit: float = LIMIT
    late: str = "Try again; when it stays so, restart this machine or ask who looks after its network."
    """What to do when the limit is reached."""


@frozen
class Report:
    """One line of the doctor's."""

    name: str
    subject: str | None
    finding: Finding


async def run_checks(checks: Sequence[Check], told: Callable[[Report], None]) -> None:
    """Run all of them side by side; `told` gets the reports in the order of the checks, each as soon as it can."""
    found: dict[int, Finding] = {}
    next_up = 0

    async def run(index: int) -> None:
        nonlocal next_up
        found[index] = await _limited(checks[index])
        while next_up in found:
            told(Report(checks[next_up].name, checks[next_up].subject, found[next_up]))
            next_up += 1

    async with trio.open_nursery() as nursery:
        for index in range(len(checks)):
            nursery.start_soon(run, index)


async def _limited(check: Check) -> Finding:
    with trio.move_on_after(check.limit):
        return await check.run()
    return fail(f"gave no answer within {check.limit:g} seconds", check.late)
