"""News of a running job on their way to a listener who may be slow: never waits, never grows, never lies about gaps."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from protocol.ids import JobId
from protocol.jobs import JobStarted, LogLines, ModelStarted, Progress

BACKLOG_MAX = 200
"""Messages kept for a slow listener; beyond it, log lines go first (all of them stand in the job's log anyway)."""


class Newsreel:
    """`push` what happens; `run` hands it on as fast as it is taken."""

    def __init__(self, job: JobId, hand_on: Callable[[Any], Awaitable[None]]) -> None:
        self._job = job
        self._hand_on = hand_on
        self._backlog: deque[Any] = deque()
        self._left_out = 0
        self._came = trio.Event()
        self._idle = trio.Event()
        self._idle.set()
        self.started: JobStarted | None = None
        """What a listener who comes later must hear first."""
        self.model: ModelStarted | None = None

    def push(self, news: JobStarted | ModelStarted | Progress | LogLines) -> None:
        """Take note of it; newer progress of the same model replaces progress that nobody has heard yet."""
        if isinstance(news, JobStarted):
            self.started = news
        elif isinstance(news, ModelStarted):
            self.model = news
        newest = self._backlog[-1] if self._backlog else None
        if isinstance(news, Progress) and isinstance(newest, Progress) and newest.model == news.model:
            self._backlog.pop()
        self._backlog.append(news)
        if len(self._backlog) > BACKLOG_MAX:
            self._drop_one()
        self._came.set()
        self._idle = trio.Event() if self._idle.is_set() else self._idle

    def again(self) -> None:
        """A listener has come (back): begin with where things stand."""
        stand = tuple(news for news in (self.started, self.model) if news is not None)
        self._backlog = deque((*stand, *(news for news in self._backlog if news not in stand)))
        self._came.set()

    async def run(self) -> None:
        """Hand on until cancelled."""
        while True:
            await self._came.wait()
            self._came = trio.Event()
            while self._backlog:
                await self._hand_on(self._next())
            self._idle.set()

    async def caught_up(self) -> None:
        """Wait until all that was pushed has been handed on."""
        await self._idle.wait()

    def _drop_one(self) -> None:
        for news in self._backlog:
            if isinstance(news, LogLines):
                self._backlog.remove(news)
                self._left_out += len(news.lines)
                return
        self._backlog.popleft()

    def _next(self) -> Any:
        if self._left_out:
            count, self._left_out = self._left_out, 0
            return LogLines(self._job, (f"… {count} lines left out here; the job's log has them all",))
        return self._backlog.popleft()
