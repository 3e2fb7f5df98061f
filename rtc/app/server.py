"""The server program."""

from pathlib import Path

import trio

from rtc.bridge import Bridge
from rtc.server import open_server
from rtc.server.ice import IceGift


async def serve(
    host: str, ws_port: int, http_port: int, data: Path, gift: IceGift, _bridge: Bridge, drain: trio.Event
) -> None:
    """Serve until asked to stop.

    Raises:
        RtcError: USAGE: a port is taken, or the folder cannot be used.
    """
    async with open_server(host=host, ws_port=ws_port, http_port=http_port, data=data, gift=gift) as server:
        print(f"Signalling at {server.ws_url}, HTTP at {server.http_url}. Stop with Ctrl-C.", flush=True)
        print(f"A worker joins with:  sleap-rtc worker --server {server.ws_url}", flush=True)
        if gift.turn:
            print(f"Every peer gets TURN credentials of its own for {', '.join(gift.turn)}.", flush=True)
        await drain.wait()
    print("Stopped.", flush=True)
