"""A server inside a worker's process, for labs that have none: where it listens, and how others reach it."""

import ipaddress
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import evolve, frozen

from rtc.config.load import Config
from rtc.server import WILDCARDS, Server, open_server

ELSEWHERE = "192.0.2.1"
"""An address that is nobody's (TEST-NET-1, RFC 5737); asking for the way there sends nothing."""


@frozen
class ServerOptions:
    """What somebody who starts a worker with `--serve` may say."""

    host: str
    ws_port: int
    http_port: int
    data: Path


@frozen
class Embedded:
    """A server of our own, running."""

    config: Config
    """How we reach it ourselves."""
    address: str
    """Its WebSocket address for others."""
    http_address: str
    only_here: bool
    """Nobody but this machine can reach it."""


@asynccontextmanager
async def open_embedded(options: ServerOptions, config: Config) -> AsyncGenerator[Embedded, None]:
    """The server for as long as this context lasts.

    Raises:
        RtcError: USAGE: a port is taken, or the folder cannot be used.
    """
    everywhere = options.host in WILDCARDS
    # others need an address that they can reach; a host's bare name seldom means anything to the next laptop
    outside = (lan_address() or "127.0.0.1") if everywhere else options.host
    async with open_server(
        host=options.host, ws_port=options.ws_port, http_port=options.http_port, data=options.data
    ) as server:
        ours = evolve(server, host="127.0.0.1") if everywhere else server  # a LAN address may change while we run
        theirs = evolve(server, host=outside)
        config = evolve(config, signaling_websocket=ours.ws_url, signaling_http=ours.http_url)
        yield Embedded(config, theirs.ws_url, theirs.http_url, await _is_loopback(outside, server))


def lan_address() -> str | None:
    """This machine's IPv4 address towards the rest of the network; None when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ELSEWHERE, 9))
            found = str(probe.getsockname()[0])
        except OSError:  # no way out of here
            return None
    return None if ipaddress.ip_address(found).is_loopback else found


async def _is_loopback(host: str, server: Server) -> bool:
    """Whether this name, by which the server just listened, means this machine alone."""
    found = await trio.socket.getaddrinfo(host, server.ws_port, type=socket.SOCK_STREAM)
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)
