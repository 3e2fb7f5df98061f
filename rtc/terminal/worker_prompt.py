"""The question which worker to use. Standard input is read without blocking any other task."""

import itertools
import os
import sys
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
from rtc.terminal.worker_table import LEAVING, NARROW, columns, memory

if sys.platform != "win32":
    import termios

PROMPT = "Number, r to refresh, q to leave: "
LINE_MAX = 4096
"""Bytes of one answer; it is also the longest line that Linux' terminals give in line mode (termios(3))."""
HEADER = ("", "worker", "GPU", "memory", "status", "name", "hostname")


def listing(workers: Mapping[int, WorkerPresent], width: int) -> str:
    """Return the numbered list, one worker per line, in `width` cells where possible; worker ids are never cut."""
    if not workers:
        return "No worker is available in this room now. It is listed as soon as one is.\n"
    lines = columns([HEADER, *(_row(number, worker) for number, worker in workers.items())], width - 2, NARROW)
    return "".join(f"  {line}\n" for line in lines)


def renumber(before: Mapping[int, WorkerPresent], workers: Sequence[WorkerPresent]) -> dict[int, WorkerPresent]:
    """Return the workers by number, in the order of the numbers.

    A worker that was listed before keeps its number, since the person may be typing it at this moment; new workers get
    numbers after the highest one.

    Args:
        before: the numbered list that is shown now.
        workers: the workers to list.
    """
    known = {worker.peer: number for number, worker in before.items()}
    new_numbers = itertools.count(max(before, default=0) + 1)
    numbered = {known[worker.peer] if worker.peer in known else next(new_numbers): worker for worker in workers}
    return dict(sorted(numbered.items()))


def _row(number: int, worker: WorkerPresent) -> tuple[str, ...]:
    facts = worker.facts
    names = clean(facts.name), clean(facts.hostname)
    return (str(number), clean(worker.peer), clean(facts.gpu), memory(facts), _status(worker), *names)


def _status(worker: WorkerPresent) -> str:
    """Return the text of the status column; a leaving worker is only that, so that the line stays short."""
    return LEAVING if worker.facts.leaving else worker.facts.status.value


@define
class LineReader:
    """Reads lines from a terminal or pipe."""

    _fd: int
    _buffer: bytes = field(default=b"", init=False)

    async def read_line(self) -> str | None:
        """Return the next line, or None at the end of input. When cancelled, it loses nothing it has read."""
        while b"\n" not in self._buffer:
            more = await self._read()
            if not more:
                return None
            self._buffer = (self._buffer + more)[-LINE_MAX:]
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "replace").strip()

    def discard_typed(self) -> None:
        """Forget what was typed so far: it cannot answer a question that was not yet asked."""
        self._buffer = b""
        if sys.platform != "win32" and os.isatty(self._fd):
            termios.tcflush(self._fd, termios.TCIFLUSH)

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


LIST_CHANGED = "\n"
"""Stands for an answer when the list has changed before one was typed; no typed line can equal it."""


def _ids_and_status(workers: Iterable[WorkerPresent]) -> set[tuple[PeerId, str]]:
    return {(worker.peer, _status(worker)) for worker in workers}


async def _read_answer(
    reader: LineReader, listed: Mapping[int, WorkerPresent], workers: Workers, changed: Changed | None
) -> str | None:
    """Return the typed line, or None at the end of input.

    Returns LIST_CHANGED as soon as a worker has joined, left or changed its status.

    Args:
        reader: reads what the person types.
        listed: the numbered list that is shown now.
        workers: returns the workers that can be chosen now.
        changed: waits until `workers` may return something different; None to wait only for a typed line.
    """
    answer: str | None = LIST_CHANGED
    before = _ids_and_status(listed.values())

    async def watch(wait_changed: Changed) -> None:
        while _ids_and_status(workers()) == before:
            await wait_changed()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        if changed is not None:
            nursery.start_soon(watch, changed)
        answer = await reader.read_line()
        nursery.cancel_scope.cancel()
    return answer


async def choose(workers: Workers, changed: Changed | None, *, out: IO[str], stdin: int, width: int) -> PeerId | None:
    """List the workers and ask until one is chosen; return its id, or None when the person quits.

    Args:
        workers: returns the workers that can be chosen now.
        changed: waits until `workers` may return something different, so that the list is shown again.
        out: where to write.
        stdin: file descriptor on which the person types.
        width: cells of the terminal.

    Raises:
        RtcError: USAGE, when `stdin` is not a terminal.
    """
    if not os.isatty(stdin):
        raise no_terminal()
    reader = LineReader(stdin)
    notice = ""
    listed: dict[int, WorkerPresent] = {}
    while True:
        listed = renumber(listed, workers())
        out.write(f"\n{listing(listed, width)}\n{notice}{PROMPT}")
        out.flush()
        notice, answer = "", await _read_answer(reader, listed, workers, changed)
        while answer is not None and (problem := _problem(answer, listed)):
            out.write(f"{problem}\n{PROMPT}")
            out.flush()
            answer = await _read_answer(reader, listed, workers, changed)
        if answer is None or answer.lower() in ("q", "quit"):
            return None
        if answer.isdecimal():
            peer = listed[int(answer)].peer
            if any(worker.peer == peer and not worker.facts.leaving for worker in workers()):
                return peer
            notice = f"{clean(peer)} is no longer available.\n"
        elif answer != LIST_CHANGED:
            listed = {}  # the person has typed r: number the workers from 1 again


def _problem(answer: str, listed: Mapping[int, WorkerPresent]) -> str | None:
    """Return a sentence about what is wrong with the answer, or None for a valid one."""
    if answer == LIST_CHANGED or answer.lower() in ("r", "refresh", "q", "quit"):
        return None
    if answer.isascii() and answer.isdecimal() and len(answer) < 10 and int(answer) in listed:
        worker = listed[int(answer)]
        return f"{clean(worker.peer)} is leaving and takes no new job." if worker.facts.leaving else None
    return "Please type a number of the list, r or q." if listed else "Please type r or q."


def no_terminal() -> RtcError:
    """Return the error for a list that cannot be shown because there is no terminal to ask on."""
    return RtcError(
        FaultCode.USAGE,
        "Choosing a worker from a list needs a terminal. Use --auto-select for the one with most GPU memory, "
        "or --worker-id to name one.",
    )
