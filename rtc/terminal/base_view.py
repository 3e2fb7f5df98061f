"""A view that shows nothing and asks nothing. All views derive from it and define only what they do differently."""

from collections.abc import Callable

import trio

from actors.events import Interrupt
from protocol.faults import Fault
from protocol.ids import JobId, PeerId
from protocol.jobs import JobNews
from rtc.terminal.interface import Changed, JobSummary, Workers
from rtc.terminal.worker_prompt import no_terminal


class BaseView:
    """Implements every method of `ClientView`.

    Notifications do nothing. Questions get the answer that is right when no person is present.
    """

    __slots__ = ()

    def step(self, text: str) -> None:
        """Do nothing."""

    def warn(self, text: str) -> None:
        """Do nothing."""

    def upload(self, done: int, total: int) -> None:
        """Do nothing."""

    def download(self, done: int, total: int) -> None:
        """Do nothing."""

    def accepted(self, job: JobId, worker: PeerId) -> None:
        """Do nothing."""

    def news(self, news: JobNews, at: float) -> None:
        """Do nothing."""

    def finished(self, summary: JobSummary) -> None:
        """Do nothing."""

    def failed(self, fault: Fault, partial: JobSummary | None) -> None:
        """Do nothing; the program writes the fault's sentence to standard error."""

    async def read_keys(self, stop: Callable[[], None]) -> None:
        """Sleep until cancelled: there is no keyboard to read."""
        await trio.sleep_forever()

    async def ask_interrupt(self, *, stoppable: bool) -> Interrupt:
        """Return DETACH at once: there is nobody to ask, so the job keeps running."""
        await trio.lowlevel.checkpoint()
        return Interrupt.DETACH

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        """Raise the error of `no_terminal`: there is nobody to ask.

        Raises:
            RtcError: USAGE, always.
        """
        raise no_terminal()
