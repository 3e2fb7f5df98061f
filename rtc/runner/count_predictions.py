"""Counts what sleap-nn has predicted, by a small program of its own with a time limit.

A count is only for the closing sentence of a job: a file that cannot be counted is none the worse for it.
"""

from pathlib import Path

import trio
from attrs import frozen

from rtc.common.errors import RtcError
from rtc.common.hdf5 import is_hdf5
from rtc.common.process_group import run_group
from rtc.packages.inference import PredictStep
from rtc.runner.step_context import StepContext
from rtc.sleap_nn.commands import python_of
from rtc.sleap_nn.json_values import parse_object, whole_number

COUNT_TIME = 60.0
"""Seconds after which counting is given up; ten million instances take some seconds."""
OUTPUT_MAX = 64 * 1024
"""Bytes of the program's output that are kept."""
_SUBPROCESS = Path(__file__).resolve().parent / "count_subprocess.py"


@frozen
class FileCounts:
    """What is in one file of predictions."""

    instances: int
    """Animals found, or masks, centroids or boxes where a model finds no points."""
    frames: int
    """Frames on which there is at least one."""
    processed: int
    """Frames that sleap-nn went through."""
    tracks: int = 0
    video_frames: int | None = None
    """Frames of the video; None if there are several videos, or it is not known."""


async def count_predictions(context: StepContext, step: PredictStep) -> FileCounts | None:
    """Return what is in the output of a prediction; None if that cannot be counted."""
    output = context.folder / step.output
    received = bytearray()

    async def read(stream: trio.abc.ReceiveStream) -> None:
        async for block in stream:
            received.extend(block[: OUTPUT_MAX - len(received)])

    try:
        if not await trio.to_thread.run_sync(is_hdf5, output):
            return None
        # -P: without it our own folder would come first on sys.path, and our modules would hide others of the same name
        command = [str(python_of(context.sleap_nn)), "-P", str(_SUBPROCESS), str(output)]
        command += [] if step.models else ["tracked"]
        with trio.move_on_after(COUNT_TIME):
            await run_group(
                command,
                folder=context.folder,
                environment=context.environment,
                read=read,
                inherit=context.inherit,
                holder=context.holder,
            )
    except (OSError, RtcError):
        return None
    return _read_counts(bytes(received))


def _read_counts(printed: bytes) -> FileCounts | None:
    """Return the counts in the last line that the program has printed; None if it has none."""
    found = parse_object(printed.strip().rpartition(b"\n")[2])
    instances, frames, processed, tracks = (
        whole_number(found.get(name)) for name in ("instances", "frames", "processed", "tracks")
    )
    if instances is None or frames is None or processed is None or tracks is None:
        return None
    return FileCounts(instances, frames, processed, tracks, whole_number(found.get("video_frames")))
