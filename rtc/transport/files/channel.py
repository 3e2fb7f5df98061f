"""What a transfer needs from below, and the few things that both of its ends do alike."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import trio
from attrs import define, field

from protocol.faults import Fault, FaultCode
from protocol.transfer import FileAbort, FileMessage
from rtc.common.errors import RtcError
from rtc.common.nurseries import ungrouped

CREDIT_WINDOW = 4 * 1024 * 1024
"""Bytes that may be on their way unacknowledged; the wire's intake holds twice that."""
STALL_TIME = 60.0
"""Seconds without a piece, a credit or an answer after which a transfer is given up."""
MESSAGES_MAX = 64
"""Unread words of transfers. An honest other side has at most a dozen on their way."""

TRANSFER_LOST = "The connection to the other side was lost during the transfer. Try again."
CANCELLED = Fault(FaultCode.CANCELLED, "The other side has cancelled the transfer.")

ProgressCallback = Callable[[int, int], None]
"""Bytes done and bytes in all; called from trio, must not wait."""


class BulkLink(Protocol):
    """What files need of a link; `rtc.transport.links.link.Link` is one."""

    @property
    def pieces(self) -> trio.MemoryReceiveChannel[bytes]:
        """Binary frames in the order of their arrival; ends when the link does."""

    def send(self, message: Any) -> None:
        """Send a message of `protocol.transfer`. Never waits."""

    async def send_piece(self, frame: bytes) -> None:
        """Send a binary frame; waits while much is unsent. Raises RtcError when the link is over."""

    def when_lost(self, on_lost: Callable[[], None]) -> None:
        """Call `on_lost` when the link ends, or at once if it has."""

    def cut(self, fault: Fault) -> None:
        """End the link for this reason. Never waits."""


class Aborted(RtcError):
    """The other side has ended the transfer and knows why; there is nothing to tell it."""


@define(eq=False)
class FileChannel:
    """Words and pieces of one link; one transfer at a time. Another way for bulk replaces `send_piece` and `pieces`."""

    send: Callable[[FileMessage], None]
    messages: trio.MemoryReceiveChannel[FileMessage]
    """Ends when the link does."""
    send_piece: Callable[[bytes], Awaitable[None]]
    """Raises RtcError when the link is over."""
    pieces: trio.MemoryReceiveChannel[bytes]
    """Ends when the link does."""
    receive: Callable[[FileMessage], None] = field(default=lambda _message: None)
    """For the owner of the link: pass each FileWord on to this. Never waits."""
    latest: int = 0
    """The highest transfer number used so far, by either side; what is lower belongs to a transfer that has ended."""

    @classmethod
    def over(cls, link: BulkLink) -> "FileChannel":
        """The lane of a trusted link. Its words must be handed to `receive`; it ends when the link ends."""
        send, messages = trio.open_memory_channel[FileMessage](MESSAGES_MAX)

        def receive(message: FileMessage) -> None:
            try:
                send.send_nowait(message)
            except trio.WouldBlock:
                link.cut(Fault(FaultCode.STALLED, "More was said about files than was read."))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

        link.when_lost(send.close)
        return cls(link.send, messages, link.send_piece, link.pieces, receive)

    async def next_message(self, transfer: int) -> FileMessage:
        """What is said next about this transfer.

        Raises:
            Aborted: the other side has ended it.
            RtcError: LINK_LOST, or DAMAGED for words of a transfer that nobody began.
        """
        while True:
            try:
                message = await self.messages.receive()
            except trio.EndOfChannel:
                raise RtcError(FaultCode.LINK_LOST, TRANSFER_LOST) from None
            if message.transfer > transfer:
                raise damaged()
            if message.transfer < transfer:
                continue
            if isinstance(message, FileAbort):
                raise Aborted.of(message.fault)
            return message


def damaged(text: str = "The other side broke the rules of the transfer.") -> RtcError:
    """For everything that honest sides that fit each other never send."""
    return RtcError(FaultCode.DAMAGED, f"{text} Try again; if that does not help, check both sides' versions.")


def stalled() -> RtcError:
    """Nothing moved for `STALL_TIME`."""
    return RtcError(FaultCode.STALLED, f"The transfer did not move for {STALL_TIME:.0f} seconds. Try again.")


@contextmanager
def stall_timeout(extra_time: float = 0.0) -> Iterator[None]:
    """Raises STALLED when the body takes longer than `STALL_TIME`, and `extra_time` seconds where there is a reason."""
    with trio.move_on_after(STALL_TIME + extra_time) as scope:
        yield
    if scope.cancelled_caught:
        raise stalled()


@contextmanager
def abort_on_error(channel: FileChannel, transfer: int) -> Iterator[None]:
    """However the body fails, the other side is told, unless it knows."""
    fault: Fault | None = CANCELLED
    try:
        yield
        fault = None
    except Aborted:
        fault = None
        raise
    except RtcError as error:
        fault = error.fault
        raise
    finally:
        if fault is not None:
            channel.send(FileAbort(transfer, fault))


async def race(*runners: Callable[[], Awaitable[None]]) -> None:
    """Run all until the first of them ends or fails, then cancel the others.

    Raises:
        RtcError: that of the runner that failed first.
    """

    async def run(runner: Callable[[], Awaitable[None]]) -> None:
        await runner()
        nursery.cancel_scope.cancel()

    with ungrouped():
        async with trio.open_nursery() as nursery:
            for runner in runners:
                nursery.start_soon(run, runner)
