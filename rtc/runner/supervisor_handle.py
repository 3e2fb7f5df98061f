"""The worker's handle on a job's supervisor: start it, or find one that a dead worker started, and wait for its end.

Commands are sent to a supervisor through a FIFO. Whether it lives is shown by a file lock, which the kernel releases
when it ends. No process id is read from a file: by then it could belong to another process.
"""

import logging
import os
import site
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import trio
from attrs import define

from protocol.jobs import StopScope
from rtc.common.job_result import JobResult
from rtc.common.process_group import KILL_TIME, TERM_TIME
from rtc.common.safe_open import open_regular
from rtc.runner.commands import CancelRun, Command, StopRun, to_line
from rtc.runner.folder_lock import is_locked, lock_file, wait_unlocked
from rtc.runner.job_files import (
    COMMAND_FIFO,
    ENDED_FROM_OUTSIDE,
    SUPERVISOR_LOCK,
    SUPERVISOR_LOG,
    Spec,
    read_outcome,
    reserve_outcome,
    write_spec,
)
from rtc.runner.job_processes import end_processes, find_holders
from rtc.runner.journal import JournalWatcher, open_fifo
from rtc.sleap_nn.environment import job_environment, our_root

log = logging.getLogger("rtc.supervisor")

EXIT_TIME = 5.0
"""Seconds in which a supervisor must end after its sleap-nn processes have ended: it then only writes the outcome."""
SUPERVISOR_LOG_MAX = 10_000
"""Bytes from the end of a supervisor's output that are copied to the worker's log."""
_running_supervisors: list[trio.Process] = []
"""Supervisors that outlive their handles.

Referenced until this program ends: Python gives a ResourceWarning when such an object is deleted before its process
has ended.
"""


@define
class SupervisorHandle:
    """The supervisor of one job, seen from the worker.

    Made by `start_supervisor` or `adopt_supervisor`; ended by `close`, which does not end the supervisor.
    """

    folder: Path
    """The job's folder."""
    _command_fifo: int | None
    """Descriptor of the FIFO for commands; None when the job's own code has replaced it by something else."""
    _process: trio.Process | None = None
    """The supervisor's process; None when another worker started it."""

    def stop(self, scope: StopScope) -> None:
        """Send the command to stop the job early and keep its results. Sending it again changes nothing."""
        self._send_command(StopRun(scope))

    def cancel(self) -> None:
        """Send the command to end the job now. Ending it takes at most `TERM_TIME` and `KILL_TIME`."""
        self._send_command(CancelRun())

    async def wake_readers_until_exit(self, watcher: JournalWatcher) -> None:
        """Wake the journal's readers at every event until the supervisor has ended; then end the watcher."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.serve)
            await self.wait()
            nursery.cancel_scope.cancel()
        watcher.end()

    async def wait(self) -> None:
        """Wait until the supervisor's process has ended."""
        if self._process is not None:
            await self._process.wait()
        else:
            with suppress(OSError):  # a person removed the folder, or something else has the lock file's name
                await trio.to_thread.run_sync(wait_unlocked, self.folder / SUPERVISOR_LOCK, abandon_on_cancel=True)

    async def wait_result(self) -> JobResult:
        """Wait for the supervisor's end and return how the job ended. No process of the job runs after that."""
        await self.wait()
        return await collect_result(self.folder)

    async def end(self) -> None:
        """End the job and its supervisor: by the command `CancelRun`, and by SIGKILL if that takes too long.

        Takes at most `TERM_TIME` + `KILL_TIME` + `EXIT_TIME` for the command, and then two times `KILL_TIME` for the
        supervisor and another `TERM_TIME` + `KILL_TIME` for the rest of its processes.
        """
        self.cancel()
        with trio.move_on_after(TERM_TIME + KILL_TIME + EXIT_TIME):
            await self.wait()
            return
        await self._kill()
        await sweep_processes(self.folder)

    def close(self) -> None:
        """Close the descriptors of this handle. A supervisor that still runs continues to run."""
        if self._process is not None and self._process.returncode is None:
            _running_supervisors.append(self._process)
        if self._command_fifo is not None:
            os.close(self._command_fifo)

    async def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
        else:
            for holder in await trio.to_thread.run_sync(find_holders, self.folder / SUPERVISOR_LOCK):
                with suppress(psutil.Error):  # it has ended meanwhile
                    holder.kill()
        with trio.move_on_after(KILL_TIME):
            await self.wait()

    def _send_command(self, command: Command) -> None:
        if self._command_fifo is None:
            return
        with suppress(BlockingIOError):  # the FIFO is full of commands that were sent before and are not read yet
            os.write(self._command_fifo, to_line(command))


async def start_supervisor(folder: Path, spec: Spec, inherit: int | None) -> SupervisorHandle:
    """Start the supervisor of a job whose package is in the job's folder, and return its handle.

    Args:
        folder: the job's folder, locked by this worker.
        spec: what is to be run.
        inherit: descriptor of the folder's `USERS_LOCK`, which every process of the job inherits; None where the file
            system has no locks.

    Raises:
        OSError: a file cannot be created, or the program cannot be started.
    """
    write_spec(folder, spec)
    reserve_outcome(folder)  # before the start, while a full disk can still be reported
    command_fifo = open_fifo(folder / COMMAND_FIFO)
    try:
        with _open_inherited_files(folder) as (supervisor_lock, output):
            inherited = () if inherit is None else (inherit,)
            process = await trio.lowlevel.open_process(
                _command(folder, inherited),
                cwd=folder,
                env=_environment(folder, spec.pass_env),
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
    """Return whether a supervisor was ever started in this job folder; it may have ended."""
    return (folder / SUPERVISOR_LOCK).exists()


def adopt_supervisor(folder: Path) -> SupervisorHandle | None:
    """Return the handle of the running supervisor of a folder that this worker took over; None when none runs.

    The FIFO for commands may be unusable. Then the handle can wait for the supervisor and kill it, but not stop or
    cancel the job.
    """
    if not is_locked(folder / SUPERVISOR_LOCK):
        return None
    try:
        return SupervisorHandle(folder, open_fifo(folder / COMMAND_FIFO))
    except OSError as error:
        log.warning(
            "%s can only be killed, because its command FIFO cannot be opened (%s)", folder.name, error.strerror
        )
        return SupervisorHandle(folder, None)


async def collect_result(folder: Path) -> JobResult:
    """End what a job has left running after its supervisor's end, and return how the job ended."""
    await sweep_processes(folder)
    await trio.to_thread.run_sync(_log_supervisor_output, folder)
    return await trio.to_thread.run_sync(read_outcome, folder) or ENDED_FROM_OUTSIDE


async def sweep_processes(folder: Path) -> None:
    """End every process of the job, with its process group; this process is left out.

    First by SIGTERM, waiting up to `TERM_TIME`; then by SIGKILL, waiting up to `KILL_TIME`.
    """
    await trio.to_thread.run_sync(end_processes, folder, TERM_TIME, KILL_TIME)


# -------- starting


def _command(folder: Path, inherited: tuple[int, ...]) -> list[str]:
    """Return the command that starts the supervisor."""
    # -P: without it, Python would import modules from the job's folder, in which the supervisor is started
    return [sys.executable, "-P", "-m", "rtc.runner.supervisor", str(folder.absolute()), *map(str, inherited)]


def _environment(folder: Path, pass_env: tuple[str, ...]) -> dict[str, str]:
    """Return the supervisor's environment, from which it chooses that of the job.

    It holds no secret but those that the worker's owner lets jobs see, since the job's code runs as the same user and
    can read it.
    """
    environment = job_environment(folder, None, pass_env)
    modules = environment["PYTHONPATH"].split(os.pathsep)[1:]  # the first is for sleap-nn
    installed = (*site.getsitepackages(), site.getusersitepackages())
    if our_root() not in installed:  # we run from a checkout, which may not be installed
        modules.insert(0, our_root())
    del environment["PYTHONPATH"]
    return environment | ({"PYTHONPATH": os.pathsep.join(modules)} if modules else {})


@contextmanager
def _open_inherited_files(folder: Path) -> Iterator[tuple[int | None, int]]:
    """Open the files that the supervisor inherits, and close them in this process afterwards.

    Yields two descriptors: of the locked `SUPERVISOR_LOCK`, which shows that the supervisor lives (None where the file
    system has no locks), and of `SUPERVISOR_LOG`.
    """
    supervisor_lock = lock_file(folder / SUPERVISOR_LOCK, os.O_CREAT)
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
    """Copy the end of the supervisor's output, if there is any, to the worker's log."""
    with suppress(OSError), open_regular(folder / SUPERVISOR_LOG) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - SUPERVISOR_LOG_MAX))
        text = file.read(SUPERVISOR_LOG_MAX).decode(errors="replace").strip()
        if text:
            log.warning("the supervisor of %s printed: %s", folder.name, text)
