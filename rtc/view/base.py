"""What a person sees of a client, as an interface: the client tells it what happens, and it asks one question."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from attrs import frozen

from protocol.ids import PeerId
from protocol.jobs import LogLines, ModelStarted, Progress
from protocol.signaling import WorkerShown

News = ModelStarted | Progress | LogLines
Workers = Callable[[], Sequence[WorkerShown]]
"""Who may be chosen now, filters applied."""
Changed = Callable[[], Awaitable[object]]
"""Waits until `Workers` may answer differently."""


@frozen
class Losses:
    """The final losses of one model; None for what is not known."""

    train: float | None
    val: float | None


class ClientView(Protocol):
    """A view. All its methods but one are synchronous, may be called in any order, and refuse nothing they are told."""

    def step(self, text: str) -> None:
        """Something on the way to the job is done: "Joined room …", "Linked to … (direct)"."""

    def warn(self, text: str) -> None:
        """Something the person should know though it goes on."""

    def upload(self, done: int, total: int) -> None:
        """So many bytes of the package are over."""

    def download(self, done: int, total: int) -> None:
        """So many bytes of the result are here."""

    def started(self, models: tuple[str, ...]) -> None:
        """The job runs; these models will be trained, in order."""

    def news(self, news: News) -> None:
        """What the worker says about the running job."""

    def finished(
        self, text: str, folder: Path | None, models: tuple[str, ...] = (), losses: tuple[Losses, ...] = ()
    ) -> None:
        """The end, in one sentence, and where the result lies. Without `models`, what `news` told is summed up."""

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        """Ask which worker to take; None when the person leaves.

        Raises:
            RtcError: USAGE, when there is no terminal to ask on.
        """
