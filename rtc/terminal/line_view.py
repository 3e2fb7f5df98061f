"""What PlainView and QuietView share: they write whole lines, and they ask the person when there is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import trio
from attrs import define, field

from actors.events import Interrupt
from protocol.faults import Fault
from protocol.ids import PeerId
from rtc.common.line_writer import LineWriter
from rtc.terminal.base_view import BaseView
from rtc.terminal.interface import Changed, JobSummary, Workers
from rtc.terminal.interrupt_prompt import Question, ask
from rtc.terminal.keyboard import Keyboard
from rtc.terminal.summary import PARTIAL_RESULT
from rtc.terminal.worker_prompt import choose


@define
class LineView(BaseView):
    """A view that writes whole lines to `out` and asks its questions on the terminal behind `stdin`."""

    _out: TextIO
    _stdin: int | None = None
    """File descriptor of the terminal on which the person answers; None when there is nobody to ask."""
    _lines: LineWriter = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lines = LineWriter(self._out)

    @property
    def _width(self) -> int:
        """Cells that the list of workers may take."""
        return 80

    @contextmanager
    def _open_question(self) -> Iterator[Callable[[Question], None]]:
        """Give a function that shows the question after a Ctrl-C; `ask` calls it at once and then every second.

        Only the first call writes lines: showing the countdown would need a new line each second.
        """
        shown = False

        def show(question: Question) -> None:
            nonlocal shown
            if not shown:
                self._lines.say("\n".join(question.lines(trio.current_time())))
            shown = True

        yield show

    def warn(self, text: str) -> None:
        self._lines.say(f"Warning: {text}")

    def failed(self, fault: Fault, partial: JobSummary | None) -> None:
        if partial is not None:
            self._lines.say(f"{PARTIAL_RESULT} {partial.folder}")

    async def ask_interrupt(self, *, stoppable: bool) -> Interrupt:
        if self._stdin is None:
            return await super().ask_interrupt(stoppable=stoppable)
        with self._open_question() as show:
            return await ask(Keyboard(self._stdin), stoppable, show)

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        if self._stdin is None:
            return await super().choose(workers, changed)
        return await choose(workers, changed, out=self._out, stdin=self._stdin, width=self._width)
