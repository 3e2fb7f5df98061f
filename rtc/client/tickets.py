"""What a client keeps of the jobs it has started, so that it can come back to them: one small private file each.

Whoever has a ticket owns the job; hence 0600 in a 0700 folder. The room secret is not in it.
"""

import json
import os
from pathlib import Path

from attrs import asdict, evolve, field, frozen

from protocol.faults import FaultCode
from protocol.fields import ID_PATTERN
from protocol.ids import JobId, PeerId, RoomId
from protocol.jobs import JobKind
from rtc.common.errors import RtcError

TICKET_MAX = 64 * 1024
"""Bytes of a ticket that are read; ours have a few hundred."""


@frozen
class JobTicket:
    """How to find one job again."""

    job: JobId
    key: str = field(repr=False)
    worker: PeerId
    room: RoomId
    token: str = field(repr=False)
    server: str
    package: str
    """The package's name, after which the results are named."""
    kind: str = JobKind.TRAIN.value
    output: str = ""
    """Where the results were wanted (absolute); empty for where they go by themselves."""


def keep(folder: Path, ticket: JobTicket) -> None:
    """Write it, before the job can be lost sight of.

    Raises:
        OSError: the disk is full, or worse.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / f"{ticket.job}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(ticket), file)
    part.replace(folder / f"{ticket.job}.json")


def find(folder: Path, job: str | None) -> JobTicket:
    """The ticket of this job, for which a part of its name will do, or of the newest one.

    Raises:
        RtcError: USAGE: there is none, or it cannot be read.
    """
    if job is not None and not job.strip():
        raise RtcError(FaultCode.USAGE, "Say which job: its id, or a part of it. sleap-rtc jobs lists them.")
    known = known_jobs(folder)
    if not known:
        raise RtcError(FaultCode.USAGE, "No job that was started from here is unfetched.")
    if job is None:
        return _newest(folder, known)
    found = [job] if job in known else [name for name in known if job in name]
    if not found:
        raise RtcError(FaultCode.USAGE, f"No such job was started from here. {_those(known)}")
    if len(found) > 1:
        raise RtcError(FaultCode.USAGE, f"Several jobs are called so. {_those(found)}")
    return read(folder, found[0])


def _newest(folder: Path, known: list[str]) -> JobTicket:
    """The newest ticket that can be read; a damaged one must not hide the others."""
    trouble: RtcError | None = None
    for name in reversed(known):
        try:
            return read(folder, name)
        except RtcError as error:
            trouble = trouble or error
    assert trouble is not None, "there is a ticket"
    raise trouble


def read(folder: Path, name: str) -> JobTicket:
    """One ticket, whole.

    Raises:
        RtcError: USAGE: it cannot be read, or is damaged.
    """
    try:
        with (folder / f"{name}.json").open(encoding="utf-8") as file:
            parts = json.loads(file.read(TICKET_MAX))
        known = {one.name for one in JobTicket.__attrs_attrs__}
        ticket = JobTicket(**{key: value for key, value in parts.items() if key in known})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        raise RtcError(FaultCode.USAGE, f"The ticket of {name} cannot be read.") from None
    texts = asdict(ticket).values()
    kinds = {kind.value for kind in JobKind}
    if (
        not all(isinstance(text, str) for text in texts)
        or not ID_PATTERN.fullmatch(ticket.job)
        or ticket.kind not in kinds
    ):
        raise RtcError(FaultCode.USAGE, f"The ticket of {name} is damaged.")
    return ticket


def known_jobs(folder: Path) -> list[str]:
    """Jobs that were started from here and whose results have not come home; oldest first."""
    return sorted(path.stem for path in folder.glob("*.json"))


def _those(known: list[str]) -> str:
    return f"Unfetched: {', '.join(known)}."


def at(ticket: JobTicket, *, worker: PeerId, room: RoomId, token: str, server: str | None) -> JobTicket:
    """The same job, on a worker that has moved."""
    return evolve(ticket, worker=worker, room=room, token=token, server=server or ticket.server)


def forget(folder: Path, job: JobId) -> None:
    """Its result is here, or there will be none.

    Raises:
        OSError: it cannot be removed.
    """
    (folder / f"{job}.json").unlink(missing_ok=True)
