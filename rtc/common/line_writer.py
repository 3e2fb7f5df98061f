"""Writing lines to a pipe or terminal that may be closed at any time; that must not end the program."""

import io
import os
from typing import IO

from rtc.common.text import clean_lines


class LineWriter:
    """Writes lines and flushes each at once.

    Characters that the output's encoding lacks are replaced. After the reader has closed its end, output is discarded.
    """

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(errors="replace")

    def say(self, text: str) -> None:
        """Write one or several lines, without control characters and escape codes."""
        self.write(f"{clean_lines(text)}\n")

    def write(self, text: str) -> None:
        """Write the text as it is; it must not contain text from other machines."""
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:  # `… | head` has ended, or the terminal was closed
            self._discard_output()

    def _discard_output(self) -> None:
        """Redirect the file descriptor to /dev/null, so that Python's flush at exit does not fail either."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._out.fileno())
        os.close(null)
