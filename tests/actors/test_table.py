"""Tests of state tables as such: which row answers, what is stale, and which tables cannot exist."""

from typing import Any

import pytest
from attrs import frozen

from actors import events
from actors.phase import AVAILABLE, BUSY, RESERVED, Phase
from actors.table import SAME, Step, Table, TableError, UnexpectedEvent, do_nothing, ignore, row
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import CancelJob, JobAccepted, JobKind, SubmitJob
from protocol.status import Role, Status

ONE, TWO = LinkId(1), LinkId(2)
JOB = JobId("job-1")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)


class DoorPhase(Phase):
    """The phases of a door that counts those who come in."""

    SHUT = "shut", AVAILABLE
    LATCHED = "on the latch", RESERVED
    OPEN = "open", BUSY


SHUT, LATCHED, OPEN = DoorPhase


@frozen
class Pushed:
    force: int


@frozen
class Pulled:
    pass


def is_strong(_data: int, event: Pushed) -> bool:
    return event.force > 5


def is_full(data: int, _event: Pushed) -> bool:
    return data >= 3


def count(data: int, _event: object) -> Step[int]:
    """Count one more.

    The rest of a docstring stands on no page.
    """
    return Step(data + 1)


def burst(data: int, event: Pushed) -> Step[int]:
    """Open with a bang."""
    return Step(data, (f"bang {event.force}",))


DOOR: Table[int] = Table("door", SHUT, (
    #   in               event   next     action
    row(SHUT,            Pushed, OPEN,    burst, when=is_strong),
    ignore(SHUT,         Pushed, when=is_full, because="nobody else fits in"),
    row((SHUT, LATCHED), Pushed, LATCHED, count),
    row((LATCHED, OPEN), Pulled, SAME,    count),
    ignore(OPEN,         Pushed, because="it is open already"),
))  # fmt: skip


# -------- which row answers


def test_the_first_row_whose_guard_is_true_answers() -> None:
    assert DOOR.step(SHUT, 0, Pushed(6)) == (OPEN, Step(0, ("bang 6",)))
    assert DOOR.step(SHUT, 3, Pushed(6)) == (OPEN, Step(3, ("bang 6",))), (
        "the guards are asked in the order of the rows"
    )
    assert DOOR.step(SHUT, 3, Pushed(1)) == (SHUT, Step(3))
    assert DOOR.step(SHUT, 2, Pushed(1)) == (LATCHED, Step(3))


def test_a_row_over_several_phases_answers_in_each_of_them() -> None:
    assert DOOR.step(LATCHED, 2, Pushed(6)) == (LATCHED, Step(3)), "the guarded rows are about another phase"
    assert [phase for phase, one in DOOR.answers() if one.event is Pulled] == [LATCHED, OPEN]


def test_same_is_the_phase_in_which_the_event_came() -> None:
    assert DOOR.step(LATCHED, 0, Pulled()) == (LATCHED, Step(1))
    assert DOOR.step(OPEN, 0, Pulled()) == (OPEN, Step(1))


def test_an_ignored_event_changes_nothing_and_has_a_reason() -> None:
    found, event = DOOR.find(OPEN, 7, Pushed(9))
    assert (found.action, found.because, event) == (do_nothing, "it is open already", Pushed(9))
    assert DOOR.step(OPEN, 7, Pushed(9)) == (OPEN, Step(7))


def test_an_event_without_a_row_cannot_happen() -> None:
    with pytest.raises(UnexpectedEvent, match=r"^door: Pulled cannot happen in the phase 'shut'$") as raised:
        DOOR.find(SHUT, 0, Pulled())
    assert (raised.value.table, raised.value.phase, raised.value.event) == ("door", SHUT, Pulled())


def test_a_row_reads_as_in_a_diagram() -> None:
    assert [str(one) for one in DOOR.rows] == [
        "Pushed [is_strong] / burst",
        "Pushed [is_full] / ignored",
        "Pushed / count",
        "Pulled / count",
        "Pushed / ignored",
    ]


def test_a_table_names_its_phases_and_events_in_their_order() -> None:
    assert DOOR.phases == (SHUT, LATCHED, OPEN)
    assert DOOR.events == (Pushed, Pulled)


def test_a_phase_has_one_of_the_three_states() -> None:
    assert [phase.status for phase in DOOR.phases] == list(Status)
    assert DoorPhase("on the latch") is LATCHED


# -------- tables that cannot exist


def test_two_rows_without_a_guard_cannot_answer_one_event() -> None:
    with pytest.raises(TableError, match="door: open × Pulled is answered twice"):
        Table("door", SHUT, (*DOOR.rows, ignore(OPEN, Pulled, because="twice")))


def test_a_row_after_one_without_a_guard_could_never_answer() -> None:
    rows = (row(SHUT, Pushed, OPEN, count), row(SHUT, Pushed, OPEN, burst, when=is_strong))
    with pytest.raises(TableError, match="door: shut × Pushed is answered twice"):
        Table("door", SHUT, rows)


def test_the_last_row_of_a_pair_has_no_guard() -> None:
    rows = (row((SHUT, OPEN), Pushed, OPEN, burst, when=is_strong), row(OPEN, Pushed, SAME, count))
    with pytest.raises(TableError, match="door: shut × Pushed needs a last row without a guard"):
        Table("door", SHUT, rows)


def test_two_phases_cannot_have_one_name() -> None:
    class TwinPhase(Phase):
        ONE = "asleep", AVAILABLE
        OTHER = "asleep", BUSY

    with pytest.raises(TableError, match="twins: OTHER: another phase has the same name"):
        Table("twins", TwinPhase.ONE, ())


# -------- what is not ours


def owned(_data: object) -> set[Any]:
    return {ONE, JOB}


OWNER: Table[int] = Table("owner", SHUT, (), own=owned)
ROOM = events.RoomCredentials(Role.CLIENT, RoomId("r"))


@pytest.mark.parametrize(
    ("event", "stale"),
    [
        (events.LinkLost(ONE), False),
        (events.LinkLost(TWO), True),
        (events.PeerMessage(TWO, JobAccepted(JOB, "key")), True),
        (events.PeerMessage(ONE, JobAccepted(JobId("another"), "key")), False),  # what a peer says is for rows
        (events.StartJob(JOB), False),
        (events.StartJob(JobId("another")), True),
        (events.ResultSendEnded(JobId("another"), ONE), False),  # the link counts where there is one
        (events.JobWanted(ROOM, events.BestWorker(), SUBMIT), False),  # its `job` is no id
        (events.Drain(), False),
        (events.JoinRoom(ROOM, 1.0), False),
    ],
)
def test_an_event_about_a_link_or_a_job_of_somebody_else_is_stale(event: object, stale: bool) -> None:
    assert OWNER.is_stale(0, event) is stale
    assert not DOOR.is_stale(0, event), "a table without `own` gets only what concerns it"


def test_ids_of_links_and_jobs_are_looked_up_in_the_data() -> None:
    table: Table[set[Any]] = Table("owner", SHUT, (), own=lambda data: data)
    assert not table.is_stale({TWO}, events.LinkLost(TWO))
    assert table.is_stale(set(), events.LinkLost(TWO))


# -------- messages of another machine


def says_same(_data: int, event: JobAccepted) -> bool:
    return event.job == JOB


def note(data: int, event: Any) -> Step[int]:
    return Step(data, (event,))


LISTENER: Table[int] = Table("listener", SHUT, (
    row(SHUT,    JobAccepted,              OPEN, note, when=says_same),
    ignore(SHUT, JobAccepted,              because="it is about another job"),
    row(SHUT,    events.UnexpectedMessage, SAME, note),
    row(OPEN,    Pulled,                   SAME, note),
), from_outside=(Pushed, Pulled))  # fmt: skip


def test_a_peers_message_is_unwrapped_for_guards_and_actions() -> None:
    accepted = JobAccepted(JOB, "key")
    assert LISTENER.step(SHUT, 0, events.PeerMessage(ONE, accepted)) == (OPEN, Step(0, (accepted,)))
    other = events.PeerMessage(ONE, JobAccepted(JobId("another"), "key"))
    assert LISTENER.step(SHUT, 0, other) == (SHUT, Step(0))


def test_a_message_without_a_row_is_unexpected() -> None:
    cancel = CancelJob(JOB, "key")
    assert LISTENER.step(SHUT, 0, events.PeerMessage(ONE, cancel)) == (
        SHUT,
        Step(0, (events.UnexpectedMessage(cancel),)),
    )


def test_so_is_one_that_comes_without_a_link() -> None:
    assert LISTENER.step(SHUT, 0, Pushed(1)) == (SHUT, Step(0, (events.UnexpectedMessage(Pushed(1)),)))
    assert LISTENER.step(OPEN, 0, Pulled()) == (OPEN, Step(0, (Pulled(),))), "one with a row is an event like others"


def test_an_unexpected_message_without_a_row_cannot_happen_and_is_named() -> None:
    with pytest.raises(UnexpectedEvent, match=r"listener: UnexpectedMessage \(CancelJob\) cannot happen in .* 'open'"):
        LISTENER.step(OPEN, 0, events.PeerMessage(ONE, CancelJob(JOB, "key")))


def test_an_event_of_our_own_program_is_never_an_unexpected_message() -> None:
    with pytest.raises(UnexpectedEvent, match="listener: Authenticated cannot happen"):
        LISTENER.step(SHUT, 0, events.Authenticated(ONE, PeerId("ada"), proven=True, version=3))
