"""The log file: everything that is not shown on the terminal, one line per record, without secrets.

What happened before a flood of lines is kept: no kind of line may write more than its allowance (`LogBudget`), and the
first file of a program's run is not rotated away.

Rule: logging never stops a program. Where the log cannot be written, there is none.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from urllib.parse import quote

from attrs import define, field, frozen

from protocol.converter import spelled_in_json
from protocol.fields import is_printable
from rtc.common.log_budget import LogBudget
from rtc.common.private_folder import make_private_folder

FILE_BYTES = 5_000_000
"""Size at which a new file is begun."""
FILE_COUNT = 3
"""The current file and two older ones, besides the first one of a run."""
FIRST = ".first"
"""Suffix of the file with the beginning of a run, from when it is full until the same happens in a later run."""
HIDDEN = "[hidden]"
"""Replaces a secret."""
NOISY = ("aiortc", "aioice", "trio-websocket", "anycorn", "asyncio", "trio_asyncio", "zmq")
"""Libraries whose records below WARNING are not logged: they are many and do not help to find errors."""


@define
class Redactor:
    """Knows the secrets of this process and replaces them in any text."""

    _forms: set[str] = field(factory=set, init=False, repr=False)

    def hide(self, value: str) -> None:
        """Hide `value` from now on, also as it is spelled in JSON, in a `repr` and in a URL."""
        for plain in {value, value.strip()} - {""}:
            self._forms |= {plain, repr(plain)[1:-1], spelled_in_json(plain), quote(plain, safe="")}

    def clean(self, text: str) -> str:
        """Return the text without secrets. The longest are replaced first, since one may contain another."""
        for form in sorted(self._forms, key=len, reverse=True):
            text = text.replace(form, HIDDEN)
        return text


_found_secrets = Redactor()
"""Secrets that this process has found in files or in its environment, before its log was open or while it is."""


def hide_in_logs(value: str) -> None:
    """Hide `value` in every log of this process from now on."""
    _found_secrets.hide(value)


class _OneLine(logging.Formatter):
    """Formats a record as one line: UTC time, process, level, logger, text. No text can look like a second record."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        parts = [record.getMessage()]
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(record.stack_info)
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = _escape(_found_secrets.clean(self._redactor.clean("\n".join(parts))))
        return f"{when} {record.process} {record.levelname} {record.name}: {text}"


def _escape(text: str) -> str:
    """Return the text with line breaks and control characters as escape sequences."""
    return "".join(
        char if is_printable(char) else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


_NOT_WAITING = getattr(os, "O_NONBLOCK", 0)
"""Without it, a FIFO in the log's place would keep the program waiting for somebody who reads it."""


class _LogFile(RotatingFileHandler):
    """A log file that only its owner can read. Errors (a full disk, a bad format string) print nothing."""

    def __init__(self, file: Path) -> None:
        self._budget = LogBudget(time.monotonic)
        self._has_rotated = False
        super().__init__(file, maxBytes=FILE_BYTES, backupCount=FILE_COUNT - 1)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, if its kind may still write; before it, what is to be said of lines that were left out."""
        for notice in self._budget.take_notices():
            super().emit(notice)
        if self._budget.allows(record):
            super().emit(record)

    def doRollover(self) -> None:  # noqa: N802 (the name is logging's)
        """Begin a new file; the first full file of this run gets a name that is not rotated away."""
        if not self._has_rotated:
            self._has_rotated = True
            if self.stream is not None:
                self.stream.close()
            with suppress(OSError):  # then it is rotated as every other file
                Path(self.baseFilename).replace(self.baseFilename + FIRST)
                self.stream = self._open()
                return
        super().doRollover()

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NOT_WAITING | getattr(os, "O_CLOEXEC", 0)
        raw = os.open(self.baseFilename, flags, 0o600)
        return open(raw, "a", encoding="utf-8", errors="backslashreplace")

    def close(self) -> None:
        """Close the file; ignore an error when its last bytes cannot be written."""
        for notice in self._budget.take_notices(all_now=True):
            super().emit(notice)
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """Drop the record: the default prints a traceback on standard error, which contains the record."""


@frozen
class Log:
    """An open log."""

    redactor: Redactor
    file: Path | None
    """The log file; None when there is none."""
    warning: str | None = None
    """When there is no file, one sentence that says why, to be shown to the person."""


def _open_handler(program: str, folder: Path, redactor: Redactor) -> tuple[logging.Handler, Log]:
    file = folder / f"{program}.log"
    try:
        make_private_folder(folder)
        handler = _LogFile(file)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        warning = f"No log is written, because its folder cannot be used ({reason}). Check its permissions."
        return logging.NullHandler(), Log(redactor, None, warning)
    handler.setFormatter(_OneLine(redactor))
    return handler, Log(redactor, file)


@contextmanager
def open_log(program: str, folder: Path, *, level: int = logging.INFO, logger: str = "") -> Iterator[Log]:
    """Log to `<folder>/<program>.log` for the duration of the block.

    This is a synchronous context manager, so that it can enclose `trio.run` and also log how that ends.

    Args:
        program: "worker", "client", "server" or "python".
        folder: created when missing, mode 0700; the file has mode 0600.
        level: the lowest level of our own records that is logged.
        logger: the logger whose records are logged, with those of the loggers below it; by default all records of this
            process.
    """
    handler, log = _open_handler(program, folder, Redactor())
    levels = {logger: level} | dict.fromkeys(NOISY, logging.WARNING)
    before = {name: logging.getLogger(name).level for name in levels}
    logging.getLogger(logger).addHandler(handler)
    for name, new in levels.items():
        logging.getLogger(name).setLevel(new)
    try:
        yield log
    finally:
        for name, old in before.items():
            logging.getLogger(name).setLevel(old)
        logging.getLogger(logger).removeHandler(handler)
        handler.close()
