"""Runs what a command does; an expected error that comes before its program becomes a sentence and an exit code."""

from collections.abc import Callable
from pathlib import Path


def run_work(work: Callable[[], int], *, as_json_events: bool = False) -> int:
    """Call `work` and return its exit code.

    An `RtcError` is caught here, since it was raised before a program ran: its text is written to standard error.

    Args:
        work: what the command does.
        as_json_events: after an error, also write the JSON event that ends the output of `--json`.
    """
    from rtc.common.errors import RtcError
    from rtc.runtime.root import print_error

    try:
        _check_home()
        return work()
    except RtcError as error:
        if as_json_events:
            from rtc.terminal.json_view import write_end

            write_end(error.fault)
        print_error(error.fault.text)
        return error.exit_code


def _check_home() -> None:
    """Check that this user has a home folder, in which settings, logs and credentials are.

    Raises:
        RtcError: USAGE: none is known.
    """
    from protocol.faults import FaultCode
    from rtc.common.errors import RtcError

    try:
        Path.home()
    except RuntimeError:  # there is no HOME, and the system does not know the user
        raise RtcError(FaultCode.USAGE, "No home folder is known for this user. Set the variable HOME.") from None
