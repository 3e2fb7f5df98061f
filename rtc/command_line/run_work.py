"""Runs what a command does; an expected error that comes before its program becomes a sentence and an exit code."""

import os
from collections.abc import Callable

NO_WORKING_FOLDER = "The folder that you are in does not exist any more. Go to another one (cd), and try again."


def run_work(work: Callable[[], int], *, as_json_events: bool = False) -> int:
    """Call `work` and return its exit code.

    An `RtcError` is caught here, since it was raised before a program ran: its text is written to standard error.

    Args:
        work: what the command does.
        as_json_events: after an error, also write the JSON event that ends the output of `--json`.
    """
    from protocol.faults import Fault, FaultCode
    from rtc.common.errors import RtcError
    from rtc.config.settings_watch import watch_settings
    from rtc.runtime.root import print_error

    try:
        watch_settings(print_error)
        return work()
    except RtcError as error:
        fault = error.fault
    except FileNotFoundError:
        if _has_working_folder():
            raise
        fault = Fault(FaultCode.USAGE, NO_WORKING_FOLDER)
    if as_json_events:
        from rtc.terminal.json_view import write_end

        write_end(fault)
    print_error(fault.text)
    return RtcError.of(fault).exit_code


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True
