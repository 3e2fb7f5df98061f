"""File descriptors: the server asks the system for more of them, and takes only as many connections as they allow.

A process that has no descriptor left can accept no connection and open no file. So the limits of the server are made
smaller where the system's limit of open files is low, and some descriptors are always kept for everything else.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from attrs import evolve

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.server.admission import REPLACED_MAX
from rtc.server.connection_pool import DISPLACED_MAX
from rtc.server.limits import ServerLimits
from rtc.server.overload import LINGERING_MAX

log = logging.getLogger(__name__)

SERVER_RESERVE = 64
"""Descriptors for the database, the log and what Python opens."""
WORKER_RESERVE = 256
"""The same where a worker runs in the process: its links and jobs too."""
RAISED_MAX = 65_536
"""The limit is raised no further: a program that closes every descriptor it might have takes long for 10**9 of them."""
CONNECTIONS_MIN = 10
"""With fewer connections there is no sense in a server."""
LOG_PAUSE = 60.0
"""Seconds between two lines of the log that say that no descriptor is free."""


def raise_open_files_limit() -> int | None:
    """Raise the soft limit of open files to the hard one, and return it; None on systems that have no such limit."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = RAISED_MAX if hard == resource.RLIM_INFINITY else min(hard, RAISED_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS has another limit below a hard one without end
            log.info("the limit of open files stays at %d", soft)
        else:
            soft = wanted
    return RAISED_MAX if soft == resource.RLIM_INFINITY else soft


def count_open_files() -> int:
    """Return how many descriptors of this process are in use, where the system lists them; otherwise 0."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return 0


def fit(limits: ServerLimits, free: int) -> ServerLimits:
    """Return limits that together need at most `free` descriptors, each made smaller in the same proportion.

    Connections that are being refused, displaced or replaced need some more for a moment; these are taken off `free`.

    Raises:
        RtcError: USAGE: there are too few for any server.
    """
    free -= LINGERING_MAX + 2 * DISPLACED_MAX + REPLACED_MAX
    wanted = limits.max_connections + limits.max_unjoined + limits.max_http
    if free < min(CONNECTIONS_MIN, wanted):
        text = "The system lets this program open too few files for a server. Allow more: ulimit -n 4096"
        raise RtcError(FaultCode.USAGE, text)
    if free >= wanted:
        return limits
    return evolve(
        limits,
        **{
            name: max(1, getattr(limits, name) * free // wanted)
            for name in ("max_connections", "max_unjoined", "max_http")
        },
    )


def fit_to_system(limits: ServerLimits, reserve: int) -> ServerLimits:
    """Raise the limit of open files, and return the limits that it allows, with `reserve` descriptors left for others.

    Raises:
        RtcError: USAGE: the system allows too few for any server.
    """
    allowed = raise_open_files_limit()
    if allowed is None:
        return limits
    fitting = fit(limits, allowed - count_open_files() - reserve)
    if fitting != limits:
        log.warning("%d open files are allowed, so there are %d places", allowed, fitting.max_connections)
    return fitting


class _Seldom(logging.Filter):
    """Lets one record pass in `LOG_PAUSE`, without its traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._next = -1.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = trio.current_time()
        if now < self._next:
            return False
        self._next = now + LOG_PAUSE
        record.exc_info = None
        return True


@contextmanager
def few_capacity_errors() -> Iterator[None]:
    """Let trio log only now and then that no connection can be accepted; it tries ten times a second."""
    logger, seldom = logging.getLogger("trio.serve_listeners"), _Seldom()
    logger.addFilter(seldom)
    try:
        yield
    finally:
        logger.removeFilter(seldom)
