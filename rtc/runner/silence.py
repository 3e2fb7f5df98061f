"""Notice that a program of a job does nothing any more, and end it if its owner wants that.

Such a program says nothing, neither on its output nor over ZMQ, and uses neither the processor nor a GPU. A training
that computes for an hour without a word is not meant, and neither is one that waits for a moment for a slow disk: what
counts is one long stretch of time. A program that waits for something that never comes still wakes up now and then, so
a little use of the processor is none.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Sequence

import psutil
import trio
from attrs import define, field, frozen

from rtc.common.gpu import read_use
from rtc.common.sizes import count

log = logging.getLogger("rtc.silence")

SILENT_TIME = 600.0
"""Seconds without a sign of life, after which the person is told."""
LOOK_PERIOD = 15.0
"""Seconds between two looks."""
CPU_SHARE = 0.02
"""Share of one processor's time that is no use yet. Loader processes of PyTorch that wait look every 5 s whether their
parent lives, and Lightning has threads that wake up, too: together less than a thousandth."""
GPU_PERCENT = 5
"""Percent of a GPU's time that is no use yet: a screen that is attached to it takes some."""
DRIVER_TIME = 5.0
"""Seconds to wait for a GPU's driver. One that is broken may never answer, and then a program waits for it, too."""
_DRIVER = trio.CapacityLimiter(1)
"""So at most one thread waits for it."""
LINES_SHOWN = 3
"""Number of the last lines that are said."""
LINE_SHOWN_MAX = 200
"""Characters of each."""


@frozen
class Usage:
    """What the processes of a job have used until a moment."""

    cpu: float
    """Seconds of processor time of all processes, also of those that have ended."""
    gpu: int
    """Percent of the time in which one of the job's GPUs computed, lately; 0 where that is not known."""


async def read_usage(gpus: Sequence[str]) -> Usage:
    """Return what the programs that this process has started have used.

    Args:
        gpus: UUIDs of the GPUs that the job may use.
    """
    cpu = await trio.to_thread.run_sync(read_cpu_time, abandon_on_cancel=True)
    with trio.move_on_after(DRIVER_TIME):
        return Usage(cpu, await trio.to_thread.run_sync(_read_load, gpus, abandon_on_cancel=True, limiter=_DRIVER))
    return Usage(cpu, 0)


def read_cpu_time() -> float:
    """Return the seconds of processor time of all processes that this one has started; reads the process table."""
    own = psutil.Process()
    times = own.cpu_times()
    cpu = times.children_user + times.children_system
    for process in own.children(recursive=True):
        try:
            each = process.cpu_times()
        except psutil.Error:
            continue  # it has ended; its parent has its time now
        cpu += each.user + each.system + each.children_user + each.children_system
    return float(cpu)


def _read_load(gpus: Sequence[str]) -> int:
    loads = (read_use(gpu) for gpu in gpus)
    return max((load.percent or 0 for load in loads if load is not None), default=0)


@define
class SilenceWatch:
    """Watches the programs of one job, one at a time."""

    gpus: tuple[str, ...] = ()
    give_up_after: float | None = None
    """Seconds of silence after which the program is ended; None: never."""
    read: Callable[[Sequence[str]], Awaitable[Usage]] = read_usage
    given_up: str = ""
    """Why the last program was ended: a sentence; empty if it was not."""
    _heard: bool = field(default=False, init=False)

    def hear(self) -> None:
        """Note a sign of life: something was printed, or came over ZMQ."""
        self._heard = True

    async def watch(
        self, last_lines: Callable[[], Sequence[str]], tell: Callable[[str], None], end: Callable[[], None]
    ) -> None:
        """Watch a program until it is cancelled, or until the program was ended.

        Args:
            last_lines: returns the newest lines that the program has printed.
            tell: gets a sentence, once for each stretch of `SILENT_TIME`.
            end: ends the program; called after `give_up_after`.
        """
        self.given_up, self._heard = "", False
        limit = math.inf if self.give_up_after is None else self.give_up_after
        pause = min(LOOK_PERIOD, limit)
        silent, told = 0.0, False
        before = await self._read()
        while silent < limit:
            await trio.sleep(pause)
            now = await self._read()
            if self._is_alive(before, now, pause):
                silent, told = 0.0, False
            else:
                silent += pause  # not by the clock, which goes on while this process itself is stopped
            before, self._heard = now, False
            if SILENT_TIME <= silent < limit and not told:
                told = True
                tell(silence_text(silent, last_lines(), self.give_up_after))
        self.given_up = given_up_text(silent, last_lines())
        end()

    async def _read(self) -> Usage | None:
        try:
            return await self.read(self.gpus)
        except (psutil.Error, OSError) as error:
            log.warning("the use of processor and GPU could not be read: %s", error)
            return None

    def _is_alive(self, before: Usage | None, now: Usage | None, seconds: float) -> bool:
        if self._heard:
            return True
        if before is None or now is None:  # nothing is known, and nobody may be blamed for that
            return True
        return now.cpu - before.cpu > CPU_SHARE * seconds or now.gpu > GPU_PERCENT


def silence_text(seconds: float, last_lines: Sequence[str], give_up_after: float | None) -> str:
    """Return what a person hears about a program that does nothing any more."""
    what = "cancel the job; --give-up-after TIME would do it by itself."
    if give_up_after is not None:
        what = f"it is ended after {_in_words(give_up_after)} of this (--give-up-after)."
    return (
        f"sleap-nn has said nothing and has used neither processor nor GPU for {_in_words(seconds)}: it may hang. "
        f"{_last_words(last_lines)} If it does not go on, {what}"
    )


def given_up_text(seconds: float, last_lines: Sequence[str]) -> str:
    """Return why a program was ended; it follows a sentence that says what has failed."""
    return (
        f"sleap-nn was ended (--give-up-after), since it had said nothing and used neither processor nor GPU for "
        f"{_in_words(seconds)}. {_last_words(last_lines)}"
    )


def _in_words(seconds: float) -> str:
    """Return a time as the largest whole unit: `2 hours`, `10 minutes`, `90 seconds`."""
    for unit, name in ((3600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            return count(int(seconds // unit), name)
    return count(round(seconds), "second")


def _last_words(lines: Sequence[str]) -> str:
    shown = [_cut(line.strip()) for line in lines if line.strip()][-LINES_SHOWN:]
    if not shown:
        return "It had printed nothing before."
    return f"The last it printed: {' / '.join(shown)}" + ("" if shown[-1].endswith((".", "!", "?", "…")) else ".")


def _cut(line: str) -> str:
    return line if len(line) <= LINE_SHOWN_MAX else f"{line[: LINE_SHOWN_MAX - 1]}…"
