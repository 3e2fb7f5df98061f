"""The start of the program, for `python -m rtc` and the console script `sleap-rtc`.

It imports our own `cli` module, no matter from which folder it is started.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from rtc.common.process_title import hide_secrets_in_title

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that do the same as Ctrl-C, until one of our programs installs its own handlers."""


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    if not sys.flags.safe_path and __name__ == "__main__" and Path(sys.path[0]).resolve() != Path(__file__).parents[1]:
        # `python -m` puts the working folder first on the path, and a `cli.py` there would be imported instead of ours
        del sys.path[0]
    hide_secrets_in_title(sys.orig_argv)
    _open_closed_streams()
    try:
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:  # under `nohup`, SIGHUP is ignored and stays so
                signal.signal(number, _interrupt)
        from cli import run
    except KeyboardInterrupt:
        sys.exit(130)
    code = run(sys.argv[1:])
    for number in (signal.SIGINT, *STOP_SIGNALS):
        signal.signal(number, signal.SIG_IGN)  # the work is done; a signal that comes now must not change the exit code
    _flush()
    sys.exit(code)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """Do what SIGINT does at this moment: its handler is trio's, or Python's, which raises so that cleanup runs."""
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)


def _open_closed_streams() -> None:
    """Open standard streams that were closed when the program was started, so that other code need not expect None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (open as long as the process)


def _flush() -> None:
    """Flush standard output and error here, before Python does.

    If the reader of a pipe is gone, Python's own flush would fail and end the process with another exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, stream.fileno())
            os.close(devnull)


if __name__ == "__main__":
    main()
