"""The person hears at the start of each job what it runs on."""

import pytest
import trio
from attrs import evolve

from protocol.jobs import JobKind, NoteKind
from rtc.common.gpu import NO_GPU, GpuFacts
from rtc.runner.devices import CUDA_UNUSABLE, SILENT_DRIVER, CudaWatch, tell_devices
from rtc.worker import gpu_monitor
from rtc.worker.gpu_monitor import read_job_gpus

RTX = GpuFacts("NVIDIA RTX 4090", 24564, 22630, "12.4", "GPU-a")
SECOND = evolve(RTX, uuid="GPU-b", free_mb=20480)


def told(facts=(), kind=JobKind.TRAIN, accelerator="auto", devices=1):
    """Return what is told of these GPUs."""
    notes = []
    tell_devices(lambda *note: notes.append(note), accelerator, devices, facts, kind)
    return notes


def test_one_gpu_is_told_with_its_free_memory():
    assert told([RTX]) == [("The job runs on NVIDIA RTX 4090, 22.1 GB free.", NoteKind.INFO)]


def test_the_cpu_is_told_to_be_slow():
    assert told(accelerator="cpu") == [("The job runs on the CPU: this will be slow.", NoteKind.INFO)]


@pytest.mark.parametrize(
    ("free", "kind", "rest"),
    [
        (22630, JobKind.TRAIN, "22.1 GB free on each. The batch size is that of each GPU."),
        (20480, JobKind.TRAIN, "at least 20.0 GB free on each. The batch size is that of each GPU."),
        (20480, JobKind.TRACK, "at least 20.0 GB free on each. Predicting uses the first of them."),
    ],
)
def test_two_gpus_are_told_together(free, kind, rest):
    [(text, _)] = told([RTX, evolve(SECOND, free_mb=free)], kind, devices=2)
    assert text == f"The job runs on 2 × NVIDIA RTX 4090, {rest}"


def test_a_gpu_that_others_use_is_warned_about():
    _, warning = told([evolve(RTX, free_mb=2048)])
    text = "Other programs use 22.0 of the 24.0 GB of NVIDIA RTX 4090: the job may run out of GPU memory."
    assert warning == (text, NoteKind.WARNING)


def test_what_others_use_of_a_gpu_on_which_nothing_runs_is_no_warning():
    used = [RTX, evolve(SECOND, free_mb=2048)]
    assert len(told(used, JobKind.TRAIN, devices=2)) == 2
    assert len(told(used, JobKind.TRACK, devices=2)) == 1


def test_a_driver_that_does_not_answer_for_all_is_no_failure():
    for facts in ([], [RTX]):
        assert told(facts, devices=2) == [(SILENT_DRIVER, NoteKind.INFO)]


async def test_the_driver_is_asked_for_the_gpus_of_the_job(monkeypatch):
    known = {"GPU-a": RTX, "GPU-b": SECOND}
    monkeypatch.setattr(gpu_monitor, "read_gpus", lambda uuids: tuple(known[each] for each in uuids if each in known))
    monkeypatch.setattr(gpu_monitor, "read_gpu", lambda: RTX)
    assert await read_job_gpus(("GPU-b", "GPU-gone", "GPU-a")) == (SECOND, RTX)
    assert await read_job_gpus(None) == (RTX,)
    monkeypatch.setattr(gpu_monitor, "read_gpu", lambda: NO_GPU)
    assert await read_job_gpus(None) == ()


async def test_a_driver_that_hangs_does_not_hold_the_job(monkeypatch, autojump_clock):
    async def hang(*_arguments, **_options):
        await trio.sleep_forever()

    monkeypatch.setattr(trio.to_thread, "run_sync", hang)
    assert await read_job_gpus(("GPU-a",)) == ()


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
