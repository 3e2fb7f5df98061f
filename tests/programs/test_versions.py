"""Programs of different ages work together: today's, and those of a future with the next version of the protocol.

`future.write_future` makes the future. Servers, workers and clients are processes, as people start them; all of them
run at the same time, a server and a worker for several clients, since every start takes a second.
"""

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, frozen
from future import CORES, NEXT, NOTE, PRIORITY, TODAY, write_future
from trio_websocket import WebSocketConnection, open_websocket_url

from protocol.ids import PeerId, RoomId
from protocol.jobs import JobAccepted, SubmitJob
from protocol.session_string import SessionString, read_session_string
from protocol.trust import Ends, Secret, derive_keys, offer_tag
from protocol.version import VERSIONS, VersionRange
from rtc.common.errors import ExitCode
from rtc.testing.lab import Lab
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import TrainingPause, make_package
from rtc.testing.terminals import Scene, Terminal, start_server
from rtc.transport.links.link import UNKNOWN_MAX, Link

pytestmark = pytest.mark.slow

OLD, NEW = "old", "new"
"""The ages of programs: today's, and those of the future, which speak today's versions too."""
AGES = (OLD, NEW)
SPOKEN = {OLD: TODAY, NEW: NEXT}
"""The newest version that a program of each age speaks."""
ALONE = "new alone"
"""The age of programs of a future in which no version of today is spoken any more."""
SECRET = "a secret that both ends know of"
Frame = dict[str, Any]
Pair = tuple[str, str]


# -------- what is said


def versions(newest: int) -> dict[str, int]:
    """Return the range of versions that a peer says, from today's oldest one on."""
    return {"oldest": VERSIONS.oldest, "newest": newest}


async def create_room(server: str) -> tuple[str, str]:
    """Have the server create a room; return its id and its token."""
    with trio.fail_after(HANG_TIME):
        async with open_websocket_url(server) as line:
            await line.send_message(json.dumps({"type": "CREATE_ROOM", "name": "", "versions": versions(NEXT)}))
            created = (await until(line, "ROOM_CREATED"))[-1]
            return created["room"], created["token"]


async def read_facts(worker: SessionString, newest: int) -> Frame:
    """Join a worker's room as a client that speaks versions up to `newest`; return the worker's facts."""
    async with join(worker, newest) as line:
        facts: Frame = (await until(line, "JOINED"))[-1]["workers"][0]["facts"]
        return facts


async def offer(worker: SessionString, newest: int) -> list[Frame]:
    """Join in the same way, make an offer that means nothing, and return all that came up to the worker's refusal."""
    async with join(worker, newest) as line:
        before = await until(line, "JOINED")
        nonce = base64.b64decode(before[-1]["workers"][0]["facts"]["offer_nonce"])
        ends = Ends(worker.room, worker.peer, PeerId(before[-1]["peer"]))
        tag = offer_tag(derive_keys(Secret(SECRET), worker.room), ends, 1, None, nonce, "no session")
        given = {"whole": tag.whole, "without_sdp": tag.without_sdp}
        said = {"type": "OFFER", "peer": worker.peer, "sdp": "no session", "number": 1}
        written = {name: base64.b64encode(half).decode() for name, half in given.items()}
        await line.send_message(json.dumps(said | {"tag": written}))
        return [*before, *await until(line, "REFUSE")]


async def await_available(worker: SessionString) -> None:
    """Join in the same way, as a client of today, and wait until the worker is available."""
    async with join(worker, TODAY) as line:
        facts = (await until(line, "JOINED"))[-1]["workers"][0]["facts"]
        while facts["status"] != "available":
            facts = (await until(line, "WORKER_PRESENT"))[-1]["facts"]


@asynccontextmanager
async def join(worker: SessionString, newest: int) -> AsyncIterator[WebSocketConnection]:
    assert worker.server is not None
    request = {"type": "JOIN", "room": worker.room, "token": worker.token, "role": "client"}
    with trio.fail_after(HANG_TIME):
        async with open_websocket_url(worker.server) as line:
            await line.send_message(json.dumps(request | {"versions": versions(newest)}))
            yield line


async def until(line: WebSocketConnection, tag: str) -> list[Frame]:
    """Return the frames that come, up to the first one with this tag."""
    frames: list[Frame] = []
    while not frames or frames[-1]["type"] != tag:
        frames.append(json.loads(await line.get_message()))
    return frames


def objects_in(value: Any) -> Iterator[Frame]:
    """Every object in a JSON value, itself included."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(part)


def heard(trace: Path) -> list[Frame]:
    """Return every object that is part of an event of the program's actors, by its trace."""
    turns = [json.loads(line) for line in trace.read_text().splitlines()]
    return [found for turn in turns for found in objects_in(turn.get("event"))]


def named(objects: list[Frame], name: str) -> list[Frame]:
    """Return the objects of this class."""
    return [found for found in objects if found.get("type") == name]


# -------- the programs


@frozen
class Meeting:
    """How a client of some age fared with a server and a worker of some ages."""

    code: int
    text: str
    models: list[Path]
    heard: list[Frame]


@define
class World:
    """The programs of one test, and what came of them."""

    folder: Path
    sources: Mapping[str, Path]
    """The source of each age but today's."""
    servers: Mapping[str, str]
    """The address of a server of each age."""
    open_scenes: ExitStack
    meetings: dict[tuple[str, str, str], Meeting]
    """By the ages of server, worker and client."""
    heard_by_workers: dict[Pair, list[Frame]]
    """By the ages of server and worker."""
    facts: dict[tuple[str, str, str], Frame]
    """The worker's facts before its first job, as a third peer hears them, by the ages of server, worker and peer."""
    answers: dict[tuple[str, str, str], list[Frame]]
    """What a third peer hears up to the refusal of its offer while the worker's first job runs; by the same."""
    refused: dict[str, Terminal]
    """Programs that find no common version, by what they are."""

    def scene(self, name: str, server: str, worker: str, person: str = OLD) -> Scene:
        """Return a new scene at a server, with a worker and a person's programs of some ages."""
        homes = {"bench": worker, OLD: OLD, NEW: NEW, ALONE: ALONE, "person": person}
        sources = {home: self.sources[age] for home, age in homes.items() if age in self.sources}
        scene = Scene(self.folder / name, self.servers[server], sources=sources)
        self.open_scenes.callback(scene.close)
        return scene

    def train(self, scene: Scene, age: str, package: Path, *more: str) -> Terminal:
        """Start a client of some age, with `--trace`."""
        arguments = ("--session-string", scene.session, "--json", "--output", str(scene.folder / f"out-{age}"))
        return scene.start(age, "train", str(package), *arguments, "--room-secret", SECRET, *more)

    def meet(self, ages: Pair) -> None:
        """Let a worker serve first a client of today and then one of the future, at a server."""
        server, worker = ages
        scene = self.scene(f"{server}-{worker}", server, worker)
        trace = scene.folder / "worker.trace"
        # in a room that is there, so that its first message to the server has its facts in it
        room, token = trio.run(create_room, scene.server)
        named_room = ("--room-id", room, "--token", token)
        scene.start_worker(*named_room, "--room-secret", SECRET, "--trace", str(trace))
        if ages == (NEW, OLD):
            refused = self.train(scene, ALONE, make_package(scene.folder / "refused.zip"))
            refused.ended()
            self.refused["a client alone at an old worker"] = refused
        session = read_session_string(scene.session)
        pause = TrainingPause(str(scene.folder / "pause-ended"))
        package = make_package(scene.folder / "toy.zip", wait_for=pause.file)
        self.facts |= {(*ages, age): trio.run(read_facts, session, newest) for age, newest in SPOKEN.items()}
        for age in AGES:
            client = self.train(scene, age, package, "--trace", str(scene.folder / f"{age}.trace"))
            if age == OLD:
                client.until_event("model_started")
                self.answers |= {(*ages, other): trio.run(offer, session, newest) for other, newest in SPOKEN.items()}
                pause.end()
            client.ended()
            models = list((scene.folder / f"out-{age}").rglob("best.ckpt"))
            told = heard(scene.folder / f"{age}.trace")
            self.meetings[*ages, age] = Meeting(client.code, client.text, models, told)
        self.heard_by_workers[ages] = heard(trace)

    def refuse_at_worker(self) -> None:
        """Let a worker of the future alone refuse a client of today, at a server that knows both."""
        scene = self.scene("worker-alone", NEW, ALONE)
        scene.start_worker("--room-secret", SECRET)
        client = self.train(scene, OLD, make_package(scene.folder / "toy.zip"))
        client.ended()
        self.refused["an old client at a worker alone"] = client
        trio.run(await_available, read_session_string(scene.session))

    def refuse_at_server(self, server: str, peer: str) -> None:
        """Let a server refuse a worker and a client with which it has no common version."""
        scene = self.scene(f"{peer}-refused", server, peer, peer)
        scene.session = SessionString(RoomId("room"), "token", PeerId("worker-1"), scene.server).write()
        real = scene.start("bench", "worker", "--server", scene.server, "--sleap-nn", "/bin/true")
        client = scene.client(make_package(scene.folder / "toy.zip"))
        for kind, program in (("worker", real), ("client", client)):
            program.ended()
            self.refused[f"{kind} {peer} at a server {server}"] = program


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Servers of every age, and no other program yet."""
    sources = {
        NEW: write_future(tmp_path / "future"),
        ALONE: write_future(tmp_path / "future-alone", oldest=NEXT),
    }
    with ExitStack() as processes, ExitStack() as scenes:
        servers = {}
        for age in (*AGES, ALONE):
            server, servers[age] = start_server(tmp_path / f"server-{age}", sources.get(age))
            processes.callback(server.kill)
        yield World(tmp_path, sources, servers, scenes, {}, {}, {}, {}, {})


# -------- the tests


def test_programs_of_two_versions_work_together_in_every_pairing(world: World, subtests: pytest.Subtests) -> None:
    pairs = [(server, worker) for server in AGES for worker in AGES]
    with ThreadPoolExecutor() as pool:
        work = [pool.submit(world.meet, ages) for ages in pairs]
        work += [pool.submit(world.refuse_at_worker)]
        work += [pool.submit(world.refuse_at_server, *ages) for ages in ((OLD, ALONE), (ALONE, OLD))]
        for each in work:
            each.result()
    with subtests.test("every client has its model"):
        for ages, meeting in world.meetings.items():
            assert (meeting.code, len(meeting.models)) == (ExitCode.DONE, 1), f"{ages}: {meeting.text}"
    with subtests.test("nobody heard what its version does not have"):
        logs = {str(path): path.read_text() for path in world.folder.rglob("*.log")}
        assert logs
        assert [path for path, text in logs.items() if "not known here" in text] == []
    for one, other in ((OLD, NEW), (NEW, OLD), (NEW, NEW)):
        with subtests.test(f"{one} server, {other} worker"):
            check_server_and_worker(world, one, other)
        with subtests.test(f"{one} server, {other} client"):
            check_server_and_client(world, one, other)
        with subtests.test(f"{one} worker, {other} client"):
            check_worker_and_client(world, one, other)
    for name, said in REFUSED.items():
        with subtests.test(f"no common version: {name}"):
            program = world.refused[name]
            assert (program.code, program.sentence.removeprefix("sleap-rtc: ")) == (ExitCode.VERSION, said)


def check_server_and_worker(world: World, server: str, worker: str) -> None:
    both_new = (server, worker) == (NEW, NEW)
    notices = named(world.heard_by_workers[server, worker], "RoomNotice")
    assert [one["text"] for one in notices] == (["welcome", f"asked: {NOTE}"] if both_new else [])
    for listener in AGES:
        facts, answers = world.facts[server, worker, listener], world.answers[server, worker, listener]
        knows_all = both_new and listener == NEW
        said = ("idle", CORES) if knows_all else ("available", 0 if (server, listener) == (NEW, NEW) else None)
        assert (facts["status"], facts.get("cores")) == said
        assert answers[-1]["fault"]["code"] == ("worker_held" if knows_all else "worker_busy")


def check_server_and_client(world: World, server: str, client: str) -> None:
    both_new = (server, client) == (NEW, NEW)
    for worker in AGES:
        notices = named(world.meetings[server, worker, client].heard, "RoomNotice")
        assert [one["text"] for one in notices] == (["welcome", f"asked: {NOTE}"] if both_new else [])
        tags = [frame["type"] for frame in world.answers[server, worker, client]]
        assert ("ROOM_NOTICE" in tags) == both_new


def check_worker_and_client(world: World, worker: str, client: str) -> None:
    both_new = (worker, client) == (NEW, NEW)
    for server in AGES:
        at_client = world.meetings[server, worker, client].heard
        assert bool(named(at_client, "ModelSaved")) == both_new
        assert bool(named(at_client, "ModelTrained")) != both_new, "the future has given it up"
        numbers = [event["seq"] for event in named(at_client, "JobEvent") if event["seq"] is not None]
        assert numbers == list(range(1, len(numbers) + 1)), "what a client does not know leaves no gap"
        at_worker = world.heard_by_workers[server, worker]
        [job] = {event["job"] for event in named(at_client, "JobAccepted")}
        assert [note["note"] for note in named(at_worker, "NoteJob") if note["job"] == job] == [NOTE] * both_new
        submitted = [each["submit"] for each in named(at_worker, "JobSubmitted") if each["credential"]["job"] == job]
        said = PRIORITY if both_new else 0 if worker == NEW else None
        assert [submit.get("priority") for submit in submitted] == [said]


NEXT_ALONE = VersionRange(NEXT, NEXT)
HERE, ON_SERVER, ON_WORKER = "on this computer", "on the server", "on the worker's machine"


def sentence(who: str, theirs: VersionRange, ours: VersionRange, place: str) -> str:
    return (
        f"{who} speaks {theirs} of the protocol and this sleap-rtc speaks {ours}, so install a newer sleap-rtc {place}."
    )


REFUSED = {
    "a client alone at an old worker": sentence("The worker", VERSIONS, NEXT_ALONE, ON_WORKER),
    "an old client at a worker alone": sentence("The worker", NEXT_ALONE, VERSIONS, HERE),
    "worker new alone at a server old": sentence("The server", VERSIONS, NEXT_ALONE, ON_SERVER),
    "client new alone at a server old": sentence("The server", VERSIONS, NEXT_ALONE, ON_SERVER),
    "worker old at a server new alone": sentence("The server", NEXT_ALONE, VERSIONS, HERE),
    "client old at a server new alone": sentence("The server", NEXT_ALONE, VERSIONS, HERE),
}
"""What a program says that ends because there is no common version."""


async def test_a_job_ends_well_although_both_ends_say_what_the_other_does_not_know(
    lab: Lab, package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send = Link.send

    def send_more(link: Link, message: Any) -> None:
        for _ in range(UNKNOWN_MAX + 5 if isinstance(message, SubmitJob | JobAccepted) else 0):
            link._outbox.put('{"type":"FUTURE_WORDS","mood":"good"}')
        send(link, message)

    monkeypatch.setattr(Link, "send", send_more)
    worker = await lab.start_worker()
    run = await lab.run_client(worker, package())
    assert run.output is not None, run.fault
    assert list(run.output.rglob("best.ckpt"))
    assert caplog.text.count("(FUTURE_WORDS); it is ignored") == 2 * UNKNOWN_MAX
    assert caplog.text.count("a message was not understood: ") == 2 * UNKNOWN_MAX
