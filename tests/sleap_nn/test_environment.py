"""The environment of a job: what its worker's has, without secrets, and what the worker decides."""

import os
from pathlib import Path

import pytest

from rtc.sleap_nn.environment import SHIM, environment_secrets, job_environment, our_root

TMP = Path("/tmp/srtc-1/abcdef")
OURS = {"TMPDIR": str(TMP), "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(SHIM), "WANDB_MODE": "offline"}


def test_the_environment_holds_no_secrets() -> None:
    passed = {
        "PATH": "/bin", "HOME": "/home/me", "LC_ALL": "C", "CUDA_HOME": "/cuda", "HF_HOME": "/hf",
        "LD_LIBRARY_PATH": "/cuda/lib", "OMP_NUM_THREADS": "1", "https_proxy": "http://ada:geheim@proxy:3128",
    }  # fmt: skip
    secret = {
        "SLEAP_RTC_ROOM_SECRET_A": "s", "WANDB_API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "k", "GITHUB_TOKEN": "t",
        "CUDA_TOKEN": "t", "MY_LAB": "x",
    }  # fmt: skip
    assert job_environment(TMP, None, environment=passed | secret) == passed | OURS


def test_what_the_owner_names_is_shown_too_but_nothing_of_ours() -> None:
    around = {"WANDB_API_KEY": "k", "WANDB_MODE": "online", "SLEAP_RTC_ROOM_SECRET_A": "s", "TMPDIR": "/elsewhere"}
    assert job_environment(TMP, None, tuple(around), around) == OURS | {"WANDB_API_KEY": "k", "WANDB_MODE": "online"}


@pytest.mark.parametrize(("gpus", "seen"), [(None, "3"), ((), ""), (("GPU-a",), "GPU-a"), (("a", "b"), "a,b")])
def test_a_job_sees_the_gpus_that_it_was_given(gpus: tuple[str, ...] | None, seen: str) -> None:
    assert job_environment(TMP, gpus, environment={"CUDA_VISIBLE_DEVICES": "3"})["CUDA_VISIBLE_DEVICES"] == seen


def test_no_program_or_library_is_looked_for_in_the_folder_of_the_package() -> None:
    around = {"PATH": ".:/bin::bin", "LD_LIBRARY_PATH": "/cuda/lib:", "PYTHONPATH": f":/modules:rel:{our_root()}"}
    assert job_environment(TMP, None, environment=around) == OURS | {
        "PATH": "/bin",
        "LD_LIBRARY_PATH": "/cuda/lib",
        "PYTHONPATH": f"{SHIM}{os.pathsep}/modules",
    }
    assert "LD_LIBRARY_PATH" not in job_environment(TMP, None, environment={"LD_LIBRARY_PATH": ":"})


def test_secrets_in_the_environment_are_known_so_that_they_are_hidden_in_the_log() -> None:
    environment = {
        "HTTPS_PROXY": "http://ada:ge%20heim@proxy",
        "http_proxy": "ada:offen1@proxy",
        "MY_TOKEN": "abcdefgh",
        "DB_PASS": "x1",
        "HOME": "/home/me",
    }
    assert environment_secrets(environment) == {"ge%20heim", "ge heim", "offen1", "abcdefgh"}
