"""Runs what a command does; an expected error that comes before its program becomes a sentence and an exit code."""

import os
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
        # a relative HOME would mean whatever the working folder is, and an empty one the root of the file system
        is_known = Path.home().is_absolute() and os.environ.get("HOME") != ""
    except RuntimeError:  # there is no HOME, and the system does not know the user
        is_known = False
    if not is_known:
        raise RtcError(FaultCode.USAGE, "No home folder is known for this user. Set the variable HOME.")
