"""The view of `sleap-rtc jobs logs`: what sleap-nn printed, and nothing else on standard output.

Warnings are left out too: the person wants the log, and after a lost link the client connects again and reads on.
"""

from typing import TextIO

from protocol.jobs import JobNews, LogLines
from rtc.common.line_writer import LineWriter
from rtc.common.text import clean
from rtc.terminal.base_view import BaseView


class LogView(BaseView):
    """Writes the lines of the job's log as they arrive."""

    def __init__(self, out: TextIO) -> None:
        self._lines = LineWriter(out)

    def news(self, news: JobNews, at: float) -> None:
        if isinstance(news, LogLines):
            for line in news.lines:
                self._lines.say(clean(line))
