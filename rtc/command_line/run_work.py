"""Runs what a command does; an expected error that comes before its program becomes a sentence and an exit code."""

from collections.abc import Callable


def run_work(work: Callable[[], int], *, as_json_events: bool = False) -> int:
    """Call `work` and return its exit code.

    An `RtcError` is caught here, since it was raised before a program ran: its text is written to standard error.

    Args:
        work: what the command does.
        as_json_events: after an error, also write the JSON event that ends the output of `--json`.
    """
    from rtc.common.errors import RtcError
    from rtc.config.settings_watch import watch_settings
    from rtc.runtime.root import print_error

    try:
        watch_settings(print_error)
        return work()
    except RtcError as error:
        if as_json_events:
            from rtc.terminal.json_view import write_end

            write_end(error.fault)
        print_error(error.fault.text)
        return error.exit_code
