"""`sleap-rtc room invite`: joins a room as a client, shows a short code for it, and waits until it was used."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import trio
from attrs import define, field, frozen

from actors.events import (
    InvitationEnded,
    InvitationUsed,
    JoinedRoom,
    JoinFailed,
    JoinRoom,
    RoomCredentials,
    SendToServer,
    ServerDisconnected,
    WorkersChanged,
)
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import RoomId
from protocol.invitations import InvitedRoom
from protocol.signaling import Leave
from protocol.status import Role
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.config.load import Config
from rtc.invitations.code_inviter import CodeInviter, explain_ended, explain_used
from rtc.invitations.join_command import join_command
from rtc.invitations.short_code import ShortCode
from rtc.runtime.root import run_root, run_until_signal
from rtc.runtime.signaling_runtime import SignalingRuntime

LEAVE_TIME = 2.0
"""Seconds for the last messages to the server."""
NEW_CODE = "Run the command again for a new one."
NOBODY_CAME = f"Nobody has used the code in time, and it is void. {NEW_CODE}"


@frozen
class InviteOptions:
    """The options of `sleap-rtc room invite`."""

    config: Config
    room: RoomId
    token: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    """The room secret, which goes along if this computer knows it."""
    name: str = ""
    """What this computer calls the room; may be empty."""
    explain: Callable[[RtcError], RtcError] = lambda error: error
    """Adds to the reason why the room cannot be joined what can be done, if it is a remembered one."""

    def invited(self) -> InvitedRoom:
        """Return what the code gives."""
        return InvitedRoom(self.config.signaling_websocket, self.room, self.token, self.secret, self.name)


def run_invite(options: InviteOptions) -> int:
    """Print a code and wait until it is used or void; return the exit code."""
    hidden = (options.token, options.secret)
    return run_root("client", partial(run_until_signal, partial(_invite_and_print, options)), secrets=hidden)


async def _invite_and_print(options: InviteOptions) -> int:
    await invite(options, LineWriter(sys.stdout))
    return ExitCode.DONE


@define(eq=False)
class _Inviting:
    """One code, and what its person is told."""

    options: InviteOptions
    lines: LineWriter
    signaling: SignalingRuntime
    inviter: CodeInviter | None = None
    fault: Fault | None = None
    is_joined: bool = False
    is_shown: bool = False
    """Whether the person sees a code."""
    is_away: bool = False
    """Whether the person was told that the line to the server is lost."""
    done: trio.Event = field(factory=trio.Event)

    def start(self, _event: JoinedRoom) -> None:
        """Ask for the code when the room is joined for the first time; later the Inviter goes on by itself."""
        assert self.inviter is not None, "it exists before the room is joined"
        if not self.is_joined:
            self.is_joined = True
            self.inviter.invite()
        elif self.is_away:
            self.is_away = False
            self.lines.say("The line to the server is back.")

    def note_loss(self, event: ServerDisconnected) -> None:
        """Say, once for each loss, that nobody can use the code while the line to the server is lost."""
        assert self.inviter is not None, "it exists before the room is joined"
        if self.inviter.is_open and not self.is_away and not self.done.is_set():
            self.is_away = True
            self.lines.say(f"{event.text} The code works again when it is back; after a minute the code is void.")

    def fail(self, event: JoinFailed) -> None:
        """End because the room cannot be joined."""
        self._end(self.options.explain(RtcError.of(event.fault)).fault)

    def code_opened(self, code: ShortCode, seconds: int) -> None:
        """Print the code and how to use it."""
        minutes, self.is_shown = max(1, seconds // 60), True
        self.lines.say(
            f"{code}\n\nOn the other computer, once, and within {minutes} minutes:\n\n"
            f"  {join_command(code, self.options.config.signaling_websocket)}\n\n"
            "Waiting for it. Ctrl-C makes the code void."
        )

    def code_used(self, event: InvitationUsed) -> None:
        """Say who has used the code, or end with the reason why it is void."""
        if event.fault is None:
            self.lines.say(f"{event.name!r} has the room now.")
            self._end(None)
        else:
            self._end(Fault(event.fault.code, f"{explain_used(event)} {NEW_CODE}"))

    def code_ended(self, event: InvitationEnded) -> None:
        """End with the reason why there is no code any more."""
        if event.fault.code is FaultCode.STALLED:
            self._end(Fault(FaultCode.NO_WORKER, NOBODY_CAME))
        elif self.is_shown:
            self._end(Fault(event.fault.code, f"{explain_ended(event)} {NEW_CODE}"))
        else:
            self._end(event.fault)

    def _end(self, fault: Fault | None) -> None:
        if not self.done.is_set():
            self.fault = fault
            self.done.set()


async def invite(options: InviteOptions, lines: LineWriter) -> None:
    """Show a code for a room, and return when it was used.

    Raises:
        RtcError: the room cannot be joined, or the code is void. NO_WORKER: nobody has used it in time. AUTH_INVALID:
            somebody has guessed wrong.
    """
    router = Router({})
    inviting = _Inviting(options, lines, SignalingRuntime(options.config, router))
    inviting.inviter = CodeInviter(router, partial(_room, options), inviting)
    async with trio.open_nursery() as nursery:
        router.routes = _routes(inviting, inviting.inviter)
        await nursery.start(router.run)
        await nursery.start(inviting.inviter.run)
        await inviting.signaling.open(nursery, nursery)
        credentials = RoomCredentials(Role.CLIENT, options.room, options.token)
        router.outbox.put(JoinRoom(credentials, options.config.connection_timeout))
        await inviting.done.wait()
        with trio.move_on_after(LEAVE_TIME):
            router.outbox.put(SendToServer(Leave()))
            await inviting.signaling.finish()
        nursery.cancel_scope.cancel()
    if inviting.fault is not None:
        raise RtcError.of(inviting.fault)


async def _room(options: InviteOptions) -> InvitedRoom:
    return options.invited()


def _routes(inviting: _Inviting, inviter: CodeInviter) -> dict[type, Any]:
    """Return the routes of the program."""
    routes: dict[type, tuple[Any, ...]] = {WorkersChanged: ()}
    for more in (inviting.signaling.routes(), inviter.routes()):
        for kind, receivers in more.items():
            routes[kind] = (*routes.get(kind, ()), *receivers)
    routes[JoinedRoom] = (*routes[JoinedRoom], inviting.start)
    routes[ServerDisconnected] = (*routes[ServerDisconnected], inviting.note_loss)
    return routes | {JoinFailed: (inviting.fail,)}
