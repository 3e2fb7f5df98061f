"""Processes without a terminal: how one is started, recognised, and asked to end (POSIX)."""

import os
import signal
import site
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

import rtc
from rtc.runner.pidfd import signal_process
from rtc.worker.background.folder import BackgroundFolder

_START_TIME = 19
"""Place of the start time among the fields of `/proc/PID/stat` that follow the program's name (proc_pid_stat(5))."""


async def start_detached(command: Sequence[str], environment: Mapping[str, str], output: Path) -> trio.Process:
    """Start a program that goes on when this one ends and when its terminal is closed.

    It has a session of its own, so no terminal sends it a signal (setsid(2)); it reads nothing, and what it prints is
    written to `output`. Its working folder is ours.

    Raises:
        OSError: it cannot be started, or `output` cannot be written.
    """
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        return await trio.lowlevel.open_process(
            list(command),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def with_our_modules(environ: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables with which Python finds our modules also where they are not installed."""
    ours = str(Path(rtc.__file__).absolute().parents[1])
    if ours in (*site.getsitepackages(), site.getusersitepackages()):
        return dict(environ)
    others = environ.get("PYTHONPATH")
    return {**environ, "PYTHONPATH": ours if not others else os.pathsep.join((ours, others))}


def birth_of(pid: int) -> str:
    """Return when a process was started, as the kernel says it; empty where it does not, and for no process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    fields = text.rpartition(b")")[2].split()
    return fields[_START_TIME].decode() if len(fields) > _START_TIME else ""


def signal_worker(folder: BackgroundFolder, *numbers: signal.Signals) -> bool:
    """Send signals to a background worker that runs; return whether it was found.

    Nothing is sent to a process that only has the same id: the worker holds its lock, and was started when it says.
    """
    record = folder.read()
    if record is None or record.ended is not None:
        return False

    def is_meant() -> bool:
        return folder.is_running() and record.birth in ("", birth_of(record.pid))

    if not is_meant():
        return False
    for number in numbers:
        descriptor = signal_process(record.pid, number, is_meant)
        if descriptor is not None:
            os.close(descriptor)
    return True
