"""One peer connection: two data channels that both sides know beforehand, and nothing else.

Both sides create the same pre-negotiated channels (RFC 8832 section 4), so offerer and answerer are the same code.
"""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from aiortc import RTCConfiguration, RTCIceTransportPolicy, RTCPeerConnection, RTCSessionDescription
from cryptography.hazmat.primitives.hashes import SHA256

from protocol.faults import Fault, FaultCode
from rtc.common.errors import RtcError
from rtc.config.ice_servers import IcePlan
from rtc.transport.webrtc.asyncio_loop import AsyncioLoop
from rtc.transport.webrtc.batched_reads import read_in_batches
from rtc.transport.webrtc.data_channel import DataChannel
from rtc.transport.webrtc.failure_reasons import IceDiagnostics, why_no_candidates, why_no_path
from rtc.transport.webrtc.ice_checks import IceChecks, order_checks
from rtc.transport.webrtc.ice_gathering import GatheredCandidates, gather_candidates
from rtc.transport.webrtc.receive_limit import limit_receive
from rtc.transport.webrtc.sdp import UNREADABLE, read_fingerprint

T = TypeVar("T")

GATHER_TIME = 8.0
"""Seconds to prepare our half. Gathering takes 3 of them at most; the rest is for a machine with much else to do."""
CLOSE_TIME = 2.0
"""Seconds a connection may take to close; with a silent TURN server aiortc alone would take more than 10."""
BULK_HIGH, BULK_LOW = 1024 * 1024, 256 * 1024
"""Bulk: senders wait above HIGH bytes and go on below LOW; measured, more only costs memory."""
CONTROL_HIGH, CONTROL_LOW = 256 * 1024, 64 * 1024
CONTROL_QUEUE_MAX = 1024 * 1024
"""Bytes of control messages that may be here unread; then the connection is cut."""
BULK_QUEUE_MAX = 16 * 1024 * 1024
"""Bytes of bulk frames likewise: the leftovers of one credit window and a whole other one, with their cost."""

NO_ICE_SERVERS = IcePlan()

UNPREPARED = "This machine's half of the connection could not be prepared. Check its network, then try again."
SENTENCES = {
    FaultCode.LINK_LOST: "The connection to the other side was lost. Try again.",
    FaultCode.STALLED: "The other side sent more than could be read, so the connection was cut. Try again.",
    FaultCode.BAD_MESSAGE: "The other side sent something that does not belong here. Check that both sides run "
    "the same version.",
}


class PeerConnection:
    """One `RTCPeerConnection`, trio-flavoured. `offer` → `accept` on one side, `answer` on the other, then both
    `wait_open`. When the connection is over, however that came, `control` and `bulk` end."""

    def __init__(self, asyncio_loop: AsyncioLoop, plan: IcePlan = NO_ICE_SERVERS) -> None:
        self._asyncio_loop = asyncio_loop
        self._plan = plan
        self._gathered = GatheredCandidates()
        self._checks: IceChecks | None = None
        self._ice_completed = False
        self._context = asyncio_loop.adopt(self)
        self._control = DataChannel(self, str, queue_max=CONTROL_QUEUE_MAX, high=CONTROL_HIGH, low=CONTROL_LOW)
        self._bulk = DataChannel(self, bytes, queue_max=BULK_QUEUE_MAX, high=BULK_HIGH, low=BULK_LOW)
        self.control = self._control.queue
        self.bulk = self._bulk.queue
        self.fault: Fault | None = None
        """Why the connection is over, when more is known than that it is."""
        self.ended = trio.Event()
        self._closing = False
        self._closed = trio.Event()
        self._settled = trio.Event()
        self._negotiation: trio.CancelScope | None = None
        self._pc: RTCPeerConnection | None = None
        self._announced_fingerprint: bytes | None = None
        self._verified_fingerprint: bytes | None = None
        self._path_kind = "none"

    async def offer(self) -> str:
        """This side's half (SDP); carry it to the other side, and its answer to `accept`.

        Raises:
            RtcError: LINK_FAILED.
        """
        return await self._negotiate(self._make_offer, UNPREPARED)

    async def answer(self, offer: str) -> str:
        """The answer to another side's offer. What came from outside may be anything.

        Raises:
            RtcError: LINK_FAILED.
        """
        return await self._negotiate(self._make_answer, UNREADABLE, offer)

    async def accept(self, answer: str) -> None:
        """Take the answer to our offer.

        Raises:
            RtcError: LINK_FAILED.
        """
        await self._negotiate(self._accept_answer, UNREADABLE, answer)

    async def wait_open(self, timeout: float) -> None:
        """Wait until both lanes are open, at most `timeout` seconds.

        Raises:
            RtcError: LINK_FAILED.
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
        """True once the connection has ended, however that came."""
        return self.ended.is_set()

    @property
    def local_fingerprint(self) -> bytes:
        """SHA-256 of this side's DTLS certificate."""
        fingerprints = self._dtls().getLocalParameters().fingerprints
        return bytes.fromhex(next(p.value for p in fingerprints if p.algorithm == "sha-256").replace(":", ""))

    @property
    def remote_fingerprint(self) -> bytes:
        """SHA-256 of the certificate that the other side really showed in the DTLS handshake."""
        if self._verified_fingerprint is None:
            raise RtcError(FaultCode.LINK_FAILED, SENTENCES[FaultCode.LINK_LOST])
        return self._verified_fingerprint

    @property
    def path_kind(self) -> str:
        """Whether packets go "direct" or "relayed" (through a TURN server); "none" before the connection is open."""
        return self._path_kind

    @property
    def last_received_at(self) -> float:
        """When anything last came (trio's clock)."""
        return max(self.control.last_received_at, self.bulk.last_received_at)

    async def send_control(self, text: str) -> None:
        """Send on the control lane; waits while much is unsent.

        Raises:
            RtcError: LINK_LOST.
        """
        await self._control.send(text)

    async def send_bulk(self, frame: bytes) -> None:
        """Send on the bulk lane; waits while more than 1 MiB is unsent.

        Raises:
            RtcError: LINK_LOST.
        """
        await self._bulk.send(frame)

    async def finish(self) -> None:
        """Nothing more will be sent on either lane: wait until the other side has it all, or the connection is over.

        As long as the other side is silent this waits; bound it. A stream reset (RFC 6525) follows the last message,
        so its answer says that everything before has arrived.
        """
        if not self._control.open or not self._bulk.open:
            return
        for channel in (self._control, self._bulk):
            self.post(channel.close)
        await self._control.closed.wait()
        await self._bulk.closed.wait()

    async def aclose(self) -> None:
        """End the connection; at most `CLOSE_TIME` seconds, also while connecting, and harmless when repeated."""
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
            self._asyncio_loop.release(self._context)
            self._closed.set()

    async def _close_connection(self) -> None:
        if self._pc is None:
            return
        try:
            await self._asyncio_loop.run(
                self._context, self._pc.close, timeout=CLOSE_TIME, sentence="It did not close."
            )
        except RtcError:
            for protocol in self._dtls().transport._connection._protocols:
                protocol.transport.close()  # aioice did not come that far; its sockets would stay open

    # called by the lanes and the bridge, from within the loop

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Call something of aiortc soon."""
        self._asyncio_loop.post(self._context, callback, *args)

    def channel_opened(self) -> None:
        """One lane is open; the connection is when both are."""
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
        """One lane is closed; what is still on its way on the other must arrive first."""
        if self._control.closed.is_set() and self._bulk.closed.is_set():
            self.fail()

    def fail(self, code: FaultCode = FaultCode.LINK_LOST) -> None:
        """The connection is over; the first reason counts. Never waits."""
        if self.over:
            return
        self.fault = Fault(code, SENTENCES[code])
        self.ended.set()
        self._settled.set()
        for channel in (self._control, self._bulk):
            channel.queue.end()
            channel.wake()
        if self._pc is not None:
            self.post(self._close_soon)  # at once, so that the other side learns it before our owner comes round

    # asyncio-flavoured

    def _close_soon(self) -> None:
        if self._pc is not None:
            self._asyncio_loop.spawn(self._pc.close)

    def _create_connection(self) -> RTCPeerConnection:
        policy = RTCIceTransportPolicy.RELAY if self._plan.relay_only else RTCIceTransportPolicy.ALL
        # no servers here: aiortc would know only the first ones, and ask one of its own choice if the list were missing
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
        """What ICE has seen so far."""
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
        reason = why_no_candidates(self._diagnostics())
        if reason is not None:
            raise RtcError(FaultCode.LINK_FAILED, reason)

    async def _make_offer(self) -> str:
        pc = self._create_connection()
        await pc.setLocalDescription(await pc.createOffer())
        self._check_has_candidates()
        return pc.localDescription.sdp

    async def _make_answer(self, offer: str) -> str:
        self._announced_fingerprint = read_fingerprint(offer)
        pc = self._create_connection()
        await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await pc.setLocalDescription(await pc.createAnswer())
        self._check_has_candidates()
        return pc.localDescription.sdp

    async def _accept_answer(self, answer: str) -> None:
        self._announced_fingerprint = read_fingerprint(answer)
        if self._pc is None:
            raise RuntimeError("accept before offer")
        await self._pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def _negotiate(self, make: Callable[..., Coroutine[Any, Any, T]], sentence: str, *args: str) -> T:
        if self.over:
            raise RtcError(FaultCode.LINK_FAILED, SENTENCES[FaultCode.LINK_LOST])
        with trio.CancelScope() as self._negotiation:
            return await self._asyncio_loop.run(self._context, make, *args, timeout=GATHER_TIME, sentence=sentence)
        raise RtcError(FaultCode.LINK_FAILED, SENTENCES[FaultCode.LINK_LOST])

    def _dtls(self) -> Any:
        if self._pc is None or self._pc.sctp is None:
            raise RtcError(FaultCode.LINK_LOST, SENTENCES[FaultCode.LINK_LOST])
        return self._pc.sctp.transport


@asynccontextmanager
async def open_peer_connection(
    asyncio_loop: AsyncioLoop, plan: IcePlan = NO_ICE_SERVERS
) -> AsyncGenerator[PeerConnection, None]:
    """A peer that is closed at the end of this context."""
    peer = PeerConnection(asyncio_loop, plan)
    try:
        yield peer
    finally:
        await peer.aclose()
