"""Expected errors leave a nursery as themselves, not in an exception group. Nothing else in `rtc/` unwraps groups."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from rtc.common.errors import RtcError


def first_error(error: BaseException) -> BaseException:
    """Return the first exception inside nested groups; an exception that is no group is returned unchanged."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raise an `RtcError` that left a nursery in an exception group as itself; put this context around the nursery.

    trio wraps every exception that leaves a nursery in a group. From a group that contains only `RtcError`s, the first
    one is raised without the group, since it has the sentence for people. A group with any other exception is a bug of
    ours and is raised unchanged.

    Raises:
        RtcError: the first one of the group.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        expected, others = group.split(RtcError)
        if expected is None or others is not None:
            raise
        raise first_error(expected) from None


@asynccontextmanager
async def open_background_nursery() -> AsyncGenerator[trio.Nursery, None]:
    """Open a nursery for tasks that serve the body of this context; they are cancelled when the body ends.

    Raises:
        RtcError: raised by the body or by a task; see `ungrouped`.
    """
    with ungrouped():
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel()
