"""Asks one worker about jobs of ours, over a link of its own, and leaves: the program around an Errand."""

from attrs import field, frozen

from actors.actor import Actor
from actors.events import (
    Authenticated,
    Drain,
    JobReported,
    JoinedRoom,
    JoinFailed,
    LinkLost,
    LinkRefused,
    PeerMessage,
    QueryWanted,
    RoomCredentials,
    WorkersChanged,
)
from actors.job_query import JOB_QUERY, QueryData
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import JobEvent, JobRequest, JobState
from protocol.signaling import QueuePosition, WorkerAssigned
from protocol.status import Role
from protocol.trust import Secret
from rtc.client.options import of_a_job
from rtc.common.errors import RtcError
from rtc.config.load import Config
from rtc.runtime.peer_runtime import PeerRuntime, open_peer_runtime
from rtc.transport.webrtc import AsyncioLoop


@frozen
class Address:
    """Where a worker is, and how to be let in."""

    config: Config
    room: RoomId
    token: str = field(repr=False)
    worker: PeerId
    secret: Secret | None = None


async def run_job_query(
    where: Address, wishes: tuple[JobRequest, ...], asyncio_loop: AsyncioLoop
) -> dict[JobId, JobState]:
    """Ask a worker these things; its answers by job. Cancelling leaves at once.

    Raises:
        RtcError: it cannot be reached, or refuses; what it answered before is lost.
    """
    states: dict[JobId, JobState] = {}

    def note(event: JobReported) -> None:
        states[event.state.job] = event.state

    async with open_peer_runtime(
        asyncio_loop=asyncio_loop, config=where.config, role=Role.CLIENT, secret=where.secret, on_message=_heard
    ) as runtime:
        errand = Actor(JOB_QUERY, QueryData(), runtime.router.outbox)
        hear = errand.inbox.put
        on_message = (QueryWanted, WorkersChanged, LinkRefused, Authenticated, LinkLost, PeerMessage, JoinFailed, Drain)
        runtime.route(
            dict.fromkeys(on_message, (hear,))
            | {JobReported: (note,), JoinedRoom: (), WorkerAssigned: (), QueuePosition: ()}
        )
        await runtime.actors.start(errand.run)
        room_credentials = RoomCredentials(Role.CLIENT, where.room, where.token)
        runtime.post(QueryWanted(room_credentials, where.worker, wishes, where.config.connection_timeout))
        await runtime.finished.wait()
        fault = runtime.last.fault
    if fault is not None:
        raise of_a_job(RtcError.of(fault))
    return states


async def _heard(runtime: PeerRuntime, link: LinkId, message: object) -> None:
    if not isinstance(message, JobEvent):  # nobody here follows a job
        await runtime.router.outbox.admit(PeerMessage(link, message))
