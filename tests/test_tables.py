"""Every table: all pairs answer, each state has a way home, and what random walks may never lead to.

The walks of the actors that deal with jobs are in `test_walks.py`.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import auth, client, client_events, discovery, errand, visit, worker, worker_events
from actors.events import (
    AcceptLink,
    AnswerReady,
    Ask,
    Best,
    Cancel,
    CancelWanted,
    Claim,
    CloseLink,
    Deliver,
    Direct,
    Drain,
    Enter,
    Entered,
    EnterFailed,
    Finished,
    Follow,
    FollowEnded,
    Heard,
    JobOver,
    JobsKnown,
    JobTakenUp,
    Lapsed,
    LineDown,
    LineUp,
    LinkLost,
    LinkUp,
    MemoryIs,
    Offered,
    OfferReady,
    OpenLink,
    PackageFailed,
    PackageReceived,
    PackageSent,
    Picked,
    Receive,
    RecordFound,
    Refused,
    Reported,
    ResultGone,
    ResultHere,
    ResultLost,
    ResultSafe,
    RoomPass,
    RosterIs,
    SendFailed,
    Sent,
    StatusIs,
    StopEarly,
    StopWanted,
    Submitted,
    Taken,
    TellLink,
    Ticket,
    Trusted,
    TurnAway,
    Wanted,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, TableError, quiet, row
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import (
    AskJob,
    AttachJob,
    CancelJob,
    JobAccepted,
    JobEnded,
    JobKind,
    JobStage,
    JobState,
    Outcome,
    ResultTaken,
    StopJob,
    SubmitJob,
)
from protocol.signaling import Answer, Joined, Offer, Refuse, RoomCreated, WorkerGone, WorkerShown
from protocol.status import Role, Status, WorkerFacts
from protocol.trust import AuthChallenge, AuthFailure, AuthResponse, AuthSuccess, Binding, Denial, Secret

TABLES = [worker.WORKER, visit.VISIT, client.CLIENT, errand.ERRAND, discovery.DISCOVERY, auth.GUARD, auth.PROVER]

FAULT = Fault(FaultCode.LINK_LOST, "The link broke.")
ADA = PeerId("client-ada")


def facts(memory: int = 0, status: Status = Status.AVAILABLE) -> WorkerFacts:
    return WorkerFacts(status, "bench", "lab", "CPU", memory, "0.3.5", "none", "0.1")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_state_answers_every_event(table: Table[Any]) -> None:
    answered = {(one.state, one.event) for one in table.rows}
    assert answered == set(table.pairs())


def test_a_table_with_a_gap_cannot_exist() -> None:
    with pytest.raises(TableError, match="busy × Drain has no answer"):
        Table("gappy", AVAILABLE, (quiet(Drain, AVAILABLE, RESERVED),))


def test_a_table_that_answers_twice_cannot_exist() -> None:
    with pytest.raises(TableError, match="answered twice"):
        Table("doubled", AVAILABLE, (quiet(Drain, AVAILABLE, RESERVED, BUSY), quiet(Drain, BUSY)))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_from_every_state_some_rows_lead_home_to_available(table: Table[Any]) -> None:
    home = {AVAILABLE}
    for _ in Status:
        home |= {one.state for one in table.rows if one.next in home}
    assert home == set(Status)


def test_the_drawing_shows_what_is_done_and_leaves_out_what_is_ignored() -> None:
    def go(data: int, _event: Drain) -> Step[int]:
        return Step(data)

    table = Table("tiny", AVAILABLE, (row(AVAILABLE, Drain, BUSY, go), quiet(Drain, RESERVED, BUSY)))
    assert table.mermaid() == "stateDiagram-v2\n    [*] --> available\n    available --> busy: Drain / go"


# -------- random walks


def walk(table: Table[Any], data: Any, events: list[Any], check: Callable[[Status, Any, Any, Step[Any]], None]) -> None:
    state = table.start
    for event in events:
        after, step = table.step(state, data, event)
        check(state, data, after, step)
        state, data = after, step.data


WORKERS = (WorkerShown(PeerId("worker-a"), facts(24000)), WorkerShown(PeerId("worker-b"), facts(8000)))
DISCOVERY_EVENTS = st.one_of(
    st.builds(
        Enter,
        st.sampled_from([RoomPass(Role.CLIENT, RoomId("r"), "t"), RoomPass(Role.WORKER, facts=facts())]),
        st.just(30.0),
    ),
    st.just(LineUp()),
    st.just(LineDown("gone")),
    st.just(RoomCreated(RoomId("r"), "t")),
    st.just(Joined(RoomId("r"), ADA, "again", WORKERS)),
    st.just(FAULT),
    st.just(Lapsed()),
    st.sampled_from(WORKERS),
    st.just(WorkerGone(PeerId("worker-a"))),
    st.just(Offer(ADA, "sdp")),
    st.just(Answer(ADA, "sdp")),
    st.just(Refuse(ADA, FAULT)),
    st.just(OfferReady(PeerId("worker-a"), "sdp")),
    st.just(AnswerReady(ADA, "sdp")),
    st.just(TurnAway(ADA, FAULT)),
    st.builds(StatusIs, st.sampled_from(list(Status))),
    st.builds(MemoryIs, st.integers(0, 10**5)),
    st.just(Drain()),
)


@given(st.lists(DISCOVERY_EVENTS, max_size=40))
def test_discovery_is_in_the_room_exactly_when_it_has_a_name_and_a_line(events: list[Any]) -> None:
    def check(_state: Status, _before: Any, after: Status, step: Step[discovery.Seat]) -> None:
        if after is BUSY:
            assert step.data.peer is not None
        if after is AVAILABLE:
            assert step.data.peer is None

    walk(discovery.DISCOVERY, discovery.Seat(), events, check)


BINDING = Binding(RoomId("r"), PeerId("worker-a"), ADA, b"w" * 32, b"c" * 32)
AUTH_EVENTS = st.one_of(
    st.just(LinkUp(LinkId(1), ADA, BINDING, b"n" * 32)),
    st.just(AuthChallenge(b"m" * 32)),
    st.builds(AuthResponse, st.just(b"m" * 32), st.none() | st.just(b"p" * 32)),
    st.builds(AuthSuccess, st.none() | st.just(b"p" * 32)),
    st.builds(AuthFailure, st.sampled_from(list(Denial)), st.just("no")),
    st.just(Lapsed()),
    st.just(LinkLost(LinkId(1))),
    st.just(Drain()),
)


@given(st.lists(AUTH_EVENTS, max_size=20), st.sampled_from([auth.GUARD, auth.PROVER]))
def test_without_the_secret_no_walk_leads_to_trust(events: list[Any], table: Table[auth.Post]) -> None:
    def check(_state: Status, _before: Any, after: Status, step: Step[auth.Post]) -> None:
        assert after is not BUSY
        assert not any(isinstance(effect, Trusted) for effect in step.effects)

    walk(table, auth.Post(Secret(b"s" * 32)), events, check)
