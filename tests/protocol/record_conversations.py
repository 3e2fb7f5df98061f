"""Records real conversations, of every kind, in our newest version, into its folder in `tests/data/conversations/`:

    .venv/bin/python tests/protocol/record_conversations.py

Server, workers and clients run in this process, as in the tests (`rtc.testing.lab`), with real WebSockets and real
aiortc, and every frame that one of them sends is written down. Names, addresses, tokens, nonces and times are replaced,
so that nothing of the machine is in the files. One file is one conversation, and one line of it one frame:

    over    "line 1" (a peer's WebSocket to the server), "link 1" (worker and client), or "http"
    from    who sends it: server, worker, client; or peer, who is in no room yet
    said    a message, as JSON
    piece   instead of `said`: transfer, offset and number of bytes of a piece of a file
    request, reply   instead of `said`: an HTTP exchange

`test_conversations.py` reads the files for as long as their version is spoken. They are recorded again when this
version itself changes, which it may until it is released, and never after that: then the newest version is another one,
and gets a folder of its own.
"""

import base64
import hashlib
import http.client
import json
import logging
import math
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import trio
from attrs import define, evolve, field
from conversations import folder_of
from trio_websocket import WebSocketConnection, open_websocket_url

from actors.events import BestWorker, JobCredential
from protocol.converter import tag_of
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId
from protocol.invitations import (
    AnswerInvitation,
    AskInvitation,
    CloseInvitation,
    GiveInvitation,
    InvitationDenied,
    InvitationKind,
    InvitationOpened,
    OpenInvitation,
    ProveInvitation,
    RefuseInvitation,
)
from protocol.jobs import (
    AskJob,
    CancelJob,
    JobAccepted,
    JobKind,
    JobState,
    ResultTaken,
    StopJob,
    StopScope,
    SubmitJob,
)
from protocol.link import Goodbye, Hello
from protocol.signaling import Answer, IceServers, Join, Joined, Leave, Offer, Refuse, Withdraw
from protocol.status import Role
from protocol.transfer import FileAbort, FileAccept, FileEnd, FileOffer
from protocol.trust import (
    NONCE_BYTES,
    PROOF_BYTES,
    AuthChallenge,
    AuthFailure,
    AuthResponse,
    AuthSuccess,
    Ends,
    Secret,
    Tag,
    derive_keys,
    offer_tag,
)
from protocol.version import VERSIONS, VersionRange
from protocol.wire import FROM_SERVER, TO_CLIENT, UNPROVEN, decode, encode, pack_piece, unpack_piece
from rtc.client import tickets
from rtc.server.turn_credentials import NO_TURN, TurnCredentials
from rtc.testing.lab import Lab, LabWorker, RecordingView, open_lab
from rtc.testing.stand_in import TrainingPause, make_inference_package, make_package
from rtc.transport.links.link import Link
from rtc.transport.webrtc import open_asyncio_loop
from rtc.transport.webrtc.peer_connection import PeerConnection, open_peer_connection

SECRET = "a secret that both ends know of"
FUTURE_WORDS = '{"type":"FUTURE_WORDS"}'
"""Said to be answered that it is not known, and left out of the recording: no version has it."""
TIME_LIMIT = 60.0


# -------- what is written down


@define
class Recorder:
    """The frames of one conversation."""

    frames: list[dict[str, Any]] = field(factory=list)
    _names: dict[Any, str] = field(factory=dict)
    _roles: dict[str, str] = field(factory=dict)
    """Who speaks to the server on each line."""

    def add(self, over: str, sender: str, **what: Any) -> None:
        self.frames.append({"over": over, "from": sender} | what)

    def add_line(self, ws: WebSocketConnection, text: str) -> None:
        """Write down what is sent over a WebSocket."""
        socket = socket_below(ws)
        over = self._name("line", (socket.getpeername() if ws.is_server else socket.getsockname())[1])
        said = json.loads(text)
        if said["type"] == "JOIN":
            self._roles[over] = said["role"]
        self.add(over, "server" if ws.is_server else "peer", said=said)

    def add_link(self, connection: PeerConnection, item: str | bytes) -> None:
        """Write down what is sent over a link."""
        ends = frozenset((connection.local_fingerprint, connection.remote_fingerprint))
        over, sender = self._name("link", ends), "client" if connection in CLIENTS else "worker"
        if isinstance(item, str):
            if item != FUTURE_WORDS:
                self.add(over, sender, said=json.loads(item))
            return
        transfer, offset, payload = unpack_piece(item)
        self.add(over, sender, piece={"transfer": transfer, "offset": offset, "bytes": len(payload)})

    def lines(self) -> list[str]:
        """Return the frames as JSON, anonymised."""
        for frame in self.frames:
            if frame["from"] == "peer":
                frame["from"] = self._roles.get(frame["over"], "peer")
        anonymised = Anonymiser()
        return [json.dumps(anonymised.value(frame), separators=(",", ":")) for frame in self.frames]

    def _name(self, kind: str, key: Any) -> str:
        number = 1 + sum(name.startswith(kind) for name in self._names.values())
        return self._names.setdefault((kind, key), f"{kind} {number}")


def socket_below(ws: WebSocketConnection) -> trio.socket.SocketType:
    """Return the socket of a WebSocket, whatever streams are between."""
    stream: Any = ws._stream
    while not isinstance(stream, trio.SocketStream):
        stream = stream._stream
    return stream.socket


CLIENTS: list[PeerConnection] = []
"""The connections that have made an offer."""


@define
class Anonymiser:
    """Replaces what belongs to one machine or one moment, the same by the same."""

    _names: dict[str, str] = field(factory=dict)
    _counts: dict[str, int] = field(factory=dict)
    _moment: float = 1_700_000_000.0

    def value(self, value: Any, key: str = "") -> Any:
        """Return a JSON value in which everything is replaced that has to be."""
        if isinstance(value, dict):
            return {name: self.value(part, name) for name, part in value.items()}
        if isinstance(value, list):
            return [self.value(part, key) for part in value]
        if isinstance(value, str):
            return self._text(value, key)
        if key == "at":
            self._moment += 0.25
            return self._moment
        return MEASURED[key] if key in MEASURED and value is not None else value

    def _text(self, text: str, key: str) -> str:
        if key in ("nonce", "proof", "sha256"):
            return base64.b64encode(hashlib.sha256(self._name(key, text).encode()).digest()).decode()
        if key in ("token", "key", "resume", "credential"):
            return self._name(key, text)
        if key in FIXED:
            return FIXED[key]
        if key == "sdp":
            return anonymous_sdp(text)
        return re.sub(IDS, lambda found: self._name(found[0].partition("-")[0], found[0]), without_places(text))

    def _name(self, kind: str, text: str) -> str:
        if text not in self._names:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._names[text] = f"{kind}-{self._counts[kind]}"
        return self._names[text]


IDS = re.compile(r"\b(?:room-[a-z0-9]{26}|(?:worker|client)-[0-9a-f]{10}|job-\d{6}-\d{6}-[0-9a-f]{8})\b")
FIXED = {"hostname": "lab-1", "version": "0.1.0", "sleap_nn": "0.3.5", "created": "2026-01-01T12:00:00Z"}
MEASURED = {"seconds": 0, "rate": 160.0, "left": 0.5}
"""Values by key that would differ with every recording."""


def without_places(text: str) -> str:
    """Return a text without ports, addresses, folders and the times in user names of TURN."""
    for pattern, instead in (
        (r"port=\d+", "port=40000"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:40000"),
        (r"/tmp/[^\s'\"]+", "/tmp/folder"),
        (r"^\d{10}:", "1700000000:"),
    ):
        text = re.sub(pattern, instead, text)
    return text


def anonymous_sdp(sdp: str) -> str:
    """Return a session description without addresses and keys, with at most two candidates."""
    candidates = 0
    lines = []
    for line in sdp.splitlines(keepends=True):
        candidates += line.startswith("a=candidate:")
        if candidates > 2 and line.startswith("a=candidate:"):
            continue
        for pattern, instead in (
            (r"(?<=^a=candidate:)\S+", "1"),
            (r"\b(?:\d{1,3}\.){3}\d{1,3} \d+", "192.0.2.1 50000"),
            (r"(?<= )[0-9a-f]*:[0-9a-f:]* \d+(?= typ)", "2001:db8::1 50000"),
            (r"(?<=IN IP4 )[\d.]+", "192.0.2.1"),
            (r"(?<=^m=application )\d+", "50000"),
            (r"(?<=^o=- )\d+ \d+", "1 1"),
            (r"(?<=^a=ice-ufrag:)\S+", "ufrg"),
            (r"(?<=^a=ice-pwd:)\S+", "p" * 22),
            (r"(?<=^a=msid-semantic:).*", "WMS *\r"),
            (r"(?:[0-9A-F]{2}:){31,63}[0-9A-F]{2}", lambda found: ":".join(["AB"] * ((len(found[0]) + 1) // 3))),
        ):
            line = re.sub(pattern, instead, line)
        lines.append(line)
    return "".join(lines)


@contextmanager
def recording() -> Iterator[Recorder]:
    """Write down every frame that is sent in this process during this block."""
    recorder = Recorder()
    send_message, offer = WebSocketConnection.send_message, PeerConnection.offer
    send_control, send_bulk = PeerConnection.send_control, PeerConnection.send_bulk

    async def send_over_line(ws: WebSocketConnection, text: str) -> None:
        await send_message(ws, text)
        recorder.add_line(ws, text)

    async def make_offer(connection: PeerConnection) -> str:
        CLIENTS.append(connection)
        return await offer(connection)

    async def send_text(connection: PeerConnection, text: str) -> None:
        recorder.add_link(connection, text)
        await send_control(connection, text)

    async def send_frame(connection: PeerConnection, frame: bytes) -> None:
        recorder.add_link(connection, frame)
        await send_bulk(connection, frame)

    with ExitStack() as patches:
        for kind, name, instead in (
            (WebSocketConnection, "send_message", send_over_line),
            (PeerConnection, "offer", make_offer),
            (PeerConnection, "send_control", send_text),
            (PeerConnection, "send_bulk", send_frame),
        ):
            patches.enter_context(mock.patch.object(kind, name, instead))
        yield recorder


# -------- a peer that says what the recording needs


@define
class Peer:
    """A client that speaks for itself: its line to the server, and a link to a worker."""

    line: WebSocketConnection
    connection: PeerConnection
    name: PeerId

    async def say(self, *messages: Any) -> None:
        """Send messages over the link."""
        for message in messages:
            await self.connection.send_control(message if isinstance(message, str) else encode(message))

    async def hear(self, *kinds: type) -> Any:
        """Wait for a message of one of these types over the link."""
        tags = {tag_of(kind) for kind in kinds}
        while True:
            text = await self.connection.control.take()
            if json.loads(text)["type"] in tags:
                return decode(text, UNPROVEN if tags & set(UNPROVEN.messages) else TO_CLIENT)

    async def prove(self) -> None:
        """Open the link to a worker without a secret."""
        await self.say(Hello())
        await self.hear(AuthSuccess)

    async def ask(self, request: Any) -> JobState:
        """Send a request about a job, and wait for the answer."""
        await self.say(request)
        state: JobState = await self.hear(JobState)
        return state


async def hear(line: WebSocketConnection, *kinds: type) -> Any:
    """Wait for a message of one of these types from the server."""
    while True:
        message: Any = decode(await line.get_message(), FROM_SERVER)
        if isinstance(message, kinds):
            return message


@asynccontextmanager
async def open_line(lab: Lab, *messages: Any) -> AsyncIterator[WebSocketConnection]:
    """Open a WebSocket to the server, and send messages over it."""
    async with open_websocket_url(lab.server.ws_url) as line:
        for message in messages:
            await line.send_message(encode(message))
        yield line


def joining(worker: LabWorker, role: Role = Role.CLIENT, **more: Any) -> Join:
    return Join(
        worker.ready.room, worker.ready.token, role, worker.ready.facts if role is Role.WORKER else None, **more
    )


@asynccontextmanager
async def open_peer(lab: Lab, worker: LabWorker, job: str | None = None) -> AsyncIterator[Peer]:
    """Join the room of a worker and connect to it; the link is open, and nothing was said over it yet."""
    async with open_line(lab, joining(worker)) as line, open_peer_connection(lab.asyncio_loop) as connection:
        joined = await hear(line, Joined)
        offer = Offer(worker.peer, await connection.offer(), JobId(job) if job else None)
        await line.send_message(encode(evolve(offer, tag=_tag_for(joined, offer))))
        await connection.accept_answer((await hear(line, Answer)).sdp)
        await connection.wait_open(TIME_LIMIT)
        yield Peer(line, connection, joined.peer)
        await connection.finish()


def _tag_for(joined: Joined, offer: Offer) -> Tag | None:
    """Return the tag of an offer; None if the worker announces no nonce."""
    nonce = next((one.facts.offer_nonce for one in joined.workers if one.peer == offer.peer), None)
    if nonce is None:
        return None
    keys = derive_keys(Secret(SECRET), joined.room)
    return offer_tag(keys, Ends(joined.room, offer.peer, joined.peer), offer.number, offer.job, nonce, offer.sdp)


async def make_offers(lab: Lab, worker: LabWorker, *offers: Offer) -> None:
    """Make offers that are refused."""
    async with open_line(lab, joining(worker)) as line:
        joined = await hear(line, Joined)
        for offer in offers:
            await line.send_message(encode(evolve(offer, tag=_tag_for(joined, offer))))
            await hear(line, Refuse)


# -------- the conversations


async def training_with_a_secret(lab: Lab) -> None:
    worker = await lab.start_worker(secret=SECRET)
    package = make_package(lab.folder / "toy.zip", ("centroid", "centered_instance"), predict=True, epochs=2)
    run = await lab.run_client(worker, package, secret=SECRET, overrides=("trainer_config.max_epochs=2",))
    assert run.output is not None, run.fault


async def training_without_a_secret(lab: Lab) -> None:
    worker = await lab.start_worker()
    assert (await lab.run_client(worker, make_package(lab.folder / "toy.zip"))).output is not None


async def training_that_fails(lab: Lab) -> None:
    worker = await lab.start_worker()
    await lab.run_client(worker, make_package(lab.folder / "toy.zip", crash="ValueError: no such skeleton"))


async def tracking(lab: Lab) -> None:
    worker = await lab.start_worker()
    options = {"tracking": True}
    package = make_inference_package(lab.folder / "track.zip", options=options, predicting=0.5)
    output = lab.folder / "tracked.slp"
    run = await lab.run_client(worker, package, kind=JobKind.TRACK, output=output)
    assert run.output is not None, run.fault


async def start_job(lab: Lab, worker: LabWorker, name: str, **knobs: Any) -> tuple[JobCredential, TrainingPause]:
    """Start a job and leave it; return its credential and the pause in which it is held."""
    pause, folder = TrainingPause(str(lab.folder / f"{name}-ended")), lab.folder / f"{name}-tickets"
    view, drain = RecordingView(), trio.Event()
    package = make_package(lab.folder / f"{name}.zip", wait_for=pause.file, **knobs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(lab.run_client, worker, package, view=view, drain=drain, tickets_folder=folder))
        await view.training.wait()
        drain.set()
    ticket = tickets.find(folder, None)
    return JobCredential(ticket.job, ticket.key), pause


async def attaching(lab: Lab) -> None:
    worker = await lab.start_worker()
    credential, pause = await start_job(lab, worker, "held")
    pause.end()
    run = await lab.run_client(worker, Path("held.zip"), credential=credential)
    assert run.output is not None, run.fault


async def asking_about_jobs(lab: Lab) -> None:
    worker = await lab.start_worker()
    for number, request in enumerate((StopJob, partial(StopJob, scope=StopScope.ALL), CancelJob), start=1):
        credential, _ = await start_job(lab, worker, f"held-{number}")
        job, key = credential.job, credential.key
        async with open_peer(lab, worker, job) as peer:
            await peer.prove()
            await peer.ask(AskJob(job, "another key"))
            await peer.ask(request(job, key))
            await worker.log.until("Status: available.", times=number)
            await peer.ask(AskJob(job, key))
            await peer.ask(ResultTaken(job, key))
            await peer.say(Goodbye())


async def asking_another_worker(lab: Lab) -> None:
    worker = await lab.start_worker()
    credential, pause = await start_job(lab, worker, "held")
    other = await lab.start_worker(like=worker, work=worker.options.work, results=worker.options.results)
    async with open_peer(lab, other, credential.job) as peer:
        await peer.prove()
        await peer.ask(AskJob(credential.job, credential.key))
        await trio.sleep(4)  # until both have sent a heartbeat
        await peer.say(Goodbye())
    pause.end()


async def waiting_in_the_queue(lab: Lab) -> None:
    worker = await lab.start_worker()
    pause = TrainingPause(str(lab.folder / "pause-ended"))
    views = [RecordingView(), RecordingView()]
    async with trio.open_nursery() as nursery:
        for number, view in enumerate(views):
            package = make_package(lab.folder / f"toy-{number}.zip", wait_for=pause.file)
            nursery.start_soon(partial(lab.run_client, worker, package, choice=BestWorker(), view=view, wait=math.inf))
            await (view.training.wait() if number == 0 else view.until("place 1 of 1"))
        pause.end()


async def refused_by_the_server(lab: Lab) -> None:
    worker = await lab.start_worker()
    await lab.run_client(worker, make_package(lab.folder / "toy.zip"), token="not the token")
    for message in (joining(worker, versions=VersionRange(7, 9)), Leave()):
        async with open_line(lab, message) as line:
            await hear(line, Fault)
    with mock.patch("rtc.server.rooms.WORKERS_MAX", 1):
        async with open_line(lab, joining(worker, Role.WORKER)) as line:
            await hear(line, Fault)
    with mock.patch("rtc.server.signaling.JOIN_TIME", 0.2):
        async with open_line(lab) as line:
            await hear(line, Fault)
    async with open_line(lab, joining(worker)) as line:
        await hear(line, Joined)
        await line.send_message(encode(Leave()))
    await make_offers(lab, worker, Offer(PeerId("worker-0123456789"), "no session"))


async def refused_by_the_worker(lab: Lab) -> None:
    worker = await lab.start_worker(secret=SECRET)
    package = make_package(lab.folder / "toy.zip")
    for secret in ("another secret of that length", None):
        await lab.run_client(worker, package, secret=secret)
    for proof in (b"x" * PROOF_BYTES, None):
        async with open_peer(lab, worker) as peer:
            await peer.say(Hello())
            await peer.hear(AuthChallenge)
            await peer.say(AuthResponse(b"n" * NONCE_BYTES, proof))
            await peer.hear(AuthFailure)
            await peer.hear(Goodbye)
    with mock.patch("actors.auth.PROOF_TIME", 0.5):
        async with open_peer(lab, worker) as peer:
            await peer.say(Hello())
            await peer.hear(Goodbye)
    async with open_peer(lab, worker) as peer:
        await peer.say(Hello(VersionRange(7, 9)))
        await peer.hear(Goodbye)
    await make_offers(
        lab, worker, Offer(worker.peer, "no session"), Offer(worker.peer, "no session", JobId("job-of-long-ago"))
    )
    small = await lab.start_worker(package_max=100)
    await lab.run_client(small, package)
    await lab.run_client(small, package, secret=SECRET)
    pause = TrainingPause(str(lab.folder / "pause-ended"))
    view = RecordingView()
    held = make_package(lab.folder / "held.zip", wait_for=pause.file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(lab.run_client, worker, held, secret=SECRET, view=view))
        await view.training.wait()
        await lab.run_client(worker, package, secret=SECRET)
        worker.drain.set()
        await worker.log.until("Stopping: a running job is finished first.")
        await lab.run_client(worker, package, secret=SECRET)
        pause.end()


async def wrong_words(lab: Lab) -> None:
    worker = await lab.start_worker()
    async with open_peer(lab, worker) as peer:
        await peer.prove()
        await peer.say(FUTURE_WORDS)
        await peer.hear(Fault)
        await peer.say(SubmitJob(JobKind.TRAIN, "toy.zip", 4))
        accepted = await peer.hear(JobAccepted)
        await peer.ask(AskJob(accepted.job, accepted.key))
        await peer.say(FileOffer(1, "toy.zip", 4))
        await peer.hear(FileAccept)
        await peer.connection.send_bulk(pack_piece(1, 0, b"four"))
        await peer.say(FileEnd(1, bytes(32)))
        await peer.hear(FileAbort)
        await peer.hear(Goodbye)
    await worker.log.until("Status: available.", times=1)
    async with open_peer(lab, worker) as peer:
        await peer.prove()
        await peer.say(FileEnd(1, bytes(32)), SubmitJob(JobKind.TRAIN, "toy.zip", 4))
        await peer.hear(JobAccepted)
        await peer.say(SubmitJob(JobKind.TRAIN, "toy.zip", 4))
        await peer.hear(Goodbye)


async def an_offer_taken_back(lab: Lab) -> None:
    worker = await lab.start_worker()
    async with open_line(lab, joining(worker)) as line, open_peer_connection(lab.asyncio_loop) as connection:
        await hear(line, Joined)
        await line.send_message(encode(Offer(worker.peer, await connection.offer())))
        await hear(line, Answer)
        await line.send_message(encode(Withdraw(worker.peer)))
        await worker.log.until("Status: available.")


async def a_broken_upload(lab: Lab) -> None:
    links: list[Link] = []
    trust, cut = Link.trust, Fault(FaultCode.LINK_LOST, "The cable was pulled.")

    def trust_and_note(link: Link, *arguments: Any) -> None:
        links.append(link)
        trust(link, *arguments)

    class CuttingView(RecordingView):
        def upload(self, done: int, total: int) -> None:
            if done > total / 2:
                for link in links[:2]:
                    link.cut(cut)

    worker = await lab.start_worker()
    package = make_package(lab.folder / "toy.zip", epochs=1)
    with zipfile.ZipFile(package, "a") as archive:
        archive.writestr("video.bin", os.urandom(8 * 2**20))
    with mock.patch.object(Link, "trust", trust_and_note):
        run = await lab.run_client(worker, package, view=CuttingView())
    assert run.output is not None, run.fault


async def a_worker_that_stops(lab: Lab) -> None:
    worker = await lab.start_worker()
    pause = TrainingPause(str(lab.folder / "pause-ended"))
    view = RecordingView()
    async with trio.open_nursery() as nursery:
        package = make_package(lab.folder / "toy.zip", wait_for=pause.file)
        nursery.start_soon(partial(lab.run_client, worker, package, view=view))
        await view.training.wait()
        worker.scope.cancel()


async def servers_for_nats(lab: Lab) -> None:
    worker = await lab.start_worker()
    async with open_line(lab, joining(worker)) as line:
        await hear(line, IceServers)


async def http_requests(lab: Lab, recorder: Recorder) -> None:
    worker = await lab.start_worker()
    room = f"/api/rooms/{worker.ready.room}"
    for method, path, token, body in (
        ("GET", "/health", None, None),
        ("POST", "/api/rooms", None, {"name": "Lab 3"}),
        ("POST", "/api/rooms", None, {"name": "x" * 65}),
        ("GET", room, worker.ready.token, None),
        ("GET", room, None, None),
        ("DELETE", "/health", None, None),
    ):
        status, reply = await trio.to_thread.run_sync(ask_http, lab, method, path, token, body)
        request = {"method": method, "path": path, "token": token, "body": body}
        recorder.add("http", "client", request=request, reply={"status": status, "body": reply})


def ask_http(lab: Lab, method: str, path: str, token: str | None, body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(lab.server.host, lab.server.http_port, timeout=TIME_LIMIT)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    with connection.getresponse() as response:
        status, text = response.status, response.read()
    connection.close()
    return status, json.loads(text)


async def invitations(lab: Lab) -> None:
    worker = await lab.start_worker()
    no = Fault(FaultCode.AUTH_INVALID, "The code was not the right one.")
    with mock.patch("rtc.server.invitation_relay.NEARBY_NUMBERS", range(2_000_000, 2_000_001)):
        async with open_line(lab, joining(worker)) as inviter:
            await hear(inviter, Joined)
            for kind in InvitationKind:
                await inviter.send_message(encode(OpenInvitation(kind)))
                opened = await hear(inviter, InvitationOpened)
                async with open_line(lab, AskInvitation(opened.number, "laptop", b"1" * 33)) as joiner:
                    await hear(inviter, AskInvitation)
                    await inviter.send_message(encode(AnswerInvitation(opened.number, b"2" * 33)))
                    await hear(joiner, AnswerInvitation)
                    await joiner.send_message(encode(ProveInvitation(opened.number, b"3" * 32)))
                    await hear(inviter, ProveInvitation)
                    last = GiveInvitation(opened.number, b"4" * 60) if opened.number == 1 else None
                    await inviter.send_message(encode(last or RefuseInvitation(opened.number, no)))
                    await hear(joiner, GiveInvitation, RefuseInvitation)
            await inviter.send_message(encode(OpenInvitation(InvitationKind.CODE)))
            opened = await hear(inviter, InvitationOpened)
            await inviter.send_message(encode(CloseInvitation(opened.number)))
            await inviter.send_message(encode(OpenInvitation(InvitationKind.CODE, opened.number)))
            await hear(inviter, InvitationDenied)
            async with open_line(lab, AskInvitation(opened.number, "laptop", b"1" * 33)) as joiner:
                await hear(joiner, RefuseInvitation)


CONVERSATIONS: tuple[Callable[..., Awaitable[None]], ...] = (
    training_with_a_secret,
    training_without_a_secret,
    training_that_fails,
    tracking,
    attaching,
    asking_about_jobs,
    asking_another_worker,
    waiting_in_the_queue,
    refused_by_the_server,
    refused_by_the_worker,
    wrong_words,
    an_offer_taken_back,
    a_broken_upload,
    a_worker_that_stops,
    servers_for_nats,
    http_requests,
    invitations,
)


async def record(conversation: Callable[..., Awaitable[None]]) -> list[str]:
    """Have a conversation, and return its frames as lines of JSON."""
    turn = NO_TURN
    with ExitStack() as around:
        folder = Path(around.enter_context(tempfile.TemporaryDirectory()))
        if conversation is servers_for_nats:
            turn = TurnCredentials(("stun:stun.example:3478",), ("turn:turn.example:3478",), b"a secret of the two")
            around.enter_context(mock.patch("rtc.server.signaling.LIFE_TIME", 1.0))
        recorder = around.enter_context(recording())
        with trio.fail_after(TIME_LIMIT):
            async with open_asyncio_loop() as loop, open_lab(loop, folder, turn_credentials=turn) as lab:
                await (conversation(lab, recorder) if conversation is http_requests else conversation(lab))
        return recorder.lines()


def main(wanted: list[str]) -> None:
    """Record the conversations with these names; or all, without names or when the version has no folder yet."""
    logging.disable()
    folder = folder_of(VERSIONS.newest)
    if not folder.exists():
        folder.mkdir(parents=True)
        wanted = []
    for conversation in CONVERSATIONS:
        name = conversation.__name__.replace("_", "-")
        if wanted and name not in wanted:
            continue
        lines = trio.run(record, conversation)
        (folder / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        print(f"{name}: {len(lines)} frames")


if __name__ == "__main__":
    main(sys.argv[1:])
