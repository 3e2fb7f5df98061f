"""The GPUs of this machine, as NVIDIA's driver reports them through pynvml.

Rule: a missing GPU, driver or pynvml gives an answer ("CPU", 0 MB), never an error.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from attrs import frozen

from protocol.faults import FaultCode
from protocol.fields import line
from protocol.status import MEMORY_MAX
from rtc.common.errors import RtcError


@frozen
class GpuFacts:
    """One GPU; or NO_GPU for a machine without a usable one."""

    name: str
    memory_mb: int
    """Total memory in MB (2**20 bytes)."""
    free_mb: int
    """Free memory in MB (2**20 bytes)."""
    cuda: str
    """The newest CUDA version that the driver supports, such as "12.4", or "none"."""
    uuid: str | None
    """The driver's id of the device, as CUDA_VISIBLE_DEVICES accepts it; None for NO_GPU, or where it is not known."""


@frozen
class GpuLoad:
    """The load of one GPU at a moment."""

    used_mb: int
    """Memory in use by all programs, in MB (2**20 bytes)."""
    total_mb: int
    """Total memory in MB (2**20 bytes)."""
    percent: int | None
    """NVML's utilization: percent of the last sample period in which it computed; None when the driver does not report
    it, as for a MIG slice."""


NO_GPU = GpuFacts("CPU", 0, 0, "none", None)


def combine(gpus: Sequence[GpuFacts]) -> GpuFacts:
    """Return the GPUs that one job gets as one: their names, and the memory of the one that has least.

    Each GPU holds the whole model, so a model must fit into each: what counts is the least memory, not the sum.
    Without any it is NO_GPU; the UUID is that of a single GPU only.
    """
    if not gpus:
        return NO_GPU
    names = Counter(gpu.name for gpu in gpus)
    text = " and ".join(f"{number} × {name}" if number > 1 else name for name, number in names.items())
    least, free = min(gpu.memory_mb for gpu in gpus), min(gpu.free_mb for gpu in gpus)
    return GpuFacts(line(text), least, free, gpus[0].cuda, gpus[0].uuid if len(gpus) == 1 else None)


def read_gpu(which: int | str | None = None, environ: Mapping[str, str] = os.environ) -> GpuFacts:
    """Return what the driver reports about one GPU; NO_GPU when there is none.

    Args:
        which: its number in the driver's order, or its UUID. None for the GPU that a program started by this process
            would use: the first of CUDA_VISIBLE_DEVICES (batch systems set it), or number 0 if that is not set.
        environ: environment variables.
    """
    visible = ("0",) if (listed := _visible_gpus(environ)) is None else listed
    name = str(which) if which is not None else next(iter(visible), None)
    if name is None:
        return NO_GPU
    with _open_driver() as nvml:
        found = _read_facts(nvml, name) if nvml is not None else None
    return found or NO_GPU


def read_gpus(uuids: Sequence[str]) -> tuple[GpuFacts, ...]:
    """Return what the driver reports about the GPUs with these UUIDs, without those for which it reports an error."""
    with _open_driver() as nvml:
        found = [_read_facts(nvml, uuid) for uuid in uuids] if nvml is not None else []
    return tuple(facts for facts in found if facts is not None)


def read_use(*uuids: str) -> GpuLoad | None:
    """Return the load of the GPUs with these UUIDs: the sum of their memory, and the mean of their utilization.

    None when the driver does not report it for each of them. The driver may block.
    """
    with _open_driver() as nvml:
        loads = [_read_load(nvml, uuid) for uuid in uuids] if nvml is not None else []
    known = [load for load in loads if load is not None]
    if not known or len(known) < len(loads):
        return None
    percents = [load.percent for load in known if load.percent is not None]
    used, total = sum(load.used_mb for load in known), sum(load.total_mb for load in known)
    percent = round(sum(percents) / len(percents)) if percents else None
    return GpuLoad(min(used, MEMORY_MAX), min(total, MEMORY_MAX), percent)


def list_gpus(environ: Mapping[str, str] = os.environ) -> tuple[GpuFacts, ...]:
    """Return every GPU that a program started by this process would see, each once.

    The order is that of CUDA_VISIBLE_DEVICES if it is set, and otherwise that of the driver. A GPU without a UUID is
    left out, since it cannot be distinguished from others.
    """
    with _open_driver() as nvml:
        if nvml is None:
            return ()
        listed = _visible_gpus(environ)
        names = tuple(str(number) for number in range(_count_gpus(nvml))) if listed is None else listed
        found = [facts for name in names if (facts := _read_facts(nvml, name)) is not None and facts.uuid is not None]
    return tuple({facts.uuid: facts for facts in found}.values())


def choose_gpus(which: str) -> tuple[GpuFacts, ...]:
    """Return the GPUs that a person has named on the command line, which all go to the same jobs.

    Args:
        which: one GPU, or several with commas between them, each named as for `choose_gpu`.

    Raises:
        RtcError: USAGE: there is no such GPU, one is named twice, or they cannot be used together.
    """
    gpus = tuple(choose_gpu(each) for each in which.split(","))
    if len({gpu.uuid for gpu in gpus}) < len(gpus):
        raise RtcError(FaultCode.USAGE, "--gpu names a GPU twice. Name each once, as in --gpu 0,1.")
    if len(gpus) > 1 and any((gpu.uuid or "").startswith("MIG-") for gpu in gpus):
        text = "CUDA gives a program one MIG slice only. Start a worker for each slice: --gpu UUID, or --all-gpus."
        raise RtcError(FaultCode.USAGE, text)
    return gpus


def choose_gpu(which: str) -> GpuFacts:
    """Return the GPU that a person has named on the command line.

    Args:
        which: its number as `nvidia-smi` shows it, its UUID, or the beginning of its UUID.

    Raises:
        RtcError: USAGE: there is no such GPU; the text lists the existing ones.
    """
    which = which.strip()
    with _open_driver() as nvml:
        numbered = [_read_facts(nvml, str(number)) for number in range(_count_gpus(nvml))] if nvml is not None else []
        by_uuid = _read_facts(nvml, which) if nvml is not None and which.startswith(("GPU-", "MIG-")) else None
    known = {str(number): facts for number, facts in enumerate(numbered) if facts is not None}
    matching = [facts for facts in known.values() if (facts.uuid or "").lower().startswith(which.lower())]
    found = by_uuid or known.get(which) or (matching[0] if len(which) > len("GPU-") and len(matching) == 1 else None)
    if found is None or found.uuid is None:
        raise _unknown_gpu(known)
    return found


def _unknown_gpu(known: Mapping[str, GpuFacts]) -> RtcError:
    if not known:
        text = "This machine shows no GPU (NVIDIA's driver, or pynvml, found none). Leave --gpu out to use the CPU."
    else:
        rows = (f"{number}: {facts.name}, {facts.memory_mb} MB, {facts.uuid}" for number, facts in known.items())
        text = f"There is no such GPU here. --gpu takes the number or the UUID of one of these: {'; '.join(rows)}."
    return RtcError(FaultCode.USAGE, text)


# -------- the driver


@contextmanager
def _open_driver() -> Iterator[Any]:
    """Give pynvml with the driver initialised; None when either is missing."""
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


def _visible_gpus(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the numbers or UUIDs of the GPUs that CUDA shows to programs; None when it shows all of them."""
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return None
    # CUDA ignores everything from the first invalid entry on
    return tuple(takewhile(lambda name: name not in ("", "-1", "NoDevFiles"), map(str.strip, listed.split(","))))


def _count_gpus(nvml: Any) -> int:
    try:
        return int(nvml.nvmlDeviceGetCount())
    except nvml.NVMLError:
        return 0


def _read_facts(nvml: Any, which: str) -> GpuFacts | None:
    """Return one GPU by number or UUID; None when the driver reports an error for it."""
    try:
        # the function for UUIDs also accepts those of MIG slices
        by_number = which.isdecimal()
        handle = nvml.nvmlDeviceGetHandleByIndex(int(which)) if by_number else nvml.nvmlDeviceGetHandleByUUID(which)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()  # 12040 is 12.4
        return GpuFacts(
            name=_printable_text(nvml.nvmlDeviceGetName(handle)) or "GPU",
            memory_mb=_megabytes(memory.total),
            free_mb=_megabytes(memory.free),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            uuid=_printable_text(nvml.nvmlDeviceGetUUID(handle)) or None,
        )
    except nvml.NVMLError:
        return None


def _read_load(nvml: Any, uuid: str) -> GpuLoad | None:
    """Return the load of the GPU with this UUID; None when the driver reports an error for it."""
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError:
        return None
    try:
        percent = min(max(0, int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)), 100)
    except nvml.NVMLError:
        percent = None
    return GpuLoad(_megabytes(memory.used), _megabytes(memory.total), percent)


def _printable_text(value: str | bytes) -> str:
    """Return a name from pynvml as one printable line; older versions of pynvml return bytes."""
    return line(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)


def _megabytes(size: int) -> int:
    """Return bytes as MB of 2**20 bytes, at most `MEMORY_MAX`: a driver may report nonsense."""
    return min(max(0, size // 2**20), MEMORY_MAX)


def _shut_down(nvml: Any) -> None:
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return  # the driver was unloaded in the meantime: there is nothing to release
