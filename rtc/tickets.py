"""What a client keeps of the jobs it has started, so that it can come back to them: one small private file each.

Whoever has a ticket owns the job; hence 0600 in a 0700 folder. The room secret is not in it.
"""

import json
import os
from pathlib import Path

from attrs import asdict, field, frozen

from protocol.faults import FaultCode
from protocol.fields import ID_PATTERN
from protocol.ids import JobId, PeerId, RoomId
from rtc.errors import RtcError

TICKET_MAX = 64 * 1024
"""Bytes of a ticket that are read; ours have a few hundred."""


@frozen
class Stub:
    """How to find one job again."""

    job: JobId
    key: str = field(repr=False)
    worker: PeerId
    room: RoomId
    token: str = field(repr=False)
    server: str
    package: str
    """The package's name, after which the results are named."""


def keep(folder: Path, stub: Stub) -> None:
    """Write it, before the job can be lost sight of.

    Raises:
        OSError: the disk is full, or worse.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f"{stub.job}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(stub), file)
    part.replace(folder / f"{stub.job}.json")


def find(folder: Path, job: str | None) -> Stub:
    """The ticket of this job, or of the newest one.

    Raises:
        RtcError: USAGE: there is none, or it cannot be read.
    """
    known = known_jobs(folder)
    if job is not None and job not in known:
        raise RtcError(FaultCode.USAGE, f"No such job was started from here. {_those(known)}")
    if not known:
        raise RtcError(FaultCode.USAGE, "No job that was started from here is unfetched.")
    name = job if job is not None else known[-1]
    try:
        with (folder / f"{name}.json").open(encoding="utf-8") as file:
            parts = json.loads(file.read(TICKET_MAX))
        stub = Stub(**{one.name: parts[one.name] for one in Stub.__attrs_attrs__})
    except (OSError, ValueError, KeyError, TypeError):
        raise RtcError(FaultCode.USAGE, f"The ticket of {name} cannot be read.") from None
    texts = asdict(stub).values()
    if not all(isinstance(text, str) for text in texts) or not ID_PATTERN.fullmatch(stub.job):
        raise RtcError(FaultCode.USAGE, f"The ticket of {name} is damaged.")
    return stub


def known_jobs(folder: Path) -> list[str]:
    """Jobs that were started from here and whose results have not come home; oldest first."""
    return sorted(path.stem for path in folder.glob("*.json"))


def _those(known: list[str]) -> str:
    return f"Unfetched: {', '.join(known)}." if known else "None is unfetched."


def forget(folder: Path, job: JobId) -> None:
    """Its result is here, or there will be none."""
    (folder / f"{job}.json").unlink(missing_ok=True)
