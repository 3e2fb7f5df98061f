"""The one question a client asks: which worker? Standard input is read without holding up anything else."""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import IO

import trio
from attrs import define, field

from protocol.faults import FaultCode
from protocol.ids import PeerId
from protocol.signaling import WorkerPresent
from rtc.common.errors import RtcError
from rtc.common.text import clean
from rtc.terminal.interface import Changed, Workers
from rtc.terminal.worker_table import NARROW, columns, memory

PROMPT = "Number, r to refresh, q to leave: "
LINE_MAX = 4096
"""Bytes of one answer; also what a terminal gives at most in its line mode."""
HEAD = ("", "worker", "GPU", "memory", "status", "name", "hostname")


def listing(workers: Mapping[int, WorkerPresent], width: int) -> str:
    """The numbered list, one worker a line, in `width` cells where that is possible. Worker ids are never cut."""
    if not workers:
        return "No worker is available in this room now. It is listed as soon as one is.\n"
    lines = columns([HEAD, *(_row(number, worker) for number, worker in workers.items())], width - 2, NARROW)
    return "".join(f"  {line}\n" for line in lines)


def renumber(before: Mapping[int, WorkerPresent], workers: Sequence[WorkerPresent]) -> dict[int, WorkerPresent]:
    """Who is there now. Who was there before keeps its number, since somebody may be typing it at this moment."""
    known = {worker.peer: number for number, worker in before.items()}
    fresh = itertools.count(max(before, default=0) + 1)
    numbered = {known[worker.peer] if worker.peer in known else next(fresh): worker for worker in workers}
    return dict(sorted(numbered.items()))


def _row(number: int, worker: WorkerPresent) -> tuple[str, ...]:
    facts = worker.facts
    names = clean(facts.name), clean(facts.hostname)
    return (str(number), clean(worker.peer), clean(facts.gpu), memory(facts), facts.status.value, *names)


@define
class _Typed:
    """Lines from a terminal or pipe."""

    _fd: int
    _buffer: bytes = field(default=b"", init=False)

    async def line(self) -> str | None:
        """The next line, or None when no more will come. Cancelled, it loses nothing."""
        while b"\n" not in self._buffer:
            more = await self._read()
            if not more:
                return None
            self._buffer = (self._buffer + more)[-LINE_MAX:]
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "replace").strip()

    async def _read(self) -> bytes:
        try:
            # not `sys.stdin`: a thread that waits inside its buffer stops Python from ending
            await trio.lowlevel.wait_readable(self._fd)
        except OSError:  # Windows, and plain files: they can only be read
            return await trio.to_thread.run_sync(os.read, self._fd, LINE_MAX, abandon_on_cancel=True)
        try:
            return os.read(self._fd, LINE_MAX)
        except OSError:  # the terminal was closed
            return b""


CHANGED = "\n"
"""The answer that nobody types: the list is not what it was."""


def _who(workers: Iterable[WorkerPresent]) -> set[tuple[PeerId, str]]:
    return {(worker.peer, worker.facts.status.value) for worker in workers}


async def _answer(
    typed: _Typed, shown: Mapping[int, WorkerPresent], workers: Workers, changed: Changed | None
) -> str | None:
    """What was typed, None for the end of input; `CHANGED` when somebody has come, gone or changed status meanwhile."""
    answer: str | None = CHANGED
    before = _who(shown.values())

    async def watch(waits: Changed) -> None:
        while _who(workers()) == before:
            await waits()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        if changed is not None:
            nursery.start_soon(watch, changed)
        answer = await typed.line()
        nursery.cancel_scope.cancel()
    return answer


async def choose(workers: Workers, changed: Changed | None, *, out: IO[str], stdin: int, width: int) -> PeerId | None:
    """List the workers and ask until one is chosen (its id) or the person leaves (None).

    Raises:
        RtcError: USAGE, when `stdin` is no terminal.
    """
    if not os.isatty(stdin):
        raise no_terminal()
    typed = _Typed(stdin)
    say = ""
    shown: dict[int, WorkerPresent] = {}
    while True:
        shown = renumber(shown, workers())
        out.write(f"\n{listing(shown, width)}\n{say}{PROMPT}")
        out.flush()
        say, answer = "", await _answer(typed, shown, workers, changed)
        while answer is not None and (fault := _fault(answer, shown)):
            out.write(f"{fault}\n{PROMPT}")
            out.flush()
            answer = await _answer(typed, shown, workers, changed)
        if answer is None or answer.lower() in ("q", "quit"):
            return None
        if answer.isdecimal():
            peer = shown[int(answer)].peer
            if any(worker.peer == peer for worker in workers()):
                return peer
            say = f"{clean(peer)} is no longer available.\n"
        elif answer != CHANGED:
            shown = {}  # asked for: count from 1 again


def _fault(answer: str, shown: Mapping[int, WorkerPresent]) -> str | None:
    """What is wrong with an answer, if anything."""
    if answer == CHANGED or answer.lower() in ("r", "refresh", "q", "quit"):
        return None
    if answer.isascii() and answer.isdecimal() and len(answer) < 10 and int(answer) in shown:
        return None
    return "Please type a number of the list, r or q." if shown else "Please type r or q."


def no_terminal() -> RtcError:
    """Nobody can be asked."""
    return RtcError(
        FaultCode.USAGE,
        "Choosing a worker from a list needs a terminal. Use --auto-select for the one with most GPU memory, "
        "or --worker-id to name one.",
    )
