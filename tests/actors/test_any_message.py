"""Every message of the protocol in every phase, from a peer and from the server: nothing raises, and all come home.

A peer that is trusted may be hostile, or newer, and say anything at any time; so may a server. The worlds in which the
actors of a job hear it are those of the two-party model. What Auth hears from a peer that is not trusted yet is
explored completely in `test_auth.py`.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from two_party.explore import Model, explore, find_home
from two_party.scenarios import actors_of
from two_party.settings import JOB, KEY, QUICK
from two_party.world import HERE, NEWS, Budget, World, change, parts

from actors import client_guards, events
from actors.client import CLIENT
from actors.discovery import DISCOVERY
from actors.discovery_data import DiscoveryData
from actors.job_query import JOB_QUERY
from actors.job_session import JOB_SESSION
from actors.phase import Phase
from actors.table import Table
from actors.worker import WORKER
from protocol.faults import Fault, FaultCode
from protocol.fields import COUNT_MAX
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.invitations import (
    AnswerInvitation,
    AskInvitation,
    GiveInvitation,
    InvitationDenied,
    InvitationKind,
    InvitationOpened,
    ProveInvitation,
    RefuseInvitation,
)
from protocol.jobs import (
    TIME,
    AskJob,
    AttachJob,
    CancelJob,
    JobAccepted,
    JobEnded,
    JobEvent,
    JobKind,
    JobStage,
    JobState,
    ModelTrained,
    Outcome,
    ResultTaken,
    StopJob,
    StopScope,
    SubmitJob,
)
from protocol.link import Goodbye, Heartbeat, Hello
from protocol.signaling import (
    Answer,
    FromServer,
    IceServers,
    Joined,
    Offer,
    QueuePosition,
    Refuse,
    RoomCreated,
    Withdraw,
    WorkerAssigned,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role, Status, WorkerFacts
from protocol.transfer import FILE_MAX, FileAbort, FileAccept, FileCredit, FileEnd, FileOffer, FileVerified
from protocol.trust import AuthChallenge, AuthFailure, AuthResponse, AuthSuccess, Denial
from protocol.version import VersionRange
from protocol.wire import FROM_SERVER, TO_CLIENT, TO_WORKER, UNPROVEN
from rtc.testing.state_space import ActorState, start_of

OTHER_JOB, STRANGER, ROOM = JobId("job-1"), PeerId("worker-stranger"), RoomId("room-1")
LARGEST = COUNT_MAX
"""The largest number in a message, but for sizes and times."""
FAULTS = [Fault(code, "So it is.") for code in FaultCode]
JOBS = (JOB, OTHER_JOB)
FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab", "GPU", 24000, "0.3.5", "12.4", "0.1")

FROM_PEER: list[Any] = [
    *FAULTS,
    *(SubmitJob(kind, "flies.zip", size) for kind in JobKind for size in (0, FILE_MAX)),
    SubmitJob(JobKind.TRAIN, "flies.zip", 10, (), 3600.0),
    *(JobAccepted(job, "a key") for job in JOBS),
    *(request(job, key) for request in (AskJob, StopJob, CancelJob, ResultTaken) for job in JOBS for key in (KEY, "?")),
    *(StopJob(job, KEY, StopScope.ALL) for job in JOBS),
    *(AttachJob(job, KEY, seen, seen > 0, supply) for job in JOBS for seen in (0, LARGEST) for supply in (True, False)),
    *(JobState(job, stage, "So it is.", *more)
      for job in JOBS for stage in JobStage for more in ((0, None, False), (LARGEST, Outcome.DONE, True))),
    *(JobEvent(news, at, seq) for news in (*NEWS, ModelTrained(OTHER_JOB, 99))
      for at, seq in ((TIME.high, LARGEST), (1.0, 1), (TIME.low, None))),
    *(JobEnded(job, outcome, "", result) for job in JOBS for outcome in Outcome for result in (True, False)),
    *(FileOffer(1, "a", size) for size in (0, FILE_MAX)), FileAccept(1, 0, 0), FileAccept(9, FILE_MAX, FILE_MAX),
    FileCredit(1, FILE_MAX), FileEnd(1, b"h" * 32), FileVerified(1), FileVerified(9), FileAbort(1, FAULTS[0]),
    Heartbeat(), Goodbye(), Goodbye(FAULTS[0]),
    Hello(), Hello(VersionRange(9, 9)),
    AuthChallenge(b"n" * 32), AuthResponse(b"n" * 32), AuthResponse(b"n" * 32, b"p" * 32),
    AuthSuccess(), AuthSuccess(b"p" * 32), *(AuthFailure(reason, "No.") for reason in Denial),
]  # fmt: skip
OF_SERVER: list[Any] = [
    RoomCreated(ROOM, "new"), Joined(ROOM, PeerId("me"), "resume"),
    Joined(RoomId("another"), STRANGER, "?", (WorkerPresent(STRANGER, FACTS),)), IceServers(()),
    WorkerPresent(HERE, FACTS), WorkerPresent(STRANGER, FACTS, LARGEST), WorkerLeft(HERE), WorkerLeft(STRANGER),
    QueuePosition(1, 1), QueuePosition(LARGEST, 1), WorkerAssigned(HERE), WorkerAssigned(STRANGER),
    *(Offer(STRANGER, "sdp", job) for job in (None, JOB)),
    Answer(STRANGER, "sdp"), *(Refuse(peer, FAULTS[0]) for peer in (HERE, STRANGER)), Withdraw(STRANGER), *FAULTS,
    *(InvitationOpened(kind, 7, seconds) for kind in InvitationKind for seconds in (None, 0, 600, LARGEST)),
    *(InvitationDenied(kind, FAULTS[0]) for kind in InvitationKind),
    *(said for number in (7, LARGEST) for said in (
        AskInvitation(number, "a laptop", b"s" * 33), AnswerInvitation(number, b"s" * 33),
        ProveInvitation(number, b"p" * 32), GiveInvitation(number, b"r" * 99), RefuseInvitation(number, FAULTS[0]))),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client give up soon, so that ways home are short."""
    monkeypatch.setattr(client_guards, "OFFERS_MAX", 2)
    monkeypatch.setattr(client_guards, "RECONNECTS_MAX", 2)
    monkeypatch.setattr(client_guards, "RESUBMITS_MAX", 1)


def test_no_message_of_the_protocol_is_left_out() -> None:
    from_peers = {kind for one in (TO_WORKER, TO_CLIENT, UNPROVEN) for kind in one.messages.values()}
    assert {type(message) for message in FROM_PEER} == from_peers
    assert {type(message) for message in OF_SERVER} == set(FROM_SERVER.messages.values())


def worlds_of(table: Table[Any], *, with_peer: bool) -> Iterator[tuple[Model, Phase, World, LinkId | None]]:
    """Return for each phase of a table a world in which an actor is in it, with the link of that actor.

    Args:
        table: the table.
        with_peer: return only worlds in which the actor has a peer that it trusts; nobody else's words reach it.
    """
    number: dict[Phase, int] = defaultdict(int)
    for setting in QUICK:
        if table in (CLIENT, JOB_QUERY) and setting.table is not table:
            continue
        model = Model(setting)
        for world in explore(model, 1500, cut=True).worlds:
            for one, phase, _, link in actors_of(model, world):
                if one is table and number[phase] < 1 and (not with_peer or trusts(model, table, world, link)):
                    number[phase] += 1
                    yield model, phase, change(world, budget=Budget()), link
        if all(number[phase] == 1 for phase in table.phases):
            return


def trusts(model: Model, table: Table[Any], world: World, link: LinkId | None) -> bool:
    """Return whether an actor has a link to a peer that it trusts."""
    ends = [pair.client if table is model.setting.table else pair.worker for pair in world.links]
    return any(end is not None and end.link == link and end.alive and end.trusted for end in ends)


def hear(model: Model, table: Table[Any], world: World, link: LinkId, message: Any) -> World:
    """Let an actor hear a message over its link, by the same way as in the program around it."""
    if table is model.setting.table:
        return model.client_hears(world, link, message)
    return model.worker_hears(world, link, message)


@pytest.mark.slow
@pytest.mark.parametrize("table", [CLIENT, JOB_QUERY, WORKER, JOB_SESSION], ids=lambda table: table.name)
def test_whatever_a_peer_says_at_any_time_the_actor_goes_on_and_comes_home(table: Table[Any]) -> None:
    for model, phase, world, link in worlds_of(table, with_peer=True):
        came_home = set()
        assert link is not None, "it has a peer"
        for message in FROM_PEER:
            after = hear(model, table, world, link, message)
            if parts(after) not in came_home:
                # a worker that lies may keep its client waiting; the person can always leave
                is_home = find_home(model, after) or find_home(model, model.tell_client(after, events.Drain()))
                assert is_home is not None, f"{phase.value}: {message}"
                came_home.add(parts(after))


@pytest.mark.slow
def test_whatever_the_server_assigns_at_any_time_the_client_goes_on_and_comes_home() -> None:
    for model, phase, world, _ in worlds_of(CLIENT, with_peer=False):
        for message in (one for one in OF_SERVER if isinstance(one, WorkerAssigned)):
            assert find_home(model, model.tell_client(world, message)) is not None, f"{phase.value}: {message}"


def phases_of_discovery(facts: WorkerFacts | None) -> dict[tuple[Phase, bool], ActorState[Any]]:
    """Return a state of Discovery for each of its phases, and for whether the line to the server is open."""
    role = Role.CLIENT if facts is None else Role.WORKER
    passes = [events.RoomCredentials(role, ROOM, "token"), *([events.RoomCredentials(role)] if facts else [])]
    joins = [events.JoinRoom(one, 30.0, patient) for one in passes for patient in (True, False)]
    first = start_of(DISCOVERY, DiscoveryData(facts))
    found, todo = {(first.phase, False): first}, [(first, False)]
    while todo:
        state, online = todo.pop(0)
        line = events.ServerDisconnected("gone") if online else events.ServerConnected()
        may_join = any(row.event is events.JoinRoom for phase, row in DISCOVERY.answers() if phase is state.phase)
        possible = (line, *(joins if may_join else ()), *(OF_SERVER if online else ()))
        turns = [*((state, event) for event in possible), *state.due]
        for before, event in turns:
            after, _ = before.turn(DISCOVERY, event, lambda _phase, _row: None)
            now = (after.phase, online ^ (event is line))
            if now not in found:
                found[now] = after
                todo.append((after, now[1]))
    return found


def test_whatever_the_server_says_at_any_time_discovery_goes_on() -> None:
    reached = set()
    for facts in (None, FACTS):
        for (phase, online), state in phases_of_discovery(facts).items():
            reached.add(phase)
            for message in OF_SERVER if online else ():
                state.turn(DISCOVERY, message, lambda _phase, _row: None)
    assert reached == set(DISCOVERY.phases)
    assert set(get_args(FromServer)) <= set(DISCOVERY.from_outside)
