"""The load of a job's GPU, with a fake pynvml; no test needs a GPU."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from protocol.jobs import GpuUse
from rtc.common.gpu import GpuLoad, read_use

MB = 2**20


class NVMLError(Exception):
    """Replaces pynvml's base class of errors."""


class FakeNvml(ModuleType):
    """A pynvml with one GPU. `broken` is the name of the function that fails."""

    NVMLError = NVMLError

    def __init__(self, broken=""):
        super().__init__("pynvml")
        self.closed = 0
        answers = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": self.close,
            "nvmlDeviceGetHandleByUUID": self.by_uuid,
            "nvmlDeviceGetMemoryInfo": lambda _gpu: SimpleNamespace(total=80 * MB, used=3 * MB + 1),
            "nvmlDeviceGetUtilizationRates": lambda _gpu: SimpleNamespace(gpu=97, memory=5),
        }
        for name, answer in answers.items():
            setattr(self, name, self.fail if name == broken else answer)

    def by_uuid(self, uuid):
        return self.fail() if uuid == "GPU-gone" else uuid

    def fail(self, *_arguments):
        raise NVMLError

    def close(self):
        self.closed += 1


@pytest.fixture
def nvml(monkeypatch):
    def install(broken=""):
        fake = FakeNvml(broken)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return install


def test_memory_and_utilization_are_reported(nvml):
    fake = nvml()
    assert read_use("GPU-aaaa") == GpuLoad(3, 80, 97)
    assert fake.closed == 1


def test_the_load_of_several_gpus_is_their_memory_together_and_their_mean_use(nvml):
    fake = nvml()
    assert read_use("GPU-aaaa", "GPU-bbbb") == GpuLoad(6, 160, 97)
    assert read_use("GPU-aaaa", "GPU-gone") is None
    fake.nvmlDeviceGetUtilizationRates = lambda gpu: SimpleNamespace(gpu=97) if gpu == "GPU-aaaa" else fake.fail()
    assert read_use("GPU-aaaa", "GPU-bbbb") == GpuLoad(6, 160, 97)


def test_nonsense_of_the_driver_fits_into_a_message(nvml):
    fake = nvml()
    fake.nvmlDeviceGetMemoryInfo = lambda _gpu: SimpleNamespace(total=2**64 - 1, used=2**64 - 1)
    fake.nvmlDeviceGetUtilizationRates = lambda _gpu: SimpleNamespace(gpu=2**32 - 1, memory=0)
    use = read_use("GPU-aaaa")
    assert GpuUse("j", use.used_mb, use.total_mb, use.percent).percent == 100


def test_a_driver_that_reports_no_utilization_still_reports_the_memory(nvml):
    nvml("nvmlDeviceGetUtilizationRates")
    assert read_use("MIG-aaaa") == GpuLoad(3, 80, None)


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetMemoryInfo"])
def test_a_driver_that_does_not_answer_is_no_failure(nvml, broken):
    nvml(broken)
    assert read_use("GPU-aaaa") is None


def test_no_pynvml_is_no_failure(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_use("GPU-aaaa") is None
