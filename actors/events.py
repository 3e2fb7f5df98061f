"""All events (what actors receive) and effects (what actors send), grouped by their sender.

The effect of one actor is often the event of another one, so both are here, and actors import nothing else of each
other. A docstring that begins with "To …:" names the receiver of an effect. Messages of `protocol` that come over the
signalling connection are events as they are; those that come over a link are wrapped in `PeerMessage`, with the link.
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

# -------- sent by the person, or by the program around the actors


@frozen
class RoomCredentials:
    """What is needed to join a room: its id and token, or neither to have a room created; and the role there."""

    role: Role
    room: RoomId | None = None
    token: str | None = field(default=None, repr=False)
    facts: WorkerFacts | None = None
    """A worker's description of itself; None for a client."""
    peer: PeerId | None = None
    """The peer id that an earlier process had in this room, to get it again with `resume`."""
    resume: str | None = field(default=None, repr=False)
    """The `Joined.resume` that belongs to `peer`."""


@frozen
class JoinRoom:
    """To Discovery: join this room and stay in it."""

    room_credentials: RoomCredentials
    step_timeout: float
    """Seconds in which the first join must succeed; they include the time to connect to the server."""


@frozen
class NamedWorker:
    """Choose this worker and no other (session string, `--worker-id`)."""

    peer: PeerId


@frozen
class BestWorker:
    """Choose the available worker with most GPU memory (`--auto-select`)."""


@frozen
class AskPerson:
    """Let the person choose a worker from the list of available ones."""


@frozen
class JobWanted:
    """To the Client: run a new job, or attach to an existing one, on a worker of this room."""

    room_credentials: RoomCredentials
    choice: NamedWorker | BestWorker | AskPerson
    """How the worker is chosen."""
    job: SubmitJob | None = None
    """The new job; None to attach to the job of `credential`."""
    min_memory_mb: int = 0
    """Least total GPU memory of the worker, in MB (2**20 bytes)."""
    step_timeout: float = 30.0
    """Seconds for each step until the job is accepted or attached to (`connection_timeout`)."""
    wait: bool = False
    """Join the room's queue when every fitting worker is reserved or busy."""
    credential: "JobCredential | None" = None
    """The existing job and its key; None for a new job."""
    fetch: bool = True
    """Download the result; False to receive only the job's events."""


@frozen
class WorkerPicked:
    """To the Client: the person chose this worker from the list, or left the list without choosing (None)."""

    peer: PeerId | None


@frozen
class QueryWanted:
    """To the JobQuery: send this worker these requests about jobs of ours."""

    room_credentials: RoomCredentials
    peer: PeerId
    """The worker."""
    requests: tuple[JobRequest, ...]
    """At least one."""
    step_timeout: float = 30.0
    """Seconds to join the room, and seconds for each link to open and authenticate (`connection_timeout`)."""


@frozen
class StopWanted:
    """To the Client: the person wants training to stop early and the models to be kept."""

    scope: StopScope = StopScope.THIS


@frozen
class CancelWanted:
    """To the Client: the person wants the job to be cancelled now."""


@frozen
class WaitExpired:
    """To the Client: the time for waiting in the queue, given with `--wait`, is over."""


@frozen
class Drain:
    """To every actor: accept nothing new, finish what is accepted, then end (first SIGINT or SIGTERM)."""


# -------- sent by the actor's own loop


@frozen
class TimedOut:
    """The current state has lasted as long as its `StateTimeout` allows."""

    fault: Fault | None = None
    """What did not happen in time, if that is to be reported."""


@frozen
class StateTimeout:
    """To the actor's own loop: send `event` in `after` seconds, unless the state changes before.

    A second `StateTimeout` in the same state replaces the first; `CANCEL_TIMEOUT` cancels it.
    """

    after: float
    """Seconds."""
    event: TimedOut = TimedOut()


CANCEL_TIMEOUT = StateTimeout(math.inf)
"""Cancels the time-out of the current state."""


# -------- sent by the signalling connection


@frozen
class ServerConnected:
    """The WebSocket to the server is open."""


@frozen
class ServerDisconnected:
    """The WebSocket to the server closed, or could not be opened. The signalling connection keeps trying by itself."""

    text: str
    """Why, in one sentence for people."""


# -------- sent by Discovery


@frozen
class SendToServer:
    """To the signalling connection: send this message to the server."""

    message: Any


@frozen
class JoinedRoom:
    """We have joined the room. Sent again after each reconnection, normally with the same peer id."""

    room: RoomId
    token: str = field(repr=False)
    peer: PeerId
    """Our own peer id."""


@frozen
class JoinFailed:
    """The room cannot be joined, and Discovery has given up."""

    fault: Fault


@frozen
class WorkersChanged:
    """The workers of the room as they last described themselves: most GPU memory first, then by peer id."""

    workers: tuple[WorkerPresent, ...]


@frozen
class LinkRequested:
    """A client has sent an offer for a link."""

    peer: PeerId
    """The client."""
    sdp: str = field(repr=False)
    job: JobId | None = None
    """The job that the client says it owns; None when it wants to submit a new job."""
    version: int = 0
    """The client's protocol version."""


@frozen
class LinkAnswered:
    """The worker has accepted our offer, with this SDP answer."""

    peer: PeerId
    sdp: str = field(repr=False)


@frozen
class LinkRefused:
    """The worker, or the server, or Discovery without a connection to the server, has refused our offer."""

    peer: PeerId
    fault: Fault


# -------- sent by the link manager


@frozen
class OfferReady:
    """To Discovery: send this SDP offer to a worker; with `job`, the link is about an existing job."""

    peer: PeerId
    sdp: str = field(repr=False)
    job: JobId | None = None


@frozen
class AnswerReady:
    """To Discovery: send this SDP answer to a client."""

    peer: PeerId
    sdp: str = field(repr=False)


@frozen
class LinkOpened:
    """To Auth: a link is open, and its peer is not authenticated."""

    link: LinkId
    peer: PeerId
    """The peer at the other end of the link."""
    binding: Binding
    nonce: bytes = field(repr=False)
    """Our own nonce: random bytes for this link only."""


@frozen
class LinkLost:
    """A link has ended, or could not be opened. Every link ends with exactly one of these."""

    link: LinkId
    fault: Fault | None = None
    """Why; None when we, or the peer, closed it with its work done."""


@frozen
class PeerMessage:
    """An authenticated peer has sent this message over its link."""

    link: LinkId
    message: Any


@frozen
class JobCredential:
    """A job's id, and its key. A client that has the key owns the job."""

    job: JobId
    key: str = field(repr=False)


@frozen
class JobSubmitted:
    """To the Worker: an authenticated peer submits a job; `credential` is new, for use if the job is accepted."""

    link: LinkId
    submit: SubmitJob
    credential: JobCredential


# -------- sent by Auth


@frozen
class Authenticated:
    """The peer of this link is authenticated: the link manager routes its messages, and actors may use the link."""

    link: LinkId
    peer: PeerId
    proven: bool
    """Whether both peers have proven that they know the secret; False when the worker has none (the legacy mode)."""


@frozen
class AuthenticationFailed:
    """To the link manager: close this link, whose authentication has failed."""

    link: LinkId
    fault: Fault


# -------- sent by the Worker


@frozen
class AcceptLink:
    """To the link manager: answer this offer."""

    link: LinkId
    """The id of the new link."""
    peer: PeerId
    sdp: str = field(repr=False)


@frozen
class RejectLink:
    """To Discovery: refuse this peer's offer, for this reason."""

    peer: PeerId
    fault: Fault


@frozen
class RetryJoin:
    """To the program around the Worker: joining the room failed while a job runs; try to join again later."""

    fault: Fault
    """Why it failed."""


@frozen
class StatusChanged:
    """To Discovery: announce this status to the room."""

    status: Status


@frozen
class FreeMemoryChanged:
    """From the GPU monitor to Discovery: announce this amount of free GPU memory to the room."""

    free_mb: int
    """In MB (2**20 bytes)."""


@frozen
class ReceivePackage:
    """To the job manager: receive this job's package over this link."""

    link: LinkId
    credential: JobCredential
    submit: SubmitJob


@frozen
class StartJob:
    """To the job manager: unpack this job's package, which is complete, and run the job."""

    job: JobId


@frozen
class OpenSession:
    """To the job sessions: open a session for this link, over which a client asks about a job.

    With `credential`, the client is the sender of that job's package, and need not send the job's key.
    """

    link: LinkId
    credential: JobCredential | None = None


@frozen
class ForwardToSession:
    """To the job sessions: handle this message, which the Worker received but which belongs to a session."""

    message: PeerMessage


@frozen
class DiscardJob:
    """To the job manager: this job will not run; remove it and what was received of its package."""

    job: JobId


# -------- sent by a JobSession, which serves one link


@frozen
class LookUpJob:
    """To the job sessions: find the job of this request, compare the key, and report the job's state."""

    link: LinkId
    request: JobRequest


@frozen
class StreamEvents:
    """To the job sessions: send the job's events over this link, from number `seen` + 1 until the job ends."""

    link: LinkId
    job: JobId
    seen: int = 0


@frozen
class SupplyPackage:
    """To the Worker and the job manager: the job's owner sends the rest of the package over this new link."""

    link: LinkId
    job: JobId


@frozen
class StopEarly:
    """To the job manager: stop the job's training early, and keep the models."""

    job: JobId
    scope: StopScope


@frozen
class Cancel:
    """To the job manager: cancel this job now."""

    job: JobId


@frozen
class SendResult:
    """To the job sessions: send the job's result over this link."""

    job: JobId
    link: LinkId


@frozen
class ReleaseResult:
    """To the job manager: the owner has the result of this job, so it need not be kept."""

    job: JobId


# -------- sent by the job manager


@frozen
class EarlierJobsFound:
    """Earlier workers have left records of these jobs, so their owners may ask about them."""

    jobs: frozenset[JobId]


@frozen
class JobAdopted:
    """A job that an earlier worker started still runs, and this worker has adopted it."""

    job: JobId


@frozen
class PackageReceived:
    """The package of this job is complete on the worker; from now on the job needs no link."""

    credential: JobCredential


@frozen
class PackageFailed:
    """The package of this job could not be received, or its owner cancelled the job before the package was complete."""

    job: JobId
    fault: Fault


@frozen
class JobFinished:
    """The job has ended with this outcome, and its result is packed if there is one."""

    job: JobId
    outcome: Outcome
    text: str
    """One sentence for people: what the job produced, or what went wrong."""
    result: bool
    """Whether there is a result to send."""


# -------- sent by the job sessions


@frozen
class JobLookedUp:
    """The state of the job of this request; its stage is UNKNOWN if there is no such job or the key is wrong."""

    link: LinkId
    request: JobRequest
    state: JobState


@frozen
class StreamEnded:
    """All events of the job are sent over this link, and the job has ended as `ended` says."""

    link: LinkId
    ended: JobEnded


@frozen
class ResultSendEnded:
    """Sending the result over this link has succeeded, or failed with a fault. The result is kept in both cases."""

    job: JobId
    link: LinkId
    fault: Fault | None = None


# -------- sent by the Client


@frozen
class OpenLink:
    """To the link manager: open a link to this worker; with `job`, about an existing job."""

    link: LinkId
    """The id of the new link."""
    peer: PeerId
    job: JobId | None = None


@frozen
class ShowWorkers:
    """To the presenter: let the person choose one of these workers."""

    workers: tuple[WorkerPresent, ...]


@frozen
class SendJobKey:
    """To the presenter: send `AttachJob` with this key, and with the number of the newest job event that was shown."""

    link: LinkId
    credential: JobCredential
    fetch: bool = True
    """Ask for the result, too."""
    supply: bool = False
    """Offer to send the rest of the job's package."""


@frozen
class SendPackage:
    """To the file transfers: send the package over this link."""

    link: LinkId
    job: JobId


@frozen
class FetchResult:
    """To the file transfers: receive the result, which the worker now sends over this link."""

    link: LinkId


# -------- sent by a JobQuery


@frozen
class JobStateReported:
    """To the program: the worker's answer about one of our jobs."""

    state: JobState


# -------- sent by the file transfers of a client


@frozen
class PackageSent:
    """The worker has the whole package; from now on the job needs no link."""


@frozen
class UploadFailed:
    """The package could not be sent."""

    fault: Fault


@frozen
class ResultDownloaded:
    """The archive with the result is completely on this machine."""


@frozen
class ResultUnpacked:
    """The result is unpacked into its folder."""


@frozen
class DownloadFailed:
    """The result could not be downloaded or unpacked; the worker keeps it."""

    fault: Fault


# -------- sent by several actors


@frozen
class TellPeer:
    """To the link manager: send this message over this link."""

    link: LinkId
    message: Any


@frozen
class CloseLink:
    """To the link manager: close this link after all messages already sent to it have left."""

    link: LinkId
    fault: Fault | None = None
    """Why, for the peer; None when all its work is done."""


@frozen
class Finished:
    """To the program: the actor has nothing left to do."""

    fault: Fault | None = None
    """Why it did not succeed; None when it did."""
    ended: JobEnded | None = None
    """The end of the job, as the worker reported it; None when no end was reported."""


# -------- events that several actors' `classify` returns


@frozen
class PeerFault:
    """The peer has sent a fault over our link: it cannot go on with our job or request, for this reason."""

    fault: Fault


@frozen
class UnexpectedMessage:
    """The peer has sent a message that the protocol does not allow at this point."""

    link: LinkId


@frozen
class Stale:
    """An event that needs no decision, or that is about a link, a job or a room that the actor no longer has."""
