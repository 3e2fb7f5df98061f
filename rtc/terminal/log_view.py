"""The view of `sleap-rtc jobs logs`: what sleap-nn printed, and nothing else on standard output."""

from collections.abc import Callable
from typing import TextIO

import trio

from protocol.faults import Fault
from protocol.ids import JobId, PeerId
from protocol.jobs import JobNews, LogLines
from rtc.common.line_writer import LineWriter
from rtc.common.text import clean
from rtc.terminal.interface import Changed, Interrupt, JobSummary, Workers
from rtc.terminal.worker_prompt import no_terminal


class LogView:
    """Lines as they come."""

    def __init__(self, out: TextIO) -> None:
        self._lines = LineWriter(out)

    def step(self, text: str) -> None:
        """Nobody wants to know."""

    def warn(self, text: str) -> None:
        """Likewise: the log is what is wanted, and it is taken up again after a lost link."""

    def upload(self, done: int, total: int) -> None:
        """Nothing is sent."""

    def download(self, done: int, total: int) -> None:
        """Nothing is fetched."""

    def accepted(self, job: JobId, worker: PeerId) -> None:
        """It was named by the person."""

    def news(self, news: JobNews, at: float) -> None:
        """Only what was printed."""
        if isinstance(news, LogLines):
            for line in news.lines:
                self._lines.say(clean(line))

    def finished(self, ending: JobSummary) -> None:
        """The last line has been shown."""

    def failed(self, fault: Fault, made: JobSummary | None) -> None:
        """It is said on standard error."""

    async def listen(self, stop: Callable[[], None]) -> None:
        """No keys."""
        await trio.sleep_forever()

    async def ask_interrupt(self, *, stoppable: bool) -> Interrupt:
        """Ctrl-C ends the reading."""
        await trio.lowlevel.checkpoint()
        return Interrupt.DETACH

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        """The job's own worker is asked, and no other."""
        await trio.lowlevel.checkpoint()
        raise no_terminal()
