"""Discovery and the server's room registry together: one worker, one client, every order in which things can happen.

Connections break at any point, with messages on their way in both directions; the server restarts, loses its rooms, or
cannot let a peer in; time-outs end at any time. Everything is explored breadth-first, in memory. The number of mishaps
of each kind is limited; what heals them is not. The signalling connection's events reach Discovery in order and at
once, since its next attempt to connect comes many turns of the loop later.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, get_args

import pytest
from attrs import evolve, frozen

from actors.discovery import DISCOVERY
from actors.discovery_data import DiscoveryData, DiscoveryPhase
from actors.events import (
    AnswerReady,
    FreeMemoryChanged,
    JoinDelayed,
    JoinedRoom,
    JoinFailed,
    JoinRoom,
    LinkAnswered,
    LinkRefused,
    LinkRequested,
    OfferReady,
    OfferWithdrawn,
    RejectLink,
    RoomCredentials,
    RoomMade,
    SendToServer,
    ServerConnected,
    ServerDisconnected,
    SessionRequested,
    StatusChanged,
    TagDenied,
    UnexpectedMessage,
    WithdrawOffer,
    WorkersChanged,
)
from actors.phase import Phase
from actors.table import Row, Table, TableError, UnexpectedEvent
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId, RoomId
from protocol.invitations import InvitationNews
from protocol.signaling import (
    Announce,
    Answer,
    CreateRoom,
    FromServer,
    IceServers,
    Join,
    Joined,
    Leave,
    Offer,
    QueuePosition,
    Refuse,
    RoomCreated,
    Withdraw,
    WorkerAssigned,
    WorkerLeft,
    WorkerPresent,
)
from protocol.status import Role, Status, WorkerFacts
from protocol.trust import RoomKeys, Tag, TagVerdict
from rtc.server.rooms import CloseSocket, RoomEffects, RoomMember, RoomRegistry, SendMessage, WebSocketId, reject
from rtc.testing.state_space import ActorState, Reached, start_of

P = DiscoveryPhase
FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab", "GPU", 24000, "0.3.5", "12.4", "0.1")
NO = Fault(FaultCode.WORKER_BUSY, "No.")
NOT_NOW = [FaultCode.SERVER_LOST, FaultCode.STALLED, FaultCode.ROOM_FULL]
"""With these the server refuses a join that it may accept a moment later."""


def token_of(room: RoomId) -> str:
    return f"token-{room}"


def resume_of(room: RoomId, peer: PeerId) -> str:
    return f"resume-{room}-{peer}"


@frozen(cache_hash=True)
class Line:
    """One WebSocket: what is on its way in it, and which of its ends have noticed that it is over."""

    id: WebSocketId
    up: tuple[Any, ...] = ()
    """Messages on their way to the server."""
    down: tuple[Any, ...] = ()
    """Messages on their way to the peer."""
    cut: bool = False
    """Whether the network between has broken; each end notices that at some time, and reads on until then."""
    closed: bool = False
    """Whether the server's end is over."""
    given_up: bool = False
    """Whether the peer has given up on an answer, which may come later."""


@frozen(cache_hash=True)
class Peer:
    """One peer's Discovery, its present line, and the program around it."""

    role: Role
    discovery: ActorState[DiscoveryData]
    line: Line | None = None
    named: RoomId | None = None
    """The room that the person named; None: the worker has one created."""
    was_in_room: bool = False
    saved: RoomCredentials | None = None
    """How to get back into the room that the worker was in last."""
    made: RoomCredentials | None = None
    """The room that the server has created for the worker, which is to join it now."""
    is_there: bool = True
    """Whether this peer is in the story at all."""
    linking: PeerId | None = None
    """The peer to which a link is being opened; its offer, or our answer, is not ready yet."""
    keys: RoomKeys | None = None
    """The keys of the room, if it has a secret."""
    asked: PeerId | None = None
    """The worker that has our offer, or may have it, and to which no link is open yet."""

    @property
    def phase(self) -> Phase:
        return self.discovery.phase

    @property
    def is_member(self) -> bool:
        return self.phase in (P.REJOIN_WAIT, P.REJOINING, P.IN_ROOM)

    @property
    def wants_no_room(self) -> bool:
        return self.phase in (P.OFFLINE, P.ONLINE)


@frozen(cache_hash=True)
class World:
    """Everything: two peers, the server, and how many mishaps may still happen."""

    worker: Peer
    client: Peer
    members: tuple[RoomMember, ...] = ()
    rooms: frozenset[RoomId] = frozenset({RoomId("room-0")})
    """The rooms that the server knows."""
    created: int = 0
    issued: tuple[PeerId, ...] = ()
    """Peer ids that the server has given out."""
    left_lines: tuple[Line, ...] = ()
    """Lines whose peer is gone, and whose server's end is not over."""
    lied: TagVerdict | None = None
    """As what the other end must know the lie that the server has told, if it has told one."""
    mishaps: tuple[tuple[str, int], ...] = ()
    """For each kind of mishap, how often it may still happen."""

    def may(self, mishap: str) -> bool:
        return dict(self.mishaps).get(mishap, 0) > 0

    def after(self, mishap: str) -> "World":
        left = tuple((name, number - (name == mishap)) for name, number in self.mishaps)
        return evolve(self, mishaps=left)

    @property
    def peers(self) -> tuple[Peer, Peer]:
        return self.worker, self.client

    @property
    def lines(self) -> tuple[Line, ...]:
        return (*(peer.line for peer in self.peers if peer.line is not None), *self.left_lines)

    @property
    def is_quiet(self) -> bool:
        """Whether everything is delivered, and both ends of each line agree whether it is up."""
        return not any(line.up or line.down or line.cut or line.closed for line in self.lines) and not self.left_lines


class Broken(AssertionError):
    """Discovery or the server did what must not happen."""


@frozen
class Model:
    """The moves of the world with this table."""

    table: Table[DiscoveryData]
    reached: Reached

    # -------- changes of the world

    def with_peer(self, world: World, peer: Peer) -> World:
        return evolve(world, worker=peer) if peer.role is Role.WORKER else evolve(world, client=peer)

    def peer_of(self, world: World, role: Role) -> Peer:
        return world.worker if role is Role.WORKER else world.client

    def with_line(self, world: World, line: Line) -> World:
        for peer in world.peers:
            if peer.line is not None and peer.line.id == line.id:
                return self.with_peer(world, evolve(peer, line=line))
        left = tuple(line if one.id == line.id else one for one in world.left_lines)
        return evolve(world, left_lines=tuple(one for one in left if not one.closed))

    def line(self, world: World, number: WebSocketId) -> Line | None:
        return next((line for line in world.lines if line.id == number), None)

    def tell(self, world: World, role: Role, event: Any) -> World:
        """Return the world after Discovery of this peer has handled an event, and its program the effects."""
        peer = self.peer_of(world, role)
        if isinstance(event, get_args(FromServer)):
            self.check_message(peer, event)
        discovery, effects = peer.discovery.turn(self.table, event, self.reached)
        self.check_turn(peer.discovery, event, discovery, effects)
        peer = evolve(peer, discovery=discovery)
        for effect in effects:
            match effect:
                case SendToServer():
                    if peer.line is None:
                        raise Broken(f"{effect.message} is sent while the connection is down")
                    peer = evolve(peer, line=evolve(peer.line, up=(*peer.line.up, effect.message)))
                case RoomMade():
                    made = RoomCredentials(Role.WORKER, effect.room, effect.token, keys=peer.keys)
                    peer = evolve(peer, made=made)
                case JoinedRoom():
                    peer = evolve(peer, saved=discovery.data.room_credentials, made=None, was_in_room=True)
                case JoinFailed() if peer.made is not None:
                    peer = evolve(peer, made=None)
                case JoinFailed() if effect.fault.code is FaultCode.ROOM_DENIED and peer.named is None:
                    peer = evolve(peer, saved=None)
                case TagDenied():
                    self.check_denied(world, effect)
                case LinkRequested():
                    peer = evolve(peer, linking=effect.peer)
                case _:
                    known = JoinFailed | JoinDelayed | WorkersChanged | SessionRequested | LinkAnswered | LinkRefused
                    assert isinstance(effect, known | OfferWithdrawn)
        return self.with_peer(world, peer)

    def check_turn(
        self, before: ActorState[DiscoveryData], event: Any, after: ActorState[DiscoveryData], effects: tuple[Any, ...]
    ) -> None:
        """Check what one turn of Discovery leads to, apart from the next phase."""
        patient = before.data.patient
        failed = [effect.fault.code for effect in effects if isinstance(effect, JoinFailed)]
        if (patient and set(failed) & set(NOT_NOW)) or (
            isinstance(event, Fault) and set(failed) & {FaultCode.SERVER_LOST, FaultCode.STALLED}
        ):
            raise Broken(f"in the phase {before.phase.value}, it gives up for a reason that may pass")
        if isinstance(event, ServerDisconnected) and before.phase.status is Status.RESERVED and not before.data.patient:
            running = after.phase is P.RETRYING and after.timeout is not None
            if not running:
                raise Broken(f"in the phase {after.phase.value}, nobody hears that the connection failed")
        denied = any(isinstance(effect, TagDenied) for effect in effects)
        if isinstance(event, Offer) and before.phase is P.IN_ROOM and not denied:
            kind = LinkRequested if event.job is None else SessionRequested
            if [(type(effect), effect.new_link) for effect in effects] != [(kind, before.data.last_link + 1)]:
                raise Broken(f"{event} becomes {effects}")

        if isinstance(event, WithdrawOffer):
            said = [SendToServer(Withdraw(event.peer, event.number))] if before.phase is P.IN_ROOM else []
            if list(effects) != said:
                raise Broken(f"{event} becomes {effects}")
        withdrawn = isinstance(event, Withdraw) and before.phase is P.IN_ROOM
        if withdrawn and list(effects) != [OfferWithdrawn(event.peer, number=event.number)]:
            raise Broken(f"{event} becomes {effects}")

    def check_denied(self, world: World, denied: TagDenied) -> None:
        """Check that a tag is denied only after a lie of the server, and found to be what it is."""
        if denied.verdict is not world.lied:
            raise Broken(f"an honest peer is denied: {denied}")

    def check_message(self, peer: Peer, message: Any) -> None:
        """Check that an honest server and Discovery do not misunderstand each other."""
        if isinstance(message, Fault) and message.code is FaultCode.BAD_MESSAGE:
            raise Broken(f"in the phase {peer.phase.value}, the server says: {message.text}")
        late = peer.line is not None and peer.line.given_up
        _, inner = self.table.find(peer.phase, peer.discovery.data, message)
        if isinstance(inner, UnexpectedMessage) and not late:
            raise Broken(f"in the phase {peer.phase.value}, {message} is not expected")

    # -------- the server

    def serve(self, world: World, change: Callable[[RoomRegistry], RoomEffects]) -> World:
        """Return the world after the registry has made a change, and its effects are carried out."""
        rooms: dict[RoomId, dict[PeerId, RoomMember]] = {}
        for member in world.members:
            rooms.setdefault(member.room, {})[member.peer] = member
        registry = RoomRegistry(members={member.websocket: member for member in world.members}, rooms=rooms)
        effects = change(registry)
        if sorted(registry._members) != sorted(m.websocket for room in registry._rooms.values() for m in room.values()):
            raise Broken("the registry contradicts itself")
        members = sorted(registry._members.values(), key=lambda member: member.websocket)
        world = evolve(world, members=tuple(members))
        for effect in effects:
            line = self.line(world, effect.websocket)
            if line is None or line.closed:
                continue
            if isinstance(effect, CloseSocket):
                world = self.end_at_server(world, line)
            else:
                world = self.with_line(world, evolve(line, down=(*line.down, effect.message)))
        return world

    def end_at_server(self, world: World, line: Line) -> World:
        """Return the world in which the server's end of this line is over."""
        world = self.with_line(world, evolve(line, up=(), closed=True))
        return self.serve(world, lambda registry: registry.leave(line.id, 0))

    def read(self, world: World, line: Line) -> Iterator[World]:
        """Yield what follows when the server reads the next message of this line, as `SignalingServer` does."""
        message, line = line.up[0], evolve(line, up=line.up[1:])
        world = self.with_line(world, line)
        joined = any(member.websocket == line.id for member in world.members)
        if isinstance(message, CreateRoom | Join) == joined:
            yield self.refuse(world, line, FaultCode.BAD_MESSAGE)
            return
        match message:
            case CreateRoom():
                if world.may("ill"):
                    yield from (self.refuse(world.after("ill"), line, code) for code in NOT_NOW)
                room = RoomId(f"room-{world.created + 1}")
                world = evolve(world, rooms=world.rooms | {room}, created=world.created + 1)
                created = SendMessage(line.id, RoomCreated(room, token_of(room)))
                yield self.serve(world, lambda _registry: (created,))
            case Join():
                if world.may("ill"):
                    yield from (self.refuse(world.after("ill"), line, code) for code in NOT_NOW)
                yield self.join(world, line, message)
            case Leave():
                yield self.end_at_server(world, line)
            case Announce():
                yield self.serve(world, lambda registry: registry.announce(line.id, message.facts, 0))
            case _:
                yield self.serve(world, lambda registry: registry.relay(line.id, message))
                if world.may("lie") and isinstance(message, Offer | Answer):
                    yield from self.lie(world.after("lie"), line, message)

    def lie(self, world: World, line: Line, message: Offer | Answer) -> Iterator[World]:
        """Yield what follows when the server passes on something else than the peer has said."""
        lies = {
            TagVerdict.MISSING: (evolve(message, tag=None),),
            TagVerdict.OTHER_SECRET: (evolve(message, tag=Tag(b"x" * 32, b"y" * 32)),),
            TagVerdict.CHANGED: (evolve(message, sdp="another"),),
            TagVerdict.REPEATED: (message, message) if isinstance(message, Offer) else (),
        }
        for lied, said in lies.items():
            after = evolve(world, lied=lied)
            for one in said:
                after = self.serve(after, lambda registry, one=one: registry.relay(line.id, one))
            yield after

    def refuse(self, world: World, line: Line, code: FaultCode) -> World:
        return self.serve(world, lambda _registry: reject(line.id, code, "No."))

    def join(self, world: World, line: Line, join: Join) -> World:
        if join.room not in world.rooms or join.token != token_of(join.room):
            return self.refuse(world, line, FaultCode.ROOM_DENIED)
        peer = join.peer
        if peer is None or join.resume != resume_of(join.room, peer):
            ids = (PeerId(f"{join.role.value}-{number}") for number in range(1, 99))
            peer = next(one for one in ids if one not in world.issued)
            world = evolve(world, issued=tuple(sorted((*world.issued, peer))))
        resume = resume_of(join.room, peer)
        return self.serve(
            world, lambda registry: registry.join(line.id, join.room, peer, join.role, join.facts, resume, 0)
        )

    # -------- what can happen next

    def next_worlds(self, world: World) -> Iterator[tuple[bool, World]]:
        """Yield each world that can follow, and whether it follows without a mishap."""
        for line in world.lines:
            if line.up and not line.closed:
                for number, after in enumerate(reversed(list(self.read(world, line)))):
                    yield number == 0, after
            if line.cut and not line.closed:
                yield True, self.end_at_server(world, line)
        for peer in (one for one in world.peers if one.is_there):
            yield from ((True, after) for after in self.healing(world, peer))
            yield from ((False, after) for after in self.mishaps(world, peer))
        yield from ((True, after) for after in self.work(world))
        for loses_rooms in (False, True):
            if world.may("restart") and (not loses_rooms or world.may("loss")):
                yield False, self.restart(world, loses_rooms=loses_rooms)

    def healing(self, world: World, peer: Peer) -> Iterator[World]:
        """Yield what a peer's connection and program do by themselves."""
        line = peer.line
        if line is None:
            numbers, first = {one.id for one in world.lines}, 1 if peer.role is Role.WORKER else 2
            free = next(number for number in map(WebSocketId, range(first, 99, 2)) if number not in numbers)
            yield self.tell(self.with_peer(world, evolve(peer, line=Line(free))), peer.role, ServerConnected())
        else:
            if line.down:
                rest = self.with_line(world, evolve(line, down=line.down[1:]))
                yield self.tell(rest, peer.role, line.down[0])
            if line.cut or (line.closed and not line.down):
                left = () if line.closed else (evolve(line, down=()),)
                left = sorted((*world.left_lines, *left), key=lambda one: one.id)
                gone = evolve(self.with_peer(world, evolve(peer, line=None)), left_lines=tuple(left))
                yield self.tell(gone, peer.role, ServerDisconnected("lost"))
        if peer.role is Role.CLIENT:
            room = world.worker.saved.room if world.worker.saved is not None else RoomId("room-0")
            assert room is not None
            wanted = JoinRoom(RoomCredentials(Role.CLIENT, room, token_of(room), keys=peer.keys), 30)
            yield self.tell(world, peer.role, wanted)
        elif peer.wants_no_room:
            token = None if peer.named is None else token_of(peer.named)
            credentials = (
                peer.made
                or peer.saved
                or RoomCredentials(Role.WORKER, peer.named, token, keys=None if peer.named is None else peer.keys)
            )
            yield self.tell(
                world, peer.role, JoinRoom(credentials, 30, patient=peer.named is not None or peer.was_in_room)
            )

    def mishaps(self, world: World, peer: Peer) -> Iterator[World]:
        if peer.line is None:
            yield self.tell(world, peer.role, ServerDisconnected("refused"))
        elif world.may("cut") and not peer.line.cut:
            yield self.with_peer(world.after("cut"), evolve(peer, line=evolve(peer.line, cut=True)))
        if world.may("time"):
            for discovery, event in peer.discovery.due:
                line = None if peer.line is None else evolve(peer.line, given_up=True)
                late = evolve(peer, discovery=discovery, line=line)
                yield self.tell(self.with_peer(world.after("time"), late), peer.role, event)

    def work(self, world: World) -> Iterator[World]:
        """Yield what Worker, Client, GPU monitor and links do."""
        worker, client = world.peers
        if world.may("status") and worker.is_there:
            for leaving in (False, True):
                yield self.tell(world.after("status"), Role.WORKER, StatusChanged(Status.BUSY, leaving))
        if world.may("memory") and worker.is_there:
            yield self.tell(world.after("memory"), Role.WORKER, FreeMemoryChanged(1))
        if world.may("offer") and client.phase is P.IN_ROOM:
            for present in client.discovery.data.workers:
                yield self.with_peer(world.after("offer"), evolve(client, linking=present.peer))
        if client.linking is not None:
            linked = self.with_peer(world, evolve(client, linking=None))
            asked = client.linking if world.may("withdrawal") else None
            linked = self.with_peer(linked, evolve(linked.client, asked=asked))
            yield self.tell(linked, Role.CLIENT, OfferReady(client.linking, "sdp", number=0))
            yield self.tell(linked, Role.CLIENT, OfferReady(client.linking, "sdp", JobId("job-1"), number=0))
        if client.asked is not None:
            left = self.with_peer(world.after("withdrawal"), evolve(client, asked=None))
            yield self.tell(left, Role.CLIENT, WithdrawOffer(client.asked, number=0))
        if worker.linking is not None:
            linked = self.with_peer(world, evolve(worker, linking=None))
            yield self.tell(linked, Role.WORKER, AnswerReady(worker.linking, "sdp", number=0))
            yield self.tell(linked, Role.WORKER, RejectLink(worker.linking, NO, number=0))

    def restart(self, world: World, *, loses_rooms: bool) -> World:
        world = world.after("restart")
        if loses_rooms:
            world = evolve(world.after("loss"), rooms=frozenset())
        for line in world.lines:
            world = self.with_line(world, evolve(line, up=(), closed=True, cut=True))
        return evolve(world, members=(), left_lines=())

    # -------- what must be true

    def check(self, world: World) -> None:
        ids = [peer.discovery.data.room_credentials.peer for peer in world.peers if peer.is_member]
        if len(set(ids)) != len(ids):
            raise Broken(f"two peers have one id: {ids}")
        if not world.is_quiet:
            return
        for peer in world.peers:
            credentials = peer.discovery.data.room_credentials
            number = None if peer.line is None else peer.line.id
            there = {(one.room, one.peer) for one in world.members if one.websocket == number}
            ours = {(credentials.room, credentials.peer)} if peer.phase is P.IN_ROOM else set()
            if there != ours:
                raise Broken(f"the server has {there} in its rooms, and Discovery is in {ours}")
            if peer.phase is P.IN_ROOM:
                self.check_facts(world, peer)
        if len(world.members) != sum(peer.phase is P.IN_ROOM for peer in world.peers):
            raise Broken("the server shows somebody who is not there")

    def check_facts(self, world: World, peer: Peer) -> None:
        """Check that everybody in the room has the newest facts of its worker."""
        shown = {one.peer: one.facts for one in world.members if one.room == peer.discovery.data.room_credentials.room}
        if peer.role is Role.WORKER:
            if shown[peer.discovery.data.room_credentials.peer or PeerId("")] != peer.discovery.data.facts:
                raise Broken("the room does not have the worker's newest facts")
        elif {one.peer: one.facts for one in peer.discovery.data.workers} != {
            name: facts for name, facts in shown.items() if facts is not None
        }:
            raise Broken("the client's list is not that of the room")

    def is_home(self, world: World) -> bool:
        """Return whether both are in their room; or out of it, if the server has lost it and its person named it."""
        gone = world.worker.named is not None and world.worker.named not in world.rooms
        return world.is_quiet and all(
            peer.phase is P.IN_ROOM or (gone and peer.wants_no_room) for peer in world.peers if peer.is_there
        )


def start(
    table: Table[DiscoveryData],
    *,
    named: bool,
    who: tuple[Role, ...],
    late: bool = False,
    secret: bool = False,
    **mishaps: int,
) -> World:
    keys = RoomKeys(b"p" * 32, b"t" * 32) if secret else None
    room = RoomId("room-0") if named else None
    worker = Peer(
        Role.WORKER, start_of(table, DiscoveryData(FACTS)), named=room, is_there=Role.WORKER in who, keys=keys
    )
    worker = evolve(worker, linking=PeerId("client-9") if late else None)
    client = Peer(Role.CLIENT, start_of(table, DiscoveryData()), is_there=Role.CLIENT in who, keys=keys)
    client = evolve(client, linking=PeerId("worker-9") if late else None)
    return World(worker, client, mishaps=tuple(sorted(mishaps.items())))


def explore(model: Model, first: World) -> tuple[dict[World, list[World]], set[World]]:
    """Return each reachable world with those from which it follows without a mishap; and those that are home."""
    before: dict[World, list[World]] = {first: []}
    todo, homes = deque([first]), set()
    while todo:
        world = todo.popleft()
        model.check(world)
        if model.is_home(world):
            homes.add(world)
        for heals, after in model.next_worlds(world):
            if after not in before:
                before[after] = []
                todo.append(after)
            if heals:
                before[after].append(world)
    return before, homes


def without_way_home(before: Mapping[World, list[World]], homes: set[World]) -> set[World]:
    """Return the worlds from which no way without a mishap leads home."""
    coming, todo = set(homes), list(homes)
    while todo:
        for world in before[todo.pop()]:
            if world not in coming:
                coming.add(world)
                todo.append(world)
    return before.keys() - coming


W, C = Role.WORKER, Role.CLIENT
STORIES: dict[str, dict[str, Any]] = {
    "a worker whose room is lost": {"named": True, "who": (W,), "restart": 1, "loss": 1},
    "a worker that the server cannot let in": {"named": True, "who": (W,), "ill": 1, "time": 1, "memory": 1},
    "a worker that has a room created": {"named": False, "who": (W,), "ill": 1, "status": 1, "memory": 1},
    "a worker without a room, and mishaps": {"named": False, "who": (W,), "cut": 1, "time": 1, "ill": 1},
    "a worker that gets a new room": {"named": False, "who": (W,), "restart": 1, "loss": 1, "ill": 1, "time": 1},
    "a worker whose answer comes late": {"named": False, "who": (W,), "late": True, "restart": 1, "loss": 1, "ill": 1},
    "a worker that changes": {"named": True, "who": (W,), "cut": 1, "status": 1, "memory": 1},
    "a worker cut off twice": {"named": True, "who": (W,), "cut": 2, "status": 1},
    "a client whose offer comes late": {"named": True, "who": (C,), "late": True, "cut": 1, "ill": 1, "withdrawal": 1},
    "a client and mishaps": {"named": True, "who": (C,), "cut": 1, "time": 1, "ill": 1},
    "a client cut off three times": {"named": True, "who": (C,), "cut": 3},
    "both, and links": {"named": True, "who": (W, C), "offer": 1, "cut": 1},
    "both, and a client that gives up": {"named": True, "who": (W, C), "offer": 1, "withdrawal": 1},
    "both, and a restart": {"named": True, "who": (W, C), "restart": 1, "status": 1},
    "both, and a worker that changes": {"named": True, "who": (W, C), "cut": 1, "status": 1},
    "both, and a new room": {"named": False, "who": (W, C), "offer": 1, "restart": 1, "loss": 1},
    "both with a secret, and links": {"named": True, "who": (W, C), "secret": True, "offer": 1, "cut": 1},
    "both with a secret, and a server that lies": {"named": True, "who": (W, C), "secret": True, "offer": 1, "lie": 1},
}
LONG_STORIES = {"both cut off twice": {"named": True, "who": (W, C), "cut": 2}}
WORKER = WorkerPresent(PeerId("worker-9"), FACTS)
ANY_MESSAGE = [
    *(RoomCreated(RoomId("room-0"), "t"), Joined(RoomId("room-0"), PeerId("client-9"), "r", (WORKER,)), IceServers(())),
    *(WORKER, WorkerLeft(PeerId("worker-1")), QueuePosition(1, 2), WorkerAssigned(PeerId("worker-1"))),
    *(Offer(PeerId("client-9"), "sdp"), Offer(PeerId("client-9"), "sdp", JobId("job-9")), Answer(WORKER.peer, "sdp")),
    *(Refuse(WORKER.peer, NO), Withdraw(PeerId("client-9")), *(Fault(code, "No.") for code in FaultCode)),
]


def run(table: Table[DiscoveryData], stories: Mapping[str, Mapping[str, Any]]) -> set[tuple[Phase, int]]:
    """Explore the stories with this table, and let the server say anything in each state; return what has answered.

    A message that an honest server does not say counts for nothing but the reason why it is ignored.

    Raises:
        Broken, UnexpectedEvent or AssertionError: something happened that must not.
    """
    answers: set[tuple[Phase, int]] = set()
    model = Model(table, lambda phase, found: answers.add((phase, id(found))))

    def note_ignored(phase: Phase, found: Row[Any]) -> None:
        if found.event is UnexpectedMessage:
            answers.add((phase, id(found)))

    for name, story in stories.items():
        before, homes = explore(model, start(table, **story))
        print(f"{name}: {len(before)} states")
        lost = without_way_home(before, homes)
        if lost:
            raise Broken(f"{name}: {len(lost)} states have no way home, such as {next(iter(lost))}")
        for discovery in {peer.discovery for world in before for peer in world.peers if peer.line is not None}:
            for message in ANY_MESSAGE:
                discovery.turn(table, message, note_ignored)
    return answers


def missing_from(table: Table[DiscoveryData], answers: set[tuple[Phase, int]]) -> list[str]:
    return [f"{phase.value} × {found}" for phase, found in table.answers() if (phase, id(found)) not in answers]


@pytest.mark.slow
def test_whatever_breaks_both_come_home_and_each_row_is_needed() -> None:
    for_discovery = set(get_args(FromServer)) - set(get_args(InvitationNews))  # those go to the inviter or the invitee
    assert {type(message) for message in ANY_MESSAGE} == for_discovery
    assert missing_from(DISCOVERY, run(DISCOVERY, STORIES)) == []


@pytest.mark.slow
@pytest.mark.long
def test_both_come_home_when_they_are_cut_off_twice() -> None:
    run(DISCOVERY, LONG_STORIES)


# -------- mutants: whoever removes or redirects a row hears of it


def without(phase: Phase, found: Row[Any]) -> Table[DiscoveryData]:
    """Return the table without this row in this phase."""
    phases = tuple(one for one in found.phases if one is not phase)
    changed = (evolve(found, phases=phases),) if phases else ()
    return with_rows(found, *changed)


def redirected(found: Row[Any], to: Phase) -> Table[DiscoveryData]:
    """Return the table in which this row leads to another phase."""
    return with_rows(found, evolve(found, next=to))


def with_rows(found: Row[Any], *changed: Row[Any]) -> Table[DiscoveryData]:
    return evolve(DISCOVERY, rows=tuple(changed if one is found else (one,) for one in DISCOVERY.rows))


def survives(mutant: Callable[[], Table[DiscoveryData]]) -> bool:
    """Return whether the model finds nothing wrong with this table."""
    try:
        table = mutant()
        return not missing_from(table, run(table, STORIES))
    except (AssertionError, UnexpectedEvent, TableError):
        return False


MUTANTS = {f"{found} removed in {phase.value}": partial(without, phase, found) for phase, found in DISCOVERY.answers()}
MUTANTS |= {
    f"{found} in {', '.join(phase.value for phase in found.phases)} redirected to {to.value}": partial(
        redirected, found, to
    )
    for found in DISCOVERY.rows
    for to in P
    if not found.because and to is not found.next and found.phases != (to,)
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MUTANTS)[::60])
def test_a_row_that_is_removed_or_redirected_is_missed(name: str) -> None:
    assert not survives(MUTANTS[name])


@pytest.mark.long
@pytest.mark.parametrize("name", MUTANTS)
def test_each_row_that_is_removed_or_redirected_is_missed(name: str) -> None:
    assert not survives(MUTANTS[name])
