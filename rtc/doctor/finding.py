"""What a check is, what it returns, and how several checks run at the same time."""

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum

import trio
from attrs import frozen

CHECK_TIME = 10.0
"""Seconds for one check, if it has no time limit of its own."""


class Level(Enum):
    """How severe a finding is.

    `fail`: something does not work. `warn`: it works, but worse than it could. `skip`: it was not checked.
    """

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@frozen
class Finding:
    """What one check found, and what to do about it."""

    level: Level
    detail: str
    advice: str | None = None


def ok(detail: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(Level.OK, detail)


def warn(detail: str, advice: str) -> Finding:
    """Return a finding that something works, but worse than it could."""
    return Finding(Level.WARN, detail, advice)


def fail(detail: str, advice: str) -> Finding:
    """Return a finding that something does not work."""
    return Finding(Level.FAIL, detail, advice)


def skip(detail: str, advice: str | None = None) -> Finding:
    """Return a finding that there was nothing to check."""
    return Finding(Level.SKIP, detail, advice)


@frozen
class Check:
    """One check: its name, and the function that runs it."""

    name: str
    """Scripts read it from `--json`, so it must not change."""
    run: Callable[[], Awaitable[Finding]]
    subject: str | None = None
    """What is checked, such as the address of a server, where several checks may have the same name."""
    timeout: float = CHECK_TIME
    """Seconds after which the check is cancelled and has failed."""
    timeout_advice: str = "Try again; when it stays so, restart this machine or ask who looks after its network."
    """The advice of the finding when the check has timed out."""


@frozen
class Report:
    """The result of one check: one line of the doctor's output."""

    name: str
    subject: str | None
    finding: Finding


async def run_checks(checks: Sequence[Check], on_report: Callable[[Report], None]) -> None:
    """Run all checks at the same time.

    Args:
        on_report: called with each report, in the order of `checks`, as soon as this check and all before it are done.
    """
    findings: dict[int, Finding] = {}
    next_index = 0

    async def run(index: int) -> None:
        nonlocal next_index
        findings[index] = await _run_within_timeout(checks[index])
        while next_index in findings:
            on_report(Report(checks[next_index].name, checks[next_index].subject, findings[next_index]))
            next_index += 1

    async with trio.open_nursery() as nursery:
        for index in range(len(checks)):
            nursery.start_soon(run, index)


async def _run_within_timeout(check: Check) -> Finding:
    with trio.move_on_after(check.timeout):
        return await check.run()
    return fail(f"gave no answer within {check.timeout:g} seconds", check.timeout_advice)
