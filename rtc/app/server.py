"""The server program."""

from pathlib import Path

import trio

from rtc.bridge import Bridge
from rtc.server import open_server


async def serve(host: str, ws_port: int, http_port: int, data: Path, _bridge: Bridge, drain: trio.Event) -> None:
    """Serve until asked to stop.

    Raises:
        RtcError: USAGE: a port is taken, or the folder cannot be used.
    """
    async with open_server(host=host, ws_port=ws_port, http_port=http_port, data=data) as server:
        print(f"Signalling at {server.ws_url}, HTTP at {server.http_url}. Stop with Ctrl-C.", flush=True)
        print(f"A worker joins with:  sleap-rtc worker --server {server.ws_url}", flush=True)
        await drain.wait()
    print("Stopped.", flush=True)
