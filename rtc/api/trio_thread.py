"""Runs one async context manager in a thread with a trio loop of its own, and makes calls there from any other thread.

A caller that is interrupted (Ctrl-C) cancels its call and nothing else. The thread is a daemon, so that a program that
forgets to close it can end; what is still open then is closed by an exit handler.
"""

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, TypeVar

import trio

from rtc.api.errors import OTHER_PROCESS, ROOM_CLOSED, usage_error
from rtc.common.nurseries import open_background_nursery

T = TypeVar("T")
V = TypeVar("V")

WAKE_TIME = 0.2 if sys.platform == "win32" else None
"""Seconds after which a waiting thread looks for a Ctrl-C. On Windows a wait without a limit does not notice one."""


class _BlockFailedError(Exception):
    """The block of the caller has ended with an exception, which the caller has."""


class TrioThread(Generic[T]):
    """One thread with a trio loop, in which a context manager is open from `open` to `close`."""

    def __init__(self, make_manager: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self._make_manager = make_manager
        self._opened: Future[T] = Future()
        self._ended: Future[None] = Future()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="sleap-rtc", daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None
        self._ready = threading.Event()
        self._calls: trio.Nursery | None = None
        self._waiting: set[Future[Any]] = set()
        self._closing = trio.Event()
        self._scope = trio.CancelScope()
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._has_failed = False

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._thread.is_alive() and not self._closing.is_set()

    def open(self) -> T:
        """Start the thread, wait until the context manager is open, and return what it gives.

        Raises:
            BaseException: what the context manager raises; the thread has ended then.
        """
        try:
            self._thread.start()
            _open_threads.add(self)
            self._ready.wait()
            return self._wait_for(self._opened, None)
        except BaseException:
            self.cancel()
            raise

    def call(self, function: Callable[..., Awaitable[V]], *arguments: Any, timeout: float | None = None) -> V:
        """Call an async function in the thread, wait for it, and return what it returns.

        Args:
            function: is called in the thread.
            arguments: for the function.
            timeout: seconds to wait.

        Raises:
            TimeoutError: it took longer; the call is cancelled.
            UsageError: the thread is closed, or belongs to another process.
            BaseException: what the function raises; KeyboardInterrupt cancels the call.
        """
        self._check()
        future: Future[V] = Future()
        scope = trio.CancelScope()

        def start() -> None:
            if self._calls is None or self._closing.is_set():
                _fail(future, usage_error(ROOM_CLOSED))
            else:
                self._calls.start_soon(self._answer, future, scope, function, arguments)

        with self._lock:
            self._waiting.add(future)
        try:
            self._in_trio(start)
            return self._wait_for(future, timeout)
        except BaseException:
            self._in_trio(scope.cancel)
            raise
        finally:
            with self._lock:
                self._waiting.discard(future)

    def close(self, *, failed: bool = False) -> None:
        """Leave the context manager, and wait for the end of the thread; a second call changes nothing.

        Args:
            failed: leave it as a block is left that ends with an exception.

        Raises:
            BaseException: what the context manager raises at its end, or has raised. After KeyboardInterrupt it is
                cancelled, and the thread has ended.
        """
        if os.getpid() != self._process:
            return  # the thread is in the other process
        self._has_failed = failed
        self._in_trio(self._closing.set)
        try:
            self._join()
        except BaseException:
            self.cancel()
            raise
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait_ended(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, which somebody closes.

        Args:
            timeout: seconds to wait.

        Raises:
            TimeoutError: it took longer.
            UsageError: the thread belongs to another process.
        """
        self._check_process()
        if threading.current_thread() is not self._thread:
            self._wait_for(self._ended, timeout)

    def ask_close(self) -> None:
        """Let the thread close without waiting for it."""
        if os.getpid() == self._process:
            self._in_trio(self._closing.set)

    def cancel(self) -> None:
        """Cancel what the thread does, and wait for its end, which takes some seconds at most."""
        if self._thread.is_alive():
            self._ready.wait()  # before that, there is nothing that could be cancelled
        self._in_trio(self._scope.cancel)
        self._join()

    # -------- inside

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise usage_error(OTHER_PROCESS)

    def _check(self) -> None:
        self._check_process()
        if not self.is_open:
            raise usage_error(ROOM_CLOSED)
        if threading.current_thread() is self._thread:
            raise usage_error("This call waits for the thread that it is made in. Make it in another thread.")

    def _in_trio(self, function: Callable[[], object]) -> None:
        """Call a function in the thread; do nothing if the thread has ended."""
        with suppress(trio.RunFinishedError):
            if self._token is not None:
                self._token.run_sync_soon(function)

    @staticmethod
    def _wait_for(future: "Future[V]", timeout: float | None) -> V:
        end = None if timeout is None else time.monotonic() + timeout
        while not future.done():
            left = None if end is None else max(0.0, end - time.monotonic())
            if left == 0:
                raise TimeoutError("It has not ended in that time.")
            limits = [limit for limit in (left, WAKE_TIME) if limit is not None]
            wait([future], min(*limits, threading.TIMEOUT_MAX) if limits else None)
        return future.result()

    def _join(self) -> None:
        if threading.current_thread() is self._thread:
            return
        while self._thread.is_alive():
            self._thread.join(WAKE_TIME)

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001 (whoever waits gets it)
            if not _fail(self._opened, error):
                self._error = error
                self._fail_waiting(error)
        finally:
            self._ready.set()
            self._fail_waiting(usage_error(ROOM_CLOSED))
            self._ended.set_result(None)
            _open_threads.discard(self)

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._ready.set()
        async with open_background_nursery() as self._calls:
            with self._scope, suppress(_BlockFailedError):
                async with self._make_manager() as value:
                    self._opened.set_result(value)
                    try:
                        await self._closing.wait()
                    finally:  # what comes now, after an error too, is refused
                        self._closing.set()
                    if self._has_failed:
                        raise _BlockFailedError
        _fail(self._opened, usage_error(ROOM_CLOSED))

    async def _answer(
        self,
        future: "Future[V]",
        scope: trio.CancelScope,
        function: Callable[..., Awaitable[V]],
        arguments: tuple[Any, ...],
    ) -> None:
        """Call the function, and give what it returns or raises to whoever waits."""
        with scope:
            try:
                value = await function(*arguments)
            except Exception as error:  # noqa: BLE001 (whoever waits gets it)
                _fail(future, error)
            else:
                future.set_result(value)
        _fail(future, usage_error(ROOM_CLOSED))

    def _fail_waiting(self, error: BaseException) -> None:
        with self._lock:
            waiting = tuple(self._waiting)
        for future in waiting:
            _fail(future, error)


_open_threads: "weakref.WeakSet[TrioThread[Any]]" = weakref.WeakSet()
"""Threads that run, to be closed when the program ends."""


def _fail(future: "Future[Any]", error: BaseException) -> bool:
    """Give an error to whoever waits for `future`, unless it has an answer; return whether it had none."""
    if future.done():
        return False
    future.set_exception(error)
    return True


@atexit.register
def _close_all() -> None:
    """Close what the program has left open."""
    threads = tuple(_open_threads)
    for thread in threads:
        thread.ask_close()
    interrupted = False
    for thread in threads:
        try:
            if interrupted:
                thread.cancel()
            else:
                thread.close()
        except KeyboardInterrupt:  # Python would print where it came, and the other threads would not be closed
            interrupted = True
