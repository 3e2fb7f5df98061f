"""Runs one prediction: one sleap-nn process, which writes its file at the very end or not at all."""

import trio

from protocol.faults import FaultCode
from protocol.jobs import PredictionStarted
from rtc.common.errors import RtcError
from rtc.packages.inference import PredictStep
from rtc.runner.step_context import Bench
from rtc.sleap_nn.commands import predict_command
from rtc.sleap_nn.predict_progress import FrameCounter


async def predict(bench: Bench, index: int, step: PredictStep) -> int | None:
    """Predict on one file; the frames gone through, as far as sleap-nn told.

    Raises:
        RtcError: JOB_FAILED: there are no predictions, and why.
    """
    twice = step.tracking and bool(step.models)
    bench.emit(PredictionStarted(bench.job, index, twice))
    counter = FrameCounter(bench.job, index, twice, bench.emit)
    output = bench.folder / step.output
    what = f"Predicting on {step.name} failed."
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"{what} The folder for its predictions could not be made ({error.strerror})."
        raise RtcError(FaultCode.JOB_FAILED, text) from None
    command = predict_command(bench.sleap_nn, step, bench.accelerator)
    status = await bench.run(command, lambda line: counter.hear(line, trio.current_time()))
    counter.finish()
    if status or not output.is_file() or output.is_symlink():
        raise bench.failed(what, status, "predictions", counter.failure)
    return counter.predicted
