"""What the person is told about the devices that a job runs on."""

from collections.abc import Callable, Sequence

from attrs import define

from protocol.jobs import JobKind, NoteKind
from rtc.common.gpu import GpuFacts, combine
from rtc.sleap_nn.commands import Accelerator
from rtc.sleap_nn.hardware_lines import cuda_problem

LINE_MAX = 4096
"""Bytes of a printed line that are read."""
FREE_SHARE = 0.5
"""Free part of a GPU's memory; with less, the job may not have enough."""
ON_CPU = "The job runs on the CPU: this will be slow."
SILENT_DRIVER = "The job runs on the worker's GPU, whose driver does not say how much memory is free."
CUDA_UNUSABLE = (
    "PyTorch on the worker cannot use its GPU, so the job runs on the CPU: this will be slow. {}Tell the worker's "
    "owner, who finds out more with: sleap-rtc doctor --as worker"
)

Note = Callable[[str, NoteKind], None]
"""Tells the person a sentence."""


def tell_devices(
    note: Note, accelerator: Accelerator, devices: int, gpu_facts: Sequence[GpuFacts], kind: JobKind
) -> None:
    """Tell the person which devices the job has, and how much memory is free.

    Args:
        note: tells it.
        accelerator: "cpu" if the worker offers no GPU.
        devices: number of the job's GPUs.
        gpu_facts: what the driver reports about them now; fewer if it did not answer.
        kind: whether the job trains, or only predicts.
    """
    if accelerator == "cpu":
        note(ON_CPU, NoteKind.INFO)
        return
    if len(gpu_facts) < devices:
        note(SILENT_DRIVER, NoteKind.INFO)
        return
    note(devices_text(gpu_facts, kind), NoteKind.INFO)
    for gpu in gpu_facts if kind is JobKind.TRAIN else gpu_facts[:1]:  # predicting uses the first
        if gpu.free_mb < gpu.memory_mb * FREE_SHARE:
            used, total = _gigabytes(gpu.memory_mb - gpu.free_mb), _gigabytes(gpu.memory_mb)
            text = f"Other programs use {used} of the {total} GB of {gpu.name}: the job may run out of GPU memory."
            note(text, NoteKind.WARNING)


def devices_text(gpus: Sequence[GpuFacts], kind: JobKind) -> str:
    """Return the sentences about the GPUs of a job.

    A training uses all of them, each with batches of the configured size (Lightning's DDP); a prediction uses one.
    """
    gpu = combine(gpus)
    free = f"{_gigabytes(gpu.free_mb)} GB free"
    if len(gpus) == 1:
        return f"The job runs on {gpu.name}, {free}."
    least = "" if len({each.free_mb for each in gpus}) == 1 else "at least "
    rest = "The batch size is that of each GPU." if kind is JobKind.TRAIN else "Predicting uses the first of them."
    return f"The job runs on {gpu.name}, {least}{free} on each. {rest}"


def _gigabytes(megabytes: int) -> str:
    """Return MB of 2**20 bytes as GB of 2**30 bytes, as NVIDIA counts: `22.1`."""
    return f"{megabytes / 1024:.1f}"


@define
class CudaWatch:
    """Watches what sleap-nn prints, and warns the person once if PyTorch cannot use the GPU of the worker."""

    note: Note
    is_told: bool = False

    def read_line(self, raw: bytes) -> None:
        """Read one printed line."""
        why = None if self.is_told else cuda_problem(raw[:LINE_MAX].decode("utf-8", "replace"))
        if why is not None:
            self.is_told = True
            self.note(CUDA_UNUSABLE.format(f"{why} " if why else ""), NoteKind.WARNING)
