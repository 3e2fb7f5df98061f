"""What is known about this machine's GPU, asked of NVIDIA's driver through pynvml.

Rule of the room: having no GPU, no driver or no pynvml is an answer ("CPU", 0 MB), never a failure.
"""

import os
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from protocol.fields import is_printable

NAME_MAX = 200
"""Characters of `WorkerFacts.gpu`."""


@frozen
class GpuFacts:
    """One GPU, or its absence."""

    name: str
    memory_mb: int
    """Total memory in MB (2**20 bytes)."""
    free_mb: int
    cuda: str
    """The newest CUDA version that the driver supports, such as "12.4", or "none"."""
    uuid: str | None
    """The driver's own name for the device; fit for CUDA_VISIBLE_DEVICES."""


NO_GPU = GpuFacts("CPU", 0, 0, "none", None)


def read_gpu(index: int | None = None, environ: Mapping[str, str] = os.environ) -> GpuFacts:
    """The facts of one GPU.

    Args:
        index: its number in the driver's order. Without one, the GPU that a program started from here would use: the
            first of CUDA_VISIBLE_DEVICES (batch systems set it), else number 0.
        environ: environment variables.
    """
    which = str(index) if index is not None else _first_visible(environ)
    if which is None:
        return NO_GPU
    try:
        import pynvml  # the distribution is nvidia-ml-py; only workers have it
    except ImportError:
        return NO_GPU
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return NO_GPU
    try:
        return _facts(pynvml, which)
    except pynvml.NVMLError:
        return NO_GPU
    finally:
        _shut_down(pynvml)


def _first_visible(environ: Mapping[str, str]) -> str | None:
    """Index or UUID of the first GPU that CUDA shows to programs, or None when it is told to show none."""
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return "0"
    first = listed.split(",")[0].strip()
    return None if first in ("", "-1", "NoDevFiles") else first


def _facts(nvml: Any, which: str) -> GpuFacts:
    # the driver's `by UUID` also knows MIG slices
    by_number = which.isdecimal()
    handle = nvml.nvmlDeviceGetHandleByIndex(int(which)) if by_number else nvml.nvmlDeviceGetHandleByUUID(which)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()  # 12040 is 12.4
    return GpuFacts(
        name=_text(nvml.nvmlDeviceGetName(handle)) or "GPU",
        memory_mb=memory.total // 2**20,
        free_mb=memory.free // 2**20,
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)) or None,
    )


def _text(value: str | bytes) -> str:
    """Older versions of pynvml give bytes; whatever comes must be fit to be shown to others."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return "".join(char for char in text if is_printable(char)).strip()[:NAME_MAX]


def _shut_down(nvml: Any) -> None:
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return  # the driver went away meanwhile; nothing is left to give back
