"""What a trainer prints: cut into lines for people, kept in `job.log`, and searched for the reason of a failure."""

import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import trio

from protocol.ids import JobId
from protocol.jobs import LOG_LINE_MAX, LOG_LINES_MAX, JobEvent, LogLines
from protocol.wire import FRAME_MAX, encode

FLUSH_TIME = 0.25
"""Seconds a line may wait for company."""
LINES_PER_FLUSH = 5 * LOG_LINES_MAX
"""Lines passed on within FLUSH_TIME; more (a runaway loop) only go to job.log."""
LOG_MAX = 100 * 10**6
"""Bytes of job.log."""
LAST_LINES = 200
"""Last lines remembered, in which the reason of a failure is looked for."""
BLOCK = 64 * 1024
REASON_MAX = 400

LineHandler = Callable[[bytes], bool]
"""Takes a printed line for itself; False leaves it to the log."""

_ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.?)")
"""Terminal escape sequences (ECMA-48): colours, cursor moves, titles."""
_LINE_END = re.compile(rb"\r\n|\n|\r")
_PATH = re.compile(r"(?<![\w.:/])(?:~|[A-Za-z]:)?(?:[/\\][\w.@+=~-]+)+[/\\]([\w.@+=-]+)")
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Abort)\b(?:: .*)?|Error: .*")
_USEFUL = re.compile(
    r"Key '[^']*' not in '[^']*'|No model config found!.*|.*\bout of memory\b.*|Could not override '.*'.*"
)
"""Lines that tell more than the exception after them, as sleap-nn 0.3.5 and torch word them."""


def clean_line(raw: bytes) -> str:
    """One printed line as text that can only be shown: no escapes, no controls, no bidi marks, cut to its limit."""
    text = _ESCAPE.sub("", raw[: LOG_LINE_MAX * 4].decode("utf-8", "replace")).replace("\t", "    ")
    text = "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
    return text[:LOG_LINE_MAX].rstrip()


def reason(lines: list[str]) -> str:
    """The one line that best tells why a trainer failed, without the worker's paths; empty if it printed nothing."""
    nonempty = [line.strip() for line in lines if line.strip()]
    for pattern in (_USEFUL, _EXCEPTION):
        for line in reversed(nonempty):
            if pattern.fullmatch(line):
                return hide_paths(line)
    return hide_paths(nonempty[-1]) if nonempty else ""


def hide_paths(line: str) -> str:
    """A line without the worker's paths, and not too long for a sentence."""
    return _PATH.sub(r"\1", line)[:REASON_MAX]


def _split_into_messages(job: JobId, lines: list[str]) -> Iterator[tuple[str, ...]]:
    """Lines in messages that fit into a frame. A line that is not ASCII takes up to twelve bytes per character."""
    message: list[str] = []
    bytes_left = FRAME_MAX
    for line in lines:
        # alone it is longer than as one of several; time and number are the longest they can be
        size = len(encode(JobEvent(LogLines(job, (line,)), -1 / 3 * 1e12, 2**53)))
        if message and (size > bytes_left or len(message) == LOG_LINES_MAX):
            yield tuple(message)
            message, bytes_left = [], FRAME_MAX
        message.append(line)
        bytes_left -= size
    if message:
        yield tuple(message)


class JobLog:
    """Takes what all trainers of a job print, one after the other.

    The file is a comfort and no condition: at its first error (a full disk) it ends, which is said once, and the job
    goes on.

    Raises:
        OSError: there can be no file at all.
    """

    def __init__(self, job: JobId, path: Path, emit: Callable[[LogLines], None]) -> None:
        self._job = job
        self._emit = emit
        self._file: BinaryIO | None = path.open("ab")
        path.chmod(0o600)
        self._bytes_left = max(0, LOG_MAX - self._file.tell())
        self._lines: list[str] = []
        self._lines_omitted = 0
        self._handle_line: LineHandler | None = None
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)

    def close(self) -> None:
        """Tell what is left, and close the file."""
        self.flush()
        self._with_file(lambda file: file.close())
        self._file = None
        self.flush()  # that it could not be closed

    def add_line(self, text: str) -> None:
        """A line of our own."""
        self._save(text.encode() + b"\n")
        self._add_clean_line(clean_line(text.encode()))

    async def read_output(self, output: trio.abc.ReceiveStream, handle_line: LineHandler | None = None) -> None:
        """Read until the last writer has gone. A line that `handle_line` takes is in the file, and told to nobody."""
        self._handle_line = handle_line
        self.last_lines.clear()
        rest = b""
        flush_at = float("inf")
        while True:
            with trio.move_on_at(flush_at) as scope:
                block = bytes(await output.receive_some(BLOCK))
            if scope.cancelled_caught:
                self.flush()
                flush_at = float("inf")
                continue
            if not block:
                break
            self._save(block)
            rest = self._add_whole_lines(rest + block)
            if flush_at == float("inf"):
                flush_at = trio.current_time() + FLUSH_TIME
        if rest:
            self._add_raw_line(rest)
        self.flush()

    def flush(self) -> None:
        """Pass on what waits."""
        self._with_file(lambda file: file.flush())
        if self._lines_omitted:
            where = "are in job.log" if self._file is not None else "are left out"
            self._lines.append(f"({self._lines_omitted} more lines {where})")
            self._lines_omitted = 0
        for lines in _split_into_messages(self._job, self._lines):
            self._emit(LogLines(self._job, lines))
        self._lines.clear()

    def _save(self, block: bytes) -> None:
        self._with_file(lambda file: file.write(block[: self._bytes_left]))
        self._bytes_left -= min(self._bytes_left, len(block))

    def _with_file(self, action: Callable[[BinaryIO], object]) -> None:
        """Do this to the file, as long as there is one."""
        if self._file is None:
            return
        try:
            action(self._file)
        except OSError as error:
            with suppress(OSError):  # what it still holds cannot be written either; the descriptor is given back
                self._file.close()
            self._file = None
            self._lines.append(f"(job.log ends here: {error.strerror}; the job goes on)")

    def _add_whole_lines(self, data: bytes) -> bytes:
        """Add all whole lines; a progress bar's `\\r` ends one too. What follows the last end is given back."""
        *whole, rest = _LINE_END.split(data)
        for raw in whole:
            self._add_raw_line(raw)
        if len(rest) > BLOCK:  # a line without end: say its beginning, forget the rest
            self._add_clean_line(clean_line(rest))
            return b""
        return rest

    def _add_raw_line(self, raw: bytes) -> None:
        if self._handle_line is None or not self._handle_line(raw):
            self._add_clean_line(clean_line(raw))

    def _add_clean_line(self, line: str) -> None:
        if not line:
            return
        self.last_lines.append(line)
        if len(self._lines) < LINES_PER_FLUSH:
            self._lines.append(line)
        else:
            self._lines_omitted += 1
