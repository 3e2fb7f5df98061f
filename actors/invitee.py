"""The Invitee: asks once for the room of an invitation, over a connection of its own to the server.

It is available when nothing is asked, reserved on its way to the server, and busy during the exchange. It asks once:
an invitation is used up by its first joiner, so nothing is gained by asking again.
"""

from typing import get_args

from attrs import evolve, field, frozen

from actors import events
from actors.phase import AVAILABLE, BUSY, RESERVED, Phase
from actors.table import SAME, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.invitations import (
    AnswerInvitation,
    AskInvitation,
    GiveInvitation,
    ProveInvitation,
    RefuseInvitation,
)
from protocol.signaling import FromServer

RETRY_TIME = 5.0
"""Seconds to keep trying after a connection to the server has failed; the server may just be starting."""
ASK_DEADLINE = "ask"
"""The name of the deadline that bounds all of it."""

UNANSWERED = Fault(
    FaultCode.STALLED,
    "The server, or the machine that invites, did not answer in time. Ask for a new invitation, and try again.",
)


class InviteePhase(Phase):
    """Where a program is on its way into a room that it is invited to."""

    IDLE = "idle", AVAILABLE
    CONNECTING = "connecting", RESERVED
    RETRYING = "retrying", RESERVED
    ASKING = "asking", BUSY
    PROVING = "proving", BUSY
    AWAITING_ROOM = "awaiting room", BUSY


IDLE, CONNECTING, RETRYING = InviteePhase.IDLE, InviteePhase.CONNECTING, InviteePhase.RETRYING
ASKING, PROVING, AWAITING_ROOM = InviteePhase.ASKING, InviteePhase.PROVING, InviteePhase.AWAITING_ROOM
UNCONNECTED = CONNECTING, RETRYING
EXCHANGE = ASKING, PROVING, AWAITING_ROOM


@frozen
class InviteeData:
    """What the Invitee remembers."""

    wanted: events.AskWanted | None = None
    """What is asked; None for nothing."""
    obstacle: Fault = field(default=Fault(FaultCode.SERVER_LOST, "No connection to the server came about in time."))
    """Why there is no room yet, for the end of all patience."""


def check(phase: Phase, data: InviteeData) -> None:
    """Raise AssertionError if the Invitee can never be in this phase with this data."""
    assert (phase is IDLE) == (data.wanted is None), "what is wanted is forgotten at the end"


def await_connection(data: InviteeData, event: events.AskWanted) -> Step[InviteeData]:
    """Wait for the connection to the server."""
    deadline = events.Deadline(ASK_DEADLINE, event.seconds, events.TimedOut())
    return Step(evolve(data, wanted=event), (deadline,))


def ask(data: InviteeData, _event: events.ServerConnected) -> Step[InviteeData]:
    """Ask for the room, with our half of the exchange."""
    wanted = data.wanted
    assert wanted is not None, "all phases but one have it"
    message = AskInvitation(wanted.number, wanted.name, wanted.share)
    return Step(evolve(data, obstacle=UNANSWERED), (events.SendToServer(message),))


def finish_exchange(data: InviteeData, event: AnswerInvitation) -> Step[InviteeData]:
    """Order our proof, from the inviter's half; if a person has to agree there, that gets its own time."""
    seconds = None if data.wanted is None else data.wanted.person_seconds
    deadline = () if seconds is None else (events.Deadline(ASK_DEADLINE, seconds, events.TimedOut()),)
    return Step(data, (*deadline, events.FinishExchange(_number(data), event.share)))


def send_proof(data: InviteeData, event: events.ProofReady) -> Step[InviteeData]:
    """Send our proof, and wait for the room."""
    return Step(data, (events.SendToServer(ProveInvitation(event.number, event.proof)),))


def report_room(_data: InviteeData, event: GiveInvitation) -> Step[InviteeData]:
    """Report the room."""
    return Step(InviteeData(), (events.RoomGiven(event.sealed),))


def _number(data: InviteeData) -> int:
    assert data.wanted is not None, "all phases but one have it"
    return data.wanted.number


def note_reason(data: InviteeData, event: events.ServerDisconnected) -> Step[InviteeData]:
    """Remember why the newest connection failed; the time to try goes on."""
    return Step(evolve(data, obstacle=Fault(FaultCode.SERVER_LOST, event.text)))


def try_again(data: InviteeData, event: events.ServerDisconnected) -> Step[InviteeData]:
    """Wait `RETRY_TIME` for the next connection, and remember why this one failed."""
    step = note_reason(data, event)
    return Step(step.data, (events.StateTimeout(RETRY_TIME),))


def fail(_data: InviteeData, event: RefuseInvitation) -> Step[InviteeData]:
    """Fail with the reason that the inviter or the server gives."""
    return Step(InviteeData(), (events.AskFailed(event.fault),))


def fail_denied(_data: InviteeData, fault: Fault) -> Step[InviteeData]:
    """Fail with the reason that the server gives."""
    return Step(InviteeData(), (events.AskFailed(fault),))


def fail_exchange(data: InviteeData, event: events.ExchangeFailed) -> Step[InviteeData]:
    """Fail because the inviter's half is wrong, and tell the inviter."""
    refusal = events.SendToServer(RefuseInvitation(_number(data), event.fault))
    return Step(InviteeData(), (refusal, events.AskFailed(event.fault)))


def fail_late(data: InviteeData, _event: events.TimedOut) -> Step[InviteeData]:
    """Fail because the time is over."""
    return Step(InviteeData(), (events.AskFailed(data.obstacle),))


def fail_cut(_data: InviteeData, event: events.ServerDisconnected) -> Step[InviteeData]:
    """Fail because the connection was lost in the middle of the exchange, which uses the invitation up."""
    text = f"{event.text} The invitation may be used up by this: ask for a new one."
    return Step(InviteeData(), (events.AskFailed(Fault(FaultCode.SERVER_LOST, text)),))


INVITEE: Table[InviteeData] = Table("invitee", IDLE, (
    #   in             event                      next           action
    row(IDLE,          events.AskWanted,          CONNECTING,    await_connection),
    row(UNCONNECTED,   events.ServerConnected,    ASKING,        ask),
    row(CONNECTING,    events.ServerDisconnected, RETRYING,      try_again),
    row(RETRYING,      events.ServerDisconnected, SAME,          note_reason),
    row(ASKING,        AnswerInvitation,          PROVING,       finish_exchange),
    row(PROVING,       events.ProofReady,         AWAITING_ROOM, send_proof),
    row(AWAITING_ROOM, GiveInvitation,            IDLE,          report_room),

    row(PROVING,       events.ExchangeFailed,     IDLE,          fail_exchange),
    row(EXCHANGE,      RefuseInvitation,          IDLE,          fail),
    row(EXCHANGE,      Fault,                     IDLE,          fail_denied),
    row(EXCHANGE,      events.ServerDisconnected, IDLE,          fail_cut),
    row((*UNCONNECTED, *EXCHANGE), events.TimedOut, IDLE,        fail_late),

    ignore(IDLE, events.ServerConnected, events.ServerDisconnected, because="nothing is asked any more"),
    ignore(IDLE, events.ProofReady, events.ExchangeFailed, because="the exchange has ended meanwhile"),
    ignore(tuple(InviteePhase), events.UnexpectedMessage, because="the server says what was not asked for"),
), from_outside=get_args(FromServer), invariant=check)  # fmt: skip
