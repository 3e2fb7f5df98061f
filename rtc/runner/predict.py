"""Run one prediction: one process of sleap-nn, which writes its output file once, at the very end, or not at all."""

import trio

from protocol.faults import FaultCode
from protocol.jobs import JobKind, PredictionStarted
from rtc.common.errors import RtcError
from rtc.packages.inference import PredictStep
from rtc.runner.count_predictions import count_predictions
from rtc.runner.step_context import StepContext
from rtc.runner.summary import PredictedFile
from rtc.sleap_nn.commands import predict_command
from rtc.sleap_nn.predict_progress import FrameCounter


async def predict(context: StepContext, index: int, step: PredictStep) -> PredictedFile:
    """Predict on one file and return what was found.

    With models and tracking, sleap-nn goes through the frames in two passes: it predicts, and then it tracks.

    Args:
        index: the prediction's position in `JobStarted.predictions`.

    Raises:
        RtcError: JOB_FAILED, with the reason as its text: no predictions were written.
    """
    two_passes = step.tracking and bool(step.models)
    context.emit(PredictionStarted(context.job, index, two_passes))
    counter = FrameCounter(context.job, index, two_passes, context.emit)
    output = context.folder / step.output
    failure = f"Predicting on {step.name} failed."
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"{failure} The folder for its predictions could not be made ({error.strerror})."
        raise RtcError(FaultCode.JOB_FAILED, text) from None
    command = predict_command(context.sleap_nn, step, context.accelerator)
    status = await context.run(command, lambda line: counter.handle_line(line, trio.current_time()))
    counter.finish()
    if status or not output.is_file() or output.is_symlink():
        raise context.step_error(failure, status, "predictions", counter.failure, JobKind.TRACK)
    return PredictedFile(step, counter.predicted, await count_predictions(context, step))
