"""Messages that nobody expects at that moment, over real links: no program breaks, and the worker serves on.

The messages are those of `test_any_message.py`, where the actors hear each of them in every phase. Here is a selection:
of every class one message for each moment of a worker, and every fourth one for the moments of a client.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, evolve, field
from test_any_message import FACTS, FROM_PEER
from two_party.settings import JOB, KEY

from actors.events import (
    AcceptLink,
    Authenticated,
    CloseLink,
    JoinedRoom,
    JoinRoom,
    LinkLost,
    LinkRequested,
    NamedWorker,
    OpenLink,
    PeerMessage,
    RoomCredentials,
    TellPeer,
)
from protocol.ids import JobId, LinkId, PeerId
from protocol.jobs import (
    AskJob,
    AttachJob,
    CancelJob,
    JobAccepted,
    JobEnded,
    JobEvent,
    JobKind,
    JobStarted,
    JobState,
    Outcome,
    StopJob,
    SubmitJob,
)
from protocol.status import Role, WorkerFacts
from protocol.wire import TO_CLIENT
from rtc.runtime.peer_runtime import PeerRuntime, open_peer_runtime
from rtc.testing.file_channels import receive_file
from rtc.testing.lab import ClientRun, Lab, LabWorker
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import TrainingPause
from rtc.transport.files import send_file
from rtc.worker.job_manager import ignore_progress

MakePackage = Callable[..., Path]
pytestmark = pytest.mark.slow
PROBE = AskJob(JobId("job-probe"), "?")
"""A worker answers it on every link about a job. On any other link it is unexpected, too, and the link is closed."""
NO_LINK, NOBODY = LinkId(0), PeerId("")
CLASSES = list(dict.fromkeys(type(message) for message in FROM_PEER))


def messages_at(moment: int) -> list[Any]:
    """Return one message of each class, others at each moment; what ends a job comes last."""
    groups = [[message for message in FROM_PEER if type(message) is one] for one in CLASSES]
    chosen = [group[(moment - 2) * 5 % len(group)] for group in groups]
    return sorted(chosen, key=lambda message: isinstance(message, StopJob | CancelJob))


def about(message: Any, job: JobId, key: str) -> Any:
    """Return the message with this job and this key wherever it names the job and the key of the two-party model."""
    if isinstance(message, JobEvent):
        return evolve(message, news=about(message.news, job, key))
    changes: dict[str, Any] = {"job": job} if getattr(message, "job", None) == JOB else {}
    return evolve(message, **changes, **({"key": key} if getattr(message, "key", None) == KEY else {}))


@define
class Stranger:
    """A peer in a lab's room that has real links, and says over them what the test wants."""

    runtime: PeerRuntime
    folder: Path
    _events: trio.MemoryReceiveChannel[Any]
    me: PeerId = NOBODY
    """Its own peer id, once it is in the room."""
    link: LinkId = NO_LINK
    """The newest link."""
    peers: set[PeerId] = field(factory=set)
    """The clients whose offers were accepted."""

    def say(self, *messages: Any) -> None:
        """Send messages over the newest link, if it is still open."""
        for message in messages:
            self.runtime.post(TellPeer(self.link, message))

    async def until(self, *kinds: type) -> Any:
        """Wait for an event or a message of the newest link that has one of these types, and return it."""
        while True:
            event = await self._events.receive()
            if getattr(event, "link", self.link) == self.link:
                found = event.message if isinstance(event, PeerMessage) else event
                if isinstance(found, kinds):
                    return found

    async def connect(self, worker: LabWorker, job: JobId | None = None) -> None:
        """Open a new link to a worker, about an existing job if one is given; return when both ends have proven it."""
        self.link = LinkId(self.link + 1)
        self.runtime.post(OpenLink(self.link, worker.peer, job))
        opened = await self.until(Authenticated, LinkLost)
        assert isinstance(opened, Authenticated), opened

    async def accept(self) -> None:
        """Accept the link of the next new client; return when both ends have proven it."""
        offer = await self.until(LinkRequested)
        while offer.peer in self.peers:  # an earlier client has tried to come back
            offer = await self.until(LinkRequested)
        self.peers.add(offer.peer)
        self.link = offer.new_link
        self.runtime.post(AcceptLink(offer.new_link, offer.peer, offer.sdp, number=offer.number))
        await self.until(Authenticated)

    async def close(self) -> None:
        """Close the newest link after what was said."""
        self.runtime.post(CloseLink(self.link))
        await self.until(LinkLost)

    async def send(self, package: Path) -> None:
        """Send a package over the newest link, as the protocol has it."""
        channel = self.runtime.links.file_channel(self.link)
        assert channel is not None
        await send_file(channel, package, name=package.name, progress=ignore_progress)

    async def receive(self) -> None:
        """Receive a package over the newest link, as the protocol has it."""
        channel = self.runtime.links.file_channel(self.link)
        assert channel is not None
        await receive_file(channel, self.folder, max_size=10**9, progress=ignore_progress)


@asynccontextmanager
async def open_stranger(lab: Lab, worker: LabWorker, facts: WorkerFacts | None = None) -> AsyncIterator[Stranger]:
    """Let a stranger join the room of `worker`: as a client, or with `facts` as another worker."""
    sender, receiver = trio.open_memory_channel[Any](math.inf)

    async def hear(_runtime: PeerRuntime, link: LinkId, message: Any) -> None:
        await sender.send(PeerMessage(link, message))

    role = Role.CLIENT if facts is None else Role.WORKER
    async with open_peer_runtime(
        asyncio_loop=lab.asyncio_loop, config=lab.config, role=role, on_message=hear, facts=facts
    ) as runtime:
        kinds = (JoinedRoom, LinkRequested, Authenticated, LinkLost)
        runtime.add_routes(dict.fromkeys(kinds, (sender.send_nowait,)))
        runtime.post(JoinRoom(RoomCredentials(role, worker.ready.room, worker.ready.token), HANG_TIME))
        folder = lab.folder / "stranger"
        folder.mkdir(exist_ok=True)
        stranger = Stranger(runtime, folder, receiver)
        stranger.me = (await stranger.until(JoinedRoom)).peer
        yield stranger


# -------- a hostile client


@define
class HostileClient:
    """A stranger whose own job, if any, is here to be named in what it says."""

    stranger: Stranger
    worker: LabWorker
    package: Path
    job: JobId = JOB
    key: str = KEY

    async def submit(self) -> None:
        """Open a link and submit a job; return when it is accepted, and the worker waits for its package."""
        await self.stranger.connect(self.worker)
        self.stranger.say(SubmitJob(JobKind.TRAIN, self.package.name, self.package.stat().st_size))
        accepted = await self.stranger.until(JobAccepted)
        self.job, self.key = accepted.job, accepted.key

    async def run(self) -> None:
        """Submit a job and let it start, or come back to the one that was started."""
        if self.job == JOB:
            await self.submit()
            await self.stranger.send(self.package)
            await self.stranger.until(JobEvent)
        else:
            await self.stranger.connect(self.worker, self.job)
            self.stranger.say(AttachJob(self.job, self.key))
            await self.stranger.until(JobState)

    async def prove(self) -> None:
        """Open a link, and submit nothing."""
        await self.stranger.connect(self.worker)

    async def hears_on(self) -> bool:
        """Return whether the worker has kept the link open after what was said."""
        self.stranger.say(PROBE)
        while not isinstance(heard := await self.stranger.until(JobState, LinkLost), LinkLost):
            if heard.job == PROBE.job:
                return True
        return False


WORKER_MOMENTS: dict[str, Callable[[HostileClient], Awaitable[None]]] = {
    "before it has submitted a job": HostileClient.prove,
    "while the worker waits for its package": HostileClient.submit,
    "while its job runs": HostileClient.run,
}


@pytest.mark.parametrize(
    "when",
    [pytest.param(when, marks=pytest.mark.long if when.startswith("while its") else ()) for when in WORKER_MOMENTS],
)
async def test_a_worker_serves_the_next_client_whatever_one_has_said(
    lab: Lab, package: MakePackage, pause: TrainingPause, when: str
) -> None:
    worker, reach = await lab.start_worker(), WORKER_MOMENTS[when]
    with trio.fail_after(HANG_TIME):
        async with open_stranger(lab, worker) as stranger:
            client = HostileClient(stranger, worker, package("held.zip", wait_for=pause.file))
            is_there = False
            for message in messages_at(list(WORKER_MOMENTS).index(when)):
                if not is_there:
                    await reach(client)
                stranger.say(about(message, client.job, client.key))
                is_there = await client.hears_on()
                if is_there and reach is HostileClient.prove:
                    await stranger.close()  # its job was accepted
                    is_there = False
                assert not worker.ended.is_set(), message
            await leave(client, reach, is_there)
        assert not worker.ended.is_set()
        honest = await lab.run_client(worker, package(), wait=HANG_TIME)
    assert honest.output is not None, honest.fault
    assert list(honest.output.rglob("best.ckpt"))


async def leave(client: HostileClient, reach: Callable[[HostileClient], Awaitable[None]], is_there: bool) -> None:
    """Cancel the client's job, if it has one, and close its link; a worker that waits for nobody is soon available."""
    if not is_there:
        await reach(client)
    if reach is not HostileClient.prove:
        client.stranger.say(CancelJob(client.job, client.key))
    await client.stranger.close()


# -------- a hostile worker


THEIR_JOB = JobId("job-7")
ACCEPTED = JobAccepted(THEIR_JOB, "key-7")
CLIENT_MOMENTS = ("before it accepts", "in the upload", "while the job runs", "after the end")
SAMPLES: Sequence[tuple[str, Any]] = [
    (when, message)
    for moment, when in enumerate(CLIENT_MOMENTS)
    for message in messages_at(moment)
    if type(message) in TO_CLIENT.messages.values() or moment == 0
][::4]


async def say_at(stranger: Stranger, when: str, message: Any) -> None:
    """Accept a client's link, serve it up to a moment as an honest worker would, and say the message then."""
    await stranger.accept()
    await stranger.until(SubmitJob)
    if when != CLIENT_MOMENTS[0]:
        stranger.say(ACCEPTED)
    if when in CLIENT_MOMENTS[2:]:
        await stranger.receive()
        stranger.say(JobEvent(JobStarted(THEIR_JOB, ("centroid",)), 0.0, 1))
    if when == CLIENT_MOMENTS[3]:
        stranger.say(JobEnded(THEIR_JOB, Outcome.DONE, "Trained 1 model.", True))
    stranger.say(about(message, ACCEPTED.job, ACCEPTED.key))


async def test_a_client_ends_with_a_result_or_a_sentence_whatever_its_worker_has_said(
    lab: Lab, package: MakePackage
) -> None:
    honest, toy = await lab.start_worker(), package()
    with trio.fail_after(HANG_TIME):
        async with open_stranger(lab, honest, FACTS) as stranger:
            for when, message in SAMPLES:
                run = await run_client_of(lab, honest, toy, NamedWorker(stranger.me), stranger, when, message)
                assert (run.output is None) == (run.fault is not None), f"{when}: {message}"
                assert run.fault is None or run.fault.text, f"{when}: {message}"
        last = await lab.run_client(honest, toy)
    assert last.output is not None, last.fault


async def run_client_of(
    lab: Lab, room: LabWorker, package: Path, choice: NamedWorker, stranger: Stranger, when: str, message: Any
) -> ClientRun:
    """Return how a client ends whose worker says this message, closes the link, and does not answer any more."""
    runs: list[ClientRun] = []
    drain = trio.Event()

    async def run() -> None:
        runs.append(await lab.run_client(room, package, choice=choice, drain=drain))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await say_at(stranger, when, message)
        await stranger.close()
        drain.set()
    return runs[0]
