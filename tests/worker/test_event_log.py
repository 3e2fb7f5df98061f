"""What the worker's console says about offers, and about a worker that leaves."""

import pytest

from actors.auth import OTHER_CERTIFICATES
from actors.events import (
    AcceptLink,
    AuthenticationFailed,
    LinkRequested,
    RejectLink,
    SendToServer,
    SessionRequested,
    StatusChanged,
    TagDenied,
)
from actors.job_session import UNKNOWN_FAULT
from actors.offer_tags import SECRET_WRONG
from actors.worker import BUSY_FAULT
from protocol.ids import JobId, LinkId, PeerId
from protocol.signaling import Refuse
from protocol.status import Status
from protocol.trust import TagVerdict
from rtc.runtime.denied_tags import REASONS
from rtc.worker.event_log import OFFER_LINES, OFFER_TIME, EventLog

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


@pytest.mark.parametrize("verdict", [verdict for verdict in TagVerdict if verdict is not TagVerdict.RIGHT])
def test_why_an_offer_was_refused_before_there_is_a_link_is_said_here(verdict: TagVerdict) -> None:
    lines: list[str] = []
    log = EventLog(lines.append)
    log.tap(TagDenied(ADA, verdict))
    log.tap(SendToServer(Refuse(ADA, SECRET_WRONG)))
    assert lines == [f"Offer of client-ada rejected, since {REASONS[verdict]}.", "Rejection sent to client-ada."]


def test_a_wrong_proof_on_a_link_whose_offer_was_right_means_other_certificates() -> None:
    lines: list[str] = []
    EventLog(lines.append).tap(AuthenticationFailed(ONE, SECRET_WRONG, OTHER_CERTIFICATES))
    assert lines == [OTHER_CERTIFICATES]


def test_a_flood_of_offers_leaves_the_rest_readable_and_is_counted() -> None:
    lines: list[str] = []
    now = 100.0
    log = EventLog(lines.append, clock=lambda: now)
    for _ in range(1000):
        log.tap(TagDenied(ADA, TagVerdict.MISSING))
    log.tap(StatusChanged(Status.BUSY))
    assert len(lines) == OFFER_LINES + 1
    assert lines[-1] == "Status: busy."
    now += OFFER_TIME
    log.tap(TagDenied(ADA, TagVerdict.MISSING))
    assert lines[-2] == f"There was more about offers than is shown: {1000 - OFFER_LINES} lines were left out."
    assert len(lines) == OFFER_LINES + 3


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
