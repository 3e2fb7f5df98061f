"""The Inviter: one invitation into our room at a time, of one kind, and the exchange with whoever asks for it.

While there is no invitation, it is available; while one is open, reserved; while somebody asks for the room, busy. An
invitation survives a short loss of the connection to the server: it is opened again under its number. An exchange does
not, and whatever comes of an exchange, the invitation is used up: who has guessed wrong gets no second guess.

The arithmetic, the words of the code and the person are in the adapter (`rtc/invitations/`): the Inviter orders
`MakeShare` and `CheckProof`, and sends the room only after `ProofAccepted`.
"""

from typing import get_args

from attrs import evolve, frozen

from actors import events
from actors.phase import AVAILABLE, BUSY, RESERVED, Phase
from actors.table import SAME, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.invitations import (
    AnswerInvitation,
    AskInvitation,
    CloseInvitation,
    GiveInvitation,
    InvitationDenied,
    InvitationKind,
    InvitationNews,
    InvitationOpened,
    OpenInvitation,
    ProveInvitation,
    RefuseInvitation,
)

REPLY_TIME = 10.0
"""Seconds in which the server has to open an invitation."""
CODE_TIME = 600
"""Seconds for which a code is good at most, whatever the server says."""
EXCHANGE_TIME = 30.0
"""Seconds for each step of an exchange between two programs."""
PERSON_TIME = 60.0
"""Seconds in which a person has to agree. Less than what the server gives to the whole exchange."""
EXPIRY = "invitation"
"""The name of the deadline after which the invitation is good no more."""


class InviterPhase(Phase):
    """Where one invitation is on its way."""

    IDLE = "idle", AVAILABLE
    OPENING = "opening", RESERVED
    OPEN = "open", RESERVED
    AWAY = "away", RESERVED
    """The connection to the server is down; the invitation is opened again when we are back in the room."""
    ANSWERING = "answering", BUSY
    AWAITING_PROOF = "awaiting proof", BUSY
    CHECKING = "checking", BUSY


IDLE, OPENING, OPEN, AWAY = InviterPhase.IDLE, InviterPhase.OPENING, InviterPhase.OPEN, InviterPhase.AWAY
ANSWERING, AWAITING_PROOF, CHECKING = InviterPhase.ANSWERING, InviterPhase.AWAITING_PROOF, InviterPhase.CHECKING
WAITING = OPENING, OPEN, AWAY
"""The phases in which nobody has asked yet."""
EXCHANGE = ANSWERING, AWAITING_PROOF, CHECKING


@frozen
class InviterData:
    """What the Inviter remembers."""

    kind: InvitationKind
    number: int | None = None
    """The number of the invitation; None before the server has given one."""
    name: str = ""
    """What the joiner calls itself, during an exchange."""


def check(phase: Phase, data: InviterData) -> None:
    """Raise AssertionError if the Inviter can never be in this phase with this data."""
    assert (phase in (OPEN, *EXCHANGE)) <= (data.number is not None), "an open invitation has a number"
    assert (phase is IDLE) <= (data.number is None), "an invitation that has ended is forgotten"


# -------- guards


def is_of_our_kind(data: InviterData, event: events.InviteWanted | InvitationOpened | InvitationDenied) -> bool:
    """Return whether this is about the kind of invitations that this Inviter makes."""
    return event.kind is data.kind


def is_ours(
    data: InviterData,
    event: AskInvitation
    | ProveInvitation
    | RefuseInvitation
    | events.ShareReady
    | events.ProofAccepted
    | events.ExchangeFailed,
) -> bool:
    """Return whether this is about our invitation."""
    return event.number == data.number


# -------- opening and closing


def _open(data: InviterData) -> events.SendToServer:
    return events.SendToServer(OpenInvitation(data.kind, data.number))


def open_invitation(data: InviterData, _event: events.InviteWanted | events.JoinedRoom) -> Step[InviterData]:
    """Ask the server to open an invitation; after a loss of the connection, the one that was open before."""
    return Step(data, (_open(data), events.StateTimeout(REPLY_TIME)))


def report_ready(data: InviterData, event: InvitationOpened) -> Step[InviterData]:
    """Report the number of the open invitation, and let it expire in time.

    One that is opened again expires when it would have expired anyway: no server can make it last longer.
    """
    seconds = event.seconds
    if data.kind is InvitationKind.CODE:
        seconds = CODE_TIME if seconds is None else min(seconds, CODE_TIME)
    ready = events.InvitationReady(data.kind, event.number, seconds)
    is_new = event.number != data.number
    expiry = () if seconds is None or not is_new else (events.Deadline(EXPIRY, seconds, events.InvitationExpired()),)
    return Step(evolve(data, number=event.number), (*expiry, ready))


def _ended(data: InviterData, fault: Fault, *, close: bool = False) -> Step[InviterData]:
    """Forget the invitation and report why it has ended.

    Args:
        close: whether the server has to be told.
    """
    number = data.number
    closing = (events.SendToServer(CloseInvitation(number)),) if close and number is not None else ()
    return Step(InviterData(data.kind), (*closing, events.InvitationEnded(data.kind, fault)))


def report_denied(data: InviterData, event: InvitationDenied | RefuseInvitation) -> Step[InviterData]:
    """Report why the server opens no invitation, or has closed it."""
    return _ended(data, event.fault)


def report_unanswered(data: InviterData, _event: events.TimedOut) -> Step[InviterData]:
    """Report that the server does not say whether the invitation is open."""
    text = (
        f"The server did not answer within {REPLY_TIME:.0f} seconds. It may be too old for this: use the session"
        " string, or ask for the server to be updated."
    )
    return _ended(data, Fault(FaultCode.SERVER_LOST, text), close=True)


def close_unwanted(data: InviterData, event: InvitationOpened) -> Step[InviterData]:
    """Close an invitation that the server has opened after we gave up."""
    return Step(data, (events.SendToServer(CloseInvitation(event.number)),))


def report_expired(data: InviterData, _event: events.InvitationExpired) -> Step[InviterData]:
    """Close the invitation, because its time is over."""
    return _ended(data, Fault(FaultCode.STALLED, "Nobody has used it in time."), close=True)


def close_at_end(data: InviterData, _event: events.Drain) -> Step[InviterData]:
    """Close the invitation, because this program ends."""
    return _ended(data, Fault(FaultCode.CANCELLED, "The program that shows it ends."), close=True)


# -------- the exchange


def make_share(data: InviterData, event: AskInvitation) -> Step[InviterData]:
    """Order our half of the exchange."""
    order = events.MakeShare(data.kind, event.number, event.name, event.share)
    return Step(evolve(data, name=event.name), (order, events.StateTimeout(EXCHANGE_TIME)))


def send_answer(data: InviterData, event: events.ShareReady) -> Step[InviterData]:
    """Send our half to the joiner, and wait for its proof."""
    answer = AnswerInvitation(event.number, event.share)
    return Step(data, (events.SendToServer(answer), events.StateTimeout(EXCHANGE_TIME)))


def check_proof(data: InviterData, event: ProveInvitation) -> Step[InviterData]:
    """Order the check of the joiner's proof, which may have to wait for the person."""
    patience = EXCHANGE_TIME if data.kind is InvitationKind.CODE else PERSON_TIME
    return Step(data, (events.CheckProof(data.kind, event.number, event.proof), events.StateTimeout(patience)))


def give_room(data: InviterData, event: events.ProofAccepted) -> Step[InviterData]:
    """Send the room to the joiner, encrypted."""
    give = events.SendToServer(GiveInvitation(event.number, event.sealed))
    return Step(InviterData(data.kind), (give, events.InvitationUsed(data.kind, data.name)))


def _used(data: InviterData, fault: Fault, *, refuse: bool) -> Step[InviterData]:
    """Forget the invitation and report that the exchange has failed.

    Args:
        refuse: whether the joiner has to be told.
    """
    assert data.number is not None, "the phases of an exchange have it"
    refusal = (events.SendToServer(RefuseInvitation(data.number, fault)),) if refuse else ()
    return Step(InviterData(data.kind), (*refusal, events.InvitationUsed(data.kind, data.name, fault)))


def refuse_joiner(data: InviterData, event: events.ExchangeFailed) -> Step[InviterData]:
    """Refuse the joiner: its half or its proof is wrong, or the person does not want it."""
    return _used(data, event.fault, refuse=True)


def refuse_late(data: InviterData, _event: events.TimedOut) -> Step[InviterData]:
    """Refuse the joiner, because it has not proved anything in time, or nobody has agreed."""
    return _used(data, Fault(FaultCode.STALLED, "The exchange took too long. Ask for a new invitation."), refuse=True)


def report_refusal(data: InviterData, event: RefuseInvitation) -> Step[InviterData]:
    """Report that the joiner has given up, or is gone."""
    return _used(data, event.fault, refuse=False)


def report_cut(data: InviterData, event: events.ServerDisconnected) -> Step[InviterData]:
    """Report that the connection was lost during the exchange."""
    return _used(data, Fault(FaultCode.SERVER_LOST, event.text), refuse=False)


def refuse_at_end(data: InviterData, _event: events.Drain) -> Step[InviterData]:
    """Refuse the joiner, because this program ends."""
    return _used(data, Fault(FaultCode.CANCELLED, "The program that invites ends. Ask for a new one."), refuse=True)


def keep_number(data: InviterData, _event: events.ServerDisconnected) -> Step[InviterData]:
    """Remember the invitation until we are back in the room."""
    return Step(data)


# -------- the table

INVITER: Table[InviterData] = Table("inviter", IDLE, (
    #   in             event                      next            action
    row(IDLE,          events.InviteWanted,       OPENING,        open_invitation, when=is_of_our_kind),
    row(OPENING,       InvitationOpened,          OPEN,           report_ready, when=is_of_our_kind),
    row(OPENING,       InvitationDenied,          IDLE,           report_denied, when=is_of_our_kind),
    row(OPENING,       events.TimedOut,           IDLE,           report_unanswered),
    row(IDLE,          InvitationOpened,          SAME,           close_unwanted, when=is_of_our_kind),
    row(WAITING,       events.InvitationExpired,  IDLE,           report_expired),
    row(WAITING,       events.Drain,              IDLE,           close_at_end),
    row(OPEN,          RefuseInvitation,          IDLE,           report_denied, when=is_ours),

    # the connection to the server
    row((OPENING, OPEN), events.ServerDisconnected, AWAY,         keep_number),
    row((AWAY, OPENING), events.JoinedRoom,       OPENING,        open_invitation),
    row(EXCHANGE,      events.ServerDisconnected, IDLE,           report_cut),

    # the exchange
    row(OPEN,          AskInvitation,             ANSWERING,      make_share, when=is_ours),
    row(ANSWERING,     events.ShareReady,         AWAITING_PROOF, send_answer, when=is_ours),
    row(AWAITING_PROOF, ProveInvitation,          CHECKING,       check_proof, when=is_ours),
    row(CHECKING,      events.ProofAccepted,      IDLE,           give_room, when=is_ours),
    row((ANSWERING, CHECKING), events.ExchangeFailed, IDLE,       refuse_joiner, when=is_ours),
    row(EXCHANGE,      RefuseInvitation,          IDLE,           report_refusal, when=is_ours),
    row(EXCHANGE,      events.TimedOut,           IDLE,           refuse_late),
    row(EXCHANGE,      events.Drain,              IDLE,           refuse_at_end),

    ignore(tuple(InviterPhase), events.InviteWanted,
           because="another Inviter makes invitations of this kind, or there is one already"),
    ignore((IDLE, OPENING), InvitationOpened, because="another Inviter has asked for it"),
    ignore(OPENING, InvitationDenied, because="another Inviter has asked for it"),
    ignore(OPEN, AskInvitation, because="it is for another Inviter"),
    ignore(AWAITING_PROOF, ProveInvitation, because="it is for another Inviter"),
    ignore((OPEN, *EXCHANGE), RefuseInvitation, because="it is for another Inviter, or the exchange has ended"),
    ignore(EXCHANGE, events.InvitationExpired, because="an exchange that has begun in time may end"),
    ignore((IDLE, OPENING, OPEN, AWAY, AWAITING_PROOF), events.ShareReady, events.ProofAccepted, events.ExchangeFailed,
           because="the exchange has ended meanwhile"),
    ignore(ANSWERING, events.ShareReady, events.ExchangeFailed, because="an earlier exchange has ended meanwhile"),
    ignore(ANSWERING, events.ProofAccepted, because="an earlier exchange has ended meanwhile"),
    ignore(CHECKING, events.ProofAccepted, events.ExchangeFailed, because="an earlier exchange has ended meanwhile"),
    ignore(CHECKING, events.ShareReady, because="an earlier exchange has ended meanwhile"),
    ignore((IDLE, AWAY), events.ServerDisconnected, because="another try to connect has failed, or nothing is open"),
    ignore(IDLE, events.JoinedRoom, events.Drain, because="nothing is open"),
    ignore(tuple(InviterPhase), events.UnexpectedMessage, because="the server says what was not asked for"),
), from_outside=get_args(InvitationNews), invariant=check)  # fmt: skip
