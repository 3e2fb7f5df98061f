"""The root of a process: the log file around trio, signals, and the last word on errors. It needs no asyncio loop."""

import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.common.logs import Log, open_log
from rtc.common.nurseries import open_background_nursery
from rtc.common.text import clean

log = logging.getLogger("rtc.run")

HANGUP = getattr(signal, "SIGHUP", None)
SIGNALS = tuple(number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number is not None)


def run_root(name: str, supervise: Callable[[], Awaitable[int]], *, secrets: tuple[str | None, ...] = ()) -> int:
    """Run `supervise` under trio with a log; returns the exit code. `secrets` never appear in the log."""
    with open_log(name, Path.home() / ".sleap-rtc" / "logs") as journal:
        for value in secrets:
            if value:
                journal.redactor.hide(value)
        if journal.warning:
            complain(journal.warning)
        try:
            return trio.run(supervise)
        except RtcError as error:
            log.info("ended: %s", error.fault.text)
            complain(error.fault.text)
            return error.exit_code
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        except (Exception, BaseExceptionGroup):  # noqa: BLE001 (the root of the process: where every bug ends)
            return _confess(journal)


def complain(text: str) -> None:
    """One sentence on standard error, cleaned: it may be somebody else's."""
    LineWriter(sys.stderr).say(f"sleap-rtc: {clean(text)}")


def _confess(journal: Log) -> int:
    log.exception("a bug of ours")
    where = f" Its details are in {journal.file}." if journal.file else ""
    complain(f"This is a bug in sleap-rtc, not your mistake.{where} Please report it.")
    return ExitCode.BUG


def handle_none(_number: int) -> bool:
    """No signal means anything but to leave."""
    return False


async def supervise(
    main: Callable[[trio.Event], Awaitable[None]],
    *,
    stopped: Callable[[], ExitCode],
    handle: Callable[[int], bool] = handle_none,
) -> int:
    """Run a program with signals beside it, and return its exit code.

    The first SIGINT or SIGTERM sets the event that `main` gets, and so asks it to drain. A second one cancels it.

    Args:
        main: the program.
        stopped: gives the exit code of a program that was cancelled.
        handle: is asked first about each signal; where it returns True, the signal neither drains nor cancels.
    """
    drain = trio.Event()
    done = False
    async with open_background_nursery() as background:
        scope = trio.CancelScope()
        await background.start(handle_signals, drain, scope, handle)
        with scope:
            await main(drain)
            done = True
    return ExitCode.DONE if done else stopped()


async def stop_when(asked: trio.Event, scope: trio.CancelScope) -> None:
    """For programs that have nothing to drain: the first signal ends them at once."""
    await asked.wait()
    scope.cancel()


async def handle_signals(
    drain: trio.Event,
    scope: trio.CancelScope,
    handle: Callable[[int], bool] = handle_none,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """First drains, second cancels, later ones change nothing: what is being cleaned up must be.

    A closed terminal (SIGHUP) drains as well. A signal for which `handle` is true does neither: it has been handled.
    Taking the signals also keeps KeyboardInterrupt out of asyncio code.
    """
    with trio.open_signal_receiver(*SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            if not drain.is_set() and handle(number):
                continue
            if drain.is_set() and number != HANGUP:
                scope.cancel()
            drain.set()
