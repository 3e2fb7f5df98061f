"""Temporary folders next to a person's own files, for files that are not complete yet.

The program that creates such a folder removes it. A program that was killed cannot do that, so the name contains the
host and the process id: each program that creates a folder also removes those of this host whose process is gone.
"""

import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import getpid
from pathlib import Path

import psutil

SOCKET_PATH_MAX = 107
"""Bytes of the longest path of a Unix socket (unix(7))."""
SOCKET_NAME_MAX = 48
"""Bytes that are left for a socket inside a temporary folder; Python's multiprocessing makes names of 32 there."""
SYSTEM_TEMP = Path("/tmp")  # noqa: S108 (a link with a random name, which only its owner can replace there)


_ALIAS_PREFIX = ".sleap-rtc-tmp-"


@contextmanager
def short_alias(folder: Path) -> Iterator[Path]:
    """Yield a path of a folder that is short enough for Unix sockets inside it, while the context lasts.

    Usually that is the folder's own. Where it is too long, a symbolic link to it is made in `SYSTEM_TEMP`; where that
    is not possible, the long path is used.
    """
    if len(os.fsencode(folder)) + SOCKET_NAME_MAX <= SOCKET_PATH_MAX:
        yield folder
        return
    alias = SYSTEM_TEMP / f"{_ALIAS_PREFIX}{secrets.token_hex(8)}"
    try:
        remove_dead_aliases()
        alias.symlink_to(folder)
    except OSError:
        yield folder
        return
    try:
        yield alias
    finally:
        with suppress(OSError):  # somebody has removed it
            alias.unlink()


def remove_dead_aliases() -> None:
    """Remove the links of `short_alias` that programs which were killed have left, once their folders are gone."""
    for alias in SYSTEM_TEMP.glob(f"{_ALIAS_PREFIX}*"):
        with suppress(OSError):  # another program has removed it, or it is another user's
            if alias.is_symlink() and not alias.exists():
                alias.unlink()


def scratch_name() -> str:
    """Return a name for a new temporary folder of this process."""
    return f"{_host_prefix()}{getpid()}-{secrets.token_hex(4)}"


def sweep(parent: Path) -> None:
    """Remove the folders in `parent` whose process is gone; keep those of other hosts, which may share the disk."""
    for folder in parent.glob(f"{_host_prefix()}*-*"):
        pid = folder.name.removeprefix(_host_prefix()).partition("-")[0]
        if re.fullmatch(r"[0-9]{1,9}", pid) and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _host_prefix() -> str:
    host = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:32]
    return f".sleap-rtc-{host}-"
