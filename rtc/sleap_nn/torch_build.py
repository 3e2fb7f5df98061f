"""For which CUDA the PyTorch beside a sleap-nn program was built, read from its files: importing it takes seconds.

If NVIDIA's driver is too old for it, PyTorch only warns, and sleap-nn trains on the CPU without a word (torch 2.13).
"""

import re
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from rtc.common.errors import RtcError
from rtc.common.gpu import GpuFacts
from rtc.common.whole_file import read_small_file
from rtc.sleap_nn.commands import python_of

VERSION_FILES = "lib/python3*/site-packages/torch/version.py"
"""Where an environment of Python has torch's own record of how it was built, below its root."""
FILE_MAX = 64 * 1024
"""Bytes that are read of it; it has a few hundred."""
OTHER_TORCH = "pytorch.org tells how"


@frozen
class TorchBuild:
    """How an installed PyTorch was built."""

    cuda: str | None
    """The CUDA version that it was built for, such as "13.0"; None if it was built for the CPU only."""


def find_torch_build(sleap_nn: Path) -> TorchBuild | None:
    """Return how the PyTorch of a sleap-nn program was built; None if it is not found, or is none for NVIDIA's GPUs."""
    with suppress(RtcError, OSError):
        for path in sorted(python_of(sleap_nn).absolute().parents[1].glob(VERSION_FILES)):
            return _parse(read_small_file(path, FILE_MAX).decode(errors="replace"))
    return None


def _parse(text: str) -> TorchBuild | None:
    found = {
        name: value or None for name, value in re.findall(r"^(cuda|hip)\b[^=\n]*= *(?:'([\w.]+)'|None)", text, re.M)
    }
    if "cuda" not in found or found.get("hip"):
        return None
    return TorchBuild(found["cuda"])


def why_unusable(gpu: GpuFacts, build: TorchBuild | None) -> str | None:
    """Return a sentence that says why PyTorch cannot use a GPU, and another with advice; None if it probably can.

    A driver supports all versions of CUDA with its own first number, and older ones (NVIDIA's CUDA Compatibility,
    "Minor Version Compatibility").
    """
    if build is None or not gpu.memory_mb:
        return None
    if build.cuda is None:
        return (
            f"The PyTorch of sleap-nn was built for the CPU and cannot use the {gpu.name}. "
            f"Install one for CUDA ({OTHER_TORCH})."
        )
    driver, needed = _major(gpu.cuda), _major(build.cuda)
    if driver is None or needed is None or driver >= needed:
        return None
    return (
        f"NVIDIA's driver is too old for the PyTorch of sleap-nn: it supports CUDA {gpu.cuda}, and {build.cuda} is "
        f"needed. Update the driver, or install a PyTorch for CUDA {driver} ({OTHER_TORCH})."
    )


def _major(version: str) -> int | None:
    first = version.partition(".")[0]
    return int(first) if first.isdecimal() else None
