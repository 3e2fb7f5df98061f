"""Run a plan: one process of sleap-nn per model and per prediction, one after the other, and report each event.

Rule: a model counts as trained only when sleap-nn ended with status 0 and left a `best.ckpt`. Status 0 alone is not
enough, because sleap-nn also ends with 0 after a SIGTERM during training (Lightning's graceful shutdown, sleap-nn
0.3.5).
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import define, evolve, field

from protocol.ids import JobId
from protocol.jobs import JobStarted, ModelStarted, Outcome, StopScope
from rtc.common.errors import RtcError
from rtc.common.gpu import GpuFacts
from rtc.common.job_result import LOG_NAME, JobResult
from rtc.common.nurseries import open_background_nursery
from rtc.common.process_group import Holder
from rtc.common.short_paths import open_short_path_to
from rtc.packages.checked_config import prepare_configs, rewrite_config
from rtc.packages.plan import Plan, TrainStep
from rtc.runner.devices import CudaWatch, tell_devices
from rtc.runner.predict import predict
from rtc.runner.silence import SilenceWatch
from rtc.runner.step_context import Emit, StepContext
from rtc.runner.summary import CompletedSteps, failure_summary, success_summary, written_summary
from rtc.runner.write_configs import write_configs
from rtc.sleap_nn.commands import Accelerator, convert_command, train_command
from rtc.sleap_nn.environment import environment_secrets, job_environment
from rtc.sleap_nn.output import JobLog
from rtc.sleap_nn.zmq_progress import Monitor, TrainingProgress, open_monitor

FILES_NOT_MADE = "The worker could not make the job's own files ({}). Tell its owner: is its disk full?"
DRAIN_TIME = 5.0
"""Seconds to wait for ZMQ messages that are still in transit when sleap-nn has ended. On a machine that is busy with
other things they may take more than one; all of them pass only when sleap-nn sent no `train_end`."""


@define
class StopSwitch:
    """Stops a running job early and keeps its results: the model in training, or that model and all later steps."""

    stop_all: bool = field(default=False, init=False)
    """No further model or prediction begins."""
    _requested: trio.Event = field(factory=trio.Event, init=False)
    """Set when the current model is to stop."""
    _model_started: bool = field(default=False, init=False)
    """Whether a first model has begun."""

    def request_stop(self, scope: StopScope = StopScope.THIS) -> None:
        """Stop the current model early; with `ALL`, begin no later step either. A second request changes nothing."""
        self.stop_all = self.stop_all or scope is StopScope.ALL
        self._requested.set()

    def start_model(self) -> None:
        """Begin a model: a stop that was requested during the previous model does not apply to this one.

        A stop requested before the first model began applies to the first model.
        """
        if self._model_started:
            self._requested = trio.Event()
        self._model_started = True

    async def forward_stop(self, monitor: Monitor) -> None:
        """Wait for a stop request for the current model, then send it to sleap-nn again and again, until cancelled."""
        await self._requested.wait()
        await monitor.stop()


async def run_job(
    job: JobId,
    plan: Plan,
    folder: Path,
    *,
    sleap_nn: Path,
    accelerator: Accelerator,
    gpus: tuple[str, ...] | None,
    emit: Emit,
    switch: StopSwitch | None = None,
    planned: Callable[[Plan], None] = lambda _plan: None,
    inherit: tuple[int, ...] = (),
    holder: Holder | None = None,
    gpu_facts: tuple[GpuFacts, ...] = (),
    pass_env: tuple[str, ...] = (),
    give_up_after: float | None = None,
) -> JobResult:
    """Run all steps of an unpacked package and return how the job ended; the steps run one after the other.

    On cancellation every process of the job is ended before this returns. A job that fails is a result, not an
    exception.

    Args:
        folder: the unpacked package, into which the results are written.
        gpus: UUIDs of the only GPUs that the job may see, none for the CPU; None for no restriction.
        emit: gets each event; it must not block.
        switch: stops the job early.
        planned: called in a thread with the whole plan, once sleap-nn has written the configurations that the package
            leaves to it. It may raise a JOB_FAILED.
        inherit: descriptors that stay open in the job's processes.
        holder: ends what a program has left running outside of its process group.
        gpu_facts: what the driver reported about these GPUs when the job began.
        pass_env: names of further environment variables that the job gets.
        give_up_after: seconds of silence after which a step is ended (`rtc.runner.silence`); None: never.
    """
    if (folder / LOG_NAME).is_dir():  # the package holds a folder of that name
        return JobResult(Outcome.FAILED, f"The package holds a folder named {LOG_NAME}. Rename it.")
    try:
        temporary, sockets = (_make_private_folder(folder, prefix) for prefix in (".tmp", ".zmq"))
        log = JobLog(job, folder / LOG_NAME, emit)
    except OSError as error:
        text = FILES_NOT_MADE.format(error.strerror)
        return JobResult(Outcome.FAILED, text)
    try:
        with open_short_path_to(temporary) as short:
            environment = job_environment(short.path, gpus, pass_env)
            log.hide(environment_secrets(environment))
            devices = max(1, len(gpus or ()))
            silence = SilenceWatch(gpus or (), give_up_after)
            context = StepContext(
                job,
                folder / plan.root,
                sleap_nn,
                accelerator,
                environment,
                log,
                emit,
                inherit,
                holder,
                devices,
                silence=silence,
            )
            if accelerator == "auto":
                context = evolve(context, watch_line=CudaWatch(context.note).read_line)
            if plan.configure is not None:
                plan = await write_configs(context, folder, plan, plan.configure)
                await trio.to_thread.run_sync(planned, plan)
                if not plan.steps:
                    return JobResult(Outcome.DONE, written_summary(plan))
            models, files = (tuple(step.name for step in steps) for steps in (plan.steps, plan.predictions))
            emit(JobStarted(job, models, files))
            for warning in plan.warnings:  # the client has shown them before it sent the package
                log.add_line(warning)
            tell_devices(context.note, accelerator, devices, gpu_facts, plan.kind)
            async with open_background_nursery() as background:
                background.start_soon(short.keep)
                return await _run_steps(context, switch or StopSwitch(), plan, sockets)
    except RtcError as error:
        return JobResult(Outcome.FAILED, error.fault.text)
    finally:
        log.close()


def _make_private_folder(folder: Path, prefix: str) -> Path:
    """Create a folder of mode 0700 inside the job's folder, so that both are removed together.

    Args:
        prefix: begins with a dot, so no file of a package can have the name (`safe_name` removes leading dots).
    """
    return Path(tempfile.mkdtemp(prefix=prefix, dir=folder))


async def _run_steps(context: StepContext, switch: StopSwitch, plan: Plan, sockets: Path) -> JobResult:
    """Train the models, then run the predictions, until a step fails or the switch stops all; return the result.

    Args:
        sockets: an empty private folder for the sockets through which sleap-nn talks with us.
    """
    completed = CompletedSteps()
    try:
        context.log.hide(await trio.to_thread.run_sync(prepare_configs, context.folder, plan))
        async with open_monitor(sockets, context.silence.hear) as monitor:
            for index, step in enumerate(plan.steps):
                if switch.stop_all:
                    break
                await _train(context, switch, monitor, index, step)
                completed = evolve(completed, models=(*completed.models, step.name))
        for index, prediction in enumerate(plan.predictions):
            if switch.stop_all:
                break
            completed = evolve(completed, files=(*completed.files, await predict(context, index, prediction)))
    except RtcError as error:
        return JobResult(Outcome.FAILED, failure_summary(completed, error.fault.text))
    return JobResult(Outcome.DONE, success_summary(plan, completed))


async def _train(context: StepContext, switch: StopSwitch, monitor: Monitor, index: int, step: TrainStep) -> None:
    """Train one model, converting its configuration first where that is one of SLEAP ≤ 1.4.

    Raises:
        RtcError: JOB_FAILED, with the reason as its text: the model was not trained.
    """
    switch.start_model()
    context.emit(ModelStarted(context.job, index, step.epochs))
    training_progress = TrainingProgress(context.job, index, context.emit)
    monitor.set_receiver(training_progress)
    async with open_background_nursery() as background:
        # started before sleap-nn: a stop may be requested long before sleap-nn can receive it
        background.start_soon(switch.forward_stop, monitor)
        config = await _prepare_config(context, step)
        ports, accelerator = monitor.ports, context.accelerator
        status = await context.run(train_command(context.sleap_nn, step, config, ports, accelerator, context.devices))
        if status == 0:
            with trio.move_on_after(DRAIN_TIME):
                await training_progress.ended.wait()
    if status or not (context.folder / step.run_path / "best.ckpt").is_file():
        raise context.step_error(f"The model {step.name} was not trained.", status, "a model")


async def _prepare_config(context: StepContext, step: TrainStep) -> str:
    """Return the path of the configuration that sleap-nn reads: written by us, and converted before where necessary.

    Raises:
        RtcError: BAD_PACKAGE: the configuration is not allowed. JOB_FAILED: it could not be converted or written.
    """
    await trio.to_thread.run_sync(rewrite_config, context.folder, step.config, step)
    if not step.legacy:
        return step.config
    converted = await _convert_config(context, step)
    await trio.to_thread.run_sync(rewrite_config, context.folder, converted, step)
    return converted


async def _convert_config(context: StepContext, step: TrainStep) -> str:
    """Convert a configuration of SLEAP ≤ 1.4 (JSON) and return the path of sleap-nn's (YAML), relative to the root.

    Raises:
        RtcError: JOB_FAILED, with the reason as its text: the configuration could not be converted.
    """
    config = str(Path(step.config).with_suffix(".converted.yaml"))
    status = await context.run(convert_command(context.sleap_nn, step.config, config))
    if status or not (context.folder / config).is_file():
        failure = f"The model {step.name} was not trained. Its old configuration could not be converted;"
        raise context.step_error(failure, status, "a new one")
    return config
