"""What `sleap-rtc worker --status` shows: text for people, JSON for programs."""

import shlex
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import frozen

from protocol.converter import to_json
from rtc.common.text import clean
from rtc.worker.background.folder import BackgroundFolder
from rtc.worker.background.record import BackgroundRecord, RecordedWorker

TIMES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
NONE_HERE = "No worker was started in the background here. To start one: sleap-rtc worker --background"


@frozen
class BackgroundStatus:
    """One background worker in the JSON of `--status`; docs/deployment.md describes it."""

    name: str
    running: bool
    pid: int | None
    """None if it does not run."""
    hostname: str
    started: str
    """ISO 8601, UTC."""
    room: str
    server: str
    workers: tuple[RecordedWorker, ...]
    """Empty if it does not run."""
    log: str
    unit: str | None
    """The systemd user unit; None without one."""
    exit_code: int | None
    """Of one that has ended; None if it runs, or was killed."""


def look(folder: BackgroundFolder) -> tuple[BackgroundRecord, bool] | None:
    """Return what is known of a background worker, and whether it runs; None if nothing is known."""
    running = folder.is_running()
    record = folder.read()  # read after the lock: one that is newer is no harm
    return None if record is None else (record, running)


def status_json(found: Sequence[tuple[BackgroundRecord, bool]]) -> str:
    """Return background workers as a JSON array."""
    return to_json(tuple(_status(record, running=running) for record, running in found), indent=2)


def _status(record: BackgroundRecord, *, running: bool) -> BackgroundStatus:
    return BackgroundStatus(
        record.name,
        running,
        record.pid if running else None,
        record.hostname,
        datetime.fromtimestamp(record.started, UTC).isoformat(timespec="seconds"),
        record.room,
        record.server,
        record.workers if running else (),
        record.log,
        record.unit or None,
        None if running or record.ended is None else record.ended.code,
    )


def status_text(found: Sequence[tuple[BackgroundRecord, bool]]) -> str:
    """Return background workers as text, a paragraph for each."""
    if not found:
        return NONE_HERE
    return "\n\n".join(
        started_text(record, with_workers=True) if running else _ended_text(record) for record, running in found
    )


def started_text(record: BackgroundRecord, *, with_workers: bool = False) -> str:
    """Return the lines about a worker that runs."""
    unit = f", systemd unit {record.unit}" if record.unit else ""
    name = clean(record.name)
    lines = [
        f"The worker {name} runs in the background.",
        f"  process   {record.pid} on {clean(record.hostname)}{unit}, for {duration(time.time() - record.started)}",
        f"  room      {clean(record.room) or 'not joined yet'}",
    ]
    if with_workers:
        lines += [f"  worker    {_worker_text(worker)}" for worker in record.workers]
    return "\n".join(
        (
            *lines,
            f"  log       {record.log}",
            f"  status    {_again('status', name)}",
            f"  stop      {_again('stop', name)}",
        )
    )


def _again(what: str, name: str) -> str:
    return f"sleap-rtc worker --{what} --name {shlex.quote(name)}"


def _worker_text(worker: RecordedWorker) -> str:
    jobs = f"; {', '.join(worker.jobs)}" if worker.jobs else ""
    return f"{clean(worker.name)}: {worker.status} for {duration(time.time() - worker.since)}{jobs}"


def _ended_text(record: BackgroundRecord) -> str:
    if record.ended is None:
        end = "It was killed, or the machine went down; its jobs go on if the machine does"
    else:
        end = f"It ended {duration(time.time() - record.ended.at)} ago with exit code {record.ended.code}"
    return f"The worker {clean(record.name)} does not run. {end}.\n  log       {record.log}"


def duration(seconds: float) -> str:
    """Return a time as people say it, in its largest two units: `3 h 20 min`."""
    left, words = max(0, int(seconds)), list[str]()
    for size, unit in TIMES:
        if left >= size or (unit == "s" and not words):
            words.append(f"{left // size} {unit}")
            left %= size
    return " ".join(words[:2])
