"""Runs one program to its exit code: signals, the log file, and the last word on errors."""

import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from rtc.bridge import Bridge, open_bridge
from rtc.errors import ExitCode, RtcError
from rtc.logs import Log, open_log

Main = Callable[[Bridge, trio.Event], Awaitable[None]]
"""A program: gets the asyncio room and the event that asks it to drain; raises RtcError for what may go wrong."""

log = logging.getLogger("rtc.run")


def run_program(
    name: str, main: Main, *, secrets: tuple[str | None, ...] = (), stopped: ExitCode = ExitCode.DONE
) -> int:
    """Run `main` under trio; returns the exit code.

    The first SIGINT or SIGTERM drains; a second one cancels, and the exit code then is `stopped`. `secrets` never
    appear in the log.
    """
    with open_log(name, Path.home() / ".sleap-rtc" / "logs") as journal:
        for value in secrets:
            if value:
                journal.redactor.hide(value)
        if journal.warning:
            complain(journal.warning)
        try:
            return trio.run(_supervise, main, stopped)
        except RtcError as error:
            log.info("ended: %s", error.fault.text)
            complain(error.fault.text)
            return error.exit_code
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        except (Exception, BaseExceptionGroup):  # noqa: BLE001 (the root of the process: where every bug ends)
            return _confess(journal)


def complain(text: str) -> None:
    """One sentence on standard error."""
    print(f"sleap-rtc: {text}", file=sys.stderr)


def _confess(journal: Log) -> int:
    log.exception("a bug of ours")
    where = f" Its details are in {journal.file}." if journal.file else ""
    complain(f"This is a bug in sleap-rtc, not your mistake.{where} Please report it.")
    return ExitCode.BUG


async def _supervise(main: Main, stopped: ExitCode) -> int:
    """The root of the process: the bridge outside, signals beside, the program inside."""
    drain = trio.Event()
    failure: RtcError | None = None
    done = False
    async with open_bridge() as bridge, trio.open_nursery() as nursery:
        await nursery.start(_heed_signals, drain, nursery.cancel_scope)
        try:
            await main(bridge, drain)
            done = True
        except RtcError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return ExitCode.DONE if done else stopped


async def _heed_signals(
    drain: trio.Event, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """First drains, second cancels. Taking the signals here also keeps KeyboardInterrupt out of asyncio code."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if drain.is_set():
                scope.cancel()
                return
            drain.set()
