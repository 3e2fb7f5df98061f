"""What is known about this machine's GPUs, asked of NVIDIA's driver through pynvml.

Rule of the room: having no GPU, no driver or no pynvml is an answer ("CPU", 0 MB), never a failure.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from attrs import frozen

from protocol.faults import FaultCode
from protocol.fields import is_printable
from rtc.common.errors import RtcError

GPU_NAME_MAX = 200
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


@frozen
class GpuLoad:
    """What one GPU does at a moment."""

    used_mb: int
    """Memory in MB (2**20 bytes), by whomever."""
    total_mb: int
    percent: int | None
    """Share of the last moments in which it computed; None when the driver does not say (as of a MIG slice)."""


NO_GPU = GpuFacts("CPU", 0, 0, "none", None)


def read_gpu(which: int | str | None = None, environ: Mapping[str, str] = os.environ) -> GpuFacts:
    """The facts of one GPU.

    Args:
        which: its number in the driver's order, or its UUID. Without one, the GPU that a program started from here
            would use: the first of CUDA_VISIBLE_DEVICES (batch systems set it), else number 0.
        environ: environment variables.
    """
    visible = ("0",) if (listed := _visible(environ)) is None else listed
    asked = str(which) if which is not None else next(iter(visible), None)
    if asked is None:
        return NO_GPU
    with _driver() as nvml:
        found = _facts(nvml, asked) if nvml is not None else None
    return found or NO_GPU


def read_use(uuid: str) -> GpuLoad | None:
    """What a GPU does now; None when the driver cannot tell. May block for as long as the driver likes."""
    with _driver() as nvml:
        return _load(nvml, uuid) if nvml is not None else None


def list_gpus(environ: Mapping[str, str] = os.environ) -> tuple[GpuFacts, ...]:
    """Every GPU that a program started from here would see, each once; those that cannot be told apart left out.

    That is CUDA_VISIBLE_DEVICES in its own order if it is set, else all in the driver's order.
    """
    with _driver() as nvml:
        if nvml is None:
            return ()
        listed = _visible(environ)
        names = tuple(str(number) for number in range(_count(nvml))) if listed is None else listed
        found = [facts for name in names if (facts := _facts(nvml, name)) is not None and facts.uuid is not None]
    return tuple({facts.uuid: facts for facts in found}.values())


def choose_gpu(which: str, environ: Mapping[str, str] = os.environ) -> GpuFacts:
    """The GPU that a person means: by its number as `nvidia-smi` shows it, its UUID, or the beginning of that.

    Raises:
        RtcError: USAGE: there is none such; the text lists those there are.
    """
    which = which.strip()
    with _driver() as nvml:
        numbered = [_facts(nvml, str(number)) for number in range(_count(nvml))] if nvml is not None else []
        by_uuid = _facts(nvml, which) if nvml is not None and which.startswith(("GPU-", "MIG-")) else None
    known = {str(number): facts for number, facts in enumerate(numbered) if facts is not None}
    begun = [facts for facts in known.values() if (facts.uuid or "").lower().startswith(which.lower())]
    found = by_uuid or known.get(which) or (begun[0] if len(which) > len("GPU-") and len(begun) == 1 else None)
    if found is None or found.uuid is None:
        raise _no_such(known)
    return found


def _no_such(known: Mapping[str, GpuFacts]) -> RtcError:
    if not known:
        text = "This machine shows no GPU (NVIDIA's driver, or pynvml, found none). Leave --gpu out to use the CPU."
    else:
        rows = (f"{number}: {facts.name}, {facts.memory_mb} MB, {facts.uuid}" for number, facts in known.items())
        text = f"There is no such GPU here. --gpu takes the number or the UUID of one of these: {'; '.join(rows)}."
    return RtcError(FaultCode.USAGE, text[:2000])


# -------- the driver


@contextmanager
def _driver() -> Iterator[Any]:
    """pynvml with the driver open, or None when there is either missing."""
    try:
        import pynvml  # the distribution is nvidia-ml-py; only workers have it
    except ImportError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        _shut_down(pynvml)


def _visible(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """Numbers or UUIDs of the GPUs that CUDA shows to programs, or None when it shows all of them."""
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return None
    # CUDA stops at the first entry that names nothing
    return tuple(takewhile(lambda name: name not in ("", "-1", "NoDevFiles"), map(str.strip, listed.split(","))))


def _count(nvml: Any) -> int:
    try:
        return int(nvml.nvmlDeviceGetCount())
    except nvml.NVMLError:
        return 0


def _facts(nvml: Any, which: str) -> GpuFacts | None:
    """One GPU, by number or UUID; None when the driver cannot tell about it."""
    try:
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
    except nvml.NVMLError:
        return None


def _load(nvml: Any, uuid: str) -> GpuLoad | None:
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError:
        return None
    try:
        percent = min(100, int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu))
    except nvml.NVMLError:
        percent = None
    return GpuLoad(memory.used // 2**20, memory.total // 2**20, percent)


def _text(value: str | bytes) -> str:
    """Older versions of pynvml give bytes; whatever comes must be fit to be shown to others."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return "".join(char for char in text if is_printable(char)).strip()[:GPU_NAME_MAX]


def _shut_down(nvml: Any) -> None:
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return  # the driver went away meanwhile; nothing is left to give back
