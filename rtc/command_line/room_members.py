"""Who is in a room: `sleap-rtc workers` lists them, and a worker joins a room that is remembered."""

from collections.abc import Awaitable

from rtc.client.list_workers import ListOptions, run_list_workers
from rtc.client.target import choose_target, find_room
from rtc.command_line.read_config import read_config, remembered_rooms
from rtc.common.errors import RtcError
from rtc.config.remembered_rooms import RememberedRoom
from rtc.config.room_renewal import explain_for_room

HOW_TO_JOIN_AS_WORKER = (
    "No room is remembered here. Join one, with the short code or session string that a worker of it shows: sleap-rtc "
    "join. Or leave out --room, and the worker makes a room of its own."
)


def list_workers_of(
    *,
    session_string: str | None,
    room_name: str | None,
    room_id: str | None,
    token: str | None,
    server: str | None,
    as_json: bool,
    gpus: int | None = None,
) -> int:
    """Print the workers of a room, and return the exit code.

    Raises:
        RtcError: USAGE: the room is not clear, or a setting is wrong.
    """
    target = choose_target(
        remembered=remembered_rooms(),
        session=session_string,
        room_name=room_name,
        room=room_id,
        token=token,
        server=server,
    )
    options = ListOptions(
        read_config(target.address(server)), target.room, target.token, as_json, gpus or 0, target.name
    )
    return run_list_workers(options, secrets=(session_string,))


def room_of_worker(name: str, server: str | None, *, serves: bool) -> RememberedRoom:
    """Return the remembered room that a worker is to join.

    Args:
        name: the room's name or id.
        server: the address of `--server`, which must be the room's, if it is given.
        serves: the worker runs the room's server itself, under whatever address.

    Raises:
        RtcError: USAGE: no such room is remembered.
    """
    return find_room(remembered_rooms(), name, None if serves else server, HOW_TO_JOIN_AS_WORKER)


async def explained(work: Awaitable[None], name: str | None) -> None:
    """Await `work`; to an error about the room, what can be done is added if the room is a remembered one.

    Raises:
        RtcError: as `work` does.
    """
    try:
        await work
    except RtcError as error:
        raise explain_for_room(error, name) from None
