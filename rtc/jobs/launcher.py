"""Runs a plan: one sleap-nn process per model, in order, and tells what happens.

A model counts as trained only if sleap-nn ended with status 0 and left a `best.ckpt`: ended by a signal it says 0 too.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio
from attrs import define, field, frozen

from protocol.faults import FaultCode
from protocol.ids import JobId
from protocol.jobs import JobStarted, LogLines, ModelStarted, Outcome, Progress
from rtc.beside import open_beside
from rtc.errors import RtcError
from rtc.jobs.output import JobLog, reason
from rtc.jobs.package import Plan, TrainStep
from rtc.jobs.process import run_group
from rtc.jobs.progress import Follower, Monitor, open_monitor
from rtc.jobs.sleap_nn import Accelerator, clean_environment, convert_command, show_command, train_command

LOG_NAME = "job.log"

LAST_WORDS = 0.5
"""Seconds for messages that are still on their way when sleap-nn has ended."""
TEXT_MAX = 2000
"""Characters of a closing sentence, as `JobEnded` has it."""

Emit = Callable[[JobStarted | ModelStarted | Progress | LogLines], None]


@frozen
class JobResult:
    """How a job ended, and one sentence about it."""

    outcome: Outcome
    text: str


@define
class StopSwitch:
    """Lets somebody outside end the training of the model that runs now, early and well."""

    _asked: trio.Event = field(factory=trio.Event)

    def ask(self) -> None:
        """End this one; the next model of the sequence is not touched. Asking twice is asking once."""
        self._asked.set()

    async def heed(self, monitor: Monitor) -> None:
        """Pass it on, for one model."""
        self._asked = trio.Event()
        await self._asked.wait()
        await monitor.stop()


@frozen
class _Bench:
    """What all steps of a job share."""

    job: JobId
    folder: Path
    """The package's root: where its relative paths begin."""
    sleap_nn: Path
    accelerator: Accelerator
    environment: dict[str, str]
    log: JobLog
    emit: Emit
    switch: StopSwitch
    inherit: tuple[int, ...]


async def run_job(
    job: JobId,
    plan: Plan,
    folder: Path,
    *,
    sleap_nn: Path,
    accelerator: Accelerator,
    gpu: str | None,
    emit: Emit,
    switch: StopSwitch | None = None,
    inherit: tuple[int, ...] = (),
) -> JobResult:
    """Train all models of an unpacked package in `folder`; the next begins only when the one before is there.

    `emit` must never wait. On cancellation every process of the job is ended before this returns. A job that fails is
    a result, not an exception. `inherit`: descriptors that stay open in the job's processes.
    """
    if (folder / LOG_NAME).is_dir():  # the package's own doing
        return JobResult(Outcome.FAILED, f"The package holds a folder named {LOG_NAME}. Rename it.")
    try:
        environment = clean_environment(_temporary(folder), gpu)
        log = JobLog(job, folder / LOG_NAME, emit)
    except OSError as error:
        text = f"The worker could not make the job's own files ({error.strerror}). Tell its owner: is its disk full?"
        return JobResult(Outcome.FAILED, text)
    switch = switch or StopSwitch()
    root = folder / plan.root
    try:
        bench = _Bench(job, root, sleap_nn, accelerator, environment, log, emit, switch, inherit)
        emit(JobStarted(job, tuple(step.name for step in plan.steps)))
        async with open_monitor() as monitor:
            return await _train_all(bench, monitor, plan.steps)
    finally:
        log.close()


def _temporary(folder: Path) -> Path:
    """For the job's temporary files: inside its folder, so that they go with it; no name that a package could take."""
    return Path(tempfile.mkdtemp(prefix=".tmp", dir=folder))


async def _train_all(bench: _Bench, monitor: Monitor, steps: tuple[TrainStep, ...]) -> JobResult:
    try:
        for index, step in enumerate(steps):
            await _train(bench, monitor, index, step)
    except RtcError as error:
        return JobResult(Outcome.FAILED, error.fault.text)
    names = ", ".join(step.name for step in steps)
    return JobResult(Outcome.DONE, f"Trained {len(steps)} model{'s' * (len(steps) > 1)}: {names}."[:TEXT_MAX])


async def _train(bench: _Bench, monitor: Monitor, index: int, step: TrainStep) -> None:
    """Train one model.

    Raises:
        RtcError: JOB_FAILED: it was not trained, and why.
    """
    bench.emit(ModelStarted(bench.job, index, step.epochs))
    config = step.config
    if step.legacy:
        config = str(Path(step.config).with_suffix(".converted.yaml"))
        status = await _run(bench, convert_command(bench.sleap_nn, step.config, config))
        if status or not (bench.folder / config).is_file():
            raise _failed(bench, step, "Its old configuration could not be converted")
    follower = Follower(bench.job, index, bench.emit)
    monitor.follow(follower)
    async with open_beside() as beside:
        beside.start_soon(bench.switch.heed, monitor)
        status = await _run(bench, train_command(bench.sleap_nn, step, config, monitor.ports, bench.accelerator))
    if status == 0:
        with trio.move_on_after(LAST_WORDS):
            await follower.ended.wait()
    if status < 0:
        raise _failed(bench, step, f"sleap-nn was ended by signal {-status}")
    if status > 0:
        raise _failed(bench, step, f"sleap-nn ended with status {status}")
    if not (bench.folder / step.run_path / "best.ckpt").is_file():
        raise _failed(bench, step, "sleap-nn ended without leaving a model")


async def _run(bench: _Bench, command: list[str]) -> int:
    bench.log.note(f"$ {show_command(command)}")
    run = partial(
        run_group, folder=bench.folder, environment=bench.environment, read=bench.log.follow, inherit=bench.inherit
    )
    try:
        return await run(command)
    except OSError as error:
        text = f"sleap-nn could not be started ({error.strerror}). Check the worker's installation."
        raise RtcError(FaultCode.JOB_FAILED, text) from None


def _failed(bench: _Bench, step: TrainStep, what: str) -> RtcError:
    why = reason(list(bench.log.tail))
    said = f": {why}" if why else "."
    return RtcError(FaultCode.JOB_FAILED, f"The model {step.name} was not trained. {what}{said}")
