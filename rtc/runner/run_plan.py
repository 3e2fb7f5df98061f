"""Runs a plan: one sleap-nn process per model and per prediction, in order, and tells what happens.

A model counts as trained only if sleap-nn ended with status 0 and left a `best.ckpt`: ended by a signal it says 0 too.
"""

import tempfile
from pathlib import Path

import trio
from attrs import define, evolve, field

from protocol.ids import JobId
from protocol.jobs import JobStarted, ModelStarted, Outcome, StopScope
from rtc.common.errors import RtcError
from rtc.common.job_result import LOG_NAME, JobResult
from rtc.common.nurseries import open_background_nursery
from rtc.packages.plan import Plan, TrainStep
from rtc.runner.predict import predict
from rtc.runner.step_context import Emit, StepContext
from rtc.runner.summary import CompletedSteps, failure_summary, success_summary
from rtc.sleap_nn.commands import Accelerator, clean_environment, convert_command, train_command
from rtc.sleap_nn.output import JobLog
from rtc.sleap_nn.zmq_progress import Monitor, TrainingProgress, open_monitor

DRAIN_TIME = 0.5
"""Seconds for messages that are still on their way when sleap-nn has ended."""


@define
class StopSwitch:
    """Lets somebody outside end a job early and well: the model that trains now, or that and all that would follow."""

    stop_all: bool = field(default=False, init=False)
    """No further model or prediction begins."""
    _requested: trio.Event = field(factory=trio.Event, init=False)
    _model_started: bool = field(default=False, init=False)

    def request_stop(self, scope: StopScope = StopScope.THIS) -> None:
        """End this model; with `ALL`, begin nothing after it either. Asking twice is asking once."""
        self.stop_all = self.stop_all or scope is StopScope.ALL
        self._requested.set()

    def start_model(self) -> None:
        """A model begins; what was asked for the one before does not touch it. What was asked before all does."""
        if self._model_started:
            self._requested = trio.Event()
        self._model_started = True

    async def forward_stop(self, monitor: Monitor) -> None:
        """Pass it on, for the model that has begun."""
        await self._requested.wait()
        await monitor.stop()


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
    """Do all that an unpacked package in `folder` asks for; the next step begins only when the one before is done.

    `emit` must never wait. On cancellation every process of the job is ended before this returns. A job that fails is
    a result, not an exception. `inherit`: descriptors that stay open in the job's processes.
    """
    if (folder / LOG_NAME).is_dir():  # the package's own doing
        return JobResult(Outcome.FAILED, f"The package holds a folder named {LOG_NAME}. Rename it.")
    try:
        environment = clean_environment(_make_temp_folder(folder), gpu)
        log = JobLog(job, folder / LOG_NAME, emit)
    except OSError as error:
        text = f"The worker could not make the job's own files ({error.strerror}). Tell its owner: is its disk full?"
        return JobResult(Outcome.FAILED, text)
    try:
        context = StepContext(job, folder / plan.root, sleap_nn, accelerator, environment, log, emit, inherit)
        models, files = (tuple(step.name for step in steps) for steps in (plan.steps, plan.predictions))
        emit(JobStarted(job, models, files))
        for note in plan.notes:
            log.add_line(note)
        return await _run_steps(context, switch or StopSwitch(), plan)
    finally:
        log.close()


def _make_temp_folder(folder: Path) -> Path:
    """For the job's temporary files: inside its folder, so that they go with it; no name that a package could take."""
    return Path(tempfile.mkdtemp(prefix=".tmp", dir=folder))


async def _run_steps(context: StepContext, switch: StopSwitch, plan: Plan) -> JobResult:
    completed = CompletedSteps()
    try:
        async with open_monitor() as monitor:
            for index, step in enumerate(plan.steps):
                if switch.stop_all:
                    break
                await _train(context, switch, monitor, index, step)
                completed = evolve(completed, models=(*completed.models, step.name))
        for index, prediction in enumerate(plan.predictions):
            if switch.stop_all:
                break
            frames = await predict(context, index, prediction)
            completed = evolve(completed, files=(*completed.files, prediction.name), frames=(*completed.frames, frames))
    except RtcError as error:
        return JobResult(Outcome.FAILED, failure_summary(completed, error.fault.text))
    return JobResult(Outcome.DONE, success_summary(plan, completed))


async def _train(context: StepContext, switch: StopSwitch, monitor: Monitor, index: int, step: TrainStep) -> None:
    """Train one model.

    Raises:
        RtcError: JOB_FAILED: it was not trained, and why.
    """
    switch.start_model()
    context.emit(ModelStarted(context.job, index, step.epochs))
    training_progress = TrainingProgress(context.job, index, context.emit)
    monitor.set_receiver(training_progress)
    async with open_background_nursery() as background:
        background.start_soon(
            switch.forward_stop, monitor
        )  # from now on: a stop may come long before sleap-nn can hear it
        config = await _convert_config(context, step) if step.legacy else step.config
        status = await context.run(train_command(context.sleap_nn, step, config, monitor.ports, context.accelerator))
        if status == 0:
            with trio.move_on_after(DRAIN_TIME):
                await training_progress.ended.wait()
    if status or not (context.folder / step.run_path / "best.ckpt").is_file():
        raise context.step_error(f"The model {step.name} was not trained.", status, "a model")


async def _convert_config(context: StepContext, step: TrainStep) -> str:
    """The configuration of SLEAP ≤ 1.4, made into sleap-nn's."""
    config = str(Path(step.config).with_suffix(".converted.yaml"))
    status = await context.run(convert_command(context.sleap_nn, step.config, config))
    if status or not (context.folder / config).is_file():
        failure = f"The model {step.name} was not trained. Its old configuration could not be converted;"
        raise context.step_error(failure, status, "a new one")
    return config
