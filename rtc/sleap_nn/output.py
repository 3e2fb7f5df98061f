"""Read what sleap-nn prints: cut it into lines for people, save it in `job.log`, find the reason of a failure in it.

sleap-nn prints its log on stdout (loguru); Lightning, warnings, progress bars (tqdm) and tracebacks go to stderr. Both
are read here as one stream. Secrets, and characters that a terminal would interpret, are neither saved nor sent.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import trio

from protocol.fields import COUNT_MAX, printable
from protocol.ids import JobId
from protocol.jobs import LOG_LINE_MAX, LOG_LINES_MAX, JobEvent, LogLines
from protocol.wire import FRAME_MAX, encode
from rtc.common.logs import HIDDEN
from rtc.sleap_nn.secret_mask import mask, values_pattern

FLUSH_TIME = 0.25
"""Seconds for which a line may be held back, so that several lines go into one message."""
LINES_PER_FLUSH = 5 * LOG_LINES_MAX
"""Lines emitted per `FLUSH_TIME`; further lines (of an endless loop, for example) only go to `job.log`."""
LOG_MAX = 100 * 10**6
"""Bytes of `job.log`; what is printed after that is not saved."""
LAST_LINES = 200
"""Number of last lines that are kept in memory; the reason of a failure is looked for in them."""
BLOCK = 64 * 1024
"""Bytes read at once; also the length beyond which a line without an end is cut."""
REASON_MAX = 400
"""Characters of a reason."""

LineHandler = Callable[[bytes], bool]
"""Gets a printed line. Returns True if it has handled the line, False if the line is to be reported as a log line."""

_LINE_END = re.compile(rb"(\r\n|\n|\r)")
_PATH = re.compile(r"(?<![\w.:/])(?:~|[A-Za-z]:)?(?:[/\\][\w.@+=~-]+)+[/\\]([\w.@+=-]+)")
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Abort)\b(?:: .*)?|Error: .*")
_USEFUL = re.compile(
    r"Key '[^']*' not in '[^']*'|No model config found!.*|.*\bout of memory\b.*|Could not override '.*'.*"
)
"""Lines that say more than the exception that follows them, in the wording of sleap-nn 0.3.5 and PyTorch.

For example, sleap-nn prints `Key 'x' not in 'TrainerConfig'` some lines before the end of the traceback.
"""


def clean_line(raw: bytes) -> str:
    """Return a printed line as text that is safe to show (`_safe_text`), of at most `LOG_LINE_MAX` characters."""
    return _safe_text(raw[: LOG_LINE_MAX * 4])[:LOG_LINE_MAX].rstrip()


def _safe_text(raw: bytes) -> str:
    """Return a printed line as text that can only be shown (`printable`) and holds no secret of a known form."""
    return mask(printable(raw.decode("utf-8", "replace"))).rstrip()


def failure_reason(lines: list[str]) -> str:
    """Return the line that best says why a program failed, without the worker's paths.

    That is the last line that matches `_USEFUL`, else the last one that names an exception, else the last line; empty
    when there is no line.
    """
    nonempty = [line.strip() for line in lines if line.strip()]
    for pattern in (_USEFUL, _EXCEPTION):
        for line in reversed(nonempty):
            if pattern.fullmatch(line):
                return hide_paths(line)
    return hide_paths(nonempty[-1]) if nonempty else ""


def hide_paths(line: str) -> str:
    """Return a line with each path reduced to its last part, cut to `REASON_MAX` characters.

    The client must not see the worker's folders.
    """
    return _PATH.sub(r"\1", line)[:REASON_MAX]


def _split_into_messages(job: JobId, lines: list[str]) -> Iterator[tuple[str, ...]]:
    """Split lines into groups that each fit into one frame as a message.

    A character that is not ASCII takes up to twelve bytes in a message.
    """
    message: list[str] = []
    bytes_left = FRAME_MAX
    for line in lines:
        # the size of a message with this line only, which is more than the line adds to a message with several lines;
        # its time and number are the longest that are possible
        size = len(encode(JobEvent(LogLines(job, (line,)), 1e11 / 3, COUNT_MAX)))
        if message and (size > bytes_left or len(message) == LOG_LINES_MAX):
            yield tuple(message)
            message, bytes_left = [], FRAME_MAX
        message.append(line)
        bytes_left -= size
    if message:
        yield tuple(message)


class JobLog:
    """Saves what the programs of a job print in `job.log`, and emits their lines.

    The job does not depend on the file: at the first error in writing it (a full disk), the file ends, one log line
    says so, and the job goes on.

    Attributes:
        last_lines: the last lines of the program that runs now.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, job: JobId, path: Path, emit: Callable[[LogLines], None]) -> None:
        self._job = job
        self._emit = emit
        path.unlink(missing_ok=True)  # a file of this name in the package, with anything in it
        self._file: BinaryIO | None = path.open("ab")
        path.chmod(0o600)
        self._bytes_left = LOG_MAX
        self._lines: list[str] = []
        self._lines_omitted = 0
        self._handle_line: LineHandler | None = None
        self._overwritten = ""
        """The line that the program has ended with a carriage return, so that the next one replaces it."""
        self._hidden: set[str] = set()
        self._secrets: re.Pattern[str] | None = None
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)

    def hide(self, values: Iterable[str]) -> None:
        """Hide these texts, which are secrets, in all further lines; those of earlier calls too."""
        self._hidden.update(values)
        self._secrets = values_pattern(self._hidden)

    def without_secrets(self, text: str) -> str:
        """Return a text without the secrets that `hide` was given."""
        return text if self._secrets is None else self._secrets.sub(HIDDEN, text)

    def close(self) -> None:
        """Emit the lines that were held back, and close the file."""
        self.flush()
        self._with_file(lambda file: file.close())
        self._file = None
        self.flush()  # emits the line that says that the file could not be closed

    def add_line(self, text: str) -> None:
        """Save and emit a line of sleap-rtc's own."""
        line = self.without_secrets(_safe_text(text.encode(errors="replace")))
        self._save(line)
        self._add_to_message(line[:LOG_LINE_MAX].rstrip())

    async def read_output(
        self,
        output: trio.abc.ReceiveStream,
        handle_line: LineHandler | None = None,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        """Save and emit what a program prints, until the last process that holds its output open has closed it.

        Args:
            handle_line: gets each line. A line for which it returns True is saved in the file, but not emitted.
            heard: called whenever something was printed.
        """
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
            heard()
            rest = self._add_whole_lines(rest + block)
            if flush_at == float("inf"):
                flush_at = trio.current_time() + FLUSH_TIME
        self._add_raw_line(rest, b"\n")
        self.flush()

    def flush(self) -> None:
        """Emit the lines that were held back, and flush the file's buffer."""
        self._with_file(lambda file: file.flush())
        if self._lines_omitted:
            where = "are in job.log" if self._file is not None else "are left out"
            self._lines.append(f"({self._lines_omitted} more lines {where})")
            self._lines_omitted = 0
        for lines in _split_into_messages(self._job, self._lines):
            self._emit(LogLines(self._job, lines))
        self._lines.clear()

    def _save(self, line: str) -> None:
        """Append a line to the file, or what fits of it into `LOG_MAX` bytes."""
        data = (line.encode(errors="replace") + b"\n")[: self._bytes_left]
        self._with_file(lambda file: file.write(data))
        self._bytes_left -= len(data)

    def _with_file(self, action: Callable[[BinaryIO], object]) -> None:
        """Call `action` with the file, if there is one; at an error, end the file."""
        if self._file is None:
            return
        try:
            action(self._file)
        except OSError as error:
            with suppress(OSError):  # its buffer cannot be written either, but its descriptor is closed
                self._file.close()
            self._file = None
            self._lines.append(f"(job.log ends here: {error.strerror}; the job goes on)")

    def _add_whole_lines(self, data: bytes) -> bytes:
        """Add all complete lines and return the rest. A `\\r`, as progress bars print it, ends a line too."""
        parts = _LINE_END.split(data)
        for raw, end in zip(parts[:-1:2], parts[1::2], strict=True):
            self._add_raw_line(raw, end)
        rest = parts[-1]
        if len(rest) > BLOCK:  # a line without an end: add its beginning, discard the rest
            self._add_raw_line(rest[:BLOCK], b"\n")
            return b""
        return rest

    def _add_raw_line(self, raw: bytes, end: bytes) -> None:
        """Add a line that ends with these characters.

        Of lines that overwrite each other (a progress bar), each is emitted, and the last one is saved.
        """
        line = self.without_secrets(_safe_text(raw[:BLOCK]))
        if end == b"\r":
            self._overwritten = line or self._overwritten
        else:
            if raw or self._overwritten:
                self._save(line or self._overwritten)
            self._overwritten = ""
        if raw and (self._handle_line is None or not self._handle_line(raw)):
            self._add_clean_line(line)

    def _add_clean_line(self, line: str) -> None:
        line = line[:LOG_LINE_MAX].rstrip()
        if line:
            self.last_lines.append(line)
            self._add_to_message(line)

    def _add_to_message(self, line: str) -> None:
        """Keep a line for the next message; after `LINES_PER_FLUSH`, only count it."""
        if len(self._lines) < LINES_PER_FLUSH:
            self._lines.append(line)
        else:
            self._lines_omitted += 1
