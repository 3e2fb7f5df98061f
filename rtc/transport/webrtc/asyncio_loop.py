"""The asyncio loop inside trio: opened once per process, quiet when it ends, and never the reason a program dies.

aiortc starts many tasks that nobody awaits. trio-asyncio's own handler would end the whole program when one of them
fails; ours turns the failure into the loss of the one connection it belongs to. To know whose it is, each owner has a
`contextvars` context of its own: asyncio copies it into every task and timer, and tasks carry the owner in their name.
"""

import asyncio
import contextvars
import itertools
import logging
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import aioice.ice
import trio
import trio_asyncio

from protocol.faults import FaultCode
from rtc.common.errors import RtcError

T = TypeVar("T")

log = logging.getLogger("rtc.transport.webrtc")

CANCEL_TIME = 1.0
"""Seconds that tasks left over at the end have to obey their cancellation."""

_OWNER: contextvars.ContextVar[str] = contextvars.ContextVar("rtc_loop_owner", default="loop")

_aioice_host_addresses = aioice.ice.get_host_addresses


def host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """aioice's list of own addresses; loopback when there is none, which aioice alone would leave out.

    So a demo works on a machine without any network.
    """
    return _aioice_host_addresses(use_ipv4, use_ipv6) or (["127.0.0.1"] if use_ipv4 else [])


class LoopOwner(Protocol):
    """Something whose tasks run on the loop: a peer connection."""

    @property
    def over(self) -> bool:
        """True once it has ended, when errors of its tasks are no news."""

    def fail(self) -> None:
        """One of its tasks has failed; it cannot be relied on any more. Never waits."""

    async def aclose(self) -> None:
        """End it; bounded, and harmless when repeated."""


class AsyncioLoop:
    """The running loop, seen from trio. Made by `open_asyncio_loop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = contextvars.copy_context()
        self._owners: dict[str, LoopOwner] = {}
        self._numbers = itertools.count(1)
        loop.set_exception_handler(self._handle_exception)
        loop.set_task_factory(_named_task)

    def adopt(self, owner: LoopOwner) -> contextvars.Context:
        """Take `owner` into the house: its tasks are known by the context returned, and it is closed at the end."""
        name = f"peer-{next(self._numbers)}"
        context = self._context.copy()
        context.run(_OWNER.set, name)
        self._owners[name] = owner
        return context

    def release(self, context: contextvars.Context) -> None:
        """The owner of this context is closed; whatever its tasks still do is cancelled."""
        name = context[_OWNER]
        self._owners.pop(name, None)
        for task in asyncio.all_tasks(self._loop):
            if task.get_name() == name:
                task.cancel()

    def post(self, context: contextvars.Context, callback: Callable[..., object], *args: Any) -> None:
        """Call something of aiortc soon, from within the loop, in the order posted. Never waits."""
        self._loop.call_soon(callback, *args, context=context)

    def spawn(self, make: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """asyncio-flavoured: start a coroutine that nobody waits for; its error, if any, is nobody's."""
        self._loop.create_task(make()).add_done_callback(_mark_error_seen)

    async def run(
        self,
        context: contextvars.Context,
        make: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        timeout: float,
        sentence: str,
    ) -> T:
        """Run an asyncio coroutine as a task of its own and wait for it at most `timeout` seconds.

        aiortc does not stop promptly when told to; so the task is told, and left to the loop.

        Raises:
            RtcError: LINK_FAILED with `sentence`, whatever went wrong inside; an RtcError from inside as it is.
        """
        task = context.run(self._loop.create_task, make(*args))
        done = trio.Event()
        task.add_done_callback(lambda _: done.set())
        try:
            with trio.move_on_after(timeout):
                await done.wait()
        finally:
            if not task.done():
                task.add_done_callback(_mark_error_seen)
                task.cancel()
        if not task.done() or task.cancelled():
            raise RtcError(FaultCode.LINK_FAILED, sentence)
        error = task.exception()
        if isinstance(error, RtcError):
            raise error
        if error is not None:
            log.debug("aiortc said %s", _describe_error(error))
            raise RtcError(FaultCode.LINK_FAILED, sentence)
        return task.result()

    def _handle_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio's exception handler. Messages and reprs may hold what was sent, so only names are logged."""
        error = context.get("exception")
        name = _owner_of(context)
        owner = self._owners.get(name)
        expected = owner.over if owner is not None else name != "loop"
        level = logging.DEBUG if expected else logging.WARNING
        log.log(
            level,
            "stray asyncio error of %s: %s",
            name,
            _describe_error(error) if error else "a task was left unfinished",
        )
        if owner is not None and error is not None:
            owner.fail()

    async def aclose(self) -> None:
        """Close whatever was left open, then cancel what still runs; both bounded."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for owner in tuple(self._owners.values()):
                    nursery.start_soon(owner.aclose)
            with trio.move_on_after(CANCEL_TIME):
                while tasks := asyncio.all_tasks(self._loop):
                    await _cancel_and_wait(tasks)
        for task in asyncio.all_tasks(self._loop):
            # It does not obey. trio-asyncio would wait for it for ever (documented hook for such cases).
            asyncio.tasks._unregister_task(task)


@asynccontextmanager
async def open_asyncio_loop() -> AsyncGenerator[AsyncioLoop, None]:
    """The asyncio loop for as long as this context lasts; once per process, around everything that uses peers.

    The loop's own nurseries would wrap an error of the body into groups of groups; hence they are left by hand,
    after the body's error is out of their reach.
    """
    aioice.ice.get_host_addresses = host_addresses
    manager = trio_asyncio.open_loop()
    asyncio_loop = AsyncioLoop(await manager.__aenter__())
    try:
        yield asyncio_loop
    finally:
        await asyncio_loop.aclose()
        await manager.__aexit__(None, None, None)


def _named_task(
    loop: asyncio.AbstractEventLoop, coro: Any, context: contextvars.Context | None = None
) -> "asyncio.Task[Any]":
    owner = context[_OWNER] if context is not None and _OWNER in context else _OWNER.get()
    return asyncio.Task(coro, loop=loop, name=owner, context=context)


def _owner_of(context: dict[str, Any]) -> str:
    task = context.get("task") or context.get("future")
    if isinstance(task, asyncio.Task):
        return task.get_name()
    handle_context: contextvars.Context | None = getattr(context.get("handle"), "_context", None)
    return handle_context.get(_OWNER, "loop") if handle_context is not None else "loop"


def _describe_error(error: BaseException) -> str:
    """The kind of an error and the function it came from; nothing of its text."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {frames[-1].name}, line {frames[-1].lineno}" if frames else type(error).__name__


def _mark_error_seen(task: "asyncio.Task[Any]") -> None:
    """Mark a task's error as seen, or asyncio would complain that nobody did."""
    if not task.cancelled():
        task.exception()


async def _cancel_and_wait(tasks: "set[asyncio.Task[Any]]") -> None:
    """Cancel these tasks and wait until they have ended."""
    done = trio.Event()
    remaining = len(tasks)

    def on_done(task: "asyncio.Task[Any]") -> None:
        nonlocal remaining
        _mark_error_seen(task)
        remaining -= 1
        if not remaining:
            done.set()

    for task in tasks:
        task.add_done_callback(on_done)
        task.cancel()
    await done.wait()
