"""The program around the JobQuery actor: connects to one worker, sends requests about earlier jobs, and leaves."""

from attrs import field, frozen

from actors.client_guards import not_called_fault, worker_called
from actors.events import (
    Authenticated,
    Finished,
    JobStateReported,
    JoinedRoom,
    JoinFailed,
    LinkLost,
    PeerMessage,
    QueryWanted,
    RoomCredentials,
)
from actors.job_query import JOB_QUERY, QueryData
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import JobRequest, JobState
from protocol.status import Role
from rtc.client.list_workers import list_workers
from rtc.client.options import explain_for_job, explain_without_secret
from rtc.common.errors import RtcError
from rtc.common.stories import BUG_FAULT, make_actor
from rtc.config.load import Config
from rtc.config.room_renewal import explain_for_job_in
from rtc.runtime.peer_runtime import PeerRuntime, open_peer_runtime
from rtc.runtime.room_keys import SecretFinder, find_keys, no_secret
from rtc.transport.webrtc import AsyncioLoop


@frozen
class WorkerAddress:
    """A worker in its room, with the token for the room, and where the room's secret is found."""

    config: Config
    room: RoomId
    token: str = field(repr=False)
    worker: PeerId
    find_secret: SecretFinder = no_secret
    remembered_as: str | None = None
    """The name of the remembered room that this is; None if it is none."""
    called: str | None = None
    """The worker's id or name, if the person has given one; it counts then, and `worker` does not."""


async def run_job_query(
    address: WorkerAddress, requests: tuple[JobRequest, ...], asyncio_loop: AsyncioLoop
) -> dict[JobId, JobState]:
    """Send a worker these requests, and return its answers by job. It can be cancelled at any time.

    Raises:
        RtcError: the worker cannot be reached, or refuses; answers received before that are lost.
    """
    states: dict[JobId, JobState] = {}
    worker = await _find_worker(address)
    keys = await find_keys(address.find_secret, address.room)

    def add_state(event: JobStateReported) -> None:
        states[event.state.job] = event.state

    async with open_peer_runtime(
        asyncio_loop=asyncio_loop, config=address.config, role=Role.CLIENT, on_message=_receive
    ) as runtime:
        query = make_actor(JOB_QUERY, QueryData(), runtime.router.outbox, ends_with=Finished(BUG_FAULT))
        for_query = (QueryWanted, JoinedRoom, JoinFailed, Authenticated, LinkLost, PeerMessage)
        runtime.add_routes(dict.fromkeys(for_query, (query.inbox.put,)) | {JobStateReported: (add_state,)})
        await runtime.actors.start(query.run)
        room_credentials = RoomCredentials(Role.CLIENT, address.room, address.token, keys=keys)
        runtime.post(QueryWanted(room_credentials, worker, requests, address.config.connection_timeout))
        await runtime.finished.wait()
        fault = runtime.outcome.fault
    if fault is not None:
        error = explain_without_secret(explain_for_job(RtcError.of(fault)), address.room, keys)
        raise explain_for_job_in(error, address.remembered_as)
    return states


async def _find_worker(address: WorkerAddress) -> PeerId:
    """Return the id of the worker; one that the person has called by its name is looked for in the room.

    Raises:
        RtcError: NO_WORKER: no worker, or more than one, has this name; others: the room cannot be joined.
    """
    if address.called is None:
        return address.worker
    try:
        workers = await list_workers(address.config, address.room, address.token)
    except RtcError as error:
        raise explain_for_job_in(error, address.remembered_as) from None
    found = worker_called(address.called, workers)
    if found is None:
        raise RtcError.of(not_called_fault(address.called, workers))
    return found


async def _receive(runtime: PeerRuntime, link: LinkId, message: object) -> None:
    await runtime.router.outbox.admit(PeerMessage(link, message))
