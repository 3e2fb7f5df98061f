"""Temporary folders next to a person's own files, for files that are not complete yet.

The program that creates such a folder removes it. A program that was killed cannot do that, so the name contains the
host and the process id: each program that creates a folder also removes those of this host whose process is gone.
"""

import re
import secrets
import shutil
import socket
from os import getpid
from pathlib import Path

import psutil


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
