"""The file channel of a link, and the helpers that the sender and the receiver of a file share."""

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
"""Bytes that may be in flight without new credit. The peer connection's receive queue for bulk frames
(`BULK_QUEUE_MAX`) holds more than twice as much."""
STALL_TIME = 60.0
"""Seconds without a piece, a credit or an answer, after which a transfer fails with STALLED."""
MESSAGES_MAX = 64
"""Maximum number of received file messages that are not read yet; one more ends the link with STALLED. A peer that
follows the protocol has at most a dozen in flight."""

TRANSFER_LOST = "The connection to the other side was lost during the transfer. Try again."
CANCELLED = Fault(FaultCode.CANCELLED, "The other side has cancelled the transfer.")

ProgressCallback = Callable[[int, int], None]
"""Called with the bytes done and the total bytes of the file; called from trio, must not wait."""


class FileLink(Protocol):
    """The part of a link that a file channel uses; `rtc.transport.links.link.Link` implements it."""

    @property
    def pieces(self) -> trio.MemoryReceiveChannel[bytes]:
        """Received binary frames, in order; the channel ends when the link ends."""

    def send(self, message: Any) -> None:
        """Send a message of `protocol.transfer`. Never waits."""

    async def send_piece(self, frame: bytes) -> None:
        """Send a binary frame; wait while the send buffer is above its high mark.

        Raises:
            RtcError: the link has ended.
        """

    def when_lost(self, on_lost: Callable[[], None]) -> None:
        """Call `on_lost` when the link ends, or at once if it has ended already."""

    def cut(self, fault: Fault) -> None:
        """End the link and report `fault` as the reason. Never waits."""


class Aborted(RtcError):
    """The peer has aborted the transfer; it knows the reason, so no FileAbort is sent back."""


@define(eq=False)
class FileChannel:
    """File messages and file pieces of one link; one transfer at a time.

    To carry pieces over another transport, replace `send_piece` and `pieces`.
    """

    send: Callable[[FileMessage], None]
    """Sends a message on the control channel. Never waits."""
    messages: trio.MemoryReceiveChannel[FileMessage]
    """Received file messages; ends when the link ends."""
    send_piece: Callable[[bytes], Awaitable[None]]
    """Sends a binary frame. Raises RtcError when the link has ended."""
    pieces: trio.MemoryReceiveChannel[bytes]
    """Received binary frames; ends when the link ends."""
    put_message: Callable[[FileMessage], None] = field(default=lambda _message: None)
    """Adds a received message to `messages`; the owner of the link calls it with every `FileMessage`. Never waits."""
    last_transfer: int = 0
    """The highest transfer number that either side has used; messages with a lower number belong to ended transfers."""

    @classmethod
    def over(cls, link: FileLink) -> "FileChannel":
        """Return the file channel of an authenticated link.

        The owner of the link must pass each received `FileMessage` to `put_message`. The channel ends with the link.
        """
        send, messages = trio.open_memory_channel[FileMessage](MESSAGES_MAX)

        def put_message(message: FileMessage) -> None:
            try:
                send.send_nowait(message)
            except trio.WouldBlock:
                link.cut(Fault(FaultCode.STALLED, "The other side sent more messages about files than were read."))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

        link.when_lost(send.close)
        return cls(link.send, messages, link.send_piece, link.pieces, put_message)

    async def next_message(self, transfer: int) -> FileMessage:
        """Return the next message about this transfer; messages of earlier transfers are dropped.

        Raises:
            Aborted: the peer has aborted the transfer.
            RtcError: LINK_LOST; or DAMAGED, for a message with a transfer number that has not been used yet.
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
    """Return a DAMAGED error, for input that a peer which follows the protocol never sends."""
    return RtcError(FaultCode.DAMAGED, f"{text} Try again; if that does not help, check both sides' versions.")


def stalled() -> RtcError:
    """Return the STALLED error of a transfer that made no progress for `STALL_TIME`."""
    return RtcError(FaultCode.STALLED, f"The transfer did not move for {STALL_TIME:.0f} seconds. Try again.")


@contextmanager
def stall_timeout(extra_time: float = 0.0) -> Iterator[None]:
    """Limit the body to `STALL_TIME` plus `extra_time` seconds.

    Raises:
        RtcError: STALLED, when the body takes longer.
    """
    with trio.move_on_after(STALL_TIME + extra_time) as scope:
        yield
    if scope.cancelled_caught:
        raise stalled()


@contextmanager
def abort_on_error(channel: FileChannel, transfer: int) -> Iterator[None]:
    """Send a FileAbort when the body fails or is cancelled, unless the peer itself has aborted the transfer."""
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
    """Run all `runners` until the first of them returns or fails, then cancel the others.

    Raises:
        RtcError: the error of the runner that failed first.
    """

    async def run(runner: Callable[[], Awaitable[None]]) -> None:
        await runner()
        nursery.cancel_scope.cancel()

    with ungrouped():
        async with trio.open_nursery() as nursery:
            for runner in runners:
                nursery.start_soon(run, runner)
