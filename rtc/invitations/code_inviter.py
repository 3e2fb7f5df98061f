"""Makes short codes for a program that is in a room, and gives the room to whoever types one: the Inviter's adapter.

It alone has the words of a code and the keys of an exchange. A code is forgotten when its exchange begins, so whatever
the server says or repeats, nobody gets a second guess at it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio
from attrs import define, field

from actors import events
from actors.actor import Actor
from actors.inviter import INVITER, InviterData
from actors.router import Route, Router
from protocol.faults import Fault, FaultCode
from protocol.invitations import (
    AskInvitation,
    InvitationDenied,
    InvitationKind,
    InvitationOpened,
    InvitedRoom,
    ProveInvitation,
    RefuseInvitation,
)
from rtc.common.errors import RtcError
from rtc.common.stories import make_actor
from rtc.invitations.code_exchange import ExchangeKeys, answer_joiner, is_proof_of
from rtc.invitations.derived_keys import BadShare
from rtc.invitations.sealed_room import seal_room
from rtc.invitations.short_code import NUMBER_MAX, ShortCode, make_code

CODE = InvitationKind.CODE
FOR_INVITER = (
    *(InvitationOpened, InvitationDenied, AskInvitation, ProveInvitation, RefuseInvitation),
    *(events.InviteWanted, events.ShareReady, events.ProofAccepted, events.ExchangeFailed),
    *(events.JoinedRoom, events.ServerDisconnected, events.Drain),
)
"""The types of events for the Inviter actor: from the server, from the exchange, and from the program."""
WRONG = Fault(
    FaultCode.AUTH_INVALID,
    "The code was not the right one: it has a typo, or somebody else has used it. It is void now; ask for a new one.",
)
"""What a joiner is told that has guessed wrong; the same for each way to be wrong."""
REASONS = {
    FaultCode.CANCELLED: "the other computer has gone, or this program ends",
    FaultCode.STALLED: "the other computer, or this one, took too long",
    FaultCode.SERVER_LOST: "the connection to the server was lost",
    FaultCode.VERSION: "the other computer has another version of sleap-rtc",
}
"""Why an exchange has ended. Only the code of a joiner's fault counts: its text may be of somebody who wants to be read
on this console."""

RoomSource = Callable[[], Awaitable[InvitedRoom]]
"""Returns the room that this program is in; raises `RtcError` if it cannot be given."""


class CodeReport(Protocol):
    """What becomes of a code, for the person; the methods return at once."""

    def code_opened(self, code: ShortCode, seconds: int) -> None: ...
    def code_used(self, event: events.InvitationUsed) -> None: ...
    def code_ended(self, event: events.InvitationEnded) -> None: ...


@define(eq=False)
class CodeInviter:
    """The codes of one program, one at a time."""

    router: Router
    room: RoomSource
    report: CodeReport
    actor: Actor[InviterData] = field(init=False)
    _code: ShortCode | None = field(default=None, init=False, repr=False)
    """The code that is open; None when nobody may use one."""
    _keys: tuple[int, ExchangeKeys] | None = field(default=None, init=False, repr=False)
    """The number and the keys of the exchange that runs."""
    _nursery: trio.Nursery | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.actor = make_actor(INVITER, InviterData(CODE), self.router.outbox)

    def routes(self) -> dict[type, tuple[Route, ...]]:
        """Return the methods to call for each event, and the inbox of the actor."""
        return dict.fromkeys(FOR_INVITER, (self.actor.inbox.put,)) | {
            events.InvitationReady: (self._show,),
            events.MakeShare: (self._make_share,),
            events.CheckProof: (self._check_proof,),
            events.InvitationUsed: (self._used,),
            events.InvitationEnded: (self._ended,),
        }

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the actor, and the arithmetic that it orders, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self.actor.run)
            task_status.started()

    @property
    def is_open(self) -> bool:
        """Whether there is a code that nobody has used yet."""
        return self._code is not None

    def invite(self) -> None:
        """Ask for a new code; the report tells what becomes of it."""
        self.router.outbox.put(events.InviteWanted(CODE))

    def _show(self, event: events.InvitationReady) -> None:
        """Make the words for the number that the server has given; those of a code that is still open stay."""
        if event.kind is not CODE:
            return
        if self._code is not None and self._code.number == event.number:
            return
        if event.number > NUMBER_MAX:  # the server is not one of ours
            self.actor.inbox.put(events.InvitationExpired())
            return
        self._code = make_code(event.number)
        self.report.code_opened(self._code, event.seconds or 0)

    def _make_share(self, event: events.MakeShare) -> None:
        if event.kind is CODE:
            code, self._code = self._code, None
            self._start(self._answer, event, code)

    def _check_proof(self, event: events.CheckProof) -> None:
        if event.kind is CODE:
            number, keys = self._keys or (0, None)
            self._keys = None
            self._start(self._give, event, keys if number == event.number else None)

    def _used(self, event: events.InvitationUsed) -> None:
        if event.kind is CODE:
            self._code = self._keys = None
            self.report.code_used(event)

    def _ended(self, event: events.InvitationEnded) -> None:
        if event.kind is CODE:
            self._code = self._keys = None
            self.report.code_ended(event)

    def _start(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        assert self._nursery is not None, "events come only while it runs"
        self._nursery.start_soon(work, *arguments)

    async def _answer(self, event: events.MakeShare, code: ShortCode | None) -> None:
        """Make our half of the exchange, in a thread."""
        answer: Any = events.ExchangeFailed(event.number, WRONG)
        if code is not None and code.number == event.number:
            try:
                share, keys = await trio.to_thread.run_sync(answer_joiner, code, event.name, event.share)
            except BadShare:
                pass
            else:
                self._keys, answer = (event.number, keys), events.ShareReady(event.number, share)
        self.router.outbox.put(answer)

    async def _give(self, event: events.CheckProof, keys: ExchangeKeys | None) -> None:
        """Check the proof; only if it is right, encrypt the room."""
        answer: Any = events.ExchangeFailed(event.number, WRONG)
        if keys is not None and is_proof_of(keys, event.proof):
            try:
                sealed = seal_room(await self.room(), keys.room, keys.transcript)
                answer = events.ProofAccepted(event.number, sealed)
            except RtcError as error:
                answer = events.ExchangeFailed(event.number, error.fault)
        self.router.outbox.put(answer)


def explain_used(event: events.InvitationUsed) -> str:
    """Return the sentence for the person whose code somebody has typed; the name is in quotes, as anybody may choose
    one that reads like a sentence of ours."""
    if event.fault is None:
        return f"The short code was used: {event.name!r} has this room now."
    if event.fault.code is FaultCode.AUTH_INVALID:
        return f"Somebody typed a wrong code, at a computer called {event.name!r}, so the code is void."
    reason = REASONS.get(event.fault.code, "the exchange has failed")
    return f"The short code was tried, at a computer called {event.name!r}, and is void: {reason}."


def explain_ended(event: events.InvitationEnded) -> str:
    """Return the sentence for the person whose code nobody has used."""
    return f"The short code is void: {event.fault.text}"
