"""Whether sleap-nn really runs here, in the environment that jobs get."""

import tempfile
from pathlib import Path

import trio

from rtc.common.errors import RtcError
from rtc.common.gpu import list_gpus
from rtc.doctor.child import Child, run_child
from rtc.doctor.finding import Finding, fail, ok, skip, warn
from rtc.sleap_nn.commands import clean_environment, find_sleap_nn, python_of

IMPORT_TIME = 60.0
"""Seconds to import torch and sleap-nn: four on a warm disk, most of a minute from a network drive."""
LATE = "Importing PyTorch should take seconds: is it on a slow network drive? Jobs will start as slowly."
INSTALL = "pip install '.[worker]' in sleap-rtc's folder"
REINSTALL = "pip install --force-reinstall '.[worker]' in sleap-rtc's folder"
NOT_HERE = "sleap-nn is not installed, so this machine cannot be a worker"
_IMPORTS = (
    "import torch, torchvision, sleap_nn; "
    "print(torch.__version__, torchvision.__version__, sleap_nn.__version__, int(torch.cuda.is_available()))"
)


def is_installed() -> bool:
    """Whether there is a sleap-nn at all."""
    try:
        find_sleap_nn()
    except RtcError:
        return False
    return True


def missing(*, wanted: bool) -> Finding:
    """There is none. `wanted`: the person asked about being a worker."""
    return fail(NOT_HERE, f"Install it: {INSTALL}") if wanted else skip(NOT_HERE, f"To make it one: {INSTALL}")


async def check_program(*, wanted: bool) -> Finding:
    """The program: it starts, and tells its version."""
    if not is_installed():
        return missing(wanted=wanted)
    child = await _run([str(find_sleap_nn()), "--version"])
    return program_finding(child)


def program_finding(child: Child) -> Finding:
    """What `sleap-nn --version` came to."""
    if child.status:
        return fail(f"sleap-nn does not start: {child.last_line}", f"Install it again: {REINSTALL}")
    return ok(child.last_line)


async def check_imports(*, wanted: bool) -> Finding:
    """PyTorch, torchvision (with our help, see `rtc/jobs/shim`) and sleap-nn are really imported."""
    if not is_installed():
        return missing(wanted=wanted)
    try:
        python = python_of(find_sleap_nn())
    except RtcError as error:
        return fail(error.fault.text, f"Install it again: {REINSTALL}")
    child = await _run([str(python), "-P", "-c", _IMPORTS])
    gpus = await trio.to_thread.run_sync(list_gpus, abandon_on_cancel=True)  # a broken driver may hang
    return imports_finding(child, has_gpu=bool(gpus))


def imports_finding(child: Child, *, has_gpu: bool) -> Finding:
    """What the imports came to, and whether PyTorch can use the GPU that the driver tells of."""
    words = child.last_line.split()
    if child.status or len(words) != 4:
        return fail(f"importing it fails: {child.last_line}", f"Install sleap-nn and PyTorch again: {REINSTALL}")
    torch, torchvision, sleap_nn, cuda = words
    told = f"sleap-nn {sleap_nn}, torch {torch}, torchvision {torchvision}"
    if has_gpu and cuda == "0":
        return warn(
            f"{told}: this PyTorch cannot use the GPU",
            "Install PyTorch for CUDA (pytorch.org tells how), or update the driver.",
        )
    return ok(f"{told}, on the {'GPU' if cuda == '1' else 'CPU'}")


async def _run(command: list[str]) -> Child:
    with tempfile.TemporaryDirectory(prefix="sleap-rtc-doctor-", ignore_cleanup_errors=True) as name:
        return await run_child(command, clean_environment(Path(name), None))
