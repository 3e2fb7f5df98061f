"""A driver that is too old for PyTorch is seen from their files, without importing PyTorch."""

from pathlib import Path

import pytest

from rtc.common.gpu import NO_GPU, GpuFacts
from rtc.sleap_nn.torch_build import TorchBuild, find_torch_build, why_unusable

GPU = GpuFacts("NVIDIA A40", 46068, 45000, "12.4", "GPU-1")


@pytest.mark.parametrize(
    ("lines", "build"),
    [
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", TorchBuild("13.0")),
        ("cuda = '12.6'\n", TorchBuild("12.6")),
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", TorchBuild(None)),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.3.42131'\n", None),
        ("nothing of this\n", None),
        (None, None),
    ],
)
def test_the_build_is_read_from_the_file_of_the_environment(
    tmp_path: Path, lines: str | None, build: TorchBuild | None
) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("python", "sleap-nn"):
        (tmp_path / "bin" / name).touch()
    if lines is not None:
        torch = tmp_path / "lib" / "python3.12" / "site-packages" / "torch"
        torch.mkdir(parents=True)
        (torch / "version.py").write_text(f"__all__ = ['cuda', 'hip']\n__version__ = '2.13.0'\n{lines}")
    assert find_torch_build(tmp_path / "bin" / "sleap-nn") == build


@pytest.mark.parametrize(
    ("gpu", "build", "words"),
    [
        (GPU, TorchBuild("13.0"), "driver is too old"),
        (GPU, TorchBuild(None), "built for the CPU"),
        (GPU, TorchBuild("12.8"), None),
        (GPU, TorchBuild("11.8"), None),
        (GPU, None, None),
        (NO_GPU, TorchBuild("13.0"), None),
    ],
)
def test_a_gpu_that_pytorch_cannot_use_is_told(gpu: GpuFacts, build: TorchBuild | None, words: str | None) -> None:
    why = why_unusable(gpu, build)
    assert (why is None) if words is None else (words in str(why))
