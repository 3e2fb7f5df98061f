"""Single keys from a terminal, without Enter and without echo; its settings are restored whatever happens.

Only one task reads at a time. The handler that was registered last receives the keys; when it is removed, the one
registered before it receives them again. Ctrl-C remains a signal (SIGINT).
"""

import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio
from attrs import define, field

if sys.platform != "win32":
    import termios
    import tty

KeyHandler = Callable[[str], None]

READ_MAX = 1024
"""Bytes read at once."""
BACKGROUND_POLL_TIME = 0.5
"""Seconds between two checks whether the shell has moved this process back to the foreground."""
# an arrow key sends "ESC [ C", which must not count as the letter c; a sequence that is cut off at the end of a read is
# kept until its rest arrives
_SEQUENCE = re.compile(r"\x1b(?:[\[O][0-?]*[ -/]*[@-~])?")
_UNFINISHED = re.compile(r"\x1b[\[O][0-?]*[ -/]*\Z")


def split_keys(typed: str) -> tuple[str, str]:
    """Return the keys in `typed`, in lower case, and the unfinished escape sequence at its end.

    Keys that send an escape sequence (arrows, function keys) are left out.
    """
    unfinished = _UNFINISHED.search(typed)
    rest = unfinished.group() if unfinished else ""
    return _SEQUENCE.sub("", typed.removesuffix(rest)).lower(), rest


@define
class Keyboard:
    """The keys of the terminal behind a file descriptor, if it is a terminal."""

    _fd: int
    _handlers: list[KeyHandler] = field(factory=list, init=False)
    _read_lock: trio.Lock = field(factory=trio.Lock, init=False)

    @property
    def usable(self) -> bool:
        """Whether there is a terminal and this process is in its foreground, so that typed keys are for us."""
        return sys.platform != "win32" and os.isatty(self._fd) and _in_foreground(self._fd)

    @asynccontextmanager
    async def read_keys(self, handler: KeyHandler) -> AsyncIterator[None]:
        """Call `handler` with each key for the duration of the block; without a usable keyboard it is never called."""
        if not self.usable:
            yield
            return
        async with trio.open_nursery() as nursery:
            self._handlers.append(handler)
            nursery.start_soon(self._read)
            try:
                yield
            finally:
                self._handlers.remove(handler)
                nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        async with self._read_lock:  # when the task that holds it is cancelled, the next one continues to read
            with _single_keys(self._fd):
                rest = ""
                while (typed := await self._read_typed()) is not None:
                    keys, rest = split_keys(rest + typed)
                    for key in keys:
                        self._handlers[-1](key)

    async def _read_typed(self) -> str | None:
        """Wait for typed text and return it; None when the terminal was closed."""
        await trio.lowlevel.wait_readable(self._fd)
        if not _in_foreground(self._fd):  # moved to the background: reading would stop the process (SIGTTIN)
            await trio.sleep(BACKGROUND_POLL_TIME)
            return ""
        try:
            return os.read(self._fd, READ_MAX).decode("utf-8", "replace") or None
        except OSError:  # the terminal was closed
            return None


def _in_foreground(fd: int) -> bool:
    """Return whether the shell lets this process use the terminal.

    A terminal that is not the controlling terminal of our session has no foreground group and may always be used.
    """
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return True


@contextmanager
def _single_keys(fd: int) -> Iterator[None]:
    """Turn off line mode and echo for the duration of the block.

    What was typed before is discarded: it was meant for another program or question.
    """
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield
    finally:
        if _in_foreground(fd):  # otherwise the shell has restored the terminal, and changing it would stop us (SIGTTOU)
            _restore(fd, before)


def _restore(fd: int, before: "list[int | list[bytes | int]]") -> None:
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
    except termios.error:
        if os.isatty(fd):  # a terminal that was closed has no settings to restore
            raise
