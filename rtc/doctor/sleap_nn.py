"""Checks of sleap-nn: does it run here, with the environment variables that jobs get."""

import tempfile
from pathlib import Path

import trio

from rtc.common.errors import RtcError
from rtc.common.gpu import NO_GPU, GpuFacts, list_gpus
from rtc.doctor.finding import Finding, fail, ok, skip, warn
from rtc.doctor.run_subprocess import SubprocessResult, run_subprocess
from rtc.sleap_nn.commands import find_sleap_nn, python_of
from rtc.sleap_nn.environment import job_environment
from rtc.sleap_nn.torch_build import TorchBuild, find_torch_build, why_unusable

IMPORT_TIME = 60.0
"""Seconds to import torch and sleap-nn: four from a warm disk cache, most of a minute from a network drive."""
TIMEOUT_ADVICE = "Importing PyTorch should take seconds: is it on a slow network drive? Jobs will start as slowly."
INSTALL = "pip install '.[worker]' in sleap-rtc's folder"
REINSTALL = "pip install --force-reinstall '.[worker]' in sleap-rtc's folder"
NOT_INSTALLED = "sleap-nn is not installed, so this machine cannot be a worker"
_IMPORTS = (
    "import torch, torchvision, sleap_nn; "
    "print(torch.__version__, torchvision.__version__, sleap_nn.__version__, int(torch.cuda.is_available()))"
)


def is_installed() -> bool:
    """Return whether a sleap-nn program is found."""
    try:
        find_sleap_nn()
    except RtcError:
        return False
    return True


def not_installed(*, required: bool) -> Finding:
    """Return the finding that sleap-nn is missing: a failure if the person requested the role worker, else skipped."""
    return (
        fail(NOT_INSTALLED, f"Install it: {INSTALL}") if required else skip(NOT_INSTALLED, f"To make it one: {INSTALL}")
    )


async def check_program(*, required: bool) -> Finding:
    """Check that the program starts and prints its version."""
    if not is_installed():
        return not_installed(required=required)
    result = await _run([str(find_sleap_nn()), "--version"])
    return program_finding(result)


def program_finding(result: SubprocessResult) -> Finding:
    """Return the finding about the result of `sleap-nn --version`."""
    if result.status:
        return fail(f"sleap-nn does not start: {result.last_line}", f"Install it again: {REINSTALL}")
    return ok(result.last_line)


async def check_imports(*, required: bool) -> Finding:
    """Check that PyTorch, torchvision (helped by `rtc/sleap_nn/shim`) and sleap-nn can be imported."""
    if not is_installed():
        return not_installed(required=required)
    try:
        python = python_of(find_sleap_nn())
    except RtcError as error:
        return fail(error.fault.text, f"Install it again: {REINSTALL}")
    result = await _run([str(python), "-P", "-c", _IMPORTS])
    gpus = await trio.to_thread.run_sync(list_gpus, abandon_on_cancel=True)  # a broken driver may hang
    build = await trio.to_thread.run_sync(find_torch_build, find_sleap_nn())
    return imports_finding(result, gpus[0] if gpus else NO_GPU, build)


def imports_finding(result: SubprocessResult, gpu: GpuFacts, build: TorchBuild | None = None) -> Finding:
    """Return the finding about the imports.

    Args:
        result: how the program that imports them has ended.
        gpu: the GPU that the driver reports; PyTorch should be able to use it.
        build: for which CUDA PyTorch was built, if that is known.
    """
    printed = result.last_line.split()
    if result.status or len(printed) != 4:
        return fail(f"importing it fails: {result.last_line}", f"Install sleap-nn and PyTorch again: {REINSTALL}")
    torch, torchvision, sleap_nn, cuda = printed
    detail = f"sleap-nn {sleap_nn}, torch {torch}, torchvision {torchvision}"
    if gpu.memory_mb and cuda == "0":
        why = why_unusable(gpu, build) or "Install PyTorch for CUDA (pytorch.org tells how), or update the driver."
        return warn(f"{detail}: this PyTorch cannot use the GPU, so jobs run on the CPU, slowly", why)
    return ok(f"{detail}, on the {'GPU' if cuda == '1' else 'CPU'}")


async def _run(command: list[str]) -> SubprocessResult:
    with tempfile.TemporaryDirectory(prefix="sleap-rtc-doctor-", ignore_cleanup_errors=True) as name:
        return await run_subprocess(command, job_environment(Path(name), None))
