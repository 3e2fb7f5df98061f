"""Everything an actor hears (events) and orders (effects), grouped by who says it.

One actor's effect is often the next one's event, so both live here, and actors meet nowhere else. Messages of
`protocol` that came over the signalling line are events as they are; those that came over a link are wrapped in
`PeerMessage`, with the link.
"""

import math
from typing import Any

from attrs import field, frozen

from protocol.faults import Fault
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import JobEnded, JobRequest, JobState, Outcome, StopScope, SubmitJob
from protocol.signaling import WorkerPresent
from protocol.status import Role, Status, WorkerFacts
from protocol.trust import Binding

# -------- said by the person, or by the program around the actors


@frozen
class RoomCredentials:
    """How to enter: a room and its token, or neither to have one made; and as what."""

    role: Role
    room: RoomId | None = None
    token: str | None = field(default=None, repr=False)
    facts: WorkerFacts | None = None
    peer: PeerId | None = None
    """The name that an earlier program of ours had there, and wants back with `resume`."""
    resume: str | None = field(default=None, repr=False)


@frozen
class JoinRoom:
    """To Discovery: get into this room and stay there."""

    room_credentials: RoomCredentials
    patience: float
    """Seconds to reach the server and be let in the first time."""


@frozen
class NamedWorker:
    """Choose this worker and no other (session string, `--worker-id`)."""

    peer: PeerId


@frozen
class BestWorker:
    """Choose the available worker with most GPU memory (`--auto-select`)."""


@frozen
class AskPerson:
    """Let the person choose from the list."""


@frozen
class JobWanted:
    """To the Client: run this job on a worker chosen so."""

    room_credentials: RoomCredentials
    choice: NamedWorker | BestWorker | AskPerson
    job: SubmitJob | None = None
    """What is to be run; None to come back to a job that was started before."""
    min_memory_mb: int = 0
    patience: float = 30.0
    """Seconds for each step on the way to a link (`connection_timeout`)."""
    wait: bool = False
    """Stand in line when every fitting worker is taken."""
    credential: "JobCredential | None" = None
    """The job that was started before, and its key."""
    fetch: bool = True
    """Bring home what it made; otherwise only its news are wanted."""


@frozen
class WorkerPicked:
    """To the Client: the person's choice from the list; None when they would rather leave."""

    peer: PeerId | None


@frozen
class QueryWanted:
    """To the Errand: ask this worker these things about jobs of ours."""

    room_credentials: RoomCredentials
    peer: PeerId
    requests: tuple[JobRequest, ...]
    patience: float = 30.0
    """Seconds for each step (`connection_timeout`)."""


@frozen
class StopWanted:
    """To the Client: the person wants training to stop early, and to keep what was learned."""

    scope: StopScope = StopScope.THIS


@frozen
class CancelWanted:
    """To the Client: the person wants the job to end now."""


@frozen
class WaitExpired:
    """To the Client: the person does not want to wait in line any longer."""


@frozen
class Drain:
    """To every actor: finish what is promised, promise nothing new, then end (first SIGINT or SIGTERM)."""


# -------- said by time


@frozen
class TimedOut:
    """A state lasted longer than it may; the fault says what was waited for."""

    fault: Fault | None = None


@frozen
class StateTimeout:
    """To the actor's own loop: hear `event` when this state has lasted `after` seconds. It dies with the state.

    A second one in the same state replaces the first; `math.inf` calls it off.
    """

    after: float
    event: TimedOut = TimedOut()


NO_TIMEOUT = StateTimeout(math.inf)


# -------- said by the signalling line


@frozen
class ServerConnected:
    """The WebSocket to the server is open."""


@frozen
class ServerDisconnected:
    """The WebSocket to the server is gone or never opened; the line goes on trying by itself."""

    text: str


# -------- said by Discovery


@frozen
class SendToServer:
    """To the line: send this to the server."""

    message: Any


@frozen
class JoinedRoom:
    """We are in the room, under this name; said again, with the same name, after every return."""

    room: RoomId
    token: str = field(repr=False)
    peer: PeerId


@frozen
class JoinFailed:
    """The room stays shut."""

    fault: Fault


@frozen
class WorkersChanged:
    """The workers of the room, as they last described themselves, in a stable order."""

    workers: tuple[WorkerPresent, ...]


@frozen
class LinkRequested:
    """A client would like a link."""

    peer: PeerId
    sdp: str = field(repr=False)
    job: JobId | None = None
    version: int = 0


@frozen
class LinkAnswered:
    """The worker takes the link."""

    peer: PeerId
    sdp: str = field(repr=False)


@frozen
class LinkRefused:
    """The worker, or the server in its place, does not take the link."""

    peer: PeerId
    fault: Fault


# -------- said by the links


@frozen
class OfferReady:
    """To Discovery: our half of a link that we ask for, perhaps to return to a job."""

    peer: PeerId
    sdp: str = field(repr=False)
    job: JobId | None = None


@frozen
class AnswerReady:
    """To Discovery: our half of a link that was asked of us."""

    peer: PeerId
    sdp: str = field(repr=False)


@frozen
class LinkOpened:
    """To Auth: a link is open; nobody has proven anything."""

    link: LinkId
    peer: PeerId
    binding: Binding
    nonce: bytes = field(repr=False)
    """Fresh random bytes, for our half of the proof."""


@frozen
class LinkLost:
    """A link is over, or never came to be. Every link ends in exactly one of these."""

    link: LinkId
    fault: Fault | None = None


@frozen
class PeerMessage:
    """A trusted peer said this over its link."""

    link: LinkId
    message: Any


@frozen
class JobCredential:
    """A job's name, and the key that makes its bearer the owner."""

    job: JobId
    key: str = field(repr=False)


@frozen
class JobSubmitted:
    """To the Worker: a trusted peer asks for a job; the ticket is fresh, to be used if it is accepted."""

    link: LinkId
    submit: SubmitJob
    credential: JobCredential


# -------- said by Auth


@frozen
class Authenticated:
    """This link may be heard: to the links, which re-route it, and to the actor that waits for it."""

    link: LinkId
    peer: PeerId
    proven: bool
    """False when the worker has no secret (the legacy mode)."""


@frozen
class AuthenticationFailed:
    """To the links: end this one; it could not prove itself in time."""

    link: LinkId
    fault: Fault


# -------- said by the Worker


@frozen
class AcceptLink:
    """To the links: answer this offer."""

    link: LinkId
    peer: PeerId
    sdp: str = field(repr=False)


@frozen
class RejectLink:
    """To Discovery: refuse this peer's offer, and say why."""

    peer: PeerId
    fault: Fault


@frozen
class RetryJoin:
    """To the program around the Worker: the room stayed shut, or was taken from us, but a job runs: try again."""

    fault: Fault


@frozen
class StatusChanged:
    """To Discovery: tell the room what I am now."""

    status: Status


@frozen
class FreeMemoryChanged:
    """The gauge: so many MB of the GPU's memory are free now."""

    free_mb: int


@frozen
class ReceivePackage:
    """To the job desk: take this package over this link, and unpack it."""

    link: LinkId
    credential: JobCredential
    submit: SubmitJob


@frozen
class StartJob:
    """To the job desk: run it."""

    job: JobId


@frozen
class OpenSession:
    """To the window: see to this link, whose peer asks about a job. With a ticket the key has been shown already."""

    link: LinkId
    credential: JobCredential | None = None


@frozen
class ForwardToSession:
    """To the window: this was meant for you."""

    message: PeerMessage


@frozen
class DiscardJob:
    """To the job desk: this job will not be; remove what is here of it."""

    job: JobId


# -------- said by a Visit, which sees to one link at the worker's window


@frozen
class LookUpJob:
    """To the window: is this job here, is this its key, and where does it stand?"""

    link: LinkId
    request: JobRequest


@frozen
class StreamEvents:
    """To the window: tell this link what happens in the job, from the event after `seen` on, to its end."""

    link: LinkId
    job: JobId
    seen: int = 0


@frozen
class SupplyPackage:
    """To the Worker and the job desk: the job's owner is back with the package, and sends the rest over this link."""

    link: LinkId
    job: JobId


@frozen
class StopEarly:
    """To the job desk: let it stop early, and keep what it has learned."""

    job: JobId
    scope: StopScope


@frozen
class Cancel:
    """To the job desk: end it now."""

    job: JobId


@frozen
class SendResult:
    """To the window: send the result over this link."""

    job: JobId
    link: LinkId


@frozen
class ReleaseResult:
    """To the job desk: its owner has the result; it need not be kept."""

    job: JobId


# -------- said by the job desk


@frozen
class EarlierJobsFound:
    """Jobs that earlier workers have left records of: their owners may come for them."""

    jobs: frozenset[JobId]


@frozen
class JobAdopted:
    """A job that an earlier worker has begun still runs, and is ours now."""

    job: JobId


@frozen
class PackageReceived:
    """The package is here, whole: from now on the job needs nobody."""

    credential: JobCredential


@frozen
class PackageFailed:
    """The package did not come."""

    job: JobId
    fault: Fault


@frozen
class JobFinished:
    """The job has ended, one way or another, and the result is packed."""

    job: JobId
    outcome: Outcome
    text: str
    result: bool
    """Whether there is anything to deliver."""


# -------- said by the window


@frozen
class JobLookedUp:
    """The wish comes from the job's owner, and this is where the job stands; UNKNOWN: it does not, or there is none."""

    link: LinkId
    request: JobRequest
    state: JobState


@frozen
class StreamEnded:
    """All that happened in the job was told over this link, and this is how it ended."""

    link: LinkId
    ended: JobEnded


@frozen
class ResultSendEnded:
    """The result was taken over this link, or could not be, and the fault says why; it is kept all the same."""

    job: JobId
    link: LinkId
    fault: Fault | None = None


# -------- said by the Client


@frozen
class OpenLink:
    """To the links: ask this worker for a link, perhaps to return to a job."""

    link: LinkId
    peer: PeerId
    job: JobId | None = None


@frozen
class ShowWorkers:
    """To the view: let the person choose among these."""

    workers: tuple[WorkerPresent, ...]


@frozen
class ShowJobKey:
    """To the front: show the worker this job's key, and say what we know already of the job."""

    link: LinkId
    credential: JobCredential
    fetch: bool = True
    supply: bool = False
    """The job may still want its package, which we have."""


@frozen
class SendPackage:
    """To the courier: send the package over this link."""

    link: LinkId
    job: JobId


@frozen
class FetchResult:
    """To the courier: the result comes over this link now; take it."""

    link: LinkId


# -------- said by an Errand


@frozen
class JobReported:
    """To the program: this is what the worker says of one of our jobs."""

    state: JobState


# -------- said by the courier


@frozen
class PackageSent:
    """The package is on the worker, whole: from now on the job needs nobody."""


@frozen
class UploadFailed:
    """The package did not get there."""

    fault: Fault


@frozen
class ResultDownloaded:
    """The result's archive is on this machine, whole."""


@frozen
class ResultUnpacked:
    """The result is unpacked on this machine."""


@frozen
class DownloadFailed:
    """The result did not get here; it waits on the worker."""

    fault: Fault


# -------- said by more than one


@frozen
class TellPeer:
    """To the links: say this to the peer."""

    link: LinkId
    message: Any


@frozen
class CloseLink:
    """To the links: end this one, after what was said has left."""

    link: LinkId
    fault: Fault | None = None


@frozen
class Finished:
    """To the program: nothing is left to do. The fault is None when all went well."""

    fault: Fault | None = None
    ended: JobEnded | None = None
    """What the worker said last, when the job came to its end."""


# -------- named by several actors' `classify`


@frozen
class PeerFault:
    """The peer ends the conversation over this link, for this reason."""

    fault: Fault


@frozen
class UnexpectedMessage:
    """The peer sent a message that does not belong here in the protocol."""

    link: LinkId


@frozen
class Stale:
    """Something about a link, a job or a room that is no longer ours, or that needs no decision."""
