"""Everything an actor hears (events) and orders (effects), grouped by who says it.

One actor's effect is often the next one's event, so both live here, and actors meet nowhere else. Messages of
`protocol` that came over the signalling line are events as they are; those that came over a link are wrapped in
`Heard`, with the link.
"""

import math
from typing import Any

from attrs import field, frozen

from protocol.faults import Fault
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import JobEnded, JobState, JobWishes, Outcome, StopScope, SubmitJob
from protocol.signaling import WorkerShown
from protocol.status import Role, Status, WorkerFacts
from protocol.trust import Binding

# -------- said by the person, or by the program around the actors


@frozen
class RoomPass:
    """How to enter: a room and its token, or neither to have one made; and as what."""

    role: Role
    room: RoomId | None = None
    token: str | None = field(default=None, repr=False)
    facts: WorkerFacts | None = None
    peer: PeerId | None = None
    """The name that an earlier program of ours had there, and wants back with `resume`."""
    resume: str | None = field(default=None, repr=False)


@frozen
class Enter:
    """To Discovery: get into this room and stay there."""

    room_pass: RoomPass
    patience: float
    """Seconds to reach the server and be let in the first time."""


@frozen
class Direct:
    """Choose this worker and no other (session string, `--worker-id`)."""

    peer: PeerId


@frozen
class Best:
    """Choose the available worker with most GPU memory (`--auto-select`)."""


@frozen
class Ask:
    """Let the person choose from the list."""


@frozen
class Wanted:
    """To the Client: run this job on a worker chosen so."""

    room_pass: RoomPass
    choice: Direct | Best | Ask
    job: SubmitJob | None = None
    """What is to be run; None to come back to a job that was started before."""
    min_memory_mb: int = 0
    patience: float = 30.0
    """Seconds for each step on the way to a link (`connection_timeout`)."""
    wait: bool = False
    """Stand in line when every fitting worker is taken."""
    ticket: "Ticket | None" = None
    """The job that was started before, and its key."""
    fetch: bool = True
    """Bring home what it made; otherwise only its news are wanted."""


@frozen
class Picked:
    """To the Client: the person's choice from the list; None when they would rather leave."""

    peer: PeerId | None


@frozen
class Sent:
    """To the Errand: ask this worker these things about jobs of ours."""

    room_pass: RoomPass
    peer: PeerId
    wishes: tuple[JobWishes, ...]
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
class Overdue:
    """To the Client: the person does not want to wait in line any longer."""


@frozen
class Drain:
    """To every actor: finish what is promised, promise nothing new, then end (first SIGINT or SIGTERM)."""


# -------- said by time


@frozen
class Lapsed:
    """A state lasted longer than it may; the fault says what was waited for."""

    fault: Fault | None = None


@frozen
class StateTimeout:
    """To the actor's own loop: hear `event` when this state has lasted `after` seconds. It dies with the state.

    A second one in the same state replaces the first; `math.inf` calls it off.
    """

    after: float
    event: Lapsed = Lapsed()


NO_TIMEOUT = StateTimeout(math.inf)


# -------- said by the signalling line


@frozen
class LineUp:
    """The WebSocket to the server is open."""


@frozen
class LineDown:
    """The WebSocket to the server is gone or never opened; the line goes on trying by itself."""

    text: str


# -------- said by Discovery


@frozen
class Say:
    """To the line: send this to the server."""

    message: Any


@frozen
class Entered:
    """We are in the room, under this name; said again, with the same name, after every return."""

    room: RoomId
    token: str = field(repr=False)
    peer: PeerId


@frozen
class EnterFailed:
    """The room stays shut."""

    fault: Fault


@frozen
class RosterIs:
    """The workers of the room, as they last described themselves, in a stable order."""

    workers: tuple[WorkerShown, ...]


@frozen
class Offered:
    """A client would like a link."""

    peer: PeerId
    sdp: str = field(repr=False)
    job: JobId | None = None
    version: int = 0


@frozen
class Answered:
    """The worker takes the link."""

    peer: PeerId
    sdp: str = field(repr=False)


@frozen
class Refused:
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
class LinkUp:
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
class Heard:
    """A trusted peer said this over its link."""

    link: LinkId
    message: Any


@frozen
class Ticket:
    """A job's name, and the key that makes its bearer the owner."""

    job: JobId
    key: str = field(repr=False)


@frozen
class Submitted:
    """To the Worker: a trusted peer asks for a job; the ticket is fresh, to be used if it is accepted."""

    link: LinkId
    submit: SubmitJob
    ticket: Ticket


# -------- said by Auth


@frozen
class Trusted:
    """This link may be heard: to the links, which re-route it, and to the actor that waits for it."""

    link: LinkId
    peer: PeerId
    proven: bool
    """False when the worker has no secret (the legacy mode)."""


@frozen
class Distrusted:
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
class TurnAway:
    """To Discovery: refuse this peer's offer, and say why."""

    peer: PeerId
    fault: Fault


@frozen
class KnockAgain:
    """To the program around the Worker: the room stayed shut, or was taken from us, but a job runs: try again."""

    fault: Fault


@frozen
class StatusIs:
    """To Discovery: tell the room what I am now."""

    status: Status


@frozen
class MemoryIs:
    """The gauge: so many MB of the GPU's memory are free now."""

    free_mb: int


@frozen
class Prepare:
    """To the job desk: take this package over this link, and unpack it."""

    link: LinkId
    ticket: Ticket
    submit: SubmitJob


@frozen
class StartJob:
    """To the job desk: run it."""

    job: JobId


@frozen
class Receive:
    """To the window: see to this link, whose peer asks about a job. With a ticket the key has been shown already."""

    link: LinkId
    ticket: Ticket | None = None


@frozen
class AtWindow:
    """To the window: this was meant for you."""

    heard: Heard


@frozen
class Forget:
    """To the job desk: this job will not be; remove what is here of it."""

    job: JobId


# -------- said by a Visit, which sees to one link at the worker's window


@frozen
class LookUp:
    """To the window: is this job here, is this its key, and where does it stand?"""

    link: LinkId
    wish: JobWishes


@frozen
class Follow:
    """To the window: tell this link what happens in the job, from the event after `seen` on, to its end."""

    link: LinkId
    job: JobId
    seen: int = 0


@frozen
class Supply:
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
class Deliver:
    """To the window: send the result over this link."""

    job: JobId
    link: LinkId


@frozen
class Taken:
    """To the job desk: its owner has the result; it need not be kept."""

    job: JobId


# -------- said by the job desk


@frozen
class JobsKnown:
    """Jobs that earlier workers have left records of: their owners may come for them."""

    jobs: frozenset[JobId]


@frozen
class JobTakenUp:
    """A job that an earlier worker has begun still runs, and is ours now."""

    job: JobId


@frozen
class PackageReceived:
    """The package is here, whole: from now on the job needs nobody."""

    ticket: Ticket


@frozen
class PackageFailed:
    """The package did not come."""

    job: JobId
    fault: Fault


@frozen
class JobOver:
    """The job has ended, one way or another, and the result is packed."""

    job: JobId
    outcome: Outcome
    text: str
    result: bool
    """Whether there is anything to deliver."""


# -------- said by the window


@frozen
class RecordFound:
    """The wish comes from the job's owner, and this is where the job stands; UNKNOWN: it does not, or there is none."""

    link: LinkId
    wish: JobWishes
    state: JobState


@frozen
class FollowEnded:
    """All that happened in the job was told over this link, and this is how it ended."""

    link: LinkId
    ended: JobEnded


@frozen
class ResultGone:
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
class ShowRoster:
    """To the view: let the person choose among these."""

    workers: tuple[WorkerShown, ...]


@frozen
class Claim:
    """To the front: show the worker this job's key, and say what we know already of the job."""

    link: LinkId
    ticket: Ticket
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
class Reported:
    """To the program: this is what the worker says of one of our jobs."""

    state: JobState


# -------- said by the courier


@frozen
class PackageSent:
    """The package is on the worker, whole: from now on the job needs nobody."""


@frozen
class SendFailed:
    """The package did not get there."""

    fault: Fault


@frozen
class ResultSafe:
    """The result's archive is on this machine, whole."""


@frozen
class ResultHere:
    """The result is unpacked on this machine."""


@frozen
class ResultLost:
    """The result did not get here; it waits on the worker."""

    fault: Fault


# -------- said by more than one


@frozen
class TellLink:
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
