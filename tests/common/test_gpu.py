"""What we report about GPUs, with a fake pynvml; no test needs a GPU."""

import sys
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from protocol.status import Status, WorkerFacts
from rtc.common.errors import ExitCode, RtcError
from rtc.common.gpu import NO_GPU, GpuFacts, choose_gpu, choose_gpus, combine, list_gpus, read_gpu, read_gpus

MB = 2**20


class NVMLError(Exception):
    """Replaces pynvml's base class of errors; its real errors are subclasses of it."""


class NoDriver(NVMLError):
    pass


class FakeNvml(ModuleType):
    """A pynvml with two GPUs. `broken` is the name of the function that fails."""

    NVMLError = NVMLError

    def __init__(self, broken: str | None = None, devices: tuple[tuple[Any, int, int, Any], ...] = ()) -> None:
        super().__init__("pynvml")
        self.broken = broken
        self.devices = devices or (
            ("NVIDIA H200", 143771 * MB, 143000 * MB, "GPU-aaaa"),
            ("NVIDIA GeForce RTX 4090", 24564 * MB + 1, 1000 * MB, "GPU-bbbb"),
        )
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answers: dict[str, Callable[..., Any]] = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: len(self.devices),
            "nvmlDeviceGetHandleByIndex": self.by_index,
            "nvmlDeviceGetHandleByUUID": self.by_uuid,
            "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(total=gpu[1], free=gpu[2]),
            "nvmlSystemGetCudaDriverVersion_v2": lambda: 12040,
            "nvmlDeviceGetName": lambda gpu: gpu[0],
            "nvmlDeviceGetUUID": lambda gpu: gpu[3],
        }
        if name not in answers:
            raise AttributeError(name)

        def call(*args: Any) -> Any:
            self.calls.append(name)
            if name == self.broken:
                raise NoDriver(name)
            return answers[name](*args)

        return call

    def by_index(self, index: int) -> tuple[Any, ...]:
        if index >= len(self.devices):
            raise NVMLError
        return self.devices[index]

    def by_uuid(self, uuid: str) -> tuple[Any, ...]:
        for device in self.devices:
            if device[3] == uuid:
                return device
        raise NVMLError


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeNvml]:
    def install(*args: Any, **kwargs: Any) -> FakeNvml:
        fake = FakeNvml(*args, **kwargs)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return install


H200 = GpuFacts("NVIDIA H200", 143771, 143000, "12.4", "GPU-aaaa")
RTX = GpuFacts("NVIDIA GeForce RTX 4090", 24564, 1000, "12.4", "GPU-bbbb")


def test_the_first_of_two_is_taken_and_the_other_can_be_asked_for(nvml: Callable[..., FakeNvml]) -> None:
    fake = nvml()
    assert read_gpu(environ={}) == H200
    assert read_gpu(1, environ={}) == RTX
    assert fake.calls.count("nvmlInit") == fake.calls.count("nvmlShutdown") == 2


@pytest.mark.parametrize(
    ("listed", "facts"),
    [("1", RTX), ("1,0", RTX), (" 0", H200), ("GPU-bbbb", RTX), ("", NO_GPU), ("-1", NO_GPU), ("GPU-zzzz", NO_GPU)],
)
def test_it_is_the_gpu_that_cuda_would_use(nvml: Callable[..., FakeNvml], listed: str, facts: GpuFacts) -> None:
    nvml()
    environ: Mapping[str, str] = {"CUDA_VISIBLE_DEVICES": listed}
    assert read_gpu(environ=environ) == facts
    assert read_gpu(0, environ=environ) == H200


@pytest.mark.parametrize(
    "broken",
    ["nvmlInit", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo", "nvmlSystemGetCudaDriverVersion_v2",
     "nvmlDeviceGetName", "nvmlDeviceGetUUID"],
)  # fmt: skip
def test_whatever_the_driver_cannot_do_means_cpu(nvml: Callable[..., FakeNvml], broken: str) -> None:
    fake = nvml(broken)
    assert read_gpu(environ={}) == GpuFacts("CPU", 0, 0, "none", None)
    assert (fake.calls[-1] == "nvmlShutdown") is (broken != "nvmlInit")


def test_a_driver_that_will_not_close_has_answered_all_the_same(nvml: Callable[..., FakeNvml]) -> None:
    nvml("nvmlShutdown")
    assert read_gpu(environ={}) == H200


def test_a_gpu_that_is_not_there_means_cpu(nvml: Callable[..., FakeNvml]) -> None:
    nvml()
    assert read_gpu(7, environ={}) == NO_GPU


def test_without_the_module_it_is_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # makes the import fail
    assert read_gpu(environ={}) == NO_GPU


def test_names_may_be_bytes_and_are_fit_to_be_shown(nvml: Callable[..., FakeNvml]) -> None:
    nvml(devices=((b"NVIDIA\x00 \x1b[31mT4\xff", 16 * MB, 8 * MB, b"GPU-cccc"), (" \x1b[m", 0, 0, "")))
    assert read_gpu(0, environ={}) == GpuFacts("NVIDIA\ufffd T4\ufffd", 16, 8, "12.4", "GPU-cccc")
    assert read_gpu(1, environ={}) == GpuFacts("GPU", 0, 0, "12.4", None)


def test_nonsense_of_the_driver_fits_into_a_message(nvml: Callable[..., FakeNvml]) -> None:
    nvml(devices=(("x" * 10**4, 2**64 - 1, 2**64 - 1, "GPU-cccc"),))
    gpu = read_gpu(0, environ={})
    facts = WorkerFacts(Status.AVAILABLE, "ada", "box", gpu.name, gpu.memory_mb, "0.3.5", gpu.cuda, "0.1", gpu.free_mb)
    assert (facts.gpu, facts.memory_mb, facts.free_mb) == (gpu.name, gpu.memory_mb, gpu.free_mb)


@pytest.mark.parametrize(
    ("environ", "listed"),
    [
        ({}, (H200, RTX)),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, (RTX, H200)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-bbbb,1,7"}, (RTX,)),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,0"}, (RTX,)),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
    ],
)
def test_the_list_holds_each_gpu_that_programs_would_see_once(
    nvml: Callable[..., FakeNvml], environ: dict[str, str], listed: tuple[GpuFacts, ...]
) -> None:
    fake = nvml()
    assert list_gpus(environ) == listed
    assert fake.calls.count("nvmlInit") == fake.calls.count("nvmlShutdown") == 1


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetUUID"])
def test_a_driver_that_cannot_count_or_name_its_gpus_lists_none(nvml: Callable[..., FakeNvml], broken: str) -> None:
    nvml(broken)
    assert list_gpus({}) == ()


def test_without_the_module_the_list_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert list_gpus({}) == ()
    with pytest.raises(RtcError, match="shows no GPU"):
        choose_gpu("0")


@pytest.mark.parametrize(
    ("which", "facts"), [("0", H200), ("1", RTX), (" 1 ", RTX), ("GPU-bbbb", RTX), ("gpu-b", RTX), ("GPU-aaaa", H200)]
)
def test_a_gpu_is_chosen_as_nvidia_smi_names_it(nvml: Callable[..., FakeNvml], which: str, facts: GpuFacts) -> None:
    nvml()
    assert choose_gpu(which) == facts


@pytest.mark.parametrize("which", ["2", "-1", "", "GPU-", "GPU-zzzz", "H200", "0,1", "²"])
def test_a_gpu_that_is_not_there_is_answered_with_those_that_are(nvml: Callable[..., FakeNvml], which: str) -> None:
    nvml()
    with pytest.raises(RtcError) as caught:
        choose_gpu(which)
    assert caught.value.exit_code is ExitCode.USAGE
    assert "0: NVIDIA H200, 143771 MB, GPU-aaaa; 1: NVIDIA GeForce RTX 4090, 24564 MB, GPU-bbbb" in str(caught.value)


def test_several_gpus_are_chosen_for_one_job(nvml: Callable[..., FakeNvml]) -> None:
    nvml()
    assert choose_gpus("0") == (H200,)
    assert choose_gpus("1, GPU-aaaa") == (RTX, H200)


@pytest.mark.parametrize(
    ("which", "text"),
    [
        ("0,0", "names a GPU twice"),
        ("0,gpu-a", "names a GPU twice"),
        ("0,", "no such GPU"),
        ("0,MIG-a", "one MIG slice"),
    ],
)
def test_gpus_that_cannot_be_used_together_are_refused(nvml: Callable[..., FakeNvml], which: str, text: str) -> None:
    nvml(devices=(("NVIDIA A100", 40000 * MB, 40000 * MB, "GPU-aaaa"), ("A100 MIG", 5000 * MB, 5000 * MB, "MIG-a")))
    with pytest.raises(RtcError, match=text) as caught:
        choose_gpus(which)
    assert caught.value.exit_code is ExitCode.USAGE


def test_what_counts_of_several_gpus_is_the_one_with_least_memory(nvml: Callable[..., FakeNvml]) -> None:
    both = GpuFacts("NVIDIA H200 and NVIDIA GeForce RTX 4090", 24564, 1000, "12.4", None)
    assert combine((H200, RTX)) == both
    assert combine((RTX, evolve(RTX, uuid="GPU-cccc"))).name == "2 × NVIDIA GeForce RTX 4090"
    assert (combine((RTX,)), combine(())) == (RTX, NO_GPU)
    nvml()
    assert read_gpus(("GPU-bbbb", "GPU-zzzz", "GPU-aaaa")) == (RTX, H200)


@pytest.mark.slow
def test_the_real_module_never_fails_here() -> None:
    pytest.importorskip("pynvml")
    facts = read_gpu()
    assert facts == NO_GPU or facts.memory_mb > 0
