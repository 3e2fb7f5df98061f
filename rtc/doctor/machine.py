"""Checks of this machine: Python, the installed packages, and the GPU."""

import importlib.util
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, requires, version

import trio
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from rtc.common.gpu import GpuFacts, list_gpus
from rtc.doctor.finding import Finding, fail, ok, skip, warn
from rtc.doctor.run_subprocess import run_subprocess

DISTRIBUTION = "sleap-rtc"
PYTHONS = ">=3.11,<3.14"
"""The same as `requires-python` in pyproject.toml; a test compares the two."""
LOADED_MODULES = ("aiortc", "aioice", "cryptography", "trio_asyncio", "zmq", "yaml", "cattrs")
"""Modules with compiled parts, or whose requirements have some: they may be installed and still fail to import."""
LOAD_TIME = 30.0
"""Seconds to import `LOADED_MODULES` from a slow network drive; from a local disk it takes one second."""
FREE_SHARE = 0.25
"""Free part of a GPU's memory; with less, another program is using it."""
GPU_TIMEOUT_ADVICE = "The driver hangs, and nvidia-smi will too. Restart this machine."
REINSTALL = "Install it again: pip install --force-reinstall . in sleap-rtc's folder"
"""It must not install `sleap-rtc` by name: the project with this name on PyPI belongs to other people."""
INSTALL_CLIENT = "Install the versions that are asked for: pip install . in sleap-rtc's folder"
INSTALL_WORKER = "Install the versions that are asked for: pip install '.[worker]' in sleap-rtc's folder"


async def check_python() -> Finding:
    """Check the version of the Python that runs sleap-rtc."""
    return python_finding(platform.python_version())


def python_finding(running: str) -> Finding:
    """Return whether sleap-nn and sleap-rtc support this version of Python."""
    if SpecifierSet(PYTHONS).contains(running, prereleases=True):
        return ok(running)
    return fail(
        f"{running}, and {PYTHONS} is needed", "Make a virtual environment with another Python, and install there."
    )


async def check_packages(*, worker: bool) -> Finding:
    """Check that the required packages are installed in the required versions, and that they can be imported.

    Args:
        worker: also check the packages that only workers need.
    """
    try:
        requirements = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        return warn("sleap-rtc runs from a folder and is not installed", "Install it: pip install . in that folder")
    extras = {"worker"} if worker else set()
    unmet = list(find_unmet(requirements, extras))
    if unmet:
        return fail("; ".join(unmet), INSTALL_WORKER if worker else INSTALL_CLIENT)
    # in a subprocess, since a broken compiled part may crash the process that imports it
    result = await run_subprocess([sys.executable, "-P", "-c", f"import {', '.join(LOADED_MODULES)}"])
    if result.status:
        return fail(f"they do not load: {result.last_line}", REINSTALL)
    total = len(applicable_requirements(requirements, extras))
    return ok(f"{DISTRIBUTION} {version(DISTRIBUTION)}, {total} packages as asked for")


def applicable_requirements(requirements: Iterable[str], extras: set[str]) -> list[Requirement]:
    """Return the requirements that apply on this machine with these extras (PEP 508 markers)."""
    parsed = [Requirement(text) for text in requirements]
    chosen = [{"extra": extra} for extra in ("", *sorted(extras))]
    return [
        requirement
        for requirement in parsed
        if requirement.marker is None or any(requirement.marker.evaluate(extra) for extra in chosen)
    ]


def find_unmet(requirements: Iterable[str], extras: set[str]) -> Iterable[str]:
    """Yield one text for each requirement that the installed packages do not meet."""
    for requirement in applicable_requirements(requirements, extras):
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            yield f"{requirement.name} is missing"
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            yield f"{requirement.name} is {installed}, and {requirement.specifier} is needed"


async def check_gpu() -> Finding:
    """Check the GPUs that a worker could use here. Runs in a thread, since a broken driver may hang."""
    gpus = await trio.to_thread.run_sync(list_gpus, abandon_on_cancel=True)
    return gpu_finding(gpus, has_nvml=importlib.util.find_spec("pynvml") is not None)


def gpu_finding(gpus: Sequence[GpuFacts], *, has_nvml: bool) -> Finding:
    """Return the finding about these GPUs.

    Args:
        has_nvml: whether the module that queries the driver (pynvml) is installed.
    """
    if not has_nvml:
        return skip(
            "nvidia-ml-py is not installed, so the driver cannot be asked",
            "pip install '.[worker]' in sleap-rtc's folder",
        )
    if not gpus:
        return warn(
            "no NVIDIA GPU or no driver is seen; jobs run on the CPU, slowly",
            "If there is one: check that nvidia-smi lists it, and that CUDA_VISIBLE_DEVICES does not hide it.",
        )
    gpus_text = "; ".join(f"{gpu.name}, {gpu.memory_mb} MB, {gpu.free_mb} MB of it free" for gpu in gpus)
    detail = f"{gpus_text}; driver for CUDA {gpus[0].cuda}"
    if any(gpu.free_mb < gpu.memory_mb * FREE_SHARE for gpu in gpus):
        return warn(detail, "Another program uses most of the memory: nvidia-smi tells which. Large jobs may fail.")
    return ok(detail)
