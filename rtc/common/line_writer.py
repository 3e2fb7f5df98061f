"""Plain lines to somebody who may stop reading: a closed pipe or terminal is no reason to end what is going on."""

import io
import os
from typing import IO

from rtc.common.text import clean_lines


class LineWriter:
    """Writes cleaned lines, each at once. What the output cannot show is replaced; what nobody reads goes nowhere."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(errors="replace")

    def say(self, text: str) -> None:
        """One line, or several."""
        self.write(f"{clean_lines(text)}\n")

    def write(self, text: str) -> None:
        """The text as it is, which has to be our own."""
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:  # `… | head` has left, or the terminal was closed
            self._nobody_reads()

    def _nobody_reads(self) -> None:
        """Python's last flush must find something to write to as well."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._out.fileno())
        os.close(nowhere)
