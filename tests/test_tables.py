"""Every table, walked: all pairs answer, random walks keep the invariants, and each state has a way home."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import auth, client, client_events, discovery, worker, worker_events
from actors.events import (
    AcceptLink,
    AnswerReady,
    Ask,
    Best,
    CloseLink,
    Direct,
    Drain,
    Enter,
    Entered,
    EnterFailed,
    Finished,
    Heard,
    JobOver,
    Lapsed,
    LineDown,
    LineUp,
    LinkLost,
    LinkUp,
    MemoryIs,
    Offered,
    OfferReady,
    OpenLink,
    PackageArrived,
    PackageFailed,
    Picked,
    Refused,
    ResultFound,
    ResultGone,
    ResultHere,
    ResultLost,
    ResultMissing,
    ResultSafe,
    RoomPass,
    RosterIs,
    SendFailed,
    StatusIs,
    Submitted,
    Ticket,
    Trusted,
    TurnAway,
    Wanted,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, TableError, quiet, row
from protocol import PROTOCOL_VERSION
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import AttachJob, JobAccepted, JobEnded, JobKind, JobStarted, Outcome, SubmitJob
from protocol.signaling import Answer, Joined, Offer, Refuse, RoomCreated, WorkerGone, WorkerShown
from protocol.status import Role, Status, WorkerFacts
from protocol.trust import AuthChallenge, AuthFailure, AuthResponse, AuthSuccess, Binding, Denial, Secret

TABLES = [worker.WORKER, client.CLIENT, discovery.DISCOVERY, auth.GUARD, auth.PROVER]

FAULT = Fault(FaultCode.LINK_LOST, "The link broke.")
ADA, BOB = PeerId("client-ada"), PeerId("client-bob")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)


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

peers = st.sampled_from([ADA, BOB])
links = st.integers(0, 6).map(LinkId)
jobs = st.sampled_from([JobId("job-1"), JobId("job-2")])
keys = st.sampled_from(["key-1", "key-2"])
faults = st.sampled_from([None, FAULT, Fault(FaultCode.CANCELLED, "Stopped.")])
outcomes = st.sampled_from(list(Outcome))

WORKER_EVENTS = st.one_of(
    st.builds(Offered, peers, st.just("sdp"), st.none() | jobs, st.sampled_from([PROTOCOL_VERSION, 0])),
    st.builds(Trusted, links, peers, st.booleans()),
    st.builds(Submitted, links, st.just(SUBMIT), st.builds(Ticket, jobs, keys)),
    st.builds(Heard, links, st.builds(AttachJob, jobs, keys) | st.just(SUBMIT)),
    st.builds(PackageArrived, jobs),
    st.builds(PackageFailed, jobs, st.just(FAULT)),
    st.builds(JobOver, jobs, outcomes, st.just("over"), st.booleans()),
    st.builds(ResultGone, jobs, links, faults),
    st.builds(ResultFound, links, st.builds(Ticket, jobs, keys), outcomes, st.just("over")),
    st.builds(ResultMissing, links),
    st.builds(LinkLost, links, faults),
    st.builds(Lapsed, faults),
    st.builds(EnterFailed, st.just(FAULT)),
    st.just(Drain()),
)


def walk(table: Table[Any], data: Any, events: list[Any], check: Callable[[Status, Any, Any, Step[Any]], None]) -> None:
    state = table.start
    for event in events:
        after, step = table.step(state, data, event)
        check(state, data, after, step)
        state, data = after, step.data


@given(st.lists(WORKER_EVENTS, max_size=40))
def test_a_worker_is_held_exactly_when_it_is_not_available(events: list[Any]) -> None:
    def check(state: Status, before: worker_events.Hold, after: Status, step: Step[worker_events.Hold]) -> None:
        hold = step.data
        held = hold.link is not None or hold.ticket is not None
        assert held == (after is not AVAILABLE)
        assert (after is not RESERVED) or hold.link is not None
        assert (after is not BUSY) or hold.ticket is not None
        assert not (hold.over and hold.link is None), "a result on its way goes over some link"

    walk(worker.WORKER, worker_events.Hold(), events, check)


@given(st.lists(WORKER_EVENTS, max_size=40))
def test_a_worker_announces_every_change_of_status_and_no_other(events: list[Any]) -> None:
    def check(state: Status, _before: worker_events.Hold, after: Status, step: Step[worker_events.Hold]) -> None:
        said = [effect.status for effect in step.effects if isinstance(effect, StatusIs)]
        ended = any(isinstance(effect, Finished) for effect in step.effects)
        if after is not state and not ended:
            assert said[-1:] == [after]
        assert all(status is after for status in said[-1:])

    walk(worker.WORKER, worker_events.Hold(), events, check)


@given(st.lists(WORKER_EVENTS, max_size=40))
def test_every_link_a_worker_takes_is_closed_by_it_or_lost(events: list[Any]) -> None:
    state, hold = worker.WORKER.start, worker_events.Hold()
    open_links: set[LinkId] = set()
    for event in events:
        if isinstance(event, LinkLost):
            open_links.discard(event.link)
        state, step = worker.WORKER.step(state, hold, event)
        hold = step.data
        for effect in step.effects:
            if isinstance(effect, AcceptLink):
                open_links.add(effect.link)
            if isinstance(effect, CloseLink):
                open_links.discard(effect.link)
        assert open_links <= {hold.link, hold.returning}


@given(st.lists(WORKER_EVENTS, max_size=40))
def test_every_offer_is_answered_at_once(events: list[Any]) -> None:
    def check(state: Status, _before: worker_events.Hold, _after: Status, step: Step[worker_events.Hold]) -> None:
        answers = [effect for effect in step.effects if isinstance(effect, AcceptLink | TurnAway)]
        assert len(answers) <= 1

    state, hold = worker.WORKER.start, worker_events.Hold()
    for event in events:
        state, step = worker.WORKER.step(state, hold, event)
        hold = step.data
        if isinstance(event, Offered):
            assert len([one for one in step.effects if isinstance(one, AcceptLink | TurnAway)]) == 1


WORKERS = (WorkerShown(PeerId("worker-a"), facts(24000)), WorkerShown(PeerId("worker-b"), facts(8000)))
CHOICES = st.sampled_from([Direct(PeerId("worker-a")), Best(), Ask()])
worker_ids = st.sampled_from([PeerId("worker-a"), PeerId("worker-b")])
heard_by_client = st.one_of(
    st.builds(JobAccepted, jobs, keys),
    st.builds(JobStarted, jobs, st.just(("centroid",))),
    st.builds(JobEnded, jobs, outcomes, st.just("ended"), st.booleans()),
    st.just(FAULT),
)
CLIENT_EVENTS = st.one_of(
    st.builds(Wanted, st.just(RoomPass(Role.CLIENT, RoomId("r"), "t")), CHOICES, st.just(SUBMIT)),
    st.just(Entered(RoomId("r"), "t", ADA)),
    st.builds(EnterFailed, st.just(FAULT)),
    st.builds(RosterIs, st.sampled_from([(), WORKERS, WORKERS[:1]])),
    st.builds(Picked, st.none() | worker_ids),
    st.builds(Refused, worker_ids, st.sampled_from([FAULT, worker.BUSY_FAULT])),
    st.builds(Trusted, links, worker_ids, st.booleans()),
    st.builds(Heard, links, heard_by_client),
    st.builds(LinkLost, links, faults),
    st.builds(SendFailed, st.just(FAULT)),
    st.builds(ResultLost, st.just(FAULT)),
    st.just(ResultSafe()),
    st.just(ResultHere()),
    st.builds(Lapsed, faults),
    st.just(Drain()),
)


@given(st.lists(CLIENT_EVENTS, max_size=40))
def test_a_wish_ends_in_exactly_one_verdict(events: list[Any]) -> None:
    wishes = verdicts = 0
    state, quest = client.CLIENT.start, client_events.Quest()
    for event in events:
        was = state
        state, step = client.CLIENT.step(state, quest, event)
        quest = step.data
        wishes += was is AVAILABLE and state is RESERVED
        verdicts += sum(isinstance(effect, Finished) for effect in step.effects)
        assert wishes - verdicts == (state is not AVAILABLE)


@given(st.lists(CLIENT_EVENTS, max_size=40))
def test_a_client_holds_one_link_at_most(events: list[Any]) -> None:
    state, quest = client.CLIENT.start, client_events.Quest()
    open_links: set[LinkId] = set()
    for event in events:
        if isinstance(event, LinkLost):
            open_links.discard(event.link)
        state, step = client.CLIENT.step(state, quest, event)
        quest = step.data
        for effect in step.effects:
            if isinstance(effect, CloseLink):
                open_links.discard(effect.link)
            if isinstance(effect, OpenLink):
                open_links.add(effect.link)
        assert open_links <= {quest.link}


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
