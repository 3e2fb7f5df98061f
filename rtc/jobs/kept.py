"""Results that wait on the worker for their owner: an archive, and a note of how the job ended and whose it is.

The key itself is nowhere on disk, only its SHA-256 (it has 192 random bits, so that is enough).
"""

import hashlib
import hmac
import json
import os
from pathlib import Path

from attrs import frozen

from protocol.ids import JobId
from protocol.jobs import Outcome

NOTE_MAX = 64 * 1024
"""Bytes of a note that are read; ours have a sentence."""


@frozen
class Kept:
    """A result that waits."""

    outcome: Outcome
    text: str


def archive_of(results: Path, job: JobId) -> Path:
    """Where a job's archive lies."""
    return results / f"{job}.zip"


def _note_of(results: Path, job: JobId) -> Path:
    return results / f"{job}.json"


def keep(results: Path, job: JobId, key: str, kept: Kept) -> None:
    """Write the note beside a job's archive.

    Raises:
        OSError: the disk is full, or worse.
    """
    note = {"key_sha256": _digest(key), "outcome": kept.outcome.value, "text": kept.text}
    part = _note_of(results, job).with_suffix(".json.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(note, file)
    part.replace(_note_of(results, job))


def find(results: Path, job: JobId, key: str) -> Kept | None:
    """The result that waits under this name and key; None when there is none, or it is somebody else's."""
    try:
        with _note_of(results, job).open(encoding="utf-8") as file:
            note = json.loads(file.read(NOTE_MAX))
        kept = Kept(Outcome(note["outcome"]), str(note["text"]))
        ours = hmac.compare_digest(str(note["key_sha256"]).encode(), _digest(key).encode())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kept if ours and archive_of(results, job).is_file() else None


def forget(results: Path, job: JobId) -> None:
    """It was fetched."""
    archive_of(results, job).unlink(missing_ok=True)
    _note_of(results, job).unlink(missing_ok=True)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
