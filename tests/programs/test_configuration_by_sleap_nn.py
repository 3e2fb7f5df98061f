"""With the real sleap-nn: it writes configurations of labels, here and on a worker, and they train and come home."""

import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest
import trio

from rtc.client.package_builder.build import build_config_request, build_training
from rtc.client.write_config import write_configs_here
from rtc.packages.plan import inspect_package
from rtc.packages.safe_yaml import safe_yaml
from rtc.sleap_nn.commands import find_sleap_nn
from rtc.testing.lab import Lab

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.real_sleap_nn]

SMALL = (
    "trainer_config.max_epochs=1",
    "trainer_config.min_train_steps_per_epoch=1",
    "trainer_config.visualize_preds_during_training=false",
    "model_config.backbone_config.unet.filters=4",
)
"""Settings with which a model is trained in seconds, and learns nothing."""


def report(_text: str) -> None:
    """Show nothing."""


@pytest.fixture
async def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The labels of the demo, in the working folder: one animal, 16 frames."""
    monkeypatch.chdir(tmp_path)
    program = Path(sys.modules["rtc"].__path__[0]) / "demo" / "data.py"
    await trio.run_process([sys.executable, "-P", str(program), "demo.zip"], capture_stdout=True)
    with zipfile.ZipFile("demo.zip") as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".slp")]
        archive.extract(name)
    return Path(name)


async def test_a_pair_of_models_is_trained_as_sleap_nn_chose_and_its_configurations_come_home(
    lab: Lab, labels: Path
) -> None:
    await trio.to_thread.run_sync(build_training, labels, (), SMALL, Path("pair.zip"), report, "topdown")
    worker = await lab.start_worker(sleap_nn=str(find_sleap_nn()))
    run = await lab.run_client(worker, Path("pair.zip"))
    assert run.fault is None
    assert run.output is not None
    assert [path.parent.name.split(".")[1] for path in sorted(run.output.rglob("best.ckpt"))] == [
        "centered_instance",
        "centroid",
    ]
    home = [run.output / f"{head}.yaml" for head in ("centroid", "centered_instance")]
    for path in home:
        tree = safe_yaml("it", path.read_text())
        assert tree["data_config"]["train_labels_path"] == [str(labels)]
        assert tree["trainer_config"]["max_epochs"] > 1, "what a person changed for one run does not stay in it"
        assert str(worker.options.work) not in path.read_text()
    await trio.to_thread.run_sync(build_training, labels, home, (), Path("again.zip"), report)
    assert [step.head for step in inspect_package(Path("again.zip")).steps] == ["centroid", "centered_instance"]


async def test_the_configuration_is_the_same_from_here_and_from_labels_without_images(lab: Lab, labels: Path) -> None:
    here = await trio.to_thread.run_sync(partial(write_configs_here, labels, None, Path("here.zip"), None, report))
    assert here is not None
    assert here.text == (
        "sleap-nn looked at the labels and chose single_instance. Its reason: Only one animal detected per frame."
    )
    await trio.to_thread.run_sync(build_config_request, labels, None, Path("ask.zip"), report)
    assert (await trio.Path("ask.zip").stat()).st_size < (await trio.Path(labels).stat()).st_size / 2
    worker = await lab.start_worker(sleap_nn=str(find_sleap_nn()))
    run = await lab.run_client(worker, Path("ask.zip"))
    assert run.fault is None
    assert run.output is not None
    [written] = here.files
    assert (run.output / "single_instance.yaml").read_text() == written.read_text()
