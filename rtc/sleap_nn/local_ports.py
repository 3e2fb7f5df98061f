"""TCP ports of 127.0.0.1 for this user alone: each connection is checked, then copied to a Unix socket.

sleap-nn can connect to TCP ports only. A ZeroMQ socket that listens on a port would take messages from every user of
the machine, and would show everybody its own. So a listener of ours is in front of it (`serve_own_user`), and the
ZeroMQ socket itself is in a folder that no other user can enter.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path

import trio

from rtc.common.socket_owner import PeerOwner, find_peer_owner

log = logging.getLogger("rtc.local_ports")

BLOCK = 64 * 1024
"""Bytes copied at once."""


@contextmanager
def open_short_path(folder: Path) -> Iterator[Path]:
    """Yield a short path of a folder, usable in this process while the context lasts.

    The path of a Unix socket has at most 107 bytes (unix(7)), and a job's folder may have a longer one.

    Raises:
        OSError: the folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


async def serve_own_user(path: Path, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Listen on a free port of 127.0.0.1 until cancelled, and copy each connection of our own user to a Unix socket.

    Started by `nursery.start`, which returns the port.

    Args:
        path: the Unix socket; something listens on it already.

    Raises:
        OSError: no port can be opened.
    """
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        address: tuple[str, int] = listener.socket.getsockname()
        task_status.started(address[1])
        await trio.serve_listeners(partial(_serve_connection, path), [listener])


async def _serve_connection(path: Path, connection: trio.SocketStream) -> None:
    """Copy a connection of our own user to the Unix socket, in both directions, until one of the two ends."""
    async with connection:
        owner = find_peer_owner(connection.socket.fileno())
        if owner is PeerOwner.ANOTHER:
            _report_refusal(path.name)
        if not owner.may_talk:
            return
        with suppress(OSError):  # the job's code has removed the socket
            async with await trio.open_unix_socket(path) as inner, trio.open_nursery() as nursery:
                nursery.start_soon(_copy, connection, inner, nursery.cancel_scope)
                nursery.start_soon(_copy, inner, connection, nursery.cancel_scope)


async def _copy(source: trio.SocketStream, target: trio.SocketStream, scope: trio.CancelScope) -> None:
    """Copy bytes until the source or the target ends, then cancel the scope."""
    with suppress(trio.BrokenResourceError):
        while block := await source.receive_some(BLOCK):
            await target.send_all(block)
    scope.cancel()


@cache
def _report_refusal(name: str) -> None:
    """Log that another user has connected to a port; once for each name of a port."""
    log.warning("another user of this machine has connected to the trainer's %s port and was refused", name)
