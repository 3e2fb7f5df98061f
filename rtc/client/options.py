"""The options of one client."""

from pathlib import Path

from attrs import field, frozen

from actors.events import Interrupt, JobCredential, WorkerChoice
from protocol.faults import FaultCode
from protocol.ids import RoomId
from protocol.jobs import JobKind, StopScope
from protocol.trust import RoomKeys
from rtc.common.errors import RtcError
from rtc.common.size_limits import RESULT_MAX
from rtc.config.folders import find_folders
from rtc.config.load import Config
from rtc.runtime.room_keys import SecretFinder, no_secret

WORKER_ABSENT = (
    "The job's worker is not in its room. Start it again where it was, if nobody has: it finds the job, which runs on "
    "without it, or its result. If it is in another room now, say so with --session-string."
)
WANTS_PROOF = (
    "The worker asks for the secret of {room}, and none is here. Get it from the person who runs the worker, and put "
    "it into {settings}/secrets/{room}, or give it with --room-secret-file FILE."
)


def explain_without_secret(error: RtcError, room: RoomId, keys: RoomKeys | None) -> RtcError:
    """Return the error to report about a worker that has refused us: if the reason is that no secret of its room is
    here, an AUTH_MISSING that says so."""
    if keys is not None or error.fault.code not in (FaultCode.AUTH_MISSING, FaultCode.AUTH_INVALID):
        return error
    return RtcError(FaultCode.AUTH_MISSING, WANTS_PROOF.format(room=room, settings=find_folders().settings_name))


def explain_for_job(error: RtcError) -> RtcError:
    """Return the error to report about an earlier job: NO_WORKER gets a text about the job's own worker.

    The usual texts of NO_WORKER are for a person who can choose a worker; an earlier job is on one worker only.
    """
    return RtcError(FaultCode.NO_WORKER, WORKER_ABSENT) if error.fault.code is FaultCode.NO_WORKER else error


@frozen
class ClientOptions:
    """What one client is to do: run a package, or attach to an earlier job; and how."""

    config: Config
    package: Path
    """The package's file; for an earlier job only the name that the package had."""
    room: RoomId
    token: str = field(repr=False)
    choice: WorkerChoice
    remembered_as: str | None = None
    """The name of the remembered room that this is; None if it is none."""
    find_secret: SecretFinder = no_secret
    min_memory_mb: int = 0
    min_gpus: int = 0
    """Least number of GPUs that the worker gives to one job."""
    wait: float | None = None
    """Seconds to wait in the queue when every fitting worker is taken (`--wait`); `math.inf`: without limit; None: do
    not wait."""
    output: Path | None = None
    """The folder for the result of a training, or the file for predictions; None: a name made from the package's."""
    kind: JobKind = JobKind.TRAIN
    result_max: int = RESULT_MAX
    """Bytes of the largest result that is accepted; its unpacked files have the same limit."""
    overrides: tuple[str, ...] = ()
    """Settings changed for this run, in Hydra's syntax (`trainer_config.max_epochs=5`)."""
    credential: JobCredential | None = None
    """An earlier job and its key: attach to this job instead of running a package."""
    worker_named: bool = False
    """The person named the worker of the earlier job. It may differ from the ticket's, and be the wrong one."""
    fetch: bool = True
    """Fetch the result; False: only watch the job."""
    follow: bool = True
    """Watch the job until it ends; False: show only what has happened until now."""
    tickets_folder: Path | None = None
    """The folder with the tickets, for the job's own one; None: save no ticket."""
    viewer_ports: tuple[int, int] | None = None
    """Ports of SLEAP's LossViewer on this machine (controller, publish): it sends its commands from the first and
    receives progress on the second. None: no LossViewer."""
    on_interrupt: Interrupt | None = None
    """What Ctrl-C does to a running job; None: ask the person."""
    stop: StopScope = StopScope.THIS
    """What an early stop ends: the model that trains now, or the whole job."""
    give_up_after: float | None = None
    """Seconds of silence of sleap-nn after which the job is ended (`--give-up-after`); None: never."""
    detach: bool = False
    """Leave a new job as soon as it runs (`--detach`). Where its ticket cannot be saved, the client stays with it."""
