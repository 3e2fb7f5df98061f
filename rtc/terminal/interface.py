"""What a person sees of a client, as an interface: the client tells it what happens, and it asks a few questions."""

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol

from attrs import frozen

from protocol.faults import Fault
from protocol.ids import JobId, PeerId
from protocol.jobs import JobNews
from protocol.signaling import WorkerPresent

Workers = Callable[[], Sequence[WorkerPresent]]
"""Who may be chosen now, filters applied."""
Changed = Callable[[], Awaitable[object]]
"""Waits until `Workers` may answer differently."""

ANSWER_TIME = 10.0
"""Seconds in which the question after a Ctrl-C wants its answer; then the job is left to run."""


class Mode(Enum):
    """How much is shown, and to whom."""

    NORMAL = "normal"
    QUIET = "quiet"
    """Warnings, and one line at the end."""
    VERBOSE = "verbose"
    """What sleap-nn prints, too."""
    JSON = "json"
    """One JSON object a line, for programs."""


class Interrupt(Enum):
    """What becomes of a running job when its client is interrupted; the values are those of `--on-interrupt`."""

    STOP = "stop"
    """It stops early, and what it has learned is kept; we wait for that."""
    CANCEL = "cancel"
    """It is ended at once."""
    DETACH = "detach"
    """It runs on without us."""


@frozen
class Losses:
    """The final losses of one model; None for what is not known."""

    train: float | None
    val: float | None


@frozen
class JobSummary:
    """A job that has ended, and what is here of it."""

    text: str
    """How it went, in one sentence."""
    folder: Path | None = None
    """Where everything lies."""
    models: tuple[str, ...] = ()
    """Names of the trained models' folders."""
    losses: tuple[Losses, ...] = ()
    """One for each of `models`."""
    files: tuple[Path, ...] = ()
    """Predictions, and the page with the loss curves."""


class ClientView(Protocol):
    """A view. Methods that are not async may be called in any order, and refuse nothing that they are told."""

    def step(self, text: str) -> None:
        """Something on the way to the job is done: "Joined room …", "Linked to … (direct)"."""

    def warn(self, text: str) -> None:
        """Something the person should know though it goes on."""

    def upload(self, done: int, total: int) -> None:
        """So many bytes of the package are over."""

    def download(self, done: int, total: int) -> None:
        """So many bytes of the result are here."""

    def accepted(self, job: JobId, worker: PeerId) -> None:
        """The job has a name now, and a worker."""

    def news(self, news: JobNews, at: float) -> None:
        """What happened in the job; `at` is when, in seconds of the worker's clock, of which only differences count.

        A client that comes late is told everything from the beginning, quickly.
        """

    def finished(self, summary: JobSummary) -> None:
        """The job is done and its result is here."""

    def failed(self, fault: Fault, partial: JobSummary | None) -> None:
        """Show that the job has not ended well.

        The view does not write the fault's sentence: the program writes it to standard error.

        Args:
            fault: why.
            partial: the files of the job that are on this machine all the same; None when there are none.
        """

    async def listen(self, stop: Callable[[], None]) -> None:
        """Heed the person's keys while the job runs, until cancelled; `stop` is called for each wish to stop early."""

    async def ask_interrupt(self, *, stoppable: bool) -> Interrupt:
        """Somebody pressed Ctrl-C: what is meant? DETACH without an answer in ANSWER_TIME, or with nobody to ask.

        Args:
            stoppable: a model trains, so STOP is a choice.
        """

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        """Ask which worker to take; None when the person leaves.

        Raises:
            RtcError: USAGE, when there is no terminal to ask on.
        """
