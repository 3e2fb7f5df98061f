"""Asks background workers for their state, and to end: `sleap-rtc worker --status` and `--stop`."""

import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from protocol.faults import FaultCode
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.worker.background.folder import BackgroundFolder, all_folders, folder_of, wait_for_lock
from rtc.worker.background.process import birth_of, signal_worker
from rtc.worker.background.record import BackgroundRecord
from rtc.worker.background.show import look, status_json, status_text
from rtc.worker.background.systemd import stop_unit

NOT_RUNNING = "No background worker{name} runs here."
SEVERAL = "Several background workers run here: say which with --name. They are: {names}."
ELSEWHERE = "The background worker {name} runs on {host}. Stop it there."
STOPPING = "The worker {name} takes no new job and ends as soon as it is free."
JOBS = (
    "It finishes {jobs} first. Ctrl-C ends only this waiting. To end the job at once, too: "
    "sleap-rtc worker --stop --now --name {name}"
)
STOPPING_NOW = "The worker {name} is stopped at once. A job that runs there is ended; what it has made is kept."
SHOWN_TIME = 7 * 86400.0
"""Seconds for which a worker that has ended is listed among the others."""
DRAIN_SIGNALS = (signal.SIGHUP,)
"""Asks to drain as a first Ctrl-C does, and never counts as the second one: so `--stop` may be repeated."""
NOW_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The first and the second Ctrl-C; two signals of the same number could become one."""


def show_status(state: Path, name: str | None, *, as_json: bool) -> int:
    """Print the background worker of this name, or all of them; return DONE if one runs, else NOT_AVAILABLE.

    Without a name, those that ended more than `SHOWN_TIME` ago are left out.
    """
    folders = all_folders(state) if name is None else [folder_of(state, name)]
    found = [one for one in map(look, folders) if one is not None and (name is not None or not _ended_long_ago(*one))]
    LineWriter(sys.stdout).write(f"{status_json(found)}\n" if as_json else f"{status_text(found)}\n")
    return ExitCode.DONE if any(running for _, running in found) else ExitCode.NOT_AVAILABLE


def _ended_long_ago(record: BackgroundRecord, running: bool) -> bool:
    return not running and record.ended is not None and time.time() - record.ended.at > SHOWN_TIME


async def stop(state: Path, name: str | None, *, now: bool) -> int:
    """Ask a background worker to end, wait until it has ended, and return the exit code.

    Raises:
        RtcError: NO_WORKER: none of this name runs here. USAGE: none is named and several run, or it runs on another
            machine that has the same files.
    """
    candidates = all_folders(state) if name is None else [folder_of(state, name)]
    found = [(folder, *seen) for folder in candidates if (seen := look(folder)) is not None]
    for _, record, running in found:
        if record.unit and not running:  # systemd may be about to start it again after a failure
            await stop_unit(record.unit)
    folder, record = _choose([(folder, record) for folder, record, running in found if running], name)
    if record.hostname != socket.gethostname() and not _is_here(record):
        raise RtcError(FaultCode.USAGE, ELSEWHERE.format(name=record.name, host=record.hostname))
    lines = LineWriter(sys.stdout)
    lines.say((STOPPING_NOW if now else STOPPING).format(name=record.name))
    jobs = [job for worker in record.workers for job in worker.jobs]
    if jobs and not now:
        lines.say(JOBS.format(jobs=", ".join(jobs), name=shlex.quote(record.name)))
    by_systemd = bool(record.unit) and await stop_unit(record.unit)
    if now or not by_systemd:
        signal_worker(folder, *(NOW_SIGNALS if now else DRAIN_SIGNALS))
    await trio.to_thread.run_sync(_wait_ended, folder, abandon_on_cancel=True)
    lines.say(f"The worker {record.name} has ended.")
    return ExitCode.DONE


def _choose(
    running: Sequence[tuple[BackgroundFolder, BackgroundRecord]], name: str | None
) -> tuple[BackgroundFolder, BackgroundRecord]:
    """Return the only one of the workers that run."""
    if not running:
        raise RtcError(FaultCode.NO_WORKER, NOT_RUNNING.format(name="" if name is None else f" named {name}"))
    if len(running) > 1:
        names = ", ".join(record.name for _, record in running)
        raise RtcError(FaultCode.USAGE, SEVERAL.format(names=names))
    return running[0]


def _is_here(record: BackgroundRecord) -> bool:
    """Return whether the worker is a process of this machine, whose name may have changed since it was started."""
    return bool(record.birth) and birth_of(record.pid) == record.birth


def _wait_ended(folder: BackgroundFolder) -> None:
    os.close(wait_for_lock(folder.lock))
