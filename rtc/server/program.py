"""`sleap-rtc server`: run the signalling server until the program is asked to stop."""

import sys
from pathlib import Path

import trio

from rtc.common.line_writer import LineWriter
from rtc.server import open_server
from rtc.server.limits import ServerLimits
from rtc.server.turn_credentials import TurnCredentials


async def serve(
    host: str,
    ws_port: int,
    http_port: int,
    data: Path,
    turn_credentials: TurnCredentials,
    limits: ServerLimits,
    drain: trio.Event,
) -> None:
    """Run a server until `drain` is set, and print its addresses.

    Args:
        data: the folder of the database.

    Raises:
        RtcError: USAGE: a port is taken, the data folder cannot be used, or the system allows too few open files.
    """
    lines = LineWriter(sys.stdout)
    async with open_server(
        host=host, ws_port=ws_port, http_port=http_port, data=data, turn_credentials=turn_credentials, limits=limits
    ) as server:
        lines.say(f"Signalling at {server.ws_url}, HTTP at {server.http_url}. Stop with Ctrl-C.")
        if limits.rooms_are_open:
            lines.say(f"A worker joins with:  sleap-rtc worker --server {server.ws_url}")
        else:
            lines.say("Only you make rooms, with:  sleap-rtc server admin create-room")
        if server.limits != limits:
            lines.say(
                f"The system allows few open files, so {server.limits.max_connections} peers have a place instead of"
                f" {limits.max_connections}. Allow more with `ulimit -n`, or with LimitNOFILE in a unit of systemd."
            )
        if turn_credentials.turn:
            lines.say(f"Every peer gets TURN credentials of its own for {', '.join(turn_credentials.turn)}.")
        await drain.wait()
    lines.say("Stopped.")
