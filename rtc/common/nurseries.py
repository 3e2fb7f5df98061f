"""Helpers beside the work: a nursery that ends with its body, and lets the body's expected errors out as themselves."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from rtc.common.errors import RtcError


@asynccontextmanager
async def open_beside() -> AsyncGenerator[trio.Nursery, None]:
    """A nursery for tasks that serve the body; they are cancelled when it ends.

    trio wraps whatever leaves a nursery into a group. An `RtcError` of the body is for people, and is raised outside,
    bare; a failing helper is a bug and stays in its group.
    """
    failure: RtcError | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except RtcError as error:
            failure = error
        finally:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
