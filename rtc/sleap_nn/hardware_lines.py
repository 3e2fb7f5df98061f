"""Read what sleap-nn and PyTorch print about the hardware: memory that is not enough, and a GPU that cannot be used.

The wordings are those of sleap-nn 0.3.5, PyTorch 2 (c10/cuda/CUDAException.cpp, c10/core/impl/alloc_cpu.cpp,
torch/utils/data/_utils/signal_handling.py) and NVIDIA's libraries.
"""

import re
from collections.abc import Iterable
from enum import Enum

from protocol.jobs import JobKind

_GPU_MEMORY = re.compile(
    r"OutOfMemoryError: |\b(?:CUDA|Cuda|cuda|HIP|XPU|NCCL|NVRTC)\b.{0,60}\bout of memory|CUDA_ERROR_OUT_OF_MEMORY|"
    r"(?:CUBLAS|CUDNN|CUFFT|CUSOLVER|CUSPARSE)_STATUS_(?:BAD_)?ALLOC_FAILED|CUBLAS_STATUS_NOT_INITIALIZED|"
    r"CUDNN_STATUS_NOT_INITIALIZED|Unable to find a valid cuDNN algorithm|unable to find an engine to execute"
)
"""The last four say something else, but mostly mean that no memory was left for what the library needs at its start."""
_SHARED_MEMORY = re.compile(
    r"out of shared memory|is killed by signal: Bus error|unable to (?:open|write|resize|mmap)[^|]*(?:/torch_|shared "
    r"memory)|torch_shm_manager.*No space left"
)
_HOST_MEMORY = re.compile(
    r"is killed by signal: Killed|DefaultCPUAllocator: (?:can't allocate|not enough) memory|std::bad_alloc|"
    r"\bMemoryError\b|Unable to allocate .{1,40} for an array|Cannot allocate memory|CUDNN_STATUS_.*HOST_ALLOCATION"
)
_GPU_UNUSABLE = re.compile(
    r"no kernel image is available|CUDA driver version is insufficient|NVIDIA driver on your system is too old|"
    r"not compiled with CUDA enabled|CUDA-capable device\(s\) is/are busy|No CUDA GPUs are available|"
    r"CUDA error: (?:unknown error|initialization error|invalid device ordinal)"
)
_OTHER_RANK = re.compile(r"Child process with PID \d+ terminated with code (?!-9\b)")
"""Lightning ends all processes of a training with SIGKILL when one of them has failed."""
_KILLED = frozenset({-9, 137, 256 - 9})
"""Exit statuses after SIGKILL: of the program, through a shell, and through `sys.exit(-9)` of sleap-nn."""

_CUDA_WARNING = re.compile(r"CUDA initialization: (.+?)(?:\. Please|\s*\(Triggered internally|$)")
_OLD_DRIVER = re.compile(r"driver on your system is too old \(found version (\d+)\)")
_ON_CPU = re.compile(r"\| Training on cpu accelerator|\| Loaded inference model \|.*\| device=cpu(?: \||$)")
_REASON_MAX = 200
"""Characters of PyTorch's reason that a sentence shows."""


class HardwareCause(Enum):
    """What was wrong with the hardware when a program failed."""

    GPU_MEMORY = "gpu memory"
    SHARED_MEMORY = "shared memory"
    HOST_MEMORY = "host memory"
    GPU_UNUSABLE = "gpu unusable"


_PATTERNS = {
    HardwareCause.GPU_MEMORY: _GPU_MEMORY,
    HardwareCause.SHARED_MEMORY: _SHARED_MEMORY,
    HardwareCause.HOST_MEMORY: _HOST_MEMORY,
    HardwareCause.GPU_UNUSABLE: _GPU_UNUSABLE,
}
_NO_LOADERS = "-- trainer_config.train_data_loader.num_workers=0 trainer_config.val_data_loader.num_workers=0"
_TRAIN = {
    HardwareCause.GPU_MEMORY: (
        "The GPU has not enough memory for this training. Lower the batch size (-- "
        "trainer_config.train_data_loader.batch_size=2 trainer_config.val_data_loader.batch_size=2), the scale of the "
        "images (data_config.preprocessing.scale=0.5), the crops of a centered instance "
        "(data_config.preprocessing.crop_size) or the filters of a U-Net (model_config.backbone_config.unet.filters); "
        "or take a worker with more GPU memory (--min-gpu-memory)."
    ),
    HardwareCause.SHARED_MEMORY: (
        "The shared memory of the worker's machine (/dev/shm) is too small for the processes that load the images. "
        f"Load them without: {_NO_LOADERS}. Or ask the worker's owner to enlarge it (in Docker: --shm-size 8g)."
    ),
    HardwareCause.HOST_MEMORY: (
        "Most probably the worker's machine has not enough memory (RAM) for this training. Load the images "
        f"without processes of their own ({_NO_LOADERS}), do not keep them in memory "
        "(data_config.data_pipeline_fw=torch_dataset), or lower the batch size "
        "(trainer_config.train_data_loader.batch_size=2)."
    ),
}
_PREDICT = {
    HardwareCause.GPU_MEMORY: (
        "The GPU has not enough memory for this prediction. Predict fewer frames at a time (--batch-size 1), or "
        "smaller images (--input-scale 0.5); or take a worker with more GPU memory (--min-gpu-memory)."
    ),
    HardwareCause.SHARED_MEMORY: (
        "The shared memory of the worker's machine (/dev/shm) is too small. Predict fewer frames at a time "
        "(--batch-size 1), or ask the worker's owner to enlarge it (in Docker: --shm-size 8g)."
    ),
    HardwareCause.HOST_MEMORY: (
        "Most probably the worker's machine has not enough memory (RAM) for this prediction. Predict fewer "
        "frames at a time (--batch-size 1) or fewer in all (--frames 0-4999)."
    ),
}
_CONFIGURE = dict.fromkeys(
    (HardwareCause.GPU_MEMORY, HardwareCause.SHARED_MEMORY, HardwareCause.HOST_MEMORY),
    "Most probably the worker's machine has not enough memory (RAM) to read these labels. Give a configuration with "
    "--config, or take another worker.",
)
_UNUSABLE = (
    "PyTorch on the worker cannot use its GPU. This is no fault of the package: tell the worker's owner, who finds out "
    "more with: sleap-rtc doctor --as worker"
)


def find_cause(lines: Iterable[str], status: int) -> HardwareCause | None:
    """Return what was wrong with the hardware, from the last lines of a program that failed; None if it was not that.

    Args:
        lines: the lines, in their order; the last one that says something counts.
        status: the exit status (negative: the signal that ended the program).
    """
    lines = tuple(lines)
    for text in reversed(lines):
        for cause, pattern in _PATTERNS.items():
            if pattern.search(text):
                return cause
    if status in _KILLED and not any(map(_OTHER_RANK.search, lines)):
        return HardwareCause.HOST_MEMORY  # the kernel ends the largest program when no memory is left
    return None


def advice(cause: HardwareCause, kind: JobKind | None) -> str:
    """Return the sentences that say what was wrong, and what to change.

    Args:
        kind: what failed: a training, or a prediction; None: sleap-nn was writing configurations.
    """
    texts = _CONFIGURE if kind is None else _TRAIN if kind is JobKind.TRAIN else _PREDICT
    return texts.get(cause, _UNUSABLE)


def cuda_problem(line: str) -> str | None:
    """Return why PyTorch cannot use a GPU, as a sentence, if a printed line shows that; empty if it does not say why.

    None if the line is about something else.
    """
    if (old := _OLD_DRIVER.search(line)) is not None:
        version = int(old[1][:9])
        cuda = f"{version // 1000}.{version % 1000 // 10}"
        return f"The NVIDIA driver there is too old for this PyTorch: it is for CUDA {cuda}."
    if (warning := _CUDA_WARNING.search(line)) is not None:
        return f"PyTorch says: {warning[1][:_REASON_MAX].rstrip('.')}."
    return "" if _ON_CPU.search(line) else None
