"""Tickets: one small private file for each job that was started from here, with which a later client attaches to it.

A program that can read a ticket can act as the job's owner, as the job's key is in it: so the file has mode 0600, in a
folder of mode 0700. The room secret is not in it.

The original paths of the job's package (`rtc.packages.original_paths`) are in a file beside the ticket, since they may
be large: the list of jobs reads tickets only.
"""

import os
from contextlib import suppress
from pathlib import Path

from attrs import evolve, field, frozen

from protocol.converter import NotJson, WireError, from_json, to_json
from protocol.faults import FaultCode
from protocol.fields import FreeText, Id, SingleLine
from protocol.ids import JobId, PeerId, RoomId
from protocol.jobs import JobKind
from protocol.session_string import ADDRESS_MAX
from rtc.common.errors import RtcError
from rtc.common.private_folder import make_private_folder
from rtc.common.whole_file import read_small_file
from rtc.packages.original_paths import PATHS_MAX, OriginalPaths, paths_of_text

TICKET_MAX = 64 * 1024
"""Maximum number of bytes that are read of a ticket; a ticket that `save` wrote has a few hundred."""
PATHS_SUFFIX = ".paths"
"""The suffix of the file with the original paths of a job's package."""
PATH_MAX = 2**15
"""Characters of the longest path: that of Windows; Linux has 4096 bytes."""


@frozen
class JobTicket:
    """What a client needs to attach to one job; the fields are the keys of a ticket's JSON file."""

    job: JobId = field(validator=Id())
    key: str = field(validator=SingleLine(), repr=False)
    worker: PeerId = field(validator=Id())
    room: RoomId = field(validator=Id())
    token: str = field(validator=SingleLine(), repr=False)
    server: str = field(validator=SingleLine(ADDRESS_MAX))
    package: str = field(validator=FreeText(PATH_MAX))
    """The package's name; the results are named after it."""
    kind: JobKind = JobKind.TRAIN
    output: str = field(default="", validator=FreeText(PATH_MAX))
    """The absolute path that was given with `--output`; empty without one."""


def save(folder: Path, ticket: JobTicket, paths: OriginalPaths | None = None) -> None:
    """Save a ticket, whole or not at all, and make the folder if needed.

    Args:
        folder: the folder with the tickets.
        ticket: the ticket.
        paths: the original paths of the job's package.

    Raises:
        OSError: it cannot be written; the disk may be full.
    """
    make_private_folder(folder)
    if paths is not None and paths.files:
        _save_text(folder / f"{ticket.job}{PATHS_SUFFIX}", to_json(paths))
    _save_text(folder / f"{ticket.job}.json", to_json(ticket))


def _save_text(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_suffix(f"{path.suffix}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def read_paths(folder: Path, job: JobId) -> OriginalPaths:
    """Return the original paths of a job's package; none if they were not saved or cannot be read."""
    try:
        return paths_of_text(read_small_file(folder / f"{job}{PATHS_SUFFIX}", PATHS_MAX + 1))
    except OSError:
        return OriginalPaths()


def find(folder: Path, job: str | None) -> JobTicket:
    """Return the ticket of one job.

    Args:
        folder: the folder with the tickets.
        job: the job's id, or a part that only one id contains; None for the newest ticket that can be read.

    Raises:
        RtcError: NO_SUCH_JOB: no ticket fits; USAGE: several do, or the ticket cannot be read.
    """
    if job is not None and not job.strip():
        raise RtcError(FaultCode.USAGE, "Say which job: its id, or a part of it. sleap-rtc jobs lists them.")
    known = jobs_with_tickets(folder)
    if not known:
        raise RtcError(FaultCode.NO_SUCH_JOB, "No job that was started from here is running or waits to be fetched.")
    if job is None:
        return _newest(folder, known)
    found = [job] if job in known else [name for name in known if job in name]
    if not found:
        raise RtcError(FaultCode.NO_SUCH_JOB, f"No such job was started from here. {_list_jobs(known)}")
    if len(found) > 1:
        raise RtcError(FaultCode.USAGE, f"Several jobs match. {_list_jobs(found)}")
    return read(folder, found[0])


def _newest(folder: Path, known: list[str]) -> JobTicket:
    """Return the newest ticket that can be read; a damaged one must not hide the others."""
    first_error: RtcError | None = None
    for name in reversed(known):
        try:
            return read(folder, name)
        except RtcError as error:
            first_error = first_error or error
    assert first_error is not None, "there is at least one ticket"
    raise first_error


def read(folder: Path, name: str) -> JobTicket:
    """Read and check the ticket of the job `name`; fields that this version does not know are ignored.

    Raises:
        RtcError: USAGE: it cannot be read, or is damaged.
    """
    try:
        text = read_small_file(folder / f"{name}.json", TICKET_MAX + 1)
        ticket: JobTicket = from_json(text, JobTicket, limit=TICKET_MAX)
    except (OSError, NotJson):
        raise RtcError(FaultCode.USAGE, f"The ticket of {name} cannot be read.") from None
    except WireError:
        raise RtcError(FaultCode.USAGE, f"The ticket of {name} is damaged.") from None
    if not (_can_be_path(ticket.package) and _can_be_path(ticket.output)):
        raise RtcError(FaultCode.USAGE, f"The ticket of {name} is damaged.")
    return ticket


def saved_at(folder: Path, job: JobId) -> int:
    """Return when the ticket of a job was saved, in seconds since 1970; 0 if it cannot be told."""
    try:
        return int((folder / f"{job}.json").stat().st_mtime)
    except OSError:
        return 0


def _can_be_path(text: str) -> bool:
    """Return whether the file system can have a path."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeError:  # lone surrogates
        return False


def jobs_with_tickets(folder: Path) -> list[str]:
    """Return the ids of all jobs that have a ticket, oldest first.

    A ticket is deleted as soon as no result of its job is left to fetch.
    """
    return sorted(path.stem for path in folder.glob("*.json"))


def _list_jobs(known: list[str]) -> str:
    """Return a sentence for error texts that lists these job ids."""
    return f"Not fetched yet: {', '.join(known)}."


def with_worker(ticket: JobTicket, *, worker: PeerId, room: RoomId, token: str, server: str | None) -> JobTicket:
    """Return a copy of the ticket that names this worker and room; without `server` it keeps its signalling server."""
    return evolve(ticket, worker=worker, room=room, token=token, server=server or ticket.server)


def delete(folder: Path, job: JobId) -> None:
    """Delete the ticket of a job whose result is here, or that will have no result. A missing ticket is no error.

    Raises:
        OSError: it cannot be removed.
    """
    for suffix in (PATHS_SUFFIX, ".json"):
        (folder / f"{job}{suffix}").unlink(missing_ok=True)
