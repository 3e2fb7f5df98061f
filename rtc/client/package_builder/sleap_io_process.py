"""Runs programs in a Python that has sleap-io, and turns every way in which they end into one sentence."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from attrs import define

from protocol.faults import FaultCode
from rtc.common.cancellable_process import EndedProcess, run_cancellable
from rtc.common.errors import RtcError
from rtc.common.subprocess_input import open_input
from rtc.sleap_nn.output import clean_line, failure_reason

logger = logging.getLogger(__name__)

REFUSED, DISK_FULL = 3, 4
"""Exit statuses of the subprocess: stdout is a sentence for the person; there is no space for the copy."""
_FOR_PERSON = b"say: "
"""The beginning of lines on the stderr of the subprocess that are meant for a person."""
_ENVIRONMENT = {"HDF5_USE_FILE_LOCKING": "FALSE", "PYTHONIOENCODING": "utf-8"}
"""HDF5 cannot lock files on some network disks, and only this program uses the copies that it writes."""
_HAVE_WORDS = ("ValueError", "NotImplementedError")
"""Exceptions for which sleap-io writes texts for people, unlike a TypeError, or an OSError of h5py."""
_LOGGED_MAX = 100
"""Lines of a subprocess that has failed which go into the log."""


def run_sleap_io(
    python: str,
    labels: Path,
    arguments: Sequence[str],
    stdin_text: str,
    report: Callable[[str], None] | None = None,
) -> bytes:
    """Run a program to its end and return its stdout; kill it when the task that waits is cancelled.

    Args:
        python: the Python that runs it.
        labels: the project that it opens, for the sentences.
        arguments: the path of the program and its arguments.
        stdin_text: what it reads from stdin.
        report: called with each line that the program has for the person, on systems other than Windows while it runs.

    Raises:
        RtcError: USAGE: the program has refused or failed. DISK_FULL.
    """
    # -P: without it our own folder would come first on sys.path, and our modules would hide packages of the same name
    command = [python, "-P", *arguments]
    reporter = _Reporter(report)
    with _open_stdin(stdin_text) as stdin:
        ended = run_cancellable(command, stdin, os.environ | _ENVIRONMENT, watch_stderr=reporter.read)
    reporter.read(ended.stderr)
    if ended.status:
        raise _failure(labels, ended)
    return ended.stdout


@contextmanager
def _open_stdin(text: str) -> Iterator[BinaryIO]:
    """Do as `open_input`, with an error for the person.

    Raises:
        RtcError: DISK_FULL: it cannot be written.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open_input(text))
        except OSError:
            sentence = "There is no room for temporary files. Make room, or set TMPDIR to a folder that has some."
            raise RtcError(FaultCode.DISK_FULL, sentence) from None
        yield file


@define
class _Reporter:
    """Reports the lines on the stderr of a subprocess that are meant for a person."""

    _report: Callable[[str], None] | None
    _lines: int = 0
    """Number of lines that have been read."""

    def read(self, errors: bytes) -> None:
        """Report what is new in everything that the subprocess has printed on stderr so far."""
        lines = errors.split(b"\n")[:-1]
        for line in lines[self._lines :]:
            if line.startswith(_FOR_PERSON) and self._report is not None:
                self._report(clean_line(line.removeprefix(_FOR_PERSON)))
        self._lines = len(lines)


def _failure(labels: Path, ended: EndedProcess) -> RtcError:
    """Return the error for a subprocess that has failed.

    What the libraries have raised goes into the log: to a person, only the words of sleap-io about a file are of use.
    """
    if ended.status == REFUSED:
        return RtcError(FaultCode.USAGE, clean_line(ended.stdout.strip()))
    if ended.status == DISK_FULL:
        return RtcError(FaultCode.DISK_FULL, f"The disk is too full to pack the images of {labels.name}. Make room.")
    lines = [clean_line(line) for line in ended.stderr.splitlines()]
    logger.info("%s could not be read (status %d): %s", labels.name, ended.status, "\n".join(lines[-_LOGGED_MAX:]))
    why = failure_reason(lines)
    kind, _, words = why.partition(": ")
    return unreadable(labels, words if kind in _HAVE_WORDS and words else "")


def unreadable(labels: Path, why: str) -> RtcError:
    """Return the error for labels that cannot be read; `why` are the words of sleap-io, if it has any."""
    said = f" sleap-io says: {why}" if why else ""
    return RtcError(
        FaultCode.USAGE,
        f"{labels.name} could not be read. It is damaged, or not of a kind that sleap-io knows. Save it again in "
        f"SLEAP.{said}",
    )
