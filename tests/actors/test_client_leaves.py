"""Tests of a Client that is to leave its job as soon as it runs (`--detach`), by events and effects."""

from typing import Any

import pytest
import trio
from attrs import evolve

from actors import events
from actors.client_actions import FIRST_PAUSE
from actors.client_data import ClientData, ClientPhase
from actors.events import CloseLink, Finished, LinkLost, PeerMessage
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import (
    JobAccepted,
    JobEnded,
    JobEvent,
    JobKind,
    JobStage,
    JobStarted,
    JobState,
    Outcome,
    SubmitJob,
)
from protocol.status import Role
from rtc.testing.embedding import Embedded

Client = Embedded[ClientData]

pytestmark = pytest.mark.usefixtures("autojump_clock")

P = ClientPhase
WORKER, JOB, KEY = PeerId("worker-1"), JobId("job-1"), "key"
ONE, TWO = LinkId(1), LinkId(2)
CREDENTIALS = events.RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
WANTED = events.JobWanted(CREDENTIALS, events.NamedWorker(WORKER), SUBMIT, detach=True)
BROKEN = Fault(FaultCode.LINK_LOST, "The connection to the other side was lost.")
SENT = events.PackageSent(ONE)
STARTED = PeerMessage(ONE, JobEvent(JobStarted(JOB, ("centroid",)), at=1.0, seq=1))
LEFT = [CloseLink(ONE), Finished(None, None, JOB)]


def trusted(link: LinkId) -> events.Authenticated:
    return events.Authenticated(link, WORKER, proven=True, version=3)


async def uploading(client: Client, wanted: events.JobWanted = WANTED) -> None:
    await client.after(wanted, events.WorkersChanged(()), trusted(ONE), PeerMessage(ONE, JobAccepted(JOB, KEY)))
    assert client.phase is P.UPLOADING


@pytest.mark.parametrize("begun", [SENT, STARTED], ids=["the receipt for the package", "the job's first event"])
async def test_it_leaves_as_soon_as_the_worker_says_that_the_job_has_begun(client: Client, begun: Any) -> None:
    await uploading(client)
    assert await client.after(begun) == LEFT
    assert client.phase is P.IDLE


async def test_it_does_not_leave_before_the_worker_has_the_whole_package(client: Client) -> None:
    await uploading(client)
    assert client.phase is P.UPLOADING
    effects = await client.after(events.Interrupted())
    assert effects[-1].fault.code is FaultCode.INTERRUPTED


async def test_a_package_that_was_whole_before_the_link_broke_is_enough(client: Client) -> None:
    await uploading(client)
    await client.after(LinkLost(ONE, BROKEN))
    assert await client.after(SENT) == LEFT


async def test_without_a_ticket_it_stays_with_its_job(client: Client) -> None:
    await uploading(client)
    assert await client.after(events.TicketNotSaved(), SENT) == []
    assert client.phase is P.RUNNING


@pytest.mark.parametrize(
    ("ended", "fault"),
    [
        (JobEnded(JOB, Outcome.DONE, "Trained.", result=True), None),
        (JobEnded(JOB, Outcome.FAILED, "No.", result=True), Fault(FaultCode.JOB_FAILED, "No.")),
    ],
    ids=["done", "failed"],
)
async def test_a_job_that_was_faster_is_left_with_its_result(client: Client, ended: JobEnded, fault: Any) -> None:
    await uploading(client)
    assert await client.after(PeerMessage(ONE, ended)) == [CloseLink(ONE), Finished(fault, ended, JOB)]


async def test_a_job_that_failed_at_once_and_left_nothing_is_told_as_ever(client: Client) -> None:
    await uploading(client)
    ended = JobEnded(JOB, Outcome.FAILED, "No.", result=False)
    effects = await client.after(PeerMessage(ONE, ended))
    assert effects == [
        events.RemoveTicket(JOB),
        CloseLink(ONE),
        Finished(Fault(FaultCode.JOB_FAILED, "No."), ended),
    ]


RUNS = JobState(JOB, JobStage.RUNNING, "Epoch 3 of 20.", events=40)
ENDED = JobState(JOB, JobStage.ENDED, "Trained.", 52, Outcome.DONE, result=True)
DONE = JobEnded(JOB, Outcome.DONE, "Trained.", result=True)


@pytest.mark.parametrize(
    ("state", "ended"), [(RUNS, None), (ENDED, DONE)], ids=["the job runs", "the job has ended meanwhile"]
)
async def test_after_a_reconnection_the_jobs_state_is_enough(client: Client, state: JobState, ended: Any) -> None:
    await uploading(client)
    await client.after(LinkLost(ONE, BROKEN))
    await trio.sleep(FIRST_PAUSE + 0.1)
    await client.after(trusted(TWO))
    assert client.phase is P.UPLOAD_RETURN
    assert await client.after(PeerMessage(TWO, state)) == [CloseLink(TWO), Finished(None, ended, JOB)]


async def test_a_cancellation_on_its_way_is_carried_out_before_it_leaves(client: Client) -> None:
    await uploading(client)
    await client.after(LinkLost(ONE, BROKEN), events.CancelWanted())
    await trio.sleep(FIRST_PAUSE + 0.1)
    await client.after(trusted(TWO), PeerMessage(TWO, RUNS))
    assert client.phase is P.RUNNING


async def test_a_client_that_is_not_to_leave_stays(client: Client) -> None:
    await uploading(client, evolve(WANTED, detach=False))
    assert await client.after(SENT) == []
    assert client.phase is P.RUNNING
