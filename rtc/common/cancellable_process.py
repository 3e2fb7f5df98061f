"""Work in a thread that ends when the task that waits for it is cancelled; above all, to run a program to its end."""

import math
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO

import trio
from attrs import frozen

CANCEL_CHECK_TIME = 0.2
"""Seconds between two checks whether the task that waits for the program was cancelled."""


def check_cancelled() -> None:
    """Raise `trio.Cancelled` in a thread that trio started, if the task that waits for the thread was cancelled.

    In any other thread this does nothing. Call it between blocks of work.
    """
    with suppress(RuntimeError):  # trio raises it in a thread that trio did not start
        trio.from_thread.check_cancelled()


@frozen
class EndedProcess:
    """A program that has ended."""

    status: int
    stdout: bytes
    stderr: bytes


def run_cancellable(
    command: Sequence[str],
    stdin: BinaryIO,
    environment: Mapping[str, str] | None = None,
    max_seconds: float = math.inf,
    watch_stderr: Callable[[bytes], None] = lambda _errors: None,
) -> EndedProcess:
    """Run a program to its end; kill it when the task that waits is cancelled, and when it takes too long.

    Args:
        command: the program and its arguments.
        stdin: a file that it reads (`rtc.common.subprocess_input`).
        environment: its environment variables; None for those of this process.
        max_seconds: how long it may take.
        watch_stderr: called now and then with all that it has printed on stderr, on systems other than Windows.

    Raises:
        OSError: it cannot be started.
        TimeoutError: it took too long.
    """
    pipe, deadline = subprocess.PIPE, time.monotonic() + max_seconds
    with subprocess.Popen(command, env=environment, stdin=stdin, stdout=pipe, stderr=pipe) as process:
        try:
            while True:
                try:
                    output, errors = process.communicate(timeout=CANCEL_CHECK_TIME)
                    break
                except subprocess.TimeoutExpired as pause:
                    check_cancelled()
                    _check_time(deadline)
                    watch_stderr(pause.stderr or b"")
        except BaseException:
            process.kill()
            raise
    return EndedProcess(process.returncode, output, errors)


def _check_time(deadline: float) -> None:
    """Raise TimeoutError after a moment of the monotonic clock."""
    if time.monotonic() > deadline:
        raise TimeoutError
