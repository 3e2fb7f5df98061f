"""What sleap-nn and PyTorch print when memory is missing or a GPU cannot be used, and what a person hears of it."""

import pytest

from protocol.jobs import JobKind
from rtc.packages.hydra_overrides import is_override
from rtc.packages.predict_options import OPTIONS
from rtc.sleap_nn.hardware_lines import HardwareCause, advice, cuda_problem, find_cause

GPU, SHARED, HOST, UNUSABLE = HardwareCause
TRACEBACK = ["Traceback (most recent call last):", '  File "train.py", line 1, in <module>']
OLD_DRIVER = (
    "/v/torch/cuda/__init__.py:182: UserWarning: CUDA initialization: The NVIDIA driver on your system is too old "
    "(found version 11040). Please update your GPU driver by downloading and installing a new version from the URL: "
    "http://www.nvidia.com/Download/index.aspx (Triggered internally at /pytorch/c10/cuda/CUDAFunctions.cpp:109.)"
)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of", GPU),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 7.79 GiB total", GPU),
        ("RuntimeError: CUDA error: out of memory", GPU),
        ("RuntimeError: CUDA out of memory. Tried to allocate 512.00 MiB", GPU),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED", GPU),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", GPU),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", GPU),
        ("RuntimeError: Unable to find a valid cuDNN algorithm to run convolution", GPU),
        ("RuntimeError: GET was unable to find an engine to execute this computation", GPU),
        ("torch.AcceleratorError: CUDA error: out of memory", GPU),
        ("[rank1]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", GPU),
        ("ncclUnhandledCudaError: Cuda failure 2 'out of memory'", GPU),
        ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
         "workers are out of shared memory. Please try to raise your shared memory limit.", SHARED),
        ("RuntimeError: unable to write to file </torch_12_34_0>: No space left on device (28)", SHARED),
        ("RuntimeError: unable to open shared memory object </torch_9_1> in read-write mode: No space left", SHARED),
        ("RuntimeError: DataLoader worker (pid 77) is killed by signal: Killed.", HOST),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you "
         "tried to allocate 99 bytes. Error code 12 (Cannot allocate memory)", HOST),
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 12.0 GiB for an array with shape (9,)", HOST),
        ("MemoryError", HOST),
        ("OSError: [Errno 12] Cannot allocate memory", HOST),
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", UNUSABLE),
        ("RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable", UNUSABLE),
        ("AssertionError: Torch not compiled with CUDA enabled", UNUSABLE),
        ("RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", UNUSABLE),
        ("ValueError: the video has no frames", None),
        ("FileNotFoundError: memory.slp", None),
    ],
)  # fmt: skip
def test_the_cause_is_found_in_the_last_lines(line, cause):
    assert find_cause([*TRACEBACK, line, "2026-11-23 16:30:54 | Cleaned up temporary files"], 1) is cause


@pytest.mark.parametrize("status", [-9, 137, 247])
def test_a_program_that_was_killed_has_most_probably_had_too_little_memory(status):
    assert find_cause(["Epoch 3"], status) is HOST
    assert find_cause(["torch.OutOfMemoryError: CUDA out of memory."], status) is GPU
    failed = "[rank: 1] Child process with PID 12 terminated with code {}. Forcefully terminating all other processes"
    assert find_cause([failed.format(1), "ValueError: a"], status) is None, "one process of two has failed"
    assert find_cause([failed.format(-9)], status) is HOST


def test_other_signals_are_no_lack_of_memory():
    assert [find_cause(["Epoch 3"], status) for status in (-15, -11, -6, 1, 143)] == [None] * 5


@pytest.mark.parametrize("cause", HardwareCause)
def test_the_advice_names_what_to_write(cause):
    for kind in (JobKind.TRAIN, JobKind.TRACK, None):
        words = [word.strip("().,;:") for word in advice(cause, kind).split()]
        assert all(is_override(word) for word in words if word.startswith("trainer_config") and "=" in word)
        flags = {word for word in words if word.startswith("--") and len(word) > 2}
        ours = {option.flag for option in OPTIONS} | {"--min-gpu-memory", "--as", "--shm-size", "--config"}
        assert flags <= ours
    assert ("batch_size=2" in advice(GPU, JobKind.TRAIN), "--batch-size 1" in advice(GPU, JobKind.TRACK)) == (
        True,
        True,
    )
    assert "trainer_config" not in advice(cause, None), (
        "no setting of a training helps while its configuration is written"
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (OLD_DRIVER, "The NVIDIA driver there is too old for this PyTorch: it is for CUDA 11.4."),
        (
            "UserWarning: CUDA initialization: Unexpected error from cudaGetDeviceCount(). Error 804: forward "
            "compatibility was attempted on non supported HW (Triggered internally at /pytorch/c10/cuda/x.cpp:109.)",
            "PyTorch says: Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was attempted "
            "on non supported HW.",
        ),
        ("2026-11-28 05:51:56 | Training on cpu accelerator", ""),
        (
            "2026-11-28 05:51:56 | Loaded inference model | type=centroid | backbone=unet | device=cpu | batch_size=4",
            "",
        ),
        ("2026-11-28 05:51:56 | Training on cuda:0 accelerator", None),
        ("2026-11-28 05:51:56 | Loaded inference model | type=centroid | device=cuda | batch_size=4", None),
        ("the video is about a cpu accelerator", None),
    ],
)
def test_a_gpu_that_pytorch_cannot_use_is_noticed(line, problem):
    assert cuda_problem(line) == problem
