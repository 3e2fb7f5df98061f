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


def is_cancellation(error: BaseException) -> bool:
    """Return whether the exception is a `trio.Cancelled`, or a group that contains nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


@contextmanager
def ungrouped() -> Iterator[None]:
    """Put this around a nursery: an `RtcError` that left it in an exception group is raised as itself.

    trio wraps everything that leaves a nursery in a group. What is raised instead depends on what the group holds:

    - only `RtcError`s: the first of them, because it is meant for people;
    - `RtcError`s and `trio.Cancelled`: the cancellation alone, because nobody waits for the error any more;
    - any other exception: the group unchanged, because it is a bug of ours.

    Raises:
        RtcError: the first one of the group.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        expected, others = group.split(RtcError)
        if expected is None:
            raise
        if others is None:
            raise first_error(expected) from None
        if is_cancellation(others):
            raise others from None
        raise


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
