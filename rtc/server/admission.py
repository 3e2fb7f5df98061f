"""Which connections and which peers get a place, by the address from which they come."""

from protocol.faults import FaultCode
from protocol.ids import RoomId
from protocol.signaling import WORKERS_MAX
from protocol.status import Role
from rtc.common.errors import RtcError
from rtc.server.client_address import FORWARDED_FOR, client_address, is_trusted
from rtc.server.connection_pool import ConnectionPool
from rtc.server.limits import ServerLimits
from rtc.server.places import PlaceHolder, Places
from rtc.server.request_head import header_values
from rtc.server.rooms import CLIENTS_MAX
from rtc.server.websocket_connection import PeerWebSocket

REPLACED_MAX = 32
"""Connections whose peer has connected again, and that may still read why they are closed; older ones are cut."""
SERVER_FULL = "The server is full, or nearly, and your address has many of its places. Try again later."
ROOM_FULL = (
    "The room is full, or nearly, and your address has many of its places. Try again later, or use another room."
)


class Admission:
    """The places of the server and of its rooms, and the connections that have none yet."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._unjoined = ConnectionPool(limits.max_unjoined, limits.max_unjoined_per_address)
        self._places = Places(limits.crowded_percent, limits.max_share_percent)
        self._holders: dict[PeerWebSocket, tuple[PlaceHolder, PlaceHolder]] = {}
        """For each peer in a room, in whose name it has its place in the server and in the room."""
        self._replaced: dict[PeerWebSocket, None] = {}
        """Connections without a place that are about to be closed, oldest first."""

    def connect(self, websocket: PeerWebSocket) -> bool:
        """Take a new connection, if there is a place for one that is in no room yet; return whether there is."""
        is_proxy = is_trusted(websocket.address, self._limits.trusted_proxies)
        return self._unjoined.admit(websocket, None if is_proxy else websocket.source_network)

    def identify(self, websocket: PeerWebSocket, head: bytes) -> bool:
        """Note whose connection it is that a trusted proxy brings; return False if that address has enough of them."""
        forwarded = [value.decode("latin-1") for value in header_values(head, FORWARDED_FOR.encode())]
        address = client_address(websocket.address, forwarded, self._limits.trusted_proxies)
        if address == websocket.address:
            return True
        websocket.address = address
        return self._unjoined.assign(websocket, websocket.source_network)

    def join(self, websocket: PeerWebSocket, room: RoomId, role: Role, now: float, *, returns: bool) -> None:
        """Give a peer that joins a room its places.

        Args:
            returns: whether the peer has proven that its id is its own.

        Raises:
            RtcError: ROOM_FULL: there is none for it.
        """
        network = websocket.source_network
        in_server, in_room = PlaceHolder(None, network), PlaceHolder((room, role), network)
        if not self._places.take(in_server, self._limits.max_connections, now, returns=returns):
            raise RtcError(FaultCode.ROOM_FULL, SERVER_FULL)
        size = WORKERS_MAX if role is Role.WORKER else CLIENTS_MAX
        if not self._places.take(in_room, size, now, returns=returns):
            self._places.leave(in_server, now)
            raise RtcError(FaultCode.ROOM_FULL, ROOM_FULL)
        self._unjoined.remove(websocket)
        self._holders[websocket] = in_server, in_room

    def take_over(self, websocket: PeerWebSocket, old: PeerWebSocket) -> None:
        """Give a peer that has connected again the places of its old connection, which is about to be closed."""
        self._unjoined.remove(websocket)
        if old in self._holders:
            self._holders[websocket] = self._holders.pop(old)
        self._replaced[old] = None
        if len(self._replaced) > REPLACED_MAX:
            oldest = next(iter(self._replaced))
            del self._replaced[oldest]
            oldest.displace()

    def leave(self, websocket: PeerWebSocket, now: float) -> None:
        """Free what a closed connection had."""
        self._unjoined.remove(websocket)
        self._replaced.pop(websocket, None)
        for holder in self._holders.pop(websocket, ()):
            self._places.leave(holder, now)
