"""What `sleap-rtc workers` does: it joins a room, and prints who is in it."""

from rtc.client.list_workers import ListOptions, run_list_workers
from rtc.client.target import choose_target
from rtc.command_line.read_config import read_config, remembered_rooms


def list_workers_of(
    *,
    session_string: str | None,
    room_name: str | None,
    room_id: str | None,
    token: str | None,
    server: str | None,
    as_json: bool,
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
        read_config(server or target.server), target.room, target.token, as_json, remembered_as=target.name
    )
    return run_list_workers(options, secrets=(session_string,))
