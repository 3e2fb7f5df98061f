"""Single keys from a terminal: without Enter, without echo, and the terminal is given back whatever happens.

Only one task reads at a time. Who began to listen last hears the keys; when it stops, the one before hears them again.
Ctrl-C stays a signal.
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

Hearer = Callable[[str], None]

READ_MAX = 1024
AWAY_TIME = 0.5
"""Seconds until we look again whether the shell has given us the terminal back."""
# an arrow key is "ESC [ C", and must not count as the letter; what is cut off at the end waits for its rest
_SEQUENCE = re.compile(r"\x1b(?:[\[O][0-?]*[ -/]*[@-~])?")
_UNFINISHED = re.compile(r"\x1b[\[O][0-?]*[ -/]*\Z")


def split_keys(typed: str) -> tuple[str, str]:
    """The keys in what was typed, in lower case, but for those that send a sequence; and what is begun of one."""
    unfinished = _UNFINISHED.search(typed)
    rest = unfinished.group() if unfinished else ""
    return _SEQUENCE.sub("", typed.removesuffix(rest)).lower(), rest


@define
class Keyboard:
    """The keys of the terminal behind a file descriptor, if there is one."""

    _fd: int
    _hearers: list[Hearer] = field(factory=list, init=False)
    _reading: trio.Lock = field(factory=trio.Lock, init=False)

    @property
    def usable(self) -> bool:
        """There is a terminal, somebody may type there, and what is typed is for us."""
        return sys.platform != "win32" and os.isatty(self._fd) and _in_front(self._fd)

    @asynccontextmanager
    async def hear(self, hearer: Hearer) -> AsyncIterator[None]:
        """Call `hearer` with each key while the block lasts; where there is no keyboard it is never called."""
        if not self.usable:
            yield
            return
        async with trio.open_nursery() as nursery:
            self._hearers.append(hearer)
            nursery.start_soon(self._read)
            try:
                yield
            finally:
                self._hearers.remove(hearer)
                nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        async with self._reading:  # when its owner stops to listen, the next one reads on
            with _single_keys(self._fd):
                rest = ""
                while (typed := await self._typed()) is not None:
                    keys, rest = split_keys(rest + typed)
                    for key in keys:
                        self._hearers[-1](key)

    async def _typed(self) -> str | None:
        """What was typed; None when no more will come."""
        await trio.lowlevel.wait_readable(self._fd)
        if not _in_front(self._fd):  # suspended and sent to the background: reading would stop the whole process
            await trio.sleep(AWAY_TIME)
            return ""
        try:
            return os.read(self._fd, READ_MAX).decode("utf-8", "replace") or None
        except OSError:  # the terminal was closed
            return None


def _in_front(fd: int) -> bool:
    """The shell lets us use the terminal. One that is not our session's own knows no front, and may be used."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return True


@contextmanager
def _single_keys(fd: int) -> Iterator[None]:
    """Neither wait for Enter nor echo; what was typed before is forgotten, it was meant for something else."""
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield
    finally:
        if _in_front(fd):  # otherwise the shell has put the terminal in order, and touching it would stop us
            _give_back(fd, before)


def _give_back(fd: int, before: "list[int | list[bytes | int]]") -> None:
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
    except termios.error:
        if os.isatty(fd):  # a terminal that was closed needs nothing
            raise
