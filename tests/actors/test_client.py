"""Tests of the Client until a worker has its job, by events and effects; what follows is in `test_client_job.py`."""

import math

import pytest
from trio.testing import MockClock

from actors import events
from actors.client_actions import FIRST_PAUSE
from actors.client_data import ClientData, ClientPhase
from actors.client_guards import OFFERS_MAX
from actors.events import (
    AskPerson,
    BestWorker,
    CloseLink,
    Finished,
    LinkLost,
    NamedWorker,
    OpenLink,
    SendToServer,
    WorkerCalled,
    WorkerChoice,
)
from actors.worker import BUSY_FAULT, LEAVING_FAULT
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import JobAccepted, JobKind, SubmitJob
from protocol.signaling import JoinQueue, LeaveQueue, WorkerAssigned, WorkerPresent
from protocol.status import Role, Status, WorkerFacts
from rtc.testing.embedding import Embedded

Client = Embedded[ClientData]

pytestmark = pytest.mark.usefixtures("autojump_clock")

P = ClientPhase
CREDENTIALS = events.RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
BIG, SMALL = PeerId("worker-big"), PeerId("worker-small")
ONE, TWO, THREE = LinkId(1), LinkId(2), LinkId(3)
JOB = JobId("job-1")
PATIENCE = 30.0
WAIT = 600.0
JOINED = events.JoinedRoom(RoomId("room-1"), "token", PeerId("client-1"))
DOWN = Fault(FaultCode.SERVER_LOST, "The line is down.")
LOSSES = [
    Fault(FaultCode.LINK_LOST, "The connection to the other side was lost."),
    Fault(FaultCode.AUTH_TIMEOUT, "The worker did not finish the proof of the room secret within 10 seconds."),
    Fault(FaultCode.STALLED, "The worker's half of the link did not come within 10 seconds."),
    Fault(FaultCode.CANCELLED, "The worker was stopped."),
]
NO_WAY = Fault(FaultCode.LINK_FAILED, "No common route.")
TOO_OLD = Fault(FaultCode.VERSION, "The worker speaks version 3, so install a newer sleap-rtc on the worker's machine.")


def present(
    peer: PeerId,
    memory: int,
    status: Status = Status.AVAILABLE,
    *,
    leaving: bool = False,
    name: str = "bench",
    gpus: int = 1,
) -> WorkerPresent:
    facts = WorkerFacts(status, name, "lab", "GPU", memory, "0.3.5", "12.4", "0.1", leaving=leaving, gpus=gpus)
    return WorkerPresent(peer, facts)


BOTH = (present(BIG, 24000), present(SMALL, 8000))
TAKEN = (present(BIG, 24000, Status.BUSY),)
LEAVING = present(BIG, 24000, leaving=True)


async def choose(
    client: Client,
    choice: WorkerChoice,
    *workers: WorkerPresent,
    memory: int = 0,
    wait: float | None = None,
    gpus: int = 0,
) -> list[object]:
    await client.after(events.JobWanted(CREDENTIALS, choice, SUBMIT, memory, PATIENCE, wait, min_gpus=gpus))
    return await client.after(JOINED, events.WorkersChanged(workers))


async def submit(client: Client, link: LinkId = ONE, peer: PeerId = BIG) -> None:
    """Let the link be proven."""
    assert await client.after(events.Authenticated(link, peer, proven=True, version=3)) == [
        events.TellPeer(link, SUBMIT)
    ]
    assert client.phase is P.SUBMITTING


def fault_of(effects: list[object]) -> Fault:
    finished = effects[-1]
    assert isinstance(finished, Finished)
    assert finished.fault is not None
    return finished.fault


async def end_of(client: Client, *happened: object) -> Fault:
    """Send these events, after which the Client must have failed; return the fault."""
    fault = fault_of(await client.after(*happened))
    assert client.phase is P.IDLE
    return fault


# -------- which worker


async def test_first_the_room_then_a_worker(client: Client) -> None:
    wanted = events.JobWanted(CREDENTIALS, BestWorker(), SUBMIT, 0, PATIENCE)
    assert await client.after(wanted) == [events.JoinRoom(CREDENTIALS, PATIENCE)]
    assert client.phase is P.JOINING


async def test_the_best_is_the_available_worker_with_most_memory(client: Client) -> None:
    assert await choose(client, BestWorker(), *BOTH) == [OpenLink(ONE, BIG)]


async def test_a_busy_worker_is_passed_over(client: Client) -> None:
    assert await choose(client, BestWorker(), *TAKEN, BOTH[1]) == [OpenLink(ONE, SMALL)]


async def test_a_worker_that_leaves_is_passed_over(client: Client) -> None:
    assert await choose(client, BestWorker(), LEAVING, BOTH[1]) == [OpenLink(ONE, SMALL)]


async def test_too_little_memory_is_reported_with_the_largest_there_is(client: Client) -> None:
    fault = fault_of(await choose(client, BestWorker(), *BOTH, memory=40000))
    assert fault.code is FaultCode.NO_WORKER
    assert "24000 MB" in fault.text


PAIR = present(SMALL, 8000, gpus=2)


async def test_a_worker_with_as_many_gpus_as_asked_for_is_taken(client: Client) -> None:
    assert await choose(client, BestWorker(), BOTH[0], PAIR, gpus=2) == [OpenLink(ONE, SMALL)]


@pytest.mark.parametrize(
    ("gpus", "memory", "text"),
    [
        (3, 0, "gives a job 3 GPUs; the most is 2 GPUs (--gpus)"),
        (2, 9000, "memory enough; the largest has 8000 MB"),
    ],
)
async def test_too_few_gpus_are_reported_with_the_most_there_are(
    client: Client, gpus: int, memory: int, text: str
) -> None:
    fault = fault_of(await choose(client, BestWorker(), BOTH[0], PAIR, memory=memory, gpus=gpus, wait=WAIT))
    assert fault.code is FaultCode.NO_WORKER
    assert text in fault.text


@pytest.mark.parametrize("choice", [NamedWorker(BIG), WorkerCalled("BENCH"), WorkerCalled(BIG)])
async def test_a_named_worker_with_too_few_gpus_is_not_asked(client: Client, choice: WorkerChoice) -> None:
    fault = fault_of(await choose(client, choice, BOTH[0], gpus=2, wait=WAIT))
    assert fault.code is FaultCode.NO_WORKER
    assert fault.text == (
        "The worker bench gives a job 1 GPU, and --gpus asks for 2. Leave --gpus out, or name another worker: "
        "sleap-rtc workers --gpus 2"
    )


async def test_a_named_worker_that_is_not_in_the_list_is_asked_whatever_its_gpus(client: Client) -> None:
    assert await choose(client, NamedWorker(BIG), PAIR, gpus=2) == [OpenLink(ONE, BIG)]


async def test_the_queue_is_asked_for_a_worker_with_as_many_gpus(client: Client) -> None:
    busy = present(SMALL, 8000, Status.BUSY, gpus=2)
    said = await choose(client, BestWorker(), BOTH[0], busy, gpus=2, wait=WAIT)
    assert events.SendToServer(JoinQueue(min_gpus=2)) in said


async def test_an_empty_room_is_reported(client: Client) -> None:
    assert fault_of(await choose(client, BestWorker())).code is FaultCode.NO_WORKER


async def test_reserved_workers_are_reported_differently_from_an_empty_room(client: Client) -> None:
    fault = fault_of(await choose(client, BestWorker(), present(BIG, 24000, Status.RESERVED)))
    assert fault.code is FaultCode.WORKER_BUSY


@pytest.mark.parametrize("wait", [None, WAIT])
async def test_a_room_whose_workers_all_leave_has_no_worker_left(client: Client, wait: float | None) -> None:
    fault = fault_of(await choose(client, BestWorker(), LEAVING, present(SMALL, 10, leaving=True), wait=wait))
    assert fault.code is FaultCode.NO_WORKER
    assert "no worker is left" in fault.text


async def test_a_named_worker_is_asked_without_looking_at_the_list(client: Client) -> None:
    assert await choose(client, NamedWorker(SMALL)) == [OpenLink(ONE, SMALL)]


async def test_a_failed_join_ends_the_client(client: Client) -> None:
    await client.after(events.JobWanted(CREDENTIALS, BestWorker(), SUBMIT))
    fault = Fault(FaultCode.ROOM_DENIED, "No.")
    assert await client.after(events.JoinFailed(fault)) == [Finished(fault)]


async def test_a_worker_is_called_by_its_id_whether_or_not_the_list_has_it(client: Client) -> None:
    assert await choose(client, WorkerCalled(SMALL), BOTH[0]) == [OpenLink(ONE, SMALL)]


@pytest.mark.parametrize("name", ["bench 2", "BENCH 2"])
async def test_a_worker_is_called_by_its_name_in_any_case(client: Client, name: str) -> None:
    other = present(BIG, 24000)
    assert await choose(client, WorkerCalled(name), other, present(SMALL, 8000, name="bench 2")) == [
        OpenLink(ONE, SMALL)
    ]


async def test_an_id_comes_before_a_name_that_another_worker_has_chosen(client: Client) -> None:
    impostor = present(BIG, 24000, name=SMALL)
    assert await choose(client, WorkerCalled(SMALL), impostor, BOTH[1]) == [OpenLink(ONE, SMALL)]


async def test_a_name_that_several_workers_have_is_answered_with_their_ids(client: Client) -> None:
    fault = fault_of(await choose(client, WorkerCalled("bench"), *BOTH))
    assert fault.code is FaultCode.NO_WORKER
    assert BIG in fault.text
    assert SMALL in fault.text


async def test_a_name_that_no_worker_has_is_reported(client: Client) -> None:
    fault = fault_of(await choose(client, WorkerCalled("no such name"), *BOTH))
    assert fault.code is FaultCode.NO_WORKER
    assert "sleap-rtc workers" in fault.text


async def test_a_worker_that_was_called_by_its_name_is_waited_for_in_line_by_its_id(client: Client) -> None:
    await choose(client, WorkerCalled("bench"), BOTH[0], wait=WAIT)
    assert await client.after(LinkLost(ONE, BUSY_FAULT)) == [CloseLink(ONE), SendToServer(JoinQueue(0, BIG))]


# -------- the list


ONLY = AskPerson(take_only=True)


async def test_the_only_worker_that_fits_is_taken_without_a_question_if_that_is_wished(client: Client) -> None:
    assert await choose(client, ONLY, *TAKEN, LEAVING, BOTH[1]) == [OpenLink(ONE, SMALL)]


async def test_the_only_worker_with_memory_enough_is_taken(client: Client) -> None:
    assert await choose(client, ONLY, *BOTH, memory=9000) == [OpenLink(ONE, BIG)]


async def test_of_several_workers_the_person_chooses_although_an_only_one_would_be_taken(client: Client) -> None:
    assert await choose(client, ONLY, *BOTH) == [events.ShowWorkers(BOTH)]
    assert client.phase is P.CHOOSING


async def test_where_no_worker_fits_now_the_list_waits_for_one_and_takes_none_by_itself(client: Client) -> None:
    assert await choose(client, ONLY, *TAKEN) == [events.ShowWorkers(())]
    assert await client.after(events.WorkersChanged(BOTH[:1])) == [events.ShowWorkers(BOTH[:1])]
    assert client.phase is P.CHOOSING


async def test_without_that_wish_the_only_worker_is_shown(client: Client) -> None:
    assert await choose(client, AskPerson(), BOTH[0]) == [events.ShowWorkers(BOTH[:1])]


@pytest.mark.parametrize("fault", [BUSY_FAULT, LEAVING_FAULT, NO_WAY], ids=lambda fault: fault.code.value)
async def test_when_the_only_worker_refuses_the_person_sees_the_list(client: Client, fault: Fault) -> None:
    await choose(client, ONLY, BOTH[0])
    assert await client.after(LinkLost(ONE, fault)) == [CloseLink(ONE), events.ShowWorkers(())]


@pytest.mark.parametrize("fault", LOSSES, ids=lambda fault: fault.code.value)
async def test_the_only_worker_is_tried_again_when_it_is_lost_and_others_are_shown_if_there_are_some(
    client: Client, fault: Fault, autojump_clock: MockClock
) -> None:
    await choose(client, ONLY, BOTH[0])
    assert (await client.after(LinkLost(ONE, fault)))[0] == CloseLink(ONE)
    assert client.phase is P.RETRY_WAIT
    autojump_clock.jump(FIRST_PAUSE)
    assert await client.after() == [OpenLink(TWO, BIG)]
    await client.after(events.WorkersChanged(BOTH))
    assert await client.after(LinkLost(TWO, fault)) == [CloseLink(TWO), events.ShowWorkers(BOTH[1:])]


async def test_the_person_sees_only_workers_that_fit_and_sees_changes(client: Client) -> None:
    shown = await choose(client, AskPerson(), *TAKEN, LEAVING, BOTH[1])
    assert shown == [events.ShowWorkers((BOTH[1],))]
    assert await client.after(events.WorkersChanged(BOTH)) == [events.ShowWorkers(BOTH)]
    assert client.phase is P.CHOOSING


async def test_the_persons_choice_is_asked(client: Client) -> None:
    await choose(client, AskPerson(), *BOTH)
    assert await client.after(events.WorkerPicked(SMALL)) == [OpenLink(ONE, SMALL)]


async def test_a_person_may_think_as_long_as_they_like(client: Client, autojump_clock: MockClock) -> None:
    await choose(client, AskPerson(), *BOTH)
    autojump_clock.jump(24 * 3600)
    assert await client.after() == []


async def test_leaving_the_list_is_an_interruption(client: Client) -> None:
    await choose(client, AskPerson(), *BOTH)
    assert (await end_of(client, events.WorkerPicked(None))).code is FaultCode.INTERRUPTED


async def test_where_nobody_can_be_asked_the_client_ends_with_the_reason(client: Client) -> None:
    await choose(client, AskPerson(), *BOTH)
    fault = Fault(FaultCode.USAGE, "There is no terminal to choose on.")
    assert await client.after(events.ChoiceFailed(fault)) == [Finished(fault)]


async def test_a_worker_that_refused_is_in_the_list_again_when_the_list_is_newer_than_the_refusal(
    client: Client,
) -> None:
    await choose(client, AskPerson(), BOTH[0])
    await client.after(events.WorkerPicked(BIG))
    assert await client.after(LinkLost(ONE, LOSSES[0])) == [CloseLink(ONE), events.ShowWorkers(())]
    assert await client.after(events.WorkersChanged(BOTH[:1])) == [events.ShowWorkers(BOTH[:1])]


# -------- a worker that refuses or is lost before it has the job

LOST_OR_REFUSED = [BUSY_FAULT, LEAVING_FAULT, *LOSSES]
by_code = pytest.mark.parametrize("fault", LOST_OR_REFUSED, ids=lambda fault: fault.code.value)
in_phase = pytest.mark.parametrize("submitted", [False, True], ids=["connecting", "submitting"])


@by_code
@in_phase
async def test_the_next_best_is_asked_when_the_best_refuses_or_is_lost(
    client: Client, fault: Fault, submitted: bool
) -> None:
    await choose(client, BestWorker(), *BOTH)
    if submitted:
        await submit(client)
    assert await client.after(LinkLost(ONE, fault)) == [CloseLink(ONE), OpenLink(TWO, SMALL)]
    assert client.phase is P.CONNECTING


@by_code
@in_phase
async def test_the_person_chooses_again_when_the_choice_refuses_or_is_lost(
    client: Client, fault: Fault, submitted: bool
) -> None:
    await choose(client, AskPerson(), *BOTH)
    await client.after(events.WorkerPicked(BIG))
    if submitted:
        await submit(client)
    assert await client.after(LinkLost(ONE, fault)) == [CloseLink(ONE), events.ShowWorkers((BOTH[1],))]
    assert client.phase is P.CHOOSING


@by_code
@in_phase
async def test_who_waits_stands_in_line_when_the_worker_refuses_or_is_lost(
    client: Client, fault: Fault, submitted: bool
) -> None:
    await choose(client, BestWorker(), *BOTH, memory=4000, wait=WAIT)
    if submitted:
        await submit(client)
    assert await client.after(LinkLost(ONE, fault)) == [CloseLink(ONE), SendToServer(JoinQueue(4000))]
    assert client.phase is P.QUEUED


@pytest.mark.parametrize("fault", [BUSY_FAULT, *LOSSES], ids=lambda fault: fault.code.value)
async def test_who_waits_for_a_named_worker_stands_in_line_for_this_worker_only(client: Client, fault: Fault) -> None:
    await choose(client, NamedWorker(BIG), *BOTH, wait=WAIT)
    assert await client.after(LinkLost(ONE, fault)) == [CloseLink(ONE), SendToServer(JoinQueue(0, BIG))]


@pytest.mark.parametrize("fault", LOSSES, ids=lambda fault: fault.code.value)
@in_phase
async def test_a_named_worker_that_is_lost_is_tried_again_and_then_given_up_with_the_reason(
    client: Client, autojump_clock: MockClock, fault: Fault, submitted: bool
) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    effects: list[object] = []
    tries = 0
    while client.phase is not P.IDLE:
        tries += 1
        link = LinkId(tries)
        if submitted:
            await submit(client, link)
        effects = await client.after(LinkLost(link, fault))
        assert effects[0] == CloseLink(link)
        if client.phase is P.RETRY_WAIT:
            autojump_clock.jump(FIRST_PAUSE * 2 ** (2 * tries - 2))
            assert await client.after() == [OpenLink(LinkId(tries + 1), BIG)]
    assert tries == 1 + (OFFERS_MAX + 1) // 2
    assert fault_of(effects) == fault


@pytest.mark.parametrize("fault", [BUSY_FAULT, LEAVING_FAULT], ids=lambda fault: fault.code.value)
async def test_a_named_worker_that_refuses_ends_the_client_with_its_advice(client: Client, fault: Fault) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    assert await client.after(LinkLost(ONE, fault)) == [CloseLink(ONE), Finished(fault)]


@pytest.mark.parametrize("fault", [BUSY_FAULT, LEAVING_FAULT], ids=lambda fault: fault.code.value)
async def test_a_refusal_over_the_link_is_like_one_before_it(client: Client, fault: Fault) -> None:
    await choose(client, BestWorker(), *BOTH)
    await submit(client)
    refused = events.PeerMessage(ONE, fault)
    assert await client.after(refused) == [CloseLink(ONE), OpenLink(TWO, SMALL)]
    await submit(client, TWO, SMALL)
    refused = events.PeerMessage(TWO, fault)
    assert await client.after(refused) == [CloseLink(TWO), Finished(fault)], "nobody else is left"


async def test_who_waits_stands_in_line_after_a_refusal_over_the_link(client: Client) -> None:
    await choose(client, NamedWorker(BIG), *BOTH, wait=WAIT)
    await submit(client)
    refused = events.PeerMessage(ONE, BUSY_FAULT)
    assert await client.after(refused) == [CloseLink(ONE), SendToServer(JoinQueue(0, BIG))]


async def test_the_person_chooses_again_after_a_refusal_over_the_link(client: Client) -> None:
    await choose(client, AskPerson(), *BOTH)
    await client.after(events.WorkerPicked(BIG))
    await submit(client)
    refused = events.PeerMessage(ONE, BUSY_FAULT)
    assert await client.after(refused) == [CloseLink(ONE), events.ShowWorkers((BOTH[1],))]


@pytest.mark.parametrize("choice", [NamedWorker(BIG), BestWorker(), AskPerson()], ids=str)
async def test_what_is_wrong_with_the_job_itself_is_reported_at_once(client: Client, choice: WorkerChoice) -> None:
    await choose(client, choice, *BOTH, wait=WAIT)
    if choice == AskPerson():
        await client.after(events.WorkerPicked(BIG))
    await submit(client)
    fault = Fault(FaultCode.TOO_LARGE, "At most 100 bytes.")
    assert await client.after(events.PeerMessage(ONE, fault)) == [CloseLink(ONE), Finished(fault)]


async def test_the_next_worker_is_chosen_from_the_newest_list(client: Client) -> None:
    await choose(client, BestWorker(), *BOTH)
    other = present(PeerId("worker-other"), 16000)
    newest = events.WorkersChanged((BOTH[0], other, present(SMALL, 8000, Status.BUSY)))
    assert await client.after(newest) == []
    assert await client.after(LinkLost(ONE, BUSY_FAULT)) == [CloseLink(ONE), OpenLink(TWO, other.peer)]


async def test_the_last_refusal_is_reported_when_no_worker_is_left(client: Client) -> None:
    await choose(client, BestWorker(), *BOTH)
    await client.after(LinkLost(ONE, LEAVING_FAULT))
    assert await end_of(client, LinkLost(TWO, BUSY_FAULT)) == BUSY_FAULT


async def test_a_worker_that_does_not_answer_counts_as_lost(client: Client, autojump_clock: MockClock) -> None:
    await choose(client, BestWorker(), *BOTH)
    autojump_clock.jump(PATIENCE + 1)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, SMALL)]


async def test_a_worker_that_does_not_say_whether_it_takes_the_job_counts_as_lost(
    client: Client, autojump_clock: MockClock
) -> None:
    await choose(client, BestWorker(), *BOTH)
    autojump_clock.jump(PATIENCE - 1)
    await submit(client)
    autojump_clock.jump(PATIENCE - 1)
    assert await client.after() == [], "it has the whole time for this step"
    autojump_clock.jump(2)
    assert await client.after() == [CloseLink(ONE), OpenLink(TWO, SMALL)]


async def test_a_named_worker_that_is_always_silent_is_named_in_the_end(
    client: Client, autojump_clock: MockClock
) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    effects: list[object] = []
    while client.phase is not P.IDLE:
        autojump_clock.jump(PATIENCE)
        effects = await client.after() or effects
    fault = fault_of(effects)
    assert fault.code is FaultCode.STALLED
    assert BIG in fault.text
    assert "30 seconds" in fault.text


async def test_a_server_that_restarts_during_an_offer_costs_only_some_seconds(
    client: Client, autojump_clock: MockClock
) -> None:
    await choose(client, BestWorker(), *BOTH)
    for link in range(1, 1 + OFFERS_MAX):
        assert await client.after(LinkLost(LinkId(link), DOWN)) == [CloseLink(LinkId(link))]
        autojump_clock.jump(FIRST_PAUSE * 2 ** (link - 1))
        assert await client.after() == [OpenLink(LinkId(link + 1), BIG)], "no worker has refused"


unusable = pytest.mark.parametrize("fault", [NO_WAY, TOO_OLD], ids=["no route", "no version"])


@unusable
async def test_a_worker_that_can_never_be_used_is_not_tried_again(client: Client, fault: Fault) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    assert await end_of(client, LinkLost(ONE, fault)) == fault


@pytest.mark.parametrize(
    "fault",
    [
        NO_WAY,
        TOO_OLD,
        Fault(FaultCode.AUTH_UNPROVEN_WORKER, "Not proven."),
        Fault(FaultCode.AUTH_INVALID, "Wrong."),
        Fault(FaultCode.AUTH_MISSING, "None."),
    ],
    ids=["no route", "no version", "worker not proven", "wrong secret", "no secret"],
)
@pytest.mark.parametrize("wait", [None, WAIT])
async def test_where_the_best_worker_can_never_be_used_the_next_best_is_asked(
    client: Client, wait: float | None, fault: Fault
) -> None:
    await choose(client, BestWorker(), *BOTH, wait=wait)
    assert await client.after(LinkLost(ONE, fault)) == [CloseLink(ONE), OpenLink(TWO, SMALL)]
    assert await client.after(LinkLost(TWO, fault)) == [CloseLink(TWO), Finished(fault)]


async def test_a_wrong_secret_ends_the_client(client: Client) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    wrong = Fault(FaultCode.AUTH_INVALID, "Wrong.")
    assert await end_of(client, LinkLost(ONE, wrong)) == wrong


async def test_a_link_that_ends_without_a_reason_ends_the_client_with_one(client: Client) -> None:
    await choose(client, NamedWorker(BIG), *BOTH)
    assert (await end_of(client, LinkLost(ONE))).code is FaultCode.LINK_LOST


async def test_what_comes_over_another_link_is_dropped(client: Client) -> None:
    await choose(client, BestWorker(), *BOTH)
    await client.after(LinkLost(ONE, BUSY_FAULT))
    late = (events.Authenticated(ONE, BIG, proven=True, version=3), events.PeerMessage(ONE, BUSY_FAULT), LinkLost(ONE))
    assert await client.after(*late) == []
    assert client.phase is P.CONNECTING


# -------- the line


async def wait_in_queue(client: Client, wait: float = math.inf) -> None:
    assert await choose(client, BestWorker(), *TAKEN, memory=8000, wait=wait) == [SendToServer(JoinQueue(8000))]
    assert client.phase is P.QUEUED


async def test_a_client_does_not_queue_in_a_room_without_a_fitting_worker(client: Client) -> None:
    fault = fault_of(await choose(client, BestWorker(), *BOTH, memory=99000, wait=WAIT))
    assert fault.code is FaultCode.NO_WORKER


async def test_an_assigned_worker_is_asked_and_the_line_left_once_it_has_the_job(client: Client) -> None:
    await wait_in_queue(client)
    assert await client.after(WorkerAssigned(BIG)) == [OpenLink(ONE, BIG)]
    await submit(client)
    effects = await client.after(events.PeerMessage(ONE, JobAccepted(JOB, "key")))
    assert effects == [
        SendToServer(LeaveQueue()),
        events.SaveTicket(events.JobCredential(JOB, "key"), BIG),
        events.SendPackage(ONE, JOB),
    ]


async def test_who_would_not_wait_does_not_leave_a_line(client: Client) -> None:
    await choose(client, BestWorker(), *BOTH)
    await submit(client)
    assert SendToServer(LeaveQueue()) not in await client.after(events.PeerMessage(ONE, JobAccepted(JOB, "key")))


async def test_a_refusal_of_the_assigned_worker_keeps_the_position_in_the_line(client: Client) -> None:
    await wait_in_queue(client)
    await client.after(WorkerAssigned(BIG))
    assert await client.after(LinkLost(ONE, BUSY_FAULT)) == [CloseLink(ONE), SendToServer(JoinQueue(8000))]


async def test_a_queued_client_does_not_ask_a_worker_that_the_list_shows_as_available(client: Client) -> None:
    await wait_in_queue(client)
    assert await client.after(events.WorkersChanged(BOTH)) == []


async def test_after_a_reconnection_to_the_server_the_client_joins_the_queue_again(client: Client) -> None:
    await wait_in_queue(client)
    assert await client.after(JOINED) == [SendToServer(JoinQueue(8000))]
    assert client.phase is P.QUEUED


async def test_a_room_that_cannot_be_joined_again_ends_the_wait(client: Client) -> None:
    await wait_in_queue(client)
    denied = Fault(FaultCode.ROOM_DENIED, "No.")
    assert await end_of(client, events.JoinFailed(denied)) == denied


async def test_a_worker_that_is_only_away_is_waited_for(client: Client) -> None:
    await wait_in_queue(client)
    assert await client.after(events.WorkersChanged(())) == []
    assert client.phase is P.QUEUED


async def test_the_wait_ends_when_all_workers_that_fit_leave(client: Client) -> None:
    await wait_in_queue(client)
    other = present(SMALL, 4000)
    fault = await end_of(client, events.WorkersChanged((present(BIG, 24000, Status.BUSY, leaving=True), other)))
    assert fault.code is FaultCode.NO_WORKER
    assert "no worker is left" in fault.text


async def test_nobody_stands_in_line_for_workers_that_leave(client: Client) -> None:
    await choose(client, BestWorker(), BOTH[0], wait=WAIT)
    assert await client.after(events.WorkersChanged((LEAVING,))) == []
    assert await end_of(client, LinkLost(ONE, LEAVING_FAULT)) == LEAVING_FAULT


async def test_without_a_limit_the_wait_has_no_end(client: Client, autojump_clock: MockClock) -> None:
    await wait_in_queue(client)
    autojump_clock.jump(24 * 3600)
    assert await client.after() == []


async def test_the_wait_ends_in_the_line_when_the_patience_does(client: Client, autojump_clock: MockClock) -> None:
    await wait_in_queue(client, WAIT)
    autojump_clock.jump(WAIT - 1)
    assert await client.after() == []
    autojump_clock.jump(2)
    fault = fault_of(await client.after())
    assert fault.code is FaultCode.WORKER_BUSY
    assert "--wait" in fault.text


async def test_the_patience_counts_from_the_beginning_and_not_from_each_place_in_the_line(
    client: Client, autojump_clock: MockClock
) -> None:
    await wait_in_queue(client, 2 * PATIENCE)
    autojump_clock.jump(PATIENCE + 1)
    await client.after(WorkerAssigned(BIG), LinkLost(ONE, BUSY_FAULT))
    assert client.phase is P.QUEUED
    autojump_clock.jump(PATIENCE)
    assert fault_of(await client.after()).code is FaultCode.WORKER_BUSY


async def test_a_worker_that_is_being_asked_at_the_end_of_the_patience_may_still_take_the_job(
    client: Client, autojump_clock: MockClock
) -> None:
    await wait_in_queue(client, WAIT)
    autojump_clock.jump(WAIT - 1)
    await client.after(WorkerAssigned(BIG))
    autojump_clock.jump(2)
    assert await client.after() == []
    assert client.phase is P.CONNECTING
    await submit(client)
    effects = await client.after(events.PeerMessage(ONE, JobAccepted(JOB, "key")))
    assert effects[0] == SendToServer(LeaveQueue()), "the server still has the client in the line"
    assert client.phase is P.UPLOADING


async def test_after_the_end_of_the_patience_nobody_stands_in_line_again(
    client: Client, autojump_clock: MockClock
) -> None:
    await wait_in_queue(client, WAIT)
    autojump_clock.jump(WAIT - 1)
    await client.after(WorkerAssigned(BIG))
    autojump_clock.jump(2)
    await client.after()
    assert await client.after(LinkLost(ONE, BUSY_FAULT)) == [CloseLink(ONE), Finished(BUSY_FAULT)]


async def test_the_patience_ends_with_the_job_accepted(client: Client, autojump_clock: MockClock) -> None:
    await wait_in_queue(client, WAIT)
    await client.after(WorkerAssigned(BIG))
    await submit(client)
    await client.after(events.PeerMessage(ONE, JobAccepted(JOB, "key")))
    autojump_clock.jump(2 * WAIT)
    assert await client.after() == []
    assert client.phase is P.UPLOADING


async def test_a_late_assignment_changes_nothing(client: Client) -> None:
    await wait_in_queue(client)
    await client.after(WorkerAssigned(BIG))
    assert await client.after(WorkerAssigned(SMALL)) == []
    await submit(client)
    assert await client.after(WorkerAssigned(SMALL)) == []


async def test_who_is_assigned_a_worker_with_a_job_under_way_leaves_the_line_once_more(client: Client) -> None:
    await wait_in_queue(client)
    await client.after(WorkerAssigned(BIG))
    await submit(client)
    await client.after(events.PeerMessage(ONE, JobAccepted(JOB, "key")))
    assert await client.after(WorkerAssigned(SMALL)) == [SendToServer(LeaveQueue())], "the first one may be lost"
    await client.after(events.PackageSent(ONE))
    assert await client.after(WorkerAssigned(SMALL)) == [SendToServer(LeaveQueue())]


# -------- the person leaves

LEAVE = [events.Interrupted(), events.Drain(), events.CancelWanted()]


async def joining(client: Client) -> None:
    await client.after(events.JobWanted(CREDENTIALS, BestWorker(), SUBMIT))


async def choosing(client: Client) -> None:
    await choose(client, AskPerson(), *BOTH)


async def connecting(client: Client) -> None:
    await choose(client, BestWorker(), *BOTH)


async def retrying(client: Client) -> None:
    await choose(client, NamedWorker(BIG))
    await client.after(LinkLost(ONE, LOSSES[0]))


async def submitting(client: Client) -> None:
    await choose(client, BestWorker(), *BOTH)
    await submit(client)


@pytest.mark.parametrize("leave", LEAVE, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize(
    ("prepare", "phase"),
    [
        (joining, P.JOINING),
        (choosing, P.CHOOSING),
        (wait_in_queue, P.QUEUED),
        (connecting, P.CONNECTING),
        (retrying, P.RETRY_WAIT),
        (submitting, P.SUBMITTING),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
async def test_an_interruption_before_a_worker_has_the_job_leaves_nothing(
    client: Client, prepare: object, phase: ClientPhase, leave: object
) -> None:
    await prepare(client)  # type: ignore[operator]
    assert client.phase is phase
    assert await client.after(events.StopWanted()) == [], "there is nothing to stop"
    had_link = client.data.link is not None
    effects = await client.after(leave)
    assert fault_of(effects).code is FaultCode.INTERRUPTED
    assert effects[:-1] == ([CloseLink(ONE)] if had_link else [])
    assert client.phase is P.IDLE


async def test_a_client_that_has_ended_may_begin_again(client: Client) -> None:
    await choose(client, BestWorker(), *BOTH)
    await client.after(events.Drain())
    assert await choose(client, BestWorker(), *BOTH) == [OpenLink(TWO, BIG)], "under the name of a new link"


async def test_what_comes_after_the_end_changes_nothing(client: Client) -> None:
    await choose(client, AskPerson(), *BOTH)
    await client.after(events.Drain())
    late = (
        *(events.Interrupted(), events.Drain(), events.StopWanted(), events.CancelWanted()),
        *(events.WorkerPicked(BIG), events.ChoiceFailed(DOWN), events.WorkersChanged(BOTH)),
        *(JOINED, events.JoinFailed(DOWN), WorkerAssigned(BIG), LinkLost(ONE), events.PackageSent(ONE)),
    )
    assert await client.after(*late) == []
    assert client.phase is P.IDLE
