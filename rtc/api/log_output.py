"""Where the log of the API goes: into a file if the program asks for one, and nowhere else.

Rule: it never reaches the log handlers of the program. Those write what they are given, and our records are cleaned of
tokens and secrets only as our own file is written.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

from rtc.api.errors import usage_error
from rtc.common.logs import hide_in_logs, open_log

LOGGER = "rtc"
"""The logger above all loggers of ours."""
LOG_NAME = "python"
"""The name of the log file, without its ending."""


@define
class _Silence:
    """Keeps our records from the program's handlers while at least one room is open, in any thread."""

    _rooms: int = 0
    _lock: threading.Lock = field(factory=threading.Lock)

    def begin(self) -> None:
        with self._lock:
            self._rooms += 1
            logging.getLogger(LOGGER).propagate = False

    def end(self) -> None:
        with self._lock:
            self._rooms -= 1
            logging.getLogger(LOGGER).propagate = self._rooms == 0


_silence = _Silence()


@contextmanager
def open_output(folder: str | os.PathLike[str] | None, *secrets: str | None) -> Iterator[None]:
    """Log to `python.log` in this folder for the duration of the block; None: to no file.

    Args:
        folder: made if it is missing.
        secrets: texts that must never appear in a log.

    Raises:
        UsageError: the folder cannot be used.
    """
    for secret in secrets:
        if secret:
            hide_in_logs(secret)
    handler = logging.NullHandler()  # without any handler, logging itself would write to standard error
    logging.getLogger(LOGGER).addHandler(handler)
    _silence.begin()
    try:
        if folder is None:
            yield
            return
        with open_log(LOG_NAME, Path(folder), logger=LOGGER) as opened:
            if opened.warning:
                raise usage_error(opened.warning)
            yield
    finally:
        _silence.end()
        logging.getLogger(LOGGER).removeHandler(handler)
