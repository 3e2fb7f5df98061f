"""What the administrator does with a server's database, beside a running server or without one."""

from pathlib import Path

import trio

from protocol.faults import FaultCode
from protocol.http import RoomRequest
from rtc.common.errors import RtcError
from rtc.server.database import DATABASE, open_room_database


def create_room(data: Path, name: str) -> str:
    """Make a room in the database of this folder; return what to tell the administrator.

    Raises:
        RtcError: USAGE: the name is too long or cannot be shown, or the database cannot be used.
    """
    try:
        wanted = RoomRequest(name)
    except ValueError:
        text = "The name of a room has at most 64 characters, all of which can be shown. Choose another with --name."
        raise RtcError(FaultCode.USAGE, text) from None
    return trio.run(_create_room, data, wanted.name)


async def _create_room(data: Path, name: str) -> str:
    is_new = not (data / DATABASE).exists()
    async with open_room_database(data) as database:
        room, token = await database.create_room(name)
    lines = [
        f"Room id:  {room}",
        f"Token:    {token}",
        "",
        "The token is shown only now. A worker joins with:",
        f"  sleap-rtc worker --room-id {room} --token {token} --server ADDRESS",
    ]
    if is_new:
        lines.append("There was no database in this folder, so it was made. Name that of your server with --data.")
    return "\n".join(lines)
