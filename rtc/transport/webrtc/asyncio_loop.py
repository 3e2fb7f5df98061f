"""The asyncio loop inside trio: opened once per process; an error in one of its tasks never ends the whole program.

aiortc starts many tasks that nobody awaits. trio-asyncio's own exception handler would end the whole program when one
of them fails; ours ends only the connection that the task belongs to. To find that connection, each owner has its own
`contextvars` context: asyncio copies the context into every task and timer, and each task has its owner's name.
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
import trio_asyncio._loop

from protocol.faults import FaultCode
from rtc.common.errors import RtcError

T = TypeVar("T")

log = logging.getLogger("rtc.transport.webrtc")

# As trio-asyncio is imported, it makes every loop of the process one of its own, in threads where no trio runs as well.
# With this (the comments at the top of its module say how), asyncio stays what it was for a program that uses our API.
trio_asyncio._loop._FakedPolicy.policy = trio_asyncio._loop._original_policy

CANCEL_TIME = 1.0
"""Seconds that the remaining tasks have to end after their cancellation, when the loop is closed."""

_OWNER: contextvars.ContextVar[str] = contextvars.ContextVar("rtc_loop_owner", default="loop")

_aioice_host_addresses = aioice.ice.get_host_addresses


def host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """Return this machine's addresses as aioice lists them; or loopback when there is none.

    aioice leaves loopback out. With it, the demo works on a machine without any network.
    """
    return _aioice_host_addresses(use_ipv4, use_ipv6) or (["127.0.0.1"] if use_ipv4 else [])


class LoopOwner(Protocol):
    """An object whose tasks run on the loop: a peer connection, or a TURN probe."""

    @property
    def over(self) -> bool:
        """Whether it has ended; then errors of its tasks are expected, and logged with level DEBUG only."""

    def fail(self) -> None:
        """End the owner, because one of its tasks has failed. Never waits."""

    async def aclose(self) -> None:
        """Close the owner; takes bounded time and may be called again."""


class AsyncioLoop:
    """The running asyncio loop, for use from trio; made by `open_asyncio_loop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._context = contextvars.copy_context()
        self._owners: dict[str, LoopOwner] = {}
        self._numbers = itertools.count(1)
        loop.set_exception_handler(self._handle_exception)
        loop.set_task_factory(_named_task)

    def register(self, owner: LoopOwner) -> contextvars.Context:
        """Register `owner` and return the context in which its tasks must run. The loop closes the owner at its end."""
        name = f"peer-{next(self._numbers)}"
        context = self._context.copy()
        context.run(_OWNER.set, name)
        self._owners[name] = owner
        return context

    def unregister(self, context: contextvars.Context) -> None:
        """Remove the owner of this context, after the owner was closed, and cancel its remaining tasks."""
        name = context[_OWNER]
        self._owners.pop(name, None)
        for task in asyncio.all_tasks(self._loop):
            if task.get_name() == name:
                task.cancel()

    def post(self, context: contextvars.Context, callback: Callable[..., object], *args: Any) -> None:
        """Schedule an asyncio-flavoured function on the loop; functions run in the order posted. Never waits."""
        self._loop.call_soon(callback, *args, context=context)

    def spawn(self, make_coroutine: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """asyncio-flavoured: start a coroutine that nobody awaits; its error, if any, is ignored."""
        self._loop.create_task(make_coroutine()).add_done_callback(_mark_error_seen)

    async def run(
        self,
        context: contextvars.Context,
        make_coroutine: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        timeout: float,
        error_text: str,
        silence_text: str = "",
    ) -> T:
        """Run the asyncio coroutine `make(*args)` as a task and wait for it at most `timeout` seconds.

        aiortc does not stop promptly when cancelled; so on a time-out or cancellation the task is cancelled, but not
        awaited.

        Raises:
            RtcError: LINK_FAILED with the text `error_text` for any exception of the coroutine except an RtcError,
                which is raised as it is; with the text `silence_text`, if there is one, for a time-out.
        """
        task = context.run(self._loop.create_task, make_coroutine(*args))
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
            raise RtcError(FaultCode.LINK_FAILED, silence_text or error_text)
        error = task.exception()
        if isinstance(error, RtcError):
            raise error
        if error is not None:
            log.debug("aiortc raised %s", _describe_error(error))
            raise RtcError(FaultCode.LINK_FAILED, error_text)
        return task.result()

    def _handle_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an unhandled exception of an asyncio task, and end its owner; this is the loop's exception handler.

        Texts and reprs of exceptions may contain data that was sent, so only names are logged.
        """
        error = context.get("exception")
        name = _owner_of(context)
        owner = self._owners.get(name)
        expected = owner.over if owner is not None else name != "loop"
        level = logging.DEBUG if expected else logging.WARNING
        log.log(
            level,
            "unhandled asyncio error of %s: %s",
            name,
            _describe_error(error) if error else "a task was left unfinished",
        )
        if owner is not None and error is not None:
            owner.fail()

    async def aclose(self) -> None:
        """Close the remaining owners, then cancel the remaining tasks; both take bounded time."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for owner in tuple(self._owners.values()):
                    nursery.start_soon(owner.aclose)
            with trio.move_on_after(CANCEL_TIME):
                while tasks := asyncio.all_tasks(self._loop):
                    await _cancel_and_wait(tasks)
        for task in asyncio.all_tasks(self._loop):
            # The task ignores its cancellation, and trio-asyncio would wait for it for ever (documented hook for this).
            asyncio.tasks._unregister_task(task)


@asynccontextmanager
async def open_asyncio_loop() -> AsyncGenerator[AsyncioLoop, None]:
    """Run the asyncio loop for the length of this context; once per process, around everything that uses WebRTC.

    The nurseries of `trio_asyncio.open_loop` would wrap an error of the body into nested exception groups; therefore
    they are entered and left by hand, and never see that error.
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
    """Create a task that has its owner's name; this is the loop's task factory."""
    owner = context[_OWNER] if context is not None and _OWNER in context else _OWNER.get()
    return asyncio.Task(coro, loop=loop, name=owner, context=context)


def _owner_of(context: dict[str, Any]) -> str:
    """Return the name of the owner whose task or callback failed; `context` is that of asyncio's exception handler."""
    task = context.get("task") or context.get("future")
    if isinstance(task, asyncio.Task):
        return task.get_name()
    handle_context: contextvars.Context | None = getattr(context.get("handle"), "_context", None)
    return handle_context.get(_OWNER, "loop") if handle_context is not None else "loop"


def _describe_error(error: BaseException) -> str:
    """Return the type of an error and the function and line that raised it, without the error's text."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {frames[-1].name}, line {frames[-1].lineno}" if frames else type(error).__name__


def _mark_error_seen(task: "asyncio.Task[Any]") -> None:
    """Mark a task's error as retrieved; otherwise asyncio would report it to the exception handler."""
    if not task.cancelled():
        task.exception()


async def _cancel_and_wait(tasks: "set[asyncio.Task[Any]]") -> None:
    """Cancel `tasks` and wait until all of them have ended."""
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
