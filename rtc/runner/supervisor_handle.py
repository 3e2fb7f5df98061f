"""The worker's hand on a job's keeper: starts it, or finds one that a dead worker started, and follows it to its end.

What is said to a keeper goes through a FIFO, and whether it lives is told by a lock that dies with it. Process ids are
never taken from a file: by the time they are read, they could be somebody else's.
"""

import logging
import os
import signal
import site
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import trio
from attrs import define

import rtc
from protocol.jobs import StopScope
from rtc.common.job_result import JobResult
from rtc.common.process_group import KILL_TIME, TERM_TIME
from rtc.common.safe_open import open_regular
from rtc.runner.folder_lock import USERS_LOCK, is_locked, lock_file, wait_unlocked
from rtc.runner.job_files import (
    COMMAND_FIFO,
    ENDED_FROM_OUTSIDE,
    LIFE,
    SUPERVISOR_LOG,
    Spec,
    read_outcome,
    reserve_outcome,
    write_spec,
)
from rtc.runner.journal import JournalWatcher, open_fifo
from rtc.sleap_nn.commands import clean_environment

log = logging.getLogger("rtc.supervisor")

EXIT_TIME = 5.0
"""Seconds a keeper may take after its trainers' end: it has a sentence to write."""
SUPERVISOR_LOG_MAX = 10_000
"""Bytes of a keeper's last words that are passed on to the worker's log."""
_running_supervisors: list[trio.Process] = []
"""Children that live on: Python warns when such an object goes before its process."""


@define
class SupervisorHandle:
    """One job's keeper, from `start_supervisor` or `adopt_supervisor` until `close`. Closing does not end it."""

    folder: Path
    _command_fifo: int | None
    """Where orders go; None when the job's own code has spoilt it."""
    _process: trio.Process | None = None
    """Our own child; None when another worker started it."""

    def stop(self, scope: StopScope) -> None:
        """Let it stop early and well. Asking again changes nothing."""
        self._send_command(f"stop {scope.value}")

    def cancel(self) -> None:
        """Let it end the job now; that takes up to TERM_TIME and KILL_TIME."""
        self._send_command("cancel")

    async def attend(self, watcher: JournalWatcher) -> None:
        """Wake the feed's followers at every event until the keeper is gone, and then end the feed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.serve)
            await self.wait()
            nursery.cancel_scope.cancel()
        watcher.end()

    async def wait(self) -> None:
        """Wait until the keeper is gone."""
        if self._process is not None:
            await self._process.wait()
        else:
            with suppress(OSError):  # its folder was removed, by hand, or something else was put there
                await trio.to_thread.run_sync(wait_unlocked, self.folder / LIFE, abandon_on_cancel=True)

    async def conclude(self) -> JobResult:
        """Wait for the end, and say how the job ended. Nothing of it runs any more then."""
        await self.wait()
        return await conclude_job(self.folder)

    async def end(self) -> None:
        """End the job and its keeper, kindly or not. Bounded."""
        self.cancel()
        with trio.move_on_after(TERM_TIME + KILL_TIME + EXIT_TIME):
            await self.wait()
            return
        await self._kill()
        await sweep_processes(self.folder)

    def close(self) -> None:
        """Let go of it; a keeper that lives goes on."""
        if self._process is not None and self._process.returncode is None:
            _running_supervisors.append(self._process)
        if self._command_fifo is not None:
            os.close(self._command_fifo)

    async def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
        else:
            await _signal_holders(self.folder / LIFE, signal.SIGKILL, KILL_TIME)
        with trio.move_on_after(KILL_TIME):
            await self.wait()

    def _send_command(self, command: str) -> None:
        if self._command_fifo is None:
            return
        with suppress(BlockingIOError):  # it is full of orders that say the same
            os.write(self._command_fifo, f"{command}\n".encode())


async def start_supervisor(folder: Path, spec: Spec, inherit: int | None) -> SupervisorHandle:
    """Run the package unpacked in a job's folder.

    Args:
        folder: the job's, claimed by us.
        spec: what is to be done.
        inherit: the claim's descriptor, held by all that the job starts.

    Raises:
        OSError: a file cannot be made, or the program not be started.
    """
    write_spec(folder, spec)
    reserve_outcome(folder)  # here, where it can still be said that the disk is full
    command_fifo = open_fifo(folder / COMMAND_FIFO)
    try:
        with _open_inherited_files(folder) as (supervisor_lock, output):
            inherited = () if inherit is None else (inherit,)
            process = await trio.lowlevel.open_process(
                _command(folder, inherited),
                cwd=folder,
                env=_environment(folder),
                stdin=command_fifo,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=inherited if supervisor_lock is None else (*inherited, supervisor_lock),
            )
    except OSError:
        os.close(command_fifo)
        raise
    return SupervisorHandle(folder, command_fifo, process)


def was_started(folder: Path) -> bool:
    """Whether a job's folder has had a keeper, dead or alive."""
    return (folder / LIFE).exists()


def adopt_supervisor(folder: Path) -> SupervisorHandle | None:
    """The living keeper of a folder that we took over; None when there is none."""
    if not is_locked(folder / LIFE):
        return None
    try:
        return SupervisorHandle(folder, open_fifo(folder / COMMAND_FIFO))
    except OSError as error:
        log.warning("%s can only be ended, as its way for orders is spoilt (%s)", folder.name, error.strerror)
        return SupervisorHandle(folder, None)


async def conclude_job(folder: Path) -> JobResult:
    """How a job ended whose keeper is gone; what it or its job has left running is ended first."""
    await sweep_processes(folder)
    await trio.to_thread.run_sync(_log_supervisor_output, folder)
    return await trio.to_thread.run_sync(read_outcome, folder) or ENDED_FROM_OUTSIDE


async def sweep_processes(folder: Path) -> None:
    """End every process that holds a job's lock, and its whole group, ourselves excepted."""
    for signal_number, timeout in ((signal.SIGTERM, TERM_TIME), (signal.SIGKILL, KILL_TIME)):
        if not await _signal_holders(folder / USERS_LOCK, signal_number, timeout, group=True):
            return


# -------- starting


def _command(folder: Path, inherited: tuple[int, ...]) -> list[str]:
    # -P: whatever lies in the folder where we are started must never be imported
    return [sys.executable, "-P", "-m", "rtc.runner.supervisor", str(folder.absolute()), *map(str, inherited)]


def _environment(folder: Path) -> dict[str, str]:
    """Nothing secret: the job's own code runs as the same user and could read it."""
    environment = clean_environment(folder, None)
    del environment["PYTHONPATH"]
    our_root = str(Path(rtc.__file__).absolute().parents[1])
    if our_root not in (*site.getsitepackages(), site.getusersitepackages()):  # a checkout, perhaps not even installed
        environment["PYTHONPATH"] = our_root
    return environment


@contextmanager
def _open_inherited_files(folder: Path) -> Iterator[tuple[int | None, int]]:
    """What the keeper inherits: the lock it lives by, and where it writes what goes wrong."""
    supervisor_lock = lock_file(folder / LIFE, os.O_CREAT)
    try:
        output = os.open(folder / SUPERVISOR_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            yield supervisor_lock, output
        finally:
            os.close(output)
    finally:
        if supervisor_lock is not None:
            os.close(supervisor_lock)


# -------- ending


def _log_supervisor_output(folder: Path) -> None:
    with suppress(OSError), open_regular(folder / SUPERVISOR_LOG) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - SUPERVISOR_LOG_MAX))
        text = file.read(SUPERVISOR_LOG_MAX).decode(errors="replace").strip()
        if text:
            log.warning("the keeper of %s said: %s", folder.name, text)


async def _signal_holders(path: Path, signal_number: int, timeout: float, *, group: bool = False) -> bool:
    """Signal all who have this file open and wait for their end; whether there was anybody."""

    def work() -> bool:
        holders = _holders(path)
        for holder in holders:
            _signal(holder, signal_number, group=group)
        psutil.wait_procs(holders, timeout=timeout)
        return bool(holders)

    return await trio.to_thread.run_sync(work)


def _holders(path: Path) -> list[psutil.Process]:
    try:
        name = str(path.resolve(strict=True))
    except OSError:
        return []
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _has_open(process, name)]


def _has_open(process: psutil.Process, name: str) -> bool:
    with suppress(psutil.Error):  # it is gone, or another user's
        return any(file.path == name for file in process.open_files())
    return False


def _signal(process: psutil.Process, signal_number: int, *, group: bool) -> None:
    with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):  # gone meanwhile
        group_id = os.getpgid(process.pid)
        if group and group_id != os.getpgrp():
            os.killpg(group_id, signal_number)
        else:
            process.send_signal(signal_number)
