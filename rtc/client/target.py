"""Turns what a person names into the room that a client joins and the way in which its worker is chosen.

If no room is named, it is the remembered one: the default, or the only one (`sleap-rtc join`).
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from attrs import field, frozen

from actors.events import AskPerson, BestWorker, NamedWorker, WorkerCalled, WorkerChoice
from protocol.faults import FaultCode
from protocol.fields import ID_PATTERN, is_printable
from protocol.ids import RoomId
from protocol.session_string import SessionStringError, read_session_string
from rtc.common.errors import RtcError
from rtc.config.credentials import WORKER_NAME_MAX, check_room, check_token
from rtc.config.remembered_rooms import RememberedRoom, RememberedRooms
from rtc.config.server_url import host_alone, server_url

SHOWN_MAX = 10
"""Names of rooms that one sentence lists."""
NONE_REMEMBERED = (
    "No room is remembered here. Join the worker's room once: sleap-rtc join, and then the short code or the session "
    "string that the worker shows."
)
NONE_MEANT = f"{NONE_REMEMBERED} Or say where: --session-string S, or --room-id R --token T."


@frozen
class Target:
    """A room with its token, and how the worker in it is chosen."""

    room: RoomId
    token: str = field(repr=False)
    choice: WorkerChoice
    server: str | None = None
    """The signalling server's address, from the session string or the remembered room; None: the configured one."""
    name: str | None = None
    """The name of the remembered room; None if it is no remembered one."""
    secret: str | None = field(default=None, repr=False)
    """The room secret that is remembered with the room."""

    def address(self, typed: str | None) -> str | None:
        """Return the signalling server's address; None for the configured one.

        Args:
            typed: that of `--server`, which has chosen the room already if it is a remembered one.
        """
        return self.server if self.name is not None else typed or self.server


def choose_target(
    *,
    remembered: RememberedRooms,
    session: str | None = None,
    room_name: str | None = None,
    room: str | None = None,
    token: str | None = None,
    server: str | None = None,
    worker: str | None = None,
    auto_select: bool = False,
) -> Target:
    """Return the target that these options name.

    The room is that of the session string; or of room and token; or the remembered one: the one that is named, or that
    of the server that is named, or the default, or the only one.

    Args:
        remembered: the remembered rooms; the file is read only if the room is one of them.
        session: the session string, which a worker prints at its start. It names room and worker.
        room_name: the name of a remembered room, or its id.
        room, token: a room and its token; both or neither.
        server: the address of a server, as it was typed. Only its rooms count then.
        worker: the id of one worker, or its name.
        auto_select: take the best worker instead of asking the person.

    Raises:
        RtcError: USAGE: something is malformed, two of these contradict each other, or no room or several are meant.
    """
    if session is not None:
        if room_name or room or token or worker or auto_select:
            raise RtcError(FaultCode.USAGE, "A session string already names the room and the worker; leave the rest.")
        return _of_session(session)
    if room is not None or token is not None:
        return _of_room_and_token(room, token, room_name, _choice(worker, AskPerson(), auto_select=auto_select))
    found = find_room(remembered, room_name, server)
    choice = _choice(worker, AskPerson(take_only=True), auto_select=auto_select)
    return Target(found.room, found.token, choice, found.server, found.name, found.secret)


def _of_session(session: str) -> Target:
    try:
        parsed = read_session_string(session)
    except SessionStringError as error:
        raise RtcError(FaultCode.USAGE, str(error)) from None
    return Target(parsed.room, parsed.token, NamedWorker(parsed.peer), parsed.server)


def _of_room_and_token(room: str | None, token: str | None, room_name: str | None, choice: WorkerChoice) -> Target:
    if room_name is not None:
        text = "--room names a remembered room, which needs no --room-id and no --token: leave them, or leave --room."
        raise RtcError(FaultCode.USAGE, text)
    if room is None or token is None:
        raise RtcError(FaultCode.USAGE, "--room-id and --token go together: --room-id R --token T.")
    return Target(check_room(room), check_token(token), choice)


def _choice(worker: str | None, otherwise: AskPerson, *, auto_select: bool) -> WorkerChoice:
    if worker is None:
        return BestWorker() if auto_select else otherwise
    if auto_select:
        raise RtcError(FaultCode.USAGE, "--worker-id names a worker and --auto-select looks for one: give one of them.")
    if not worker.strip() or not is_printable(worker) or not (ID_PATTERN.fullmatch(worker) or is_name(worker)):
        raise RtcError(
            FaultCode.USAGE,
            "That is not a worker's id or name. Copy one from the worker's banner or the room's list.",
        )
    return WorkerCalled(worker)


def is_name(text: str) -> bool:
    """Return whether a worker can have this name."""
    return len(text) <= WORKER_NAME_MAX


# -------- a remembered room


def find_room(
    remembered: RememberedRooms,
    name_or_id: str | None = None,
    server: str | None = None,
    how_to_join: str = NONE_MEANT,
) -> RememberedRoom:
    """Return the remembered room that is meant.

    Args:
        remembered: the remembered rooms.
        name_or_id: what names it; None: that of the server, else the default, else the only one.
        server: the address of its server, as it was typed; None for any server.
        how_to_join: what is said if nothing is remembered at all.

    Raises:
        RtcError: USAGE: none is meant, or it is not clear which; the text lists them.
    """
    content = remembered.read()
    address = None if server is None else server_url(server)
    rooms = content.rooms if server is None else _on_server(content.rooms, server)
    if name_or_id is not None:
        if not content.rooms:
            raise RtcError(FaultCode.USAGE, how_to_join)
        return _named(content.find(name_or_id, rooms), content.find(name_or_id), content.rooms)
    if not rooms:
        raise RtcError(FaultCode.USAGE, _none_meant(address, content.rooms))
    default = next((room for room in rooms if room.name == content.default), None)
    if default is not None or len(rooms) == 1:
        return default or rooms[0]
    which = "" if address is None else f" of {address}"
    raise RtcError(
        FaultCode.USAGE,
        f"Several rooms{which} are remembered: {_names(rooms)}. Say which: --room NAME; or choose one for good: "
        "sleap-rtc rooms default NAME",
    )


def _on_server(rooms: Sequence[RememberedRoom], typed: str) -> tuple[RememberedRoom, ...]:
    """Return the rooms on a server. A host alone means its usual port, and if no room is there, any port of it.

    Raises:
        RtcError: USAGE: it is not an address of a server.
    """
    address, host = server_url(typed), host_alone(typed)
    found = tuple(room for room in rooms if room.server == address)
    return found or tuple(room for room in rooms if host is not None and urlsplit(room.server).hostname == host)


def _named(
    found: RememberedRoom | None, elsewhere: RememberedRoom | None, rooms: Sequence[RememberedRoom]
) -> RememberedRoom:
    """Return the room that was found by its name or id.

    Args:
        found: the room on the server that was named, or on any.
        elsewhere: a room on any server.
        rooms: all of them, for the error's text.
    """
    if found is not None:
        return found
    if elsewhere is not None:
        text = (
            f"The remembered room {elsewhere.name} is on {elsewhere.server}: leave out --server. If it has moved, join "
            f"it again: sleap-rtc join WHAT --name {elsewhere.name}"
        )
        raise RtcError(FaultCode.USAGE, text)
    raise RtcError(FaultCode.USAGE, f"No remembered room has this name or id. Remembered: {_names(rooms)}.")


def _none_meant(address: str | None, rooms: Sequence[RememberedRoom]) -> str:
    if address is None or not rooms:
        return NONE_MEANT
    return (
        f"No room of {address} is remembered. Join one: sleap-rtc join WHAT, with the short code or session string "
        f"that its worker shows. Remembered: {_names(rooms)}."
    )


def _names(rooms: Sequence[RememberedRoom]) -> str:
    shown = ", ".join(room.name for room in rooms[:SHOWN_MAX])
    return shown if len(rooms) <= SHOWN_MAX else f"{shown} and {len(rooms) - SHOWN_MAX} more"
