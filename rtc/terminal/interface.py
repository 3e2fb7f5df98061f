"""The interface between a client and what a person sees: the client notifies the view, and the view asks questions."""

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol

from attrs import frozen

from actors.events import Interrupt
from protocol.faults import Fault
from protocol.ids import JobId, PeerId
from protocol.jobs import JobNews
from protocol.signaling import WorkerPresent

Workers = Callable[[], Sequence[WorkerPresent]]
"""Returns the workers that can be chosen now; the client's filters are already applied."""
Changed = Callable[[], Awaitable[object]]
"""Waits until `Workers` may return something different."""

ANSWER_TIME = 10.0
"""Seconds to answer the question after a Ctrl-C; without an answer the job keeps running."""


class Mode(Enum):
    """How much is shown, and for which reader."""

    NORMAL = "normal"
    QUIET = "quiet"
    """Only warnings, and one line at the end."""
    VERBOSE = "verbose"
    """NORMAL, and in addition what sleap-nn prints."""
    JSON = "json"
    """One JSON object per line, for programs."""


@frozen
class Losses:
    """The final losses of one model; None for a loss that is not known."""

    train: float | None
    val: float | None


@frozen
class JobSummary:
    """A job that has ended, and its results on this machine."""

    text: str
    """How the job ended, in one sentence."""
    folder: Path | None = None
    """The folder with all results."""
    models: tuple[str, ...] = ()
    """Names of the trained models' folders."""
    losses: tuple[Losses, ...] = ()
    """One entry for each of `models`."""
    files: tuple[Path, ...] = ()
    """Predictions, and the page with the loss curves."""
    is_left: bool = False
    """The client has left the job, as the person wanted (`--detach`): it runs on, or its result is kept, far away."""


class ClientView(Protocol):
    """Shows a job to a person or a program.

    The methods that are not async may be called in any order, and accept whatever they are given.
    """

    def step(self, text: str) -> None:
        """Show that a step on the way to the job is done: "Joined room …", "Linked to … (direct)"."""

    def warn(self, text: str) -> None:
        """Show a problem that the person should know about, although the client goes on."""

    def upload(self, done: int, total: int) -> None:
        """Show that `done` of the package's `total` bytes are uploaded."""

    def download(self, done: int, total: int) -> None:
        """Show that `done` of the result's `total` bytes are downloaded."""

    def accepted(self, job: JobId, worker: PeerId) -> None:
        """Show that a worker has accepted the job and given it an id."""

    def news(self, news: JobNews, at: float) -> None:
        """Show what happened in the job.

        A client that attaches to a running job receives all events from its beginning, in quick succession.

        Args:
            news: the event.
            at: when it happened, in seconds of the worker's clock; only differences of such times mean anything.
        """

    def finished(self, summary: JobSummary) -> None:
        """Show that the job has ended well and its result is on this machine."""

    def failed(self, fault: Fault, partial: JobSummary | None) -> None:
        """Show that the job has not ended well.

        The view does not write the fault's sentence: the program writes it to standard error.

        Args:
            fault: why.
            partial: the results that are on this machine all the same; None when there are none.
        """

    async def read_keys(self, stop: Callable[[], None]) -> None:
        """Handle the person's keys while the job runs, until cancelled.

        Args:
            stop: called each time the person asks to stop training early.
        """

    async def ask_interrupt(self, *, stoppable: bool) -> Interrupt:
        """Ask after a Ctrl-C what to do with the job.

        Returns DETACH when there is no answer within ANSWER_TIME, and at once when there is no terminal to ask on.

        Args:
            stoppable: a model is training, so STOP can be chosen.
        """

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        """Ask which worker to use and return its id; None when the person quits.

        Args:
            workers: returns the workers to choose from.
            changed: waits until that list may be different, so that it is shown again; None to show it again
                only when the person asks for it.

        Raises:
            RtcError: USAGE, when there is no terminal to ask on.
        """
