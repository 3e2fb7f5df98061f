"""`python -m rtc` and the console script: finds our own `cli`, whatever folder it is started from."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

LEAVE = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that mean what Ctrl-C means, until a program of ours sees to them itself."""


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    if not sys.flags.safe_path and __name__ == "__main__" and Path(sys.path[0]).resolve() != Path(__file__).parents[1]:
        # `python -m` puts the caller's folder first, and a `cli.py` of theirs would be taken for ours
        del sys.path[0]
    _open_missing()
    try:
        for number in LEAVE:
            if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` has it ignored
                signal.signal(number, _interrupt)
        from cli import run
    except KeyboardInterrupt:
        sys.exit(130)
    code = run(sys.argv[1:])
    for number in (signal.SIGINT, *LEAVE):
        signal.signal(number, signal.SIG_IGN)  # all is done; one that comes now must not change how it ended
    _flush()
    sys.exit(code)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """As Ctrl-C, whoever sees to that now: trio, at moments that suit it, or Python, so that cleanup runs."""
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)


def _open_missing() -> None:
    """A program may be started with its standard streams closed; nobody should have to think of that further in."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (open as long as the process)


def _flush() -> None:
    """Before Python does: where the reader has left, that would end with another exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


if __name__ == "__main__":
    main()
