"""Joins a room for good: learns it, checks it by joining, and remembers it under a name.

Nothing is remembered before the check has succeeded; what was remembered before stays as it is until then.
"""

import re
import time
from collections.abc import Awaitable, Callable

from attrs import field, frozen

from protocol.faults import FaultCode
from protocol.fields import ID_PATTERN
from protocol.ids import RoomId
from protocol.invitations import InvitedRoom
from protocol.session_string import SessionStringError, read_session_string
from protocol.signaling import WorkerPresent
from rtc.client.list_workers import list_workers
from rtc.common.errors import RtcError
from rtc.common.logs import hide_in_logs
from rtc.config.credentials import check_room, check_token
from rtc.config.load import Config
from rtc.config.remembered_rooms import (
    FIRST_NAME,
    RememberedRoom,
    RememberedRooms,
    RememberedRoomsJson,
    check_room_name,
    is_same_name,
)
from rtc.config.room_secrets.rules import check_secret
from rtc.invitations.short_code import EXAMPLE, ShortCode, looks_like_code, read_code

NOT_UNDERSTOOD = (
    f"This is neither a short code, such as {EXAMPLE}, nor a session string. Copy one of them from the worker's "
    "console; or name the room: --room-id R --token T."
)
NAME_MAX = 40
"""Characters of a name that is made from what the inviter calls the room."""


Redeem = Callable[[ShortCode, Config], Awaitable[InvitedRoom]]
"""Exchanges a short code for its room, through the server of this configuration. Raises `RtcError`."""


@frozen
class FoundRoom:
    """A room as it was given, before it was checked."""

    server: str
    room: RoomId
    token: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    name: str = ""
    """What the inviter calls the room; empty if nobody has said it."""


@frozen
class JoinOptions:
    """What `sleap-rtc join` was given."""

    rooms: RememberedRooms
    config_for: Callable[[str | None], Config]
    """Returns the configuration for a server's address; for the configured server if it is None."""
    redeem: Redeem
    find_nearby: Callable[[], Awaitable[FoundRoom]] | None = None
    """Finds the room of a worker in the local network, if that is wanted."""
    what: str | None = field(default=None, repr=False)
    """A short code or a session string, as it was typed; None if room and token are given."""
    room: str | None = None
    token: str | None = field(default=None, repr=False)
    server: str | None = None
    """The address that was typed; None for the one in the session string, or the configured one."""
    secret: str | None = field(default=None, repr=False)
    """The room secret that was given with an option."""
    name: str | None = None
    """The name that the person wants; None for a free one."""


@frozen
class JoinOutcome:
    """What was remembered."""

    room: RememberedRoom
    workers: tuple[WorkerPresent, ...]
    replaced: tuple[RememberedRoom, ...]
    """What had this name, and what was this room, before."""
    content: RememberedRoomsJson
    """All remembered rooms, this one among them."""


async def join_room(options: JoinOptions) -> JoinOutcome:
    """Learn a room, check it by joining it, and remember it; return what was remembered.

    Raises:
        RtcError: USAGE: what was given is no room, or the file of remembered rooms cannot be used; others: the code is
            not accepted, or the room cannot be joined.
    """
    if options.name is not None:
        check_room_name(options.name)
    options.rooms.check()  # a file that cannot be used is reported before a code is used up
    _check_free(options.name, options.rooms.read())
    found = await _find(options)
    for text in (found.token, found.secret):
        if text:
            hide_in_logs(text)
    workers = await list_workers(options.config_for(found.server), found.room, found.token)
    chosen: list[_Chosen] = []

    def choose(content: RememberedRoomsJson) -> RememberedRoom:
        chosen.append(_choose(content, options.name, found))
        return chosen[-1].room

    options.rooms.remember_chosen(choose)  # the name is chosen here, where no other program joins at the same time
    return JoinOutcome(chosen[-1].room, workers, chosen[-1].replaced, options.rooms.read())


def _check_free(name: str | None, content: RememberedRoomsJson) -> None:
    """Check that a name is not the id of a room that has another name, since `--room` takes both.

    Raises:
        RtcError: USAGE: it is.
    """
    other = next((room for room in content.rooms if room.room == name != room.name), None)
    if other is not None:
        raise RtcError(FaultCode.USAGE, f"This is the id of the remembered room {other.name}. Choose another --name.")


@frozen
class _Chosen:
    """The room as it is remembered, and what it takes the place of."""

    room: RememberedRoom
    replaced: tuple[RememberedRoom, ...]


def _choose(content: RememberedRoomsJson, name: str | None, found: FoundRoom) -> _Chosen:
    """Return the room as it is to be remembered: under the name that the person wants, or its own, or a free one.

    If no secret was given, the one stays that the room had, under this name or another one.
    """
    same = content.by_key(found.server, found.room)
    if same is None and name is None:
        same = _at_another_address(content, found)
    named = None if name is None else next((one for one in content.rooms if is_same_name(one.name, name)), None)
    replaced = tuple(one for one in dict.fromkeys((named, same)) if one is not None)
    name = name or (content.free_name(_suggested(found.name)) if same is None else same.name)
    kept = (one.secret for one in replaced if one.room == found.room)
    secret = found.secret or next((secret for secret in kept if secret), None)
    room = RememberedRoom(name, found.server, found.room, found.token, secret, joined=int(time.time()))
    return _Chosen(room, replaced)


def _at_another_address(content: RememberedRoomsJson, found: FoundRoom) -> RememberedRoom | None:
    """Return the room if it is remembered with another address of its server; None if it is not.

    Id and token together say so: only members know the token, so no stranger's room takes the place of this one.
    """
    return next((one for one in content.rooms if (one.room, one.token) == (found.room, found.token)), None)


async def _find(options: JoinOptions) -> FoundRoom:
    """Return the room that the options mean, without having joined it.

    Raises:
        RtcError: as for `join_room`.
    """
    if options.find_nearby is not None:
        return await options.find_nearby()
    if options.what is None:
        assert options.room is not None, "the command line requires it"
        assert options.token is not None, "the command line requires it"
        server = options.config_for(options.server).signaling_websocket
        return FoundRoom(server, check_room(options.room), check_token(options.token), options.secret)
    if looks_like_code(options.what):
        return await _find_by_code(options, read_code(options.what))
    try:
        session = read_session_string(options.what)
    except SessionStringError as error:
        text = NOT_UNDERSTOOD if len(options.what) < 2 * len(EXAMPLE) else str(error)
        raise RtcError(FaultCode.USAGE, text) from None
    server = options.config_for(options.server or session.server).signaling_websocket
    return FoundRoom(server, session.room, session.token, options.secret)


async def _find_by_code(options: JoinOptions, code: ShortCode) -> FoundRoom:
    """Exchange a short code for its room. Of the server, the address is taken that has just worked from here: the one
    that the inviter uses may be another one, such as localhost."""
    config = options.config_for(options.server)
    invited = await options.redeem(code, config)
    secret = options.secret
    if secret is None and invited.secret is not None:
        secret = check_secret(invited.secret, "the short code").text
    return FoundRoom(config.signaling_websocket, invited.room, invited.token, secret, invited.name)


def _suggested(name: str) -> str:
    """Return a name for a room that is like what the inviter calls it."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:NAME_MAX].strip("-._")
    return plain if ID_PATTERN.fullmatch(plain) else FIRST_NAME
