"""The log file: everything a person was not shown, one line per record, and no secrets in it.

Rule of the room: a log never stops a program. Where it cannot be written, it is not written.
"""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from urllib.parse import quote

from attrs import define, field, frozen

from protocol.fields import is_printable

FILE_BYTES = 1_000_000
FILES = 3
"""The current file and two older ones."""
HIDDEN = "[hidden]"
NOISY = ("aiortc", "aioice", "trio-websocket", "anycorn", "asyncio", "trio_asyncio", "zmq")
"""Libraries whose everyday talk helps nobody; only their warnings are kept."""


@define
class Redactor:
    """Knows the secrets of this process and takes them out of any text."""

    _forms: set[str] = field(factory=set, init=False, repr=False)

    def hide(self, value: str) -> None:
        """From now on, `value` is never logged, nor as JSON, `repr` or part of a URL would spell it."""
        for plain in {value, value.strip()} - {""}:
            self._forms |= {plain, repr(plain)[1:-1], json.dumps(plain)[1:-1], quote(plain, safe="")}

    def clean(self, text: str) -> str:
        """The text without any secret. The longest go first, since one may contain another."""
        for form in sorted(self._forms, key=len, reverse=True):
            text = text.replace(form, HIDDEN)
        return text


class _OneLine(logging.Formatter):
    """UTC time, process, level, logger, and everything else on the same line; whoever logs cannot forge a line."""

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
        text = _visible(self._redactor.clean("\n".join(parts)))
        return f"{when} {record.process} {record.levelname} {record.name}: {text}"


def _visible(text: str) -> str:
    """Line breaks and control characters as escapes."""
    return "".join(
        char if is_printable(char) else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


class _LogFile(RotatingFileHandler):
    """Readable by its owner alone; failures (a full disk, a bad format string) must not print on the terminal."""

    def _open(self) -> TextIOWrapper:
        raw = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return open(raw, "a", encoding="utf-8", errors="backslashreplace")

    def close(self) -> None:
        """Give up the file, also when its last bytes cannot be written."""
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the name is logging's)
        """Drop the record: logging's own answer is a traceback on standard error, record included."""


def _make_private(folder: Path) -> None:
    """Create the folder and its missing parents for the owner alone; those that exist stay as they are."""
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)


@frozen
class Log:
    """An open log."""

    redactor: Redactor
    file: Path | None
    """Where it is written, or None when it is written nowhere."""
    warning: str | None = None
    """One sentence for people when there is no file."""


def _handler(program: str, folder: Path, redactor: Redactor) -> tuple[logging.Handler, Log]:
    file = folder / f"{program}.log"
    try:
        _make_private(folder)
        handler = _LogFile(file, maxBytes=FILE_BYTES, backupCount=FILES - 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        warning = f"No log is written, because its folder cannot be used ({reason}). Check its permissions."
        return logging.NullHandler(), Log(redactor, None, warning)
    handler.setFormatter(_OneLine(redactor))
    return handler, Log(redactor, file)


@contextmanager
def open_log(program: str, folder: Path, *, level: int = logging.INFO) -> Iterator[Log]:
    """Log to `<folder>/<program>.log` for as long as the block lasts.

    It waits for nothing and is a plain context manager, so that it can be around `trio.run` and hear of its end.

    Args:
        program: "worker", "client" or "server".
        folder: created when missing, mode 0700; the file has mode 0600.
        level: the lowest level of our own records that is kept.
    """
    handler, log = _handler(program, folder, Redactor())
    levels = {"": level} | dict.fromkeys(NOISY, logging.WARNING)
    before = {name: logging.getLogger(name).level for name in levels}
    logging.getLogger().addHandler(handler)
    for name, new in levels.items():
        logging.getLogger(name).setLevel(new)
    try:
        yield log
    finally:
        for name, old in before.items():
            logging.getLogger(name).setLevel(old)
        logging.getLogger().removeHandler(handler)
        handler.close()
