"""What this machine brings: Python, our packages, a GPU."""

import importlib.util
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, requires, version

import trio
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from rtc.common.gpu import GpuFacts, list_gpus
from rtc.doctor.child import run_child
from rtc.doctor.finding import Finding, fail, ok, skip, warn

OURS = "sleap-rtc"
PYTHONS = ">=3.11,<3.14"
"""As pyproject.toml says it; a test compares the two."""
NATIVE = ("aiortc", "aioice", "cryptography", "trio_asyncio", "zmq", "yaml", "cattrs")
"""What has compiled parts, or brings some, and so may be installed and yet not load."""
LOAD_TIME = 30.0
"""Seconds to load them from a slow network drive; a second elsewhere."""
FREE_SHARE = 0.25
"""Of a GPU's memory: with less than this free, somebody else is using it."""
GPU_LATE = "The driver hangs, and nvidia-smi will too. Restart this machine."
REINSTALL = "Install it again: pip install --force-reinstall . in sleap-rtc's folder"
"""Never by the bare name: the project of that name on PyPI is somebody else's."""
INSTALL_CLIENT = "Install the versions that are asked for: pip install . in sleap-rtc's folder"
INSTALL_WORKER = "Install the versions that are asked for: pip install '.[worker]' in sleap-rtc's folder"


async def check_python() -> Finding:
    """The Python that runs us."""
    return python_finding(platform.python_version())


def python_finding(running: str) -> Finding:
    """Whether this version of Python is one that sleap-nn and we are made for."""
    if SpecifierSet(PYTHONS).contains(running, prereleases=True):
        return ok(running)
    return fail(
        f"{running}, and {PYTHONS} is needed", "Make a virtual environment with another Python, and install there."
    )


async def check_packages(*, worker: bool) -> Finding:
    """Our packages: the versions we ask for, and whether they really load.

    Args:
        worker: look at what only workers need as well.
    """
    try:
        asked = requires(OURS) or []
    except PackageNotFoundError:
        return warn("sleap-rtc runs from a folder and is not installed", "Install it: pip install . in that folder")
    misfits = list(find_misfits(asked, {"worker"} if worker else set()))
    if misfits:
        return fail("; ".join(misfits), INSTALL_WORKER if worker else INSTALL_CLIENT)
    # in a child, since a broken compiled part may end the process that loads it
    child = await run_child([sys.executable, "-P", "-c", f"import {', '.join(NATIVE)}"])
    if child.status:
        return fail(f"they do not load: {child.last_line}", REINSTALL)
    return ok(
        f"{OURS} {version(OURS)}, {len(asked_here(asked, {'worker'} if worker else set()))} packages as asked for"
    )


def asked_here(requirements: Iterable[str], extras: set[str]) -> list[Requirement]:
    """The requirements that hold on this machine, with these extras."""
    parsed = [Requirement(text) for text in requirements]
    chosen = [{"extra": extra} for extra in ("", *sorted(extras))]
    return [one for one in parsed if one.marker is None or any(one.marker.evaluate(extra) for extra in chosen)]


def find_misfits(requirements: Iterable[str], extras: set[str]) -> Iterable[str]:
    """In words, each requirement that what is installed here does not meet."""
    for one in asked_here(requirements, extras):
        try:
            here = version(one.name)
        except PackageNotFoundError:
            yield f"{one.name} is missing"
            continue
        if not one.specifier.contains(here, prereleases=True):
            yield f"{one.name} is {here}, and {one.specifier} is needed"


async def check_gpu() -> Finding:
    """The GPUs that a worker started here could offer; in a thread, since a broken driver may hang."""
    gpus = await trio.to_thread.run_sync(list_gpus, abandon_on_cancel=True)
    return gpu_finding(gpus, can_ask=importlib.util.find_spec("pynvml") is not None)


def gpu_finding(gpus: Sequence[GpuFacts], *, can_ask: bool) -> Finding:
    """What to say of these GPUs. `can_ask`: the module that asks the driver is here."""
    if not can_ask:
        return skip(
            "nvidia-ml-py is not installed, so the driver cannot be asked",
            "pip install '.[worker]' in sleap-rtc's folder",
        )
    if not gpus:
        return warn(
            "no NVIDIA GPU or no driver is seen; jobs run on the CPU, slowly",
            "If there is one: check that nvidia-smi lists it, and that CUDA_VISIBLE_DEVICES does not hide it.",
        )
    each = "; ".join(f"{gpu.name}, {gpu.memory_mb} MB, {gpu.free_mb} MB of it free" for gpu in gpus)
    told = f"{each}; driver for CUDA {gpus[0].cuda}"
    if any(gpu.free_mb < gpu.memory_mb * FREE_SHARE for gpu in gpus):
        return warn(told, "Another program uses most of the memory: nvidia-smi tells which. Large jobs may fail.")
    return ok(told)
