"""One WebRTC peer connection with two pre-negotiated data channels, "control" and "bulk", and nothing else.

Both sides create the same pre-negotiated channels (RFC 8832, section 4), so offerer and answerer run the same code.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from aiortc import RTCConfiguration, RTCIceTransportPolicy, RTCPeerConnection, RTCSessionDescription
from cryptography.hazmat.primitives.hashes import SHA256

from protocol.faults import Fault, FaultCode
from protocol.signaling import SDP_MAX
from rtc.common.errors import RtcError
from rtc.config.ice_servers import IcePlan
from rtc.transport.webrtc.asyncio_loop import AsyncioLoop
from rtc.transport.webrtc.batched_reads import read_in_batches
from rtc.transport.webrtc.data_channel import DataChannel
from rtc.transport.webrtc.failure_reasons import IceDiagnostics, why_no_candidates, why_no_path
from rtc.transport.webrtc.ice_checks import IceChecks, order_checks
from rtc.transport.webrtc.ice_gathering import GatheredCandidates, gather_candidates
from rtc.transport.webrtc.receive_limit import limit_receive
from rtc.transport.webrtc.sdp import UNREADABLE, read_description, with_sha256_alone

T = TypeVar("T")

GATHER_TIME = 8.0
"""Seconds to prepare our description. ICE gathering takes at most 3 of them; the rest is reserve for a busy machine."""
CLOSE_TIME = 2.0
"""Seconds a connection may take to close; with a silent TURN server aiortc alone would take more than 10."""
BULK_HIGH, BULK_LOW = 1024 * 1024, 256 * 1024
"""Bytes in the send buffer of the bulk channel: senders wait above the first and go on at the second. Measured: larger
values only cost memory."""
CONTROL_HIGH, CONTROL_LOW = 256 * 1024, 64 * 1024
"""The same two limits for the control channel."""
CONTROL_QUEUE_MAX = 1024 * 1024
"""Bytes of received control messages that may wait unread; more cuts the connection."""
BULK_QUEUE_MAX = 16 * 1024 * 1024
"""Bytes of received bulk frames that may wait unread; more cuts the connection. Enough for the rest of one credit
window and a whole second one, with the cost of each item."""

NO_ICE_SERVERS = IcePlan()

UNPREPARED = "This machine's half of the connection could not be prepared. Check its network, then try again."
SENTENCES = {
    FaultCode.LINK_LOST: "The connection to the other side was lost. Try again.",
    FaultCode.STALLED: "The other side sent more than could be read, so the connection was cut. Try again.",
    FaultCode.BAD_MESSAGE: "The other side sent something that does not belong here. Check that both sides run "
    "the same version.",
}


def _sendable(sdp: str) -> str:
    """Return our own description if it fits into a message.

    Raises:
        RtcError: LINK_FAILED: it is too long.
    """
    if len(sdp) > SDP_MAX:
        text = "This computer has so many network addresses that a link cannot offer them all. Switch some off."
        raise RtcError(FaultCode.LINK_FAILED, text)
    return sdp


class PeerConnection:
    """One `RTCPeerConnection`, trio-flavoured.

    The offerer calls `offer` and `accept_answer`, the answerer calls `answer`; then both call `wait_open`. When the
    connection ends, for whatever reason, the receive queues `control` and `bulk` end.
    """

    def __init__(self, asyncio_loop: AsyncioLoop, plan: IcePlan = NO_ICE_SERVERS) -> None:
        self._asyncio_loop = asyncio_loop
        self._plan = plan
        self._gathered = GatheredCandidates()
        self._checks: IceChecks | None = None
        self._ice_completed = False
        self._context = asyncio_loop.register(self)
        self._control = DataChannel(self, str, queue_max=CONTROL_QUEUE_MAX, high=CONTROL_HIGH, low=CONTROL_LOW)
        self._bulk = DataChannel(self, bytes, queue_max=BULK_QUEUE_MAX, high=BULK_HIGH, low=BULK_LOW)
        self.control = self._control.queue
        self.bulk = self._bulk.queue
        self.fault: Fault | None = None
        """The reason why the connection has ended; LINK_LOST when no other is known."""
        self.ended = trio.Event()
        self._closing = False
        self._closed = trio.Event()
        self._settled = trio.Event()
        """Set when both data channels are open, or the connection has ended."""
        self._negotiation: trio.CancelScope | None = None
        self._pc: RTCPeerConnection | None = None
        self._announced_fingerprint: bytes | None = None
        self._verified_fingerprint: bytes | None = None
        self._path_kind = "none"

    async def offer(self) -> str:
        """Gather ICE candidates and return the SDP offer; the peer's answer must be passed to `accept_answer`.

        Raises:
            RtcError: LINK_FAILED, when the offer cannot be made or has no candidate.
        """
        return _sendable(await self._negotiate(self._make_offer, UNPREPARED))

    async def answer(self, offer: str) -> str:
        """Gather ICE candidates and return the SDP answer to the peer's `offer`, which may be any text.

        Raises:
            RtcError: LINK_FAILED, when the offer is not acceptable, or the answer cannot be made or has no candidate.
        """
        return _sendable(await self._negotiate(self._make_answer, UNREADABLE, offer))

    async def accept_answer(self, answer: str) -> None:
        """Apply the peer's SDP answer to our offer; it may be any text.

        Raises:
            RtcError: LINK_FAILED, when the answer is not acceptable.
        """
        await self._negotiate(self._apply_answer, UNREADABLE, answer)

    async def wait_open(self, timeout: float) -> None:
        """Wait until both data channels are open, at most `timeout` seconds.

        Raises:
            RtcError: LINK_FAILED, when they do not open, or when the certificate verified by DTLS is not the announced
                one; STALLED or BAD_MESSAGE, when the peer's messages have ended the connection already.
        """
        started_at = trio.current_time()
        with trio.move_on_after(timeout):
            await self._settled.wait()
        if self.fault is not None and self.fault.code is not FaultCode.LINK_LOST:
            raise RtcError.of(self.fault)
        if self.over or not self._settled.is_set():
            raise RtcError(FaultCode.LINK_FAILED, why_no_path(self._diagnostics(trio.current_time() - started_at)))
        if self._verified_fingerprint != self._announced_fingerprint:
            raise RtcError(FaultCode.LINK_FAILED, "The other side's certificate is not the one it announced.")

    @property
    def over(self) -> bool:
        """Whether the connection has ended, for whatever reason."""
        return self.ended.is_set()

    @property
    def local_fingerprint(self) -> bytes:
        """SHA-256 of this side's DTLS certificate."""
        fingerprints = self._dtls().getLocalParameters().fingerprints
        return bytes.fromhex(next(p.value for p in fingerprints if p.algorithm == "sha-256").replace(":", ""))

    @property
    def remote_fingerprint(self) -> bytes:
        """SHA-256 of the certificate that the peer presented in the DTLS handshake.

        Raises:
            RtcError: LINK_FAILED, before the connection is open.
        """
        if self._verified_fingerprint is None:
            raise RtcError(FaultCode.LINK_FAILED, SENTENCES[FaultCode.LINK_LOST])
        return self._verified_fingerprint

    @property
    def path_kind(self) -> str:
        """Kind of path: "direct", or "relayed" when the nominated pair uses a TURN server; "none" before it is open."""
        return self._path_kind

    @property
    def last_received_at(self) -> float:
        """Time of the last message on either channel (trio's clock)."""
        return max(self.control.last_received_at, self.bulk.last_received_at)

    async def send_control(self, text: str) -> None:
        """Send on the control channel; wait while more than `CONTROL_HIGH` bytes are unsent.

        Raises:
            RtcError: LINK_LOST, when the connection has ended or is not open.
        """
        await self._control.send(text)

    async def send_bulk(self, frame: bytes) -> None:
        """Send on the bulk channel; wait while more than `BULK_HIGH` bytes are unsent.

        Raises:
            RtcError: LINK_LOST, when the connection has ended or is not open.
        """
        await self._bulk.send(frame)

    async def finish(self) -> None:
        """Close both channels; return when the peer has received everything, or the connection has ended.

        This waits as long as the peer is silent; the caller must set a time-out. A stream reset (RFC 6525)
        follows the last message, so the answer to the reset confirms that all earlier messages have arrived.
        """
        if not self._control.open or not self._bulk.open:
            return
        for channel in (self._control, self._bulk):
            self.post(channel.close)
        await self._control.closed.wait()
        await self._bulk.closed.wait()

    async def aclose(self) -> None:
        """Close the connection; takes at most `CLOSE_TIME` seconds, also while connecting. May be called again."""
        if self._closing:
            await self._closed.wait()
            return
        self._closing = True
        if self._negotiation is not None:
            self._negotiation.cancel()
        self.fail()
        try:
            with trio.CancelScope(shield=True):
                await self._close_connection()
        finally:
            self._asyncio_loop.unregister(self._context)
            self._closed.set()

    async def _close_connection(self) -> None:
        if self._pc is None:
            return
        try:
            await self._asyncio_loop.run(
                self._context, self._pc.close, timeout=CLOSE_TIME, error_text="It did not close."
            )
        except RtcError:
            for protocol in self._dtls().transport._connection._protocols:
                protocol.transport.close()  # aioice did not close them in time, and they would stay open

    # -------- called by the data channels and the asyncio loop, on the loop

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Schedule an asyncio-flavoured function on the asyncio loop. Never waits."""
        self._asyncio_loop.post(self._context, callback, *args)

    def channel_opened(self) -> None:
        """Handle the opening of a data channel; the connection is open when both channels are."""
        if not (self._control.open and self._bulk.open):
            return
        dtls = self._dtls()
        self._verified_fingerprint = dtls._ssl.get_peer_certificate(as_cryptography=True).fingerprint(SHA256())
        pair = dtls.transport._connection._nominated[1]
        relayed = "relay" in (pair.local_candidate.type, pair.remote_candidate.type)
        self._path_kind = "relayed" if relayed else "direct"
        read_in_batches(pair.protocol)
        self._settled.set()

    def channel_closed(self) -> None:
        """Handle the closing of a data channel; the connection ends only when both are closed.

        Messages in flight on the other channel must arrive first.
        """
        if self._control.closed.is_set() and self._bulk.closed.is_set():
            self.fail()

    def fail(self, code: FaultCode = FaultCode.LINK_LOST) -> None:
        """End the connection for the reason `code`; only the first call counts. Never waits."""
        if self.over:
            return
        self.fault = Fault(code, SENTENCES[code])
        self.ended.set()
        self._settled.set()
        for channel in (self._control, self._bulk):
            channel.queue.end()
            channel.wake()
        if self._pc is not None:
            self.post(self._close_soon)  # at once, so that the peer notices before our owner calls `aclose`

    # -------- asyncio-flavoured

    def _close_soon(self) -> None:
        if self._pc is not None:
            self._asyncio_loop.spawn(self._pc.close)

    def _create_connection(self) -> RTCPeerConnection:
        """Create the `RTCPeerConnection` with its data channels, and install our changes to aiortc and aioice in it."""
        policy = RTCIceTransportPolicy.RELAY if self._plan.relay_only else RTCIceTransportPolicy.ALL
        # No servers here: aiortc uses only the first ones, and a server of its own choice when the list is missing.
        # `gather_candidates` uses those of the plan.
        pc = self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[], iceTransportPolicy=policy))
        pc.on("connectionstatechange", lambda: self.fail() if pc.connectionState in ("failed", "closed") else None)
        pc.on("iceconnectionstatechange", self._on_ice_state)
        self._control.attach(pc.createDataChannel("control", negotiated=True, id=0))
        self._bulk.attach(pc.createDataChannel("bulk", negotiated=True, id=1))
        limit_receive(pc, lambda: self.fail(FaultCode.BAD_MESSAGE))
        connection = self._dtls().transport._connection
        self._gathered = gather_candidates(connection, self._plan)
        self._checks = order_checks(connection)
        return pc

    def _on_ice_state(self) -> None:
        self._ice_completed = self._ice_completed or (
            self._pc is not None and self._pc.iceConnectionState == "completed"
        )

    def _diagnostics(self, seconds: float = 0.0) -> IceDiagnostics:
        """Return what ICE has observed so far; `seconds` is the time waited."""
        connection = self._dtls().transport._connection
        return IceDiagnostics(
            gathered=self._gathered,
            relay_only=self._plan.relay_only,
            local_candidates=len(connection.local_candidates),
            remote_candidates=len(connection.remote_candidates),
            check_received=self._checks is not None and self._checks.check_received,
            nominated=self._ice_completed,
            seconds=seconds,
        )

    def _check_has_candidates(self) -> None:
        if self.over:
            raise RtcError(FaultCode.LINK_FAILED, SENTENCES[FaultCode.LINK_LOST])
        reason = why_no_candidates(self._diagnostics())
        if reason is not None:
            raise RtcError(FaultCode.LINK_FAILED, reason)

    async def _make_offer(self) -> str:
        pc = self._create_connection()
        await pc.setLocalDescription(await pc.createOffer())
        self._check_has_candidates()
        return with_sha256_alone(pc.localDescription.sdp)

    async def _make_answer(self, offer: str) -> str:
        description = read_description(offer)
        self._announced_fingerprint = description.fingerprint
        pc = self._create_connection()
        await pc.setRemoteDescription(RTCSessionDescription(description.sdp, "offer"))
        await pc.setLocalDescription(await pc.createAnswer())
        self._check_has_candidates()
        return with_sha256_alone(pc.localDescription.sdp)

    async def _apply_answer(self, answer: str) -> None:
        description = read_description(answer)
        self._announced_fingerprint = description.fingerprint
        if self._pc is None:
            raise RuntimeError("accept_answer before offer")
        await self._pc.setRemoteDescription(RTCSessionDescription(description.sdp, "answer"))

    async def _negotiate(self, make_coroutine: Callable[..., Coroutine[Any, Any, T]], error_text: str, *args: str) -> T:
        """Run one step of the negotiation on the asyncio loop; `aclose` cancels it.

        Raises:
            RtcError: LINK_FAILED: with `error_text`, or after `GATHER_TIME`, or when the connection has ended.
        """
        if self.over:
            raise RtcError(FaultCode.LINK_FAILED, SENTENCES[FaultCode.LINK_LOST])
        with trio.CancelScope() as self._negotiation:
            return await self._asyncio_loop.run(
                self._context,
                make_coroutine,
                *args,
                timeout=GATHER_TIME,
                error_text=error_text,
                silence_text=f"This machine's half of the connection was not prepared within {GATHER_TIME:g} seconds. "
                "It is very busy, or its network hangs. Try again.",
            )
        raise RtcError(FaultCode.LINK_FAILED, SENTENCES[FaultCode.LINK_LOST])

    def _dtls(self) -> Any:
        if self._pc is None or self._pc.sctp is None:
            raise RtcError(FaultCode.LINK_LOST, SENTENCES[FaultCode.LINK_LOST])
        return self._pc.sctp.transport


@asynccontextmanager
async def open_peer_connection(
    asyncio_loop: AsyncioLoop, plan: IcePlan = NO_ICE_SERVERS
) -> AsyncGenerator[PeerConnection, None]:
    """Make a peer connection that is closed at the end of this context."""
    peer = PeerConnection(asyncio_loop, plan)
    try:
        yield peer
    finally:
        await peer.aclose()
