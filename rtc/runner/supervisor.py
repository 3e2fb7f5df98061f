"""The supervisor: a program that runs one job to its end, also when the worker that started it dies.

    python -P -m rtc.runner.supervisor FOLDER [DESCRIPTOR]

FOLDER is the job's folder, with the package as it was received and `spec.json`. DESCRIPTOR is the locked file that the
sleap-nn processes inherit (`USERS_LOCK`). Standard input is the FIFO for commands (`rtc/runner/commands.py`). The
supervisor writes everything into the folder: events into the journal and, last of all, `outcome.json`. It has no pipe
or socket to the worker, so the worker's death does not affect it.
"""

import logging
import os
import signal
import sys
from pathlib import Path

import trio
from attrs import define, evolve, field

from protocol.converter import WireError
from protocol.faults import FaultCode
from protocol.jobs import GpuUse, JobKind, Outcome
from rtc.common.errors import RtcError
from rtc.common.gpu import read_use
from rtc.common.job_result import JobResult
from rtc.packages.plan import Plan, read_plan
from rtc.packages.setting_checks import check_refused
from rtc.packages.zip_reader import UnpackLimit, unpack
from rtc.runner.commands import COMMAND_MAX, CancelRun, StopRun, from_line
from rtc.runner.containment import Containment, open_containment
from rtc.runner.job_files import (
    ARRIVED,
    ENDED_FROM_OUTSIDE,
    PACKAGE,
    Spec,
    read_spec,
    write_outcome,
    write_result_paths,
)
from rtc.runner.journal import Journal
from rtc.runner.limits import limit_resources
from rtc.runner.run_plan import FILES_NOT_MADE, StopSwitch, run_job
from rtc.sleap_nn.commands import version_of

log = logging.getLogger("rtc.supervisor")

GPU_PERIOD = 2.0
"""Seconds between two readings of the GPU's use."""
TRAINING_CANCELLED = "The job was cancelled; what the models had learned so far is in the result."
PREDICTION_CANCELLED = "The job was cancelled; there are no predictions, as they are written only when they are whole."
BUG_RESULT = JobResult(
    Outcome.FAILED,
    "The job ended because of a bug in sleap-rtc, not in the package. Details are in the worker's log; tell its owner.",
)


@define
class _Supervisor:
    """The run of one job: the job itself, the commands and signals that may end it, and the report of the GPU's use."""

    spec: Spec
    folder: Path
    """The folder for the unpacked package."""
    inherit: tuple[int, ...]
    """Descriptors that stay open in the job's processes."""
    containment: Containment
    journal: Journal
    switch: StopSwitch = field(factory=StopSwitch)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    """Cancelled by the command `CancelRun` and by SIGTERM."""
    terminated: bool = False
    """The job was ended by SIGTERM and not by the command `CancelRun`."""
    unknown_command: bool = False
    """A line in the FIFO was not understood."""

    async def run(self) -> JobResult:
        """Run the job and return how it ended; meanwhile handle commands and signals and report the GPU's use."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._handle_signals)
            nursery.start_soon(self._handle_commands)
            if self.spec.gpus:
                nursery.start_soon(_report_gpu_use, self.spec, self.spec.gpus, self.journal)
            result = await self._run()
            nursery.cancel_scope.cancel()
        return result

    async def _run(self) -> JobResult:
        """Unpack the package, read its plan and run it; return how the job ended, also when `scope` is cancelled."""
        kind = JobKind.TRAIN
        with self.scope:
            try:
                await _unpack(self.folder.with_name(ARRIVED), self.folder, self.spec.package_max)
                plan = await trio.to_thread.run_sync(self._read_plan)
                write_result_paths(self.folder.parent, plan)
            except RtcError as error:
                return JobResult(Outcome.FAILED, error.fault.text)
            except OSError as error:
                return JobResult(Outcome.FAILED, FILES_NOT_MADE.format(error.strerror))
            kind = plan.kind
            return await self._run_plan(plan)
        # only a cancelled scope gets here, and then the job was cancelled whatever sleap-nn's exit status was
        if self.terminated:
            return ENDED_FROM_OUTSIDE
        return JobResult(Outcome.CANCELLED, TRAINING_CANCELLED if kind is JobKind.TRAIN else PREDICTION_CANCELLED)

    def _read_plan(self) -> Plan:
        """Return the plan of the unpacked package, with what is doubtful about its settings among the warnings.

        Raises:
            RtcError: USAGE or BAD_PACKAGE: the package cannot be run, or our sleap-nn refuses a setting.
        """
        plan = read_plan(self.folder, self.spec.overrides)
        doubts = check_refused(plan.refused_by, [version_of(self.spec.sleap_nn) or "unknown"])
        return evolve(plan, warnings=(*plan.warnings, *doubts))

    async def _run_plan(self, plan: Plan) -> JobResult:
        return await run_job(
            self.spec.job,
            plan,
            self.folder,
            sleap_nn=self.spec.sleap_nn,
            accelerator=self.spec.accelerator,
            gpus=self.spec.gpus,
            gpu_facts=self.spec.gpu_facts,
            emit=self.journal.write,
            switch=self.switch,
            planned=self._write_result_paths,
            inherit=self.inherit,
            holder=self.containment,
            pass_env=self.spec.pass_env,
            give_up_after=self.spec.give_up_after,
        )

    def _write_result_paths(self, plan: Plan) -> None:
        """Write anew where the results will be, as the whole plan says it.

        Raises:
            RtcError: JOB_FAILED: it cannot be written.
        """
        try:
            write_result_paths(self.folder.parent, plan)
        except OSError as error:
            raise RtcError(FaultCode.JOB_FAILED, FILES_NOT_MADE.format(error.strerror)) from None

    async def _handle_commands(self) -> None:
        """Read commands from the FIFO and handle them, until cancelled."""
        command_fifo, rest = sys.stdin.fileno(), b""
        while True:
            await trio.lowlevel.wait_readable(command_fifo)
            *lines, rest = (rest + os.read(command_fifo, COMMAND_MAX)).split(b"\n")
            for line in lines:
                self._handle_command(line)
            rest = rest[-COMMAND_MAX:]  # of an incomplete line

    def _handle_command(self, line: bytes) -> None:
        try:
            command = from_line(line)
        except WireError as error:
            if not self.unknown_command:  # said once, since the job's code can write into the FIFO without end
                self.unknown_command = True
                log.warning("ignored an unknown command: %s", error)
            return
        match command:
            case CancelRun():
                self.scope.cancel()
            case StopRun():
                self.switch.request_stop(command.scope)

    async def _handle_signals(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """End the job on SIGTERM (a shutdown of the machine, or `kill`); ignore SIGINT and SIGHUP from a terminal."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGTERM:
                    self.terminated = self.terminated or not self.scope.cancel_called
                    self.scope.cancel()


async def _unpack(arrived: Path, folder: Path, max_bytes: int) -> None:
    """Unpack the one package in `arrived` into `folder`, and remove the package.

    Raises:
        RtcError: BAD_PACKAGE, DISK_FULL, or TOO_LARGE: its files have more than `max_bytes` together.
    """
    for archive in await trio.Path(arrived).glob("*"):
        limit = UnpackLimit(max_bytes, "--max-package of the worker")
        await unpack(Path(archive), folder, limit, portable=False)
        await archive.unlink()


async def _report_gpu_use(spec: Spec, gpus: tuple[str, ...], journal: Journal) -> None:
    """Write the use of the job's GPUs to the journal every `GPU_PERIOD` seconds, until cancelled."""
    while True:
        use = await trio.to_thread.run_sync(read_use, *gpus, abandon_on_cancel=True)
        if use is not None:
            journal.write(GpuUse(spec.job, use.used_mb, use.total_mb, use.percent))
        await trio.sleep(GPU_PERIOD)


async def _supervise(folder: Path, inherit: tuple[int, ...]) -> JobResult:
    """Run the job of a folder and return how it ended."""
    spec = read_spec(folder)
    try:
        journal = Journal(folder)
    except OSError as error:
        return JobResult(Outcome.FAILED, FILES_NOT_MADE.format(error.strerror))
    containment = open_containment(folder)
    try:
        return await _Supervisor(spec, folder / PACKAGE, inherit, containment, journal).run()
    finally:
        containment.close()
        journal.close()


def main(arguments: list[str]) -> int:
    """Run the program and return its exit status.

    A bug in sleap-rtc ends it with a traceback, in `SUPERVISOR_LOG`; `outcome.json` is written all the same.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _ignore_signal)  # not SIG_IGN, which sleap-nn would inherit
    folder = Path(arguments[0])
    limit_resources(folder)
    result = BUG_RESULT
    try:
        result = trio.run(_supervise, folder, tuple(map(int, arguments[1:])))
    finally:
        write_outcome(folder, result)
    return 0


def _ignore_signal(_number: int, _frame: object) -> None:
    """Do nothing: the handler of ignored signals."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
