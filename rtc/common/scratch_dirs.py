"""Folders beside a person's own files, for what is on its way: gone with their program, or with the next one.

A program that was killed cannot remove its folder. So the name says whose it is, and whoever makes one removes those of
this machine whose program lives no more.
"""

import re
import secrets
import shutil
import socket
from os import getpid
from pathlib import Path

import psutil


def aside_name() -> str:
    """The name of a new folder of this program."""
    return f"{_ours()}{getpid()}-{secrets.token_hex(4)}"


def sweep(parent: Path) -> None:
    """Remove what dead programs have left here. Folders of other machines, which may share the disk, stay."""
    for folder in parent.glob(f"{_ours()}*-*"):
        pid = folder.name.removeprefix(_ours()).partition("-")[0]
        if re.fullmatch(r"[0-9]{1,9}", pid) and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _ours() -> str:
    host = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:32]
    return f".sleap-rtc-{host}-"
