"""With the real sleap-nn: it trains the demo's package on a worker, and the client gets the model."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from rtc.client.unpack_results import final_losses
from rtc.sleap_nn.commands import find_sleap_nn
from rtc.testing.lab import Lab

pytestmark = [pytest.mark.slow, pytest.mark.real_sleap_nn]

SECRET = "a secret of sixteen or more"


async def test_a_real_training_goes_there_and_its_model_comes_back(lab: Lab, tmp_path: Path) -> None:
    package = tmp_path / "bugs.zip"
    make_data = [sys.executable, "-P", str(Path(sys.modules["rtc"].__path__[0]) / "demo" / "data.py"), str(package)]
    await trio.to_thread.run_sync(lambda: subprocess.run(make_data, check=True, capture_output=True))
    worker = await lab.start_worker(secret=SECRET, sleap_nn=str(find_sleap_nn()))
    run = await lab.run_client(worker, package, secret=SECRET)
    assert run.fault is None
    assert run.output is not None
    [checkpoint] = run.output.rglob("best.ckpt")
    assert checkpoint.stat().st_size > 10_000
    assert (checkpoint.parent / "training_config.yaml").exists()
    [losses] = final_losses(run.output)
    assert losses.val is not None
    assert losses.val < 0.01  # the loss starts at 0.011, and stays there for a model that learns nothing
    assert worker.options.work.is_dir()
    assert (run.output / "demo.predictions.slp").stat().st_size > 10_000
    assert run.view.ending is not None
    assert re.search(r", and predicted \d+ instances on \d+ of \d+ frames in ", run.view.ending.text)
    assert "best epoch" in (run.output / "training.html").read_text().lower()
    await worker.log.until("was received and unpacked by its owner")
    assert list(worker.options.work.iterdir()) == list(worker.options.results.glob("*.zip")) == []
