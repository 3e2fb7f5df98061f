"""What a background worker prints: its starter shows it until the worker has joined its room, then the log has it."""

import io
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from attrs import define

from protocol.converter import from_json, to_json
from rtc.common.whole_file import write_whole_file
from rtc.worker.background.record import TEXT_MAX, ConsoleReport, HandOver
from rtc.worker.banner import STOP_HINT

log = logging.getLogger("rtc.console")

REPORT_MAX = 8 * TEXT_MAX
"""Bytes of one report; every character may need six (`\\u00e4`)."""


@define
class ReportPipe:
    """The worker's end of the FIFO to its starter. A starter that is gone, or does not read, hinders nothing."""

    _descriptor: int | None

    @classmethod
    def open(cls, fifo: Path) -> "ReportPipe":
        """Open the FIFO, if somebody reads it. At the start of the machine nobody does."""
        try:
            return cls(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
        except OSError:
            return cls(None)

    def send(self, report: ConsoleReport) -> None:
        """Write a report, without ever waiting."""
        if self._descriptor is None:
            return
        rest = f"{to_json(report)}\n".encode()
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:  # its reader is gone or suspended
            self.close()

    def close(self) -> None:
        """Say nothing more. Does nothing the second time."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class ConsoleStream(io.TextIOBase):
    """Stands in for standard output or standard error of a background worker.

    Lines about events are in the log already, so those on standard output are dropped once the starter has gone. A text
    of several paragraphs is a banner: it is kept in a private file, because it has the token. Errors that come before
    the log is open, and what logging itself says of a log that cannot be written, go where the process wrote before.
    """

    def __init__(self, pipe: ReportPipe, banner: Path, before: TextIO, *, is_error: bool) -> None:
        self._pipe, self._banner, self._before, self._is_error = pipe, banner, before, is_error
        self._is_logging = False

    def writable(self) -> bool:
        """Return True: it can be written."""
        return True

    def write(self, text: str) -> int:
        """Pass a text on to the starter, the log, or the file of the banner."""
        shown = text.rstrip("\n").replace(STOP_HINT, "")
        if not shown:
            return len(text)
        if self._is_logging:
            self._write_before(text)
            return len(text)
        if "\n\n" in shown and not self._is_error:
            with suppress(OSError):
                write_whole_file(self._banner, f"{shown}\n")
        elif self._is_error:
            self._log_error(shown)
        self._pipe.send(
            ConsoleReport(error=shown[:TEXT_MAX]) if self._is_error else ConsoleReport(output=shown[:TEXT_MAX])
        )
        return len(text)

    def _log_error(self, text: str) -> None:
        if not log.hasHandlers():  # logging would write it to standard error, which is this stream
            self._write_before(f"{text}\n")
            return
        self._is_logging = True
        try:
            log.warning("%s", text)
        finally:
            self._is_logging = False

    def _write_before(self, text: str) -> None:
        with suppress(OSError, ValueError):  # it is closed, or the disk is full
            self._before.write(text)
            self._before.flush()


def take_hand_over(fifo: Path) -> HandOver:
    """Read what the starter has handed over; nothing if there is no starter. Never waits."""
    found = bytearray()
    try:
        descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return HandOver()
    try:
        while len(found) <= REPORT_MAX and (part := os.read(descriptor, 65536)):
            found += part
    except BlockingIOError:
        pass  # the starter has written all of it before, and still holds its end
    finally:
        os.close(descriptor)
    handed: HandOver = from_json(bytes(found), HandOver, limit=REPORT_MAX) if found else HandOver()
    return handed
