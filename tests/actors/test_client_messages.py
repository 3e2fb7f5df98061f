"""Every message of the protocol reaches the Client in every phase, and none of them ends it by surprise."""

from collections.abc import Iterator
from enum import Enum
from itertools import product
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
import pytest
from attrs import evolve

from actors import events
from actors.client import CLIENT, ON_LINK, can_be
from actors.client_data import ClientData, ClientPhase
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import JobAccepted, JobEnded, JobKind, JobStage, JobState, Outcome, SubmitJob
from protocol.signaling import WorkerAssigned, WorkerPresent
from protocol.status import Role, Status, WorkerFacts
from protocol.wire import TO_CLIENT, VOCABULARIES

P = ClientPhase
ONE, TWO = LinkId(1), LinkId(2)
JOB, WORKER = JobId("job-1"), PeerId("worker-1")
CREDENTIALS = events.RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
BROKEN = Fault(FaultCode.LINK_LOST, "The link broke.")


def workers(status: Status) -> events.WorkersChanged:
    facts = WorkerFacts(status, "bench", "lab", "GPU", 8000, "0.3.5", "12.4", "0.1")
    return events.WorkersChanged((WorkerPresent(WORKER, facts),))


# -------- one of each


def samples(kind: Any) -> list[Any]:
    """Return values of a type: of an enumeration, a bool or a union all there are, of a class each combination."""
    if get_origin(kind) in (Union, UnionType):
        return [None] if NoneType in get_args(kind) else [one for each in get_args(kind) for one in samples(each)]
    if get_origin(kind) is tuple:
        return [()]
    if attrs.has(kind):
        hints = get_type_hints(kind)
        return [kind(*values) for values in product(*(samples(hints[one.name]) for one in attrs.fields(kind)))]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return list(kind)
    by_type = {bool: [False, True], int: [1], float: [1.0], bytes: [b"x" * 32]}
    return by_type.get(kind, ["job-1"])


KINDS = sorted({kind for one in VOCABULARIES for kind in one.messages.values()}, key=lambda kind: kind.__name__)


def test_the_samples_contain_every_stage_every_outcome_and_every_fault() -> None:
    assert {state.stage for state in samples(JobState)} == set(JobStage)
    assert {ended.outcome for ended in samples(JobEnded)} == set(Outcome)
    assert {fault.code for fault in samples(Fault)} == set(FaultCode)
    assert set(TO_CLIENT.messages.values()) <= set(KINDS)


# -------- a way to each phase

NEW = events.JobWanted(CREDENTIALS, events.NamedWorker(WORKER), SubmitJob(JobKind.TRAIN, "flies.zip", 10))
ATTACH = evolve(NEW, submit=None, credential=events.JobCredential(JOB, "key"))
OPENED = events.Authenticated(ONE, WORKER, proven=True, version=3)
LOST = events.LinkLost(ONE, BROKEN)
TO_CONNECTING: tuple[Any, ...] = (workers(Status.AVAILABLE),)
TO_SUBMITTING = (*TO_CONNECTING, OPENED)
TO_UPLOADING = (*TO_SUBMITTING, events.PeerMessage(ONE, JobAccepted(JOB, "key")))
TO_RUNNING = (*TO_UPLOADING, events.PackageSent(ONE))
TO_DOWNLOADING = (*TO_RUNNING, events.PeerMessage(ONE, JobEnded(JOB, Outcome.DONE, "Trained.", result=True)))
TO_UNPACKING = (*TO_DOWNLOADING, events.ResultDownloaded())
WAYS: dict[ClientPhase, tuple[events.JobWanted, tuple[Any, ...]]] = {
    P.JOINING: (NEW, ()),
    P.CHOOSING: (evolve(NEW, choice=events.AskPerson()), TO_CONNECTING),
    P.QUEUED: (evolve(NEW, choice=events.BestWorker(), wait=10.0), (workers(Status.BUSY),)),
    P.CONNECTING: (NEW, TO_CONNECTING),
    P.RETRY_WAIT: (NEW, (*TO_CONNECTING, LOST)),
    P.SUBMITTING: (NEW, TO_SUBMITTING),
    P.ATTACHING: (ATTACH, TO_SUBMITTING),
    P.UPLOADING: (NEW, TO_UPLOADING),
    P.UPLOAD_AWAY: (NEW, (*TO_UPLOADING, LOST)),
    P.UPLOAD_RETURN: (NEW, (*TO_UPLOADING, LOST, events.TimedOut())),
    P.RUNNING: (NEW, TO_RUNNING),
    P.RECONNECT_WAIT: (NEW, (*TO_RUNNING, LOST)),
    P.RECONNECTING: (NEW, (*TO_RUNNING, LOST, events.TimedOut())),
    P.DOWNLOADING: (NEW, TO_DOWNLOADING),
    P.UNPACKING: (NEW, TO_UNPACKING),
    P.UNPACKING_OFFLINE: (NEW, (*TO_UNPACKING, LOST)),
    P.CONFIRMING: (NEW, (*TO_UNPACKING, events.ResultUnpacked())),
}
CHOICES = (events.NamedWorker(WORKER), events.BestWorker(), events.AskPerson())


def variants(wanted: events.JobWanted) -> Iterator[events.JobWanted]:
    """Yield what else a person could have wanted in this phase, as far as it changes how messages are answered."""
    for choice, wait, fetch, follow in product(CHOICES, (None, 10.0), (True, False), (True, False)):
        yield evolve(wanted, choice=choice, wait=wait, fetch=fetch, follow=follow)


def go(phase: ClientPhase) -> ClientData:
    """Return the data of a Client that has come to this phase."""
    wanted, way = WAYS[phase]
    now, data = CLIENT.start, ClientData()
    for event in (wanted, *way):
        now, step = CLIENT.step(now, data, event)  # type: ignore[assignment]
        data = step.data
    assert now is phase
    return data


def answer(phase: ClientPhase, data: ClientData, event: Any) -> None:
    """Let the Client answer; it may not fail, and what it says goes over its own link."""
    after, step = CLIENT.step(phase, data, event)
    can_be(after, step.data)  # type: ignore[arg-type]
    for effect in step.effects:
        if isinstance(effect, events.TellPeer):
            assert effect.link == data.link


def test_there_is_a_way_to_each_phase() -> None:
    assert set(WAYS) == set(P) - {P.IDLE}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_message_over_a_link_ends_the_client_by_surprise(kind: type) -> None:
    for phase in ON_LINK:
        data = go(phase)
        for wanted in variants(WAYS[phase][0]):
            for message in samples(kind):
                answer(phase, evolve(data, wanted=wanted), events.PeerMessage(data.link, message))


WITHOUT_MESSAGES = (P.CONNECTING, P.UPLOAD_AWAY)
"""In the first the link is not proven, so that it has no messages yet; in the second it has ended."""


@pytest.mark.parametrize(
    "phase", [phase for phase in P if phase not in (*ON_LINK, *WITHOUT_MESSAGES)], ids=lambda phase: phase.name
)
def test_without_a_link_every_message_is_one_of_an_earlier_link(phase: ClientPhase) -> None:
    data = go(phase) if phase is not P.IDLE else ClientData()
    assert CLIENT.is_stale(data, events.PeerMessage(ONE, BROKEN))


@pytest.mark.parametrize("phase", WAYS, ids=lambda phase: phase.name)
def test_the_server_may_assign_a_worker_at_any_time(phase: ClientPhase) -> None:
    answer(phase, go(phase), WorkerAssigned(WORKER))
