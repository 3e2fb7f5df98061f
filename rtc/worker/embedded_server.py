"""Runs a signalling server inside the worker's process (`--serve`), for labs without one, and finds its addresses."""

import ipaddress
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import evolve, frozen

from rtc.config.load import Config
from rtc.server import ALL_ADDRESSES, Server, open_server
from rtc.server.descriptors import WORKER_RESERVE

TEST_NET_ADDRESS = "192.0.2.1"
"""An address that belongs to no machine (TEST-NET-1, RFC 5737). Connecting a UDP socket to it sends no packet."""


@frozen
class ServerOptions:
    """The options of the server that a worker starts with `--serve`."""

    host: str
    ws_port: int
    http_port: int
    data: Path
    """The folder of the server's database."""


@frozen
class EmbeddedServer:
    """A running embedded server."""

    config: Config
    """The configuration with the addresses that this process uses itself."""
    address: str
    """The WebSocket address for other machines."""
    http_address: str
    """The HTTP address for other machines."""
    loopback_only: bool
    """True when only this machine can reach these addresses."""


@asynccontextmanager
async def open_embedded_server(options: ServerOptions, config: Config) -> AsyncGenerator[EmbeddedServer, None]:
    """Run the server until the context ends.

    Raises:
        RtcError: USAGE: a port is in use, or the data folder cannot be used.
    """
    is_wildcard = options.host in ALL_ADDRESSES
    # an IP address and not the hostname: other machines of a lab can seldom resolve a bare hostname
    public_host = (lan_address() or "127.0.0.1") if is_wildcard else options.host
    async with open_server(
        host=options.host,
        ws_port=options.ws_port,
        http_port=options.http_port,
        data=options.data,
        reserve=WORKER_RESERVE,
    ) as server:
        local = evolve(server, host="127.0.0.1") if is_wildcard else server  # a LAN address may change while we run
        public = evolve(server, host=public_host)
        config = evolve(config, signaling_websocket=local.ws_url, signaling_http=local.http_url)
        yield EmbeddedServer(config, public.ws_url, public.http_url, await _is_loopback(public_host, server))


def lan_address() -> str | None:
    """Return the IPv4 address of this machine in its network, or None when it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((TEST_NET_ADDRESS, 9))
            found = str(probe.getsockname()[0])
        except OSError:  # there is no route
            return None
    return None if ipaddress.ip_address(found).is_loopback else found


async def _is_loopback(host: str, server: Server) -> bool:
    """Return whether all addresses of this host are loopback addresses, so that only this machine can use them."""
    found = await trio.socket.getaddrinfo(host, server.ws_port, type=socket.SOCK_STREAM)
    return all(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)
