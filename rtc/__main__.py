"""`python -m rtc` and the console script: finds our own `cli`, whatever folder it is started from."""

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    if not sys.flags.safe_path and __name__ == "__main__" and Path(sys.path[0]).resolve() != Path(__file__).parents[1]:
        # `python -m` puts the caller's folder first, and a `cli.py` of theirs would be taken for ours
        del sys.path[0]
    _open_missing()
    try:
        from cli import run
    except KeyboardInterrupt:
        sys.exit(130)
    code = run(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done; one that comes now must not change how it ended
    sys.exit(code)


def _open_missing() -> None:
    """A program may be started with its standard streams closed; nobody should have to think of that further in."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (open as long as the process)


if __name__ == "__main__":
    main()
