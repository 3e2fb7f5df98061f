"""What a worker's person is told about its short codes: the first one is part of the banner, the rest are lines."""

import logging
from collections.abc import Callable

import trio
from attrs import define, field

from actors.events import InvitationEnded, InvitationUsed
from protocol.faults import FaultCode
from rtc.invitations.code_inviter import explain_ended, explain_used
from rtc.invitations.short_code import ShortCode

log = logging.getLogger("rtc.worker")

BANNER_TIME = 3.0
"""Seconds that the banner waits for the code; a server without codes does not hold it up for longer."""


@define(eq=False)
class WorkerCodeReport:
    """The code of one worker, for its banner and its console."""

    say: Callable[[str], None]
    """Prints one line for the person at the terminal."""
    prefix: str = ""
    """Written before each line."""
    invite_command: Callable[[], str] = lambda: "sleap-rtc room invite"
    """Returns the command that makes a new code for this worker's room."""
    _code: ShortCode | None = field(default=None, init=False, repr=False)
    _is_waiting: bool = field(default=False, init=False)
    _settled: trio.Event = field(factory=trio.Event, init=False)
    """Set when there is a code, or it is known that there is none."""

    async def first_code(self, invite: Callable[[], None]) -> ShortCode | None:
        """Ask for a code by `invite` and return it; None if there is none within `BANNER_TIME`."""
        self._is_waiting = True
        invite()
        with trio.move_on_after(BANNER_TIME):
            await self._settled.wait()
        self._is_waiting = False
        return self._code

    def code_opened(self, code: ShortCode, _seconds: int) -> None:
        """Keep the code for the banner; print it when the banner has not waited, or another one took its place."""
        self._code = code
        self._settled.set()
        if not self._is_waiting:
            self.say(f"{self.prefix}Short code, for ten minutes and one use: {code}")

    def code_used(self, event: InvitationUsed) -> None:
        """Say who has used the code, or has guessed wrong."""
        self._write(explain_used(event))

    def code_ended(self, event: InvitationEnded) -> None:
        """Say that the code is void; nothing at the end of the program, or about a server that has no codes."""
        is_news = self._code is not None and event.fault.code is not FaultCode.CANCELLED
        self._code = None
        self._settled.set()
        if is_news:
            self._write(explain_ended(event))
        else:
            log.info("no short code: %s", event.fault.text)

    def _write(self, text: str) -> None:
        self._code = None
        log.info("%s%s", self.prefix, text)
        self.say(f"{self.prefix}{text} A new one: {self.invite_command()}")
