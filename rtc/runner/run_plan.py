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
from rtc.runner.summary import Made, broken_off, closing
from rtc.sleap_nn.commands import Accelerator, clean_environment, convert_command, train_command
from rtc.sleap_nn.output import JobLog
from rtc.sleap_nn.zmq_progress import Monitor, TrainingProgress, open_monitor

DRAIN_TIME = 0.5
"""Seconds for messages that are still on their way when sleap-nn has ended."""


@define
class StopSwitch:
    """Lets somebody outside end a job early and well: the model that trains now, or that and all that would follow."""

    everything: bool = field(default=False, init=False)
    """No further model or prediction begins."""
    _asked: trio.Event = field(factory=trio.Event, init=False)
    _begun: bool = field(default=False, init=False)

    def ask(self, scope: StopScope = StopScope.THIS) -> None:
        """End this model; with `ALL`, begin nothing after it either. Asking twice is asking once."""
        self.everything = self.everything or scope is StopScope.ALL
        self._asked.set()

    def begin(self) -> None:
        """A model begins; what was asked for the one before does not touch it. What was asked before all does."""
        if self._begun:
            self._asked = trio.Event()
        self._begun = True

    async def handle(self, monitor: Monitor) -> None:
        """Pass it on, for the model that has begun."""
        await self._asked.wait()
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
        environment = clean_environment(_temporary(folder), gpu)
        log = JobLog(job, folder / LOG_NAME, emit)
    except OSError as error:
        text = f"The worker could not make the job's own files ({error.strerror}). Tell its owner: is its disk full?"
        return JobResult(Outcome.FAILED, text)
    try:
        context = StepContext(job, folder / plan.root, sleap_nn, accelerator, environment, log, emit, inherit)
        models, files = (tuple(step.name for step in steps) for steps in (plan.steps, plan.predictions))
        emit(JobStarted(job, models, files))
        for note in plan.notes:
            log.note(note)
        return await _work(context, switch or StopSwitch(), plan)
    finally:
        log.close()


def _temporary(folder: Path) -> Path:
    """For the job's temporary files: inside its folder, so that they go with it; no name that a package could take."""
    return Path(tempfile.mkdtemp(prefix=".tmp", dir=folder))


async def _work(context: StepContext, switch: StopSwitch, plan: Plan) -> JobResult:
    made = Made()
    try:
        async with open_monitor() as monitor:
            for index, step in enumerate(plan.steps):
                if switch.everything:
                    break
                await _train(context, switch, monitor, index, step)
                made = evolve(made, models=(*made.models, step.name))
        for index, wish in enumerate(plan.predictions):
            if switch.everything:
                break
            frames = await predict(context, index, wish)
            made = evolve(made, files=(*made.files, wish.name), frames=(*made.frames, frames))
    except RtcError as error:
        return JobResult(Outcome.FAILED, broken_off(made, error.fault.text))
    return JobResult(Outcome.DONE, closing(plan, made))


async def _train(context: StepContext, switch: StopSwitch, monitor: Monitor, index: int, step: TrainStep) -> None:
    """Train one model.

    Raises:
        RtcError: JOB_FAILED: it was not trained, and why.
    """
    switch.begin()
    context.emit(ModelStarted(context.job, index, step.epochs))
    training_progress = TrainingProgress(context.job, index, context.emit)
    monitor.follow(training_progress)
    async with open_background_nursery() as background:
        background.start_soon(switch.handle, monitor)  # from now on: a stop may come long before sleap-nn can hear it
        config = await _converted(context, step) if step.legacy else step.config
        status = await context.run(train_command(context.sleap_nn, step, config, monitor.ports, context.accelerator))
        if status == 0:
            with trio.move_on_after(DRAIN_TIME):
                await training_progress.ended.wait()
    if status or not (context.folder / step.run_path / "best.ckpt").is_file():
        raise context.failed(f"The model {step.name} was not trained.", status, "a model")


async def _converted(context: StepContext, step: TrainStep) -> str:
    """The configuration of SLEAP ≤ 1.4, made into sleap-nn's."""
    config = str(Path(step.config).with_suffix(".converted.yaml"))
    status = await context.run(convert_command(context.sleap_nn, step.config, config))
    if status or not (context.folder / config).is_file():
        what = f"The model {step.name} was not trained. Its old configuration could not be converted;"
        raise context.failed(what, status, "a new one")
    return config
