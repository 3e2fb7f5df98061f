"""What somebody who starts a client may say."""

from pathlib import Path

from attrs import field, frozen

from actors.events import AskPerson, BestWorker, JobCredential, NamedWorker
from protocol.faults import FaultCode
from protocol.ids import RoomId
from protocol.jobs import JobKind, StopScope
from protocol.trust import Secret
from rtc.common.errors import RtcError
from rtc.config.load import Config
from rtc.terminal.interface import Interrupt

AWAY = (
    "The job's worker is not in its room. Start it again where it was, if nobody has: it finds the job, which runs on "
    "without it, or its result. If it is in another room now, say so with --session-string."
)


def of_a_job(error: RtcError) -> RtcError:
    """The same for somebody who asks about a job, and has no choice of workers."""
    return RtcError(FaultCode.NO_WORKER, AWAY) if error.fault.code is FaultCode.NO_WORKER else error


@frozen
class ClientOptions:
    """A job to be run, or one to come back to."""

    config: Config
    package: Path
    """The package, or for a job to come back to just its name."""
    room: RoomId
    token: str = field(repr=False)
    choice: NamedWorker | BestWorker | AskPerson
    secret: Secret | None = None
    min_memory_mb: int = 0
    wait: float | None = None
    """Seconds to stand in line when every fitting worker is taken; `math.inf` for however long it takes."""
    output: Path | None = None
    """The folder for what a training makes, or the file for predictions; one named after the package otherwise."""
    kind: JobKind = JobKind.TRAIN
    overrides: tuple[str, ...] = ()
    """Settings changed for this run, in Hydra's writing."""
    credential: JobCredential | None = None
    """A job that was started before, to come back to instead of running a package."""
    moved: bool = False
    """The person says where that job's worker is now, and may be wrong."""
    fetch: bool = True
    """Bring home what the job makes; otherwise it is only watched."""
    follow: bool = True
    """To the job's end; otherwise only what has happened until now is wanted."""
    tickets: Path | None = None
    """Where tickets of running jobs are kept; None: nowhere."""
    viewer_ports: tuple[int, int] | None = None
    """Where SLEAP's LossViewer publishes its commands and listens for progress (controller, publish); None: nowhere."""
    on_interrupt: Interrupt | None = None
    """What Ctrl-C means for a running job; None: ask."""
    stop: StopScope = StopScope.THIS
    """What a wish to stop early ends."""
