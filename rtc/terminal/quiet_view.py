"""The view for somebody who wants to be left alone: warnings, and one line at the end. Questions are still asked."""

from collections.abc import Callable
from typing import TextIO

import trio
from attrs import define, field
from rich.console import Console

from protocol.faults import Fault
from protocol.ids import JobId, PeerId
from protocol.jobs import JobNews
from rtc.common.line_writer import LineWriter
from rtc.terminal.interface import Changed, Interrupt, JobSummary, Workers
from rtc.terminal.interrupt_prompt import Question, ask
from rtc.terminal.keyboard import Keyboard
from rtc.terminal.layout import question_rows
from rtc.terminal.live_region import LiveRegion
from rtc.terminal.summary import WHAT_THERE_IS
from rtc.terminal.worker_prompt import choose, no_terminal


@define
class QuietView:
    """Says next to nothing."""

    _out: TextIO
    _console: Console | None = None
    """The terminal behind `out`; None when there is nobody to ask."""
    _stdin: int = 0
    _lines: LineWriter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lines = LineWriter(self._out)

    def step(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        self._lines.say(f"Warning: {text}")

    def upload(self, done: int, total: int) -> None:
        pass

    def download(self, done: int, total: int) -> None:
        pass

    def accepted(self, job: JobId, worker: PeerId) -> None:
        pass

    def news(self, news: JobNews, at: float) -> None:
        pass

    def finished(self, ending: JobSummary) -> None:
        where = "" if ending.folder is None else f" Results are in {ending.folder}"
        self._lines.say(" ".join(ending.text.split()) + where)

    def failed(self, fault: Fault, made: JobSummary | None) -> None:
        if made is not None:
            self._lines.say(f"{WHAT_THERE_IS} {made.folder}")

    async def listen(self, stop: Callable[[], None]) -> None:
        await trio.sleep_forever()

    async def ask_interrupt(self, *, stoppable: bool) -> Interrupt:
        if self._console is None:
            await trio.lowlevel.checkpoint()
            return Interrupt.DETACH
        live_region = LiveRegion(self._console)

        def show(question: Question) -> None:
            live_region.draw(question_rows(question.lines(trio.current_time()), live_region.width))

        try:
            return await ask(Keyboard(self._stdin), stoppable, show)
        finally:
            live_region.draw(())

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        if self._console is None:
            raise no_terminal()
        return await choose(workers, changed, out=self._out, stdin=self._stdin, width=self._console.width)
