"""Ports of one test, for programs that cannot choose a free one themselves or must come back on the same."""

import errno
import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

FIRST, LAST = 20_000, 32_767
"""The ports to choose from. Linux gives ports from 32 768 on to sockets that ask for any (`ip_local_port_range`), so no
other socket gets one of these by chance while a test has freed it and means to take it again."""
IN_USE = {errno.EADDRINUSE, errno.EACCES}


@contextmanager
def open_port() -> Iterator[int]:
    """Yield a port, free for TCP and UDP on 127.0.0.1, that no other test on this machine gets until this context ends.

    Tests that run at the same time, also in other processes, keep out of each other's way by locked files.
    """
    folder = Path(tempfile.gettempdir()) / f"sleap-rtc-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in random.sample(range(FIRST, LAST + 1), LAST + 1 - FIRST):
        with (folder / str(port)).open("wb") as lock:
            if _is_locked_now(lock) and _is_free(port):
                yield port
                return
    raise AssertionError("all ports are taken")


def _is_locked_now(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind is socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno in IN_USE:
                    return False
                raise
    return True
