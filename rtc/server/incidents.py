"""What is written into the log when the task of one connection ends with an error that nobody expected.

Such an error ends that connection alone. Its text is never written, since it may quote a request and its token; where
it happened is, with all functions on the way.
"""

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import trio

from rtc.server.rate_limits import TokenBucket

log = logging.getLogger(__name__)

REPORTS, REPORTS_RATE = 10, 1 / 60
"""How often the same error is logged: at once, and per second after that. So nobody can fill the log with one."""
FRAMES_MAX = 20
_reports: trio.lowlevel.RunVar[TokenBucket[str]] = trio.lowlevel.RunVar("reports")


def report_incident(what: str, error: BaseException) -> None:
    """Log an error, or all errors of a group, with the functions through which each came.

    Args:
        what: what has ended, such as "a connection failed".
    """
    reports = _reports.get(TokenBucket(REPORTS, REPORTS_RATE))
    _reports.set(reports)
    for one in _single_errors(error):
        frames = traceback.extract_tb(one.__traceback__)[-FRAMES_MAX:]
        place = f"{type(one).__name__} in {frames[-1].name if frames else 'unknown place'}"
        now = trio.current_time()
        if reports.delay(place, now) == 0:
            way = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
            log.error("%s: %s (%s)", what, place, way)
            reports.count(place, now)


def error_places(error: BaseException) -> str:
    """Return type and function of each error in a group, without the texts."""
    frames = [(one, traceback.extract_tb(one.__traceback__)[-1:]) for one in _single_errors(error)]
    return "; ".join(f"{type(one).__name__} in {frame[0].name if frame else '?'}" for one, frame in frames)


def _single_errors(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _single_errors(inner)
    else:
        yield error
