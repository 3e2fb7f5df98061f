"""The root of a process: opens the log file, runs trio, handles signals, and reports errors that nothing else caught.

It needs no asyncio loop.
"""

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
from rtc.common.stories import Stories
from rtc.common.text import clean
from rtc.config.folders import find_folders
from rtc.config.take_over import take_over_logs

log = logging.getLogger("rtc.run")

HANGUP = getattr(signal, "SIGHUP", None)
SIGNALS = tuple(number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number is not None)


def run_root(
    name: str,
    supervise: Callable[[], Awaitable[int]],
    *,
    secrets: tuple[str | None, ...] = (),
    trace: Path | None = None,
) -> int:
    """Run `supervise` under trio with a log file, and return the exit code.

    Args:
        name: the name of the log file.
        supervise: the program; returns its exit code.
        secrets: texts that must never appear in the log.
        trace: the file to which every turn of every actor is written, if any.
    """
    stories = Stories(trace)
    with open_log(name, take_over_logs(find_folders(), print_error)) as opened_log:
        for value in secrets:
            if value:
                opened_log.redactor.hide(value)
        if opened_log.warning:
            print_error(opened_log.warning)
        try:
            with stories.in_use():
                return trio.run(supervise)
        except RtcError as error:
            log.info("ended: %s", error.fault.text)
            print_error(error.fault.text)
            return error.exit_code
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        except (Exception, BaseExceptionGroup):  # noqa: BLE001 (the root of the process: where every bug ends)
            return _report_bug(opened_log, stories)


def print_error(text: str) -> None:
    """Print one sentence to standard error; control characters are removed, as the text may come from a peer."""
    LineWriter(sys.stderr).say(f"sleap-rtc: {clean(text)}")


def _report_bug(opened_log: Log, stories: Stories) -> int:
    """Log the current exception and the actors' stories, and print where its details are; return the exit code."""
    log.exception("a bug in sleap-rtc")
    stories.log()
    where = f" Its details are in {opened_log.file}." if opened_log.file else ""
    print_error(f"This is a bug in sleap-rtc, not your mistake.{where} Please report it.")
    return ExitCode.BUG


def handle_no_signal(_number: int) -> bool:
    """Return False for every signal: the default `handle_signal`, with which the first signal sets `drain`."""
    return False


async def supervise(
    main: Callable[[trio.Event], Awaitable[None]],
    *,
    cancelled_exit_code: Callable[[], ExitCode],
    handle_signal: Callable[[int], bool] = handle_no_signal,
) -> int:
    """Run a program while another task receives signals, and return its exit code.

    The first SIGINT or SIGTERM sets the event that `main` gets, which asks it to drain. A second one cancels `main`.

    Args:
        main: the program.
        cancelled_exit_code: returns the exit code of a program that was cancelled.
        handle_signal: is called with each signal until the program drains; where it returns True, the signal neither
            drains nor cancels.
    """
    drain = trio.Event()
    done = False
    async with open_background_nursery() as background:
        scope = trio.CancelScope()
        await background.start(handle_signals, drain, scope, handle_signal)
        with scope:
            await main(drain)
            done = True
    return ExitCode.DONE if done else cancelled_exit_code()


async def run_until_signal(main: Callable[[], Awaitable[int]]) -> int:
    """Run a program that has nothing to drain, and return its exit code.

    The first SIGINT, SIGTERM or SIGHUP cancels it; the exit code is then INTERRUPTED.
    """
    interrupted, scope = trio.Event(), trio.CancelScope()
    code: int = ExitCode.INTERRUPTED
    async with open_background_nursery() as background:
        await background.start(handle_signals, interrupted, scope)
        background.start_soon(cancel_when, interrupted, scope)
        with scope:
            code = await main()
    return code


async def cancel_when(asked: trio.Event, scope: trio.CancelScope) -> None:
    """Cancel `scope` when `asked` is set; for programs that have nothing to drain and end with the first signal."""
    await asked.wait()
    scope.cancel()


async def handle_signals(
    drain: trio.Event,
    scope: trio.CancelScope,
    handle_signal: Callable[[int], bool] = handle_no_signal,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Receive signals until cancelled: the first one sets `drain`, the second one cancels `scope`.

    Further signals change nothing, so that the cleanup is not disturbed. A closed terminal (SIGHUP) sets `drain`, too,
    but never cancels. A signal for which `handle_signal` returns True does neither. Receiving the signals here also
    keeps KeyboardInterrupt out of asyncio code.
    """
    with trio.open_signal_receiver(*SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            if not drain.is_set() and handle_signal(number):
                continue
            if drain.is_set() and number != HANGUP:
                scope.cancel()
            drain.set()
