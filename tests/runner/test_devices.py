"""The person hears at the start of each job what it runs on."""

import pytest
import trio
from attrs import evolve

from protocol.jobs import JobKind, NoteKind
from rtc.common.gpu import NO_GPU, GpuFacts
from rtc.runner import devices
from rtc.runner.devices import CUDA_UNUSABLE, ON_CPU, SILENT_DRIVER, CudaWatch, tell_devices

RTX = GpuFacts("NVIDIA RTX 4090", 24564, 22630, "12.4", "GPU-a")
SECOND = evolve(RTX, uuid="GPU-b", free_mb=20480)


@pytest.fixture
def told(monkeypatch):
    """Return what is told for these GPUs, with a driver that reports those of `driver`."""

    async def told(gpus, driver=(), kind=JobKind.TRAIN, accelerator="auto"):
        known = {gpu.uuid: gpu for gpu in driver}
        monkeypatch.setattr(devices, "read_gpus", lambda uuids: tuple(known[each] for each in uuids if each in known))
        monkeypatch.setattr(devices, "read_gpu", lambda: next(iter(driver), NO_GPU))
        notes = []
        await tell_devices(lambda text, level: notes.append((text, level)), accelerator, gpus, kind)
        return notes

    return told


async def test_one_gpu_is_told_with_its_free_memory(told):
    expected = [("The job runs on NVIDIA RTX 4090, 22.1 GB free.", NoteKind.INFO)]
    assert await told(("GPU-a",), [RTX]) == expected
    assert await told(None, [RTX]) == expected


async def test_the_cpu_is_told_to_be_slow(told):
    for gpus in (None, ()):
        assert await told(gpus, accelerator="cpu") == [("The job runs on the CPU: this will be slow.", NoteKind.INFO)]


@pytest.mark.parametrize(
    ("free", "kind", "rest"),
    [
        (22630, JobKind.TRAIN, "22.1 GB free on each. The batch size is that of each GPU."),
        (20480, JobKind.TRAIN, "at least 20.0 GB free on each. The batch size is that of each GPU."),
        (20480, JobKind.TRACK, "at least 20.0 GB free on each. Predicting uses the first of them."),
    ],
)
async def test_two_gpus_are_told_together(free, kind, rest, told):
    [(text, _)] = await told(("GPU-a", "GPU-b"), [RTX, evolve(SECOND, free_mb=free)], kind)
    assert text == f"The job runs on 2 × NVIDIA RTX 4090, {rest}"


async def test_a_gpu_that_others_use_is_warned_about(told):
    _, warning = await told(("GPU-a",), [evolve(RTX, free_mb=2048)])
    text = "Other programs use 22.0 of the 24.0 GB of NVIDIA RTX 4090: the job may run out of GPU memory."
    assert warning == (text, NoteKind.WARNING)


async def test_a_driver_that_does_not_answer_for_all_is_no_failure(told):
    for driver in ([], [RTX]):
        assert await told(("GPU-a", "GPU-b"), driver) == [(SILENT_DRIVER, NoteKind.INFO)]


async def test_a_driver_that_hangs_does_not_hold_the_job(monkeypatch, autojump_clock):
    async def hang(*_arguments, **_options):
        await trio.sleep_forever()

    monkeypatch.setattr(trio.to_thread, "run_sync", hang)
    notes = []
    await tell_devices(lambda *note: notes.append(note), "auto", ("GPU-a",), JobKind.TRAIN)
    assert notes == [(SILENT_DRIVER, NoteKind.INFO)]


def test_a_gpu_that_cannot_be_used_is_told_once_with_the_reason():
    notes = []
    watch = CudaWatch(lambda *note: notes.append(note))
    watch.read_line(b"2026-11-28 | Setting up Trainer...\xff")
    watch.read_line(
        b"UserWarning: CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)."
    )
    watch.read_line(b"2026-11-28 | Training on cpu accelerator")
    reason = "The NVIDIA driver there is too old for this PyTorch: it is for CUDA 11.4. "
    assert notes == [(CUDA_UNUSABLE.format(reason), NoteKind.WARNING)]
    assert "slow" in ON_CPU
