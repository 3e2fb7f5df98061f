"""Server, worker and client together: how large packages and results may be, and what a log holds of secrets."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.faults import FaultCode
from protocol.jobs import LogLines
from rtc.testing.lab import Lab

pytestmark = pytest.mark.slow

MakePackage = Callable[..., Path]
WANDB = "0123456789abcdef0123456789abcdef01234567"


async def test_a_package_that_unpacks_to_more_than_the_limit_is_a_job_that_failed(
    lab: Lab, package: MakePackage
) -> None:
    path = package()
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2_000_000))
    worker = await lab.start_worker(package_max=1_000_000)
    assert path.stat().st_size < worker.options.package_max
    run = await lab.run_client(worker, path)
    assert run.fault is not None
    assert run.fault.code is FaultCode.JOB_FAILED
    assert "--max-package" in run.fault.text
    await worker.log.until("Status: available.")


async def test_a_package_larger_than_the_limit_is_refused_with_the_option(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker(package_max=100)
    run = await lab.run_client(worker, package())
    assert run.fault is not None
    assert "--max-package" in run.fault.text


async def test_a_result_larger_than_the_limit_stays_on_the_worker(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    run = await lab.run_client(worker, package(megabytes=1), result_max=1_000_000)
    assert run.fault is not None
    assert run.fault.code is FaultCode.TOO_LARGE
    assert "--max-result" in run.fault.text
    assert len(list(worker.options.results.glob("*.zip"))) == 1


async def test_a_key_of_the_package_is_in_no_log(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    secret = "a-key-of-an-odd-form!"
    path = package(say=[f"wandb: {WANDB}", f"mine: {secret} \x1b[31mred"])
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["centroid.yaml"] = files["centroid.yaml"].replace(
        b"trainer_config:", f"trainer_config:\n  wandb:\n    api_key: '{secret}'".encode()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    run = await lab.run_client(worker, path, overrides=("trainer_config.wandb.api_key=another-of-mine",))
    assert run.output is not None
    assert any("trainer_config.wandb.api_key is not sent" in line for line in run.view.texts)
    shown = [line for news in run.view.job_events if isinstance(news, LogLines) for line in news.lines]
    saved = (run.output / "job.log").read_text()
    journal = "".join(path.read_text() for path in worker.options.results.glob("*.jsonl"))
    for text in (saved, "\n".join(shown), journal):
        assert "mine: [hidden] red" in text
        assert WANDB not in text
        assert secret not in text
        assert "\x1b" not in text
