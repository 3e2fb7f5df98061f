"""The view for `--quiet`: warnings, and one line at the end. Questions are still asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio
from attrs import define, field
from rich.console import Console

from protocol.jobs import JobNews, JobNote, NoteKind
from rtc.terminal.interface import JobSummary
from rtc.terminal.interrupt_prompt import Question
from rtc.terminal.layout import question_rows
from rtc.terminal.line_view import LineView
from rtc.terminal.live_region import LiveRegion


@define
class QuietView(LineView):
    """Writes warnings and one last line; draws the question after a Ctrl-C in place and removes it afterwards."""

    _console: Console = field(kw_only=True)
    """Writes to `out`; it is used only where there is a terminal on which to ask."""

    @property
    def _width(self) -> int:
        return self._console.width

    def news(self, news: JobNews, at: float) -> None:
        if isinstance(news, JobNote) and news.kind is NoteKind.WARNING:
            self.warn(news.text)

    def finished(self, summary: JobSummary) -> None:
        where = "" if summary.folder is None else f" Results are in {summary.folder}"
        self._lines.say(" ".join(summary.text.split()) + where)

    @contextmanager
    def _open_question(self) -> Iterator[Callable[[Question], None]]:
        live_region = LiveRegion(self._console)

        def show(question: Question) -> None:
            live_region.draw(question_rows(question.lines(trio.current_time()), live_region.width))

        try:
            yield show
        finally:
            live_region.draw(())
