"""What the worker's console says about offers, and about a worker that leaves."""

import pytest

from actors.events import AcceptLink, LinkRequested, RejectLink, SendToServer, SessionRequested, StatusChanged
from actors.job_session import UNKNOWN_FAULT
from actors.worker import BUSY_FAULT
from protocol.ids import JobId, LinkId, PeerId
from protocol.signaling import Refuse
from protocol.status import Status
from rtc.worker.event_log import EventLog

ONE, ADA, JOB = LinkId(1), PeerId("client-ada"), JobId("job-1")


@pytest.mark.parametrize(
    ("offer", "fault", "said"),
    [
        (LinkRequested(ONE, ADA, "sdp", number=0), BUSY_FAULT, "for a new job."),
        (SessionRequested(ONE, ADA, "sdp", JOB, number=0), UNKNOWN_FAULT, "about job-1."),
    ],
)
def test_an_offer_its_answer_and_that_a_rejection_was_sent_are_said(offer: object, fault: object, said: str) -> None:
    lines: list[str] = []
    log = EventLog(lines.append, "[gpu-0] ")
    for effect in (
        offer,
        AcceptLink(ONE, ADA, "sdp", number=0),
        RejectLink(ADA, fault, number=0),
        SendToServer(Refuse(ADA, fault)),
    ):
        log.tap(effect)
    assert lines == [
        f"[gpu-0] Offer received from client-ada, {said}",
        "[gpu-0] Offer of client-ada accepted.",
        f"[gpu-0] Offer of client-ada rejected ({fault.code.value}): {fault.text}",
        "[gpu-0] Rejection sent to client-ada.",
    ]


def test_a_worker_that_leaves_says_so() -> None:
    lines: list[str] = []
    log = EventLog(lines.append)
    log.tap(StatusChanged(Status.BUSY))
    log.tap(StatusChanged(Status.BUSY, leaving=True))
    log.tap(StatusChanged(Status.AVAILABLE, leaving=True))
    assert lines == [
        "Status: busy.",
        "Status: busy; it leaves when its jobs have ended.",
        "Status: leaving; no new job.",
    ]
