"""What the worker chooses itself: hardware, ports and places, whatever a package or a person asks for."""

import zipfile
from pathlib import Path

import pytest
import trio
import yaml

from rtc.packages.checked_config import rewrite_config
from rtc.packages.plan import TrainStep, inspect_package, read_plan
from rtc.packages.worker_settings import WORKER_SETTINGS, find_worker_setting, without_worker_settings
from rtc.packages.zip_reader import unpack
from rtc.sleap_nn.commands import Ports, train_command

MODEL = "data_config: {train_labels_path: [x.slp]}\nmodel_config: {head_configs: {centroid: {}}}\n"
TWO_GPUS = {
    "trainer_accelerator": "gpu",
    "trainer_devices": 2,
    "trainer_device_indices": [0, 1],
    "trainer_strategy": "ddp",
}
CHOSEN = {"ckpt_dir": "models", "run_name": "a"}
"""What is left of a configuration that holds nothing else."""


@pytest.fixture
def write(tmp_path):
    """Write a training package and return its path."""

    def write(trainer, data=None, jobs="training: [{cfg: a.yaml}]\n", **others):
        tree = yaml.safe_load(MODEL)
        tree["trainer_config"] = trainer
        tree["data_config"] |= data or {}
        path = tmp_path / "p.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in {"a.yaml": yaml.safe_dump(tree), "x.slp": "", "jobs.yaml": jobs, **others}.items():
                archive.writestr(name, text)
        return path

    return write


def command_of(step, accelerator="cpu", devices=1):
    words = train_command(Path("/bin/sleap-nn"), step, "a.yaml", Ports(1, 2), accelerator, devices)
    return dict(word.removeprefix("++").split("=", 1) for word in words if word.startswith("++"))


@pytest.mark.parametrize(
    ("trainer", "data"),
    [
        (TWO_GPUS, None),
        ({"trainer_devices": "auto", "trainer_accelerator": "mps"}, None),
        ({"zmq": {"publish_port": 9001, "controller_port": 9000}, "save_ckpt": False}, None),
        ({"zmq": "none", "trainer_devices": {"a": [1]}, "trainer_device_indices": "all"}, None),
        ({"model_ckpt": {"save_top_k": 0}}, None),
        ({}, {"cache_img_path": "cache", "use_existing_imgs": True, "delete_cache_imgs_after_training": False}),
    ],
)
def test_what_the_worker_chooses_is_gone_from_a_configuration(trainer, data, write, tmp_path):
    trio.run(unpack, write(trainer, data), tmp_path / "job")
    [step] = read_plan(tmp_path / "job").steps
    rewrite_config(tmp_path / "job", "a.yaml", step)
    tree = yaml.safe_load((tmp_path / "job/a.yaml").read_text())
    empty = {"model_ckpt": {}} if "model_ckpt" in trainer else {}
    assert (tree["trainer_config"], tree["data_config"]) == (CHOSEN | empty, {"train_labels_path": ["x.slp"]})


def test_other_settings_stay_as_they_are():
    tree = {
        "trainer_config": {"seed": 1, "model_ckpt": {"save_top_k": 3}, "profiler": "simple"},
        "model_config": None,
    }
    assert without_worker_settings(tree) == {
        "trainer_config": {"seed": 1, "model_ckpt": {"save_top_k": 3}, "profiler": "simple"},
        "model_config": None,
    }
    assert without_worker_settings({"trainer_config": None}) == {"trainer_config": None}


def test_each_setting_of_the_table_is_set_on_the_command_line():
    chosen = command_of(TrainStep("a", "a.yaml", "models/r"))
    usual = {setting.key for setting in WORKER_SETTINGS if not setting.only}
    assert {setting.key for setting in WORKER_SETTINGS for key in chosen if key.startswith(setting.key)} == usual
    assert {key for key in chosen if find_worker_setting(key) is None} == set()


def test_the_devices_are_those_of_the_worker():
    step = TrainStep("a", "a.yaml", "models/r")
    devices = [f"trainer_config.trainer_{name}" for name in ("accelerator", "devices", "device_indices", "strategy")]
    for accelerator, count, expected in (("cpu", 2, "1"), ("auto", 1, "1"), ("auto", 2, "2")):
        chosen = command_of(step, accelerator, count)
        assert [chosen[key] for key in devices] == [accelerator, expected, "null", "auto"]


@pytest.mark.parametrize(
    ("word", "note"),
    [
        ("trainer_config.trainer_devices=1", "trainer_devices=1 is left out: the worker chooses its devices."),
        (
            "++trainer_config.trainer_devices=2",
            "trainer_devices=2 is left out: the worker chooses its devices. --gpus 2 asks for a worker that has as "
            "many.",
        ),
        (
            "trainer_config.trainer_devices=[0,1]",
            "trainer_devices=[0,1] is left out: the worker chooses its devices. -",
        ),
        (
            "trainer_config.trainer_device_indices=[0, 3]",
            "trainer_device_indices=[0,3] is left out: the worker chooses its devices. --gpus 2 asks for a worker that "
            "has as many.",
        ),
        ("trainer_config.trainer_strategy='ddp'", "trainer_strategy=ddp is left out: the worker chooses its devices."),
        ("trainer_config.zmq.publish_port=9001", "zmq.publish_port=9001 is left out: the worker chooses its ports."),
        ("trainer_config.ckpt_dir=/home/a", "ckpt_dir=/home/a is left out: the worker chooses its folders."),
        ("trainer_config.ckpt_dir=${oc.env:HOME}", "ckpt_dir=${oc.env:HOME} is left out: the worker chooses its f"),
        ("trainer_config.run_name=" + "x" * 99, f"run_name={'x' * 39}… is left out"),
        ("trainer_config.save_ckpt=false", "save_ckpt=false is left out: the worker chooses to save each model."),
        ("trainer_config.model_ckpt.save_top_k=0", "model_ckpt.save_top_k=0 is left out: the worker chooses to save"),
        ("data_config.cache_img_path=/scratch", "cache_img_path=/scratch is left out: the worker chooses its folders."),
    ],
)
def test_an_override_of_it_is_left_out_and_said(word, note, write):
    plan = inspect_package(write({}), [word, "trainer_config.seed=4"])
    assert [str(override) for override in plan.steps[0].overrides] == ["++trainer_config.seed=4"]
    [said] = plan.warnings
    assert said.startswith(note)


def test_a_configuration_that_asks_for_gpus_is_taken_and_that_is_said_once(write):
    plan = inspect_package(write(TWO_GPUS, jobs="training: [{cfg: a.yaml}, {cfg: a.yaml}]\n"))
    assert [note.partition(" is left out")[0] for note in plan.warnings] == [
        "trainer_devices=2", "trainer_device_indices=[0,1]", "trainer_strategy=ddp",
    ]  # fmt: skip


def test_nothing_is_said_of_what_programs_write_into_every_package(write):
    usual = {"trainer_devices": "auto", "trainer_accelerator": "gpu", "trainer_device_indices": None, "save_ckpt": True}
    words = ["trainer_config.trainer_devices=1", "trainer_config.zmq.publish_port=9001", "trainer_config.ckpt_dir=m"]
    jobs = yaml.safe_dump({"training": [{"cfg": "a.yaml", "overrides": words}]})
    assert inspect_package(write(usual | {"trainer_strategy": "auto", "zmq": {}}, jobs=jobs)).warnings == ()


def test_gpus_that_jobs_yaml_or_a_script_asks_for_are_said_too(write):
    words = ["trainer_config.trainer_devices=4"]
    jobs = yaml.safe_dump({"training": [{"cfg": "a.yaml", "overrides": words}]})
    assert "trainer_devices=4 is left out" in inspect_package(write({}, jobs=jobs)).warnings[0]
    script = f"sleap-nn train --config a.yaml {words[0]}\n"
    with zipfile.ZipFile(write({})) as archive:
        others = {name: archive.read(name) for name in ("a.yaml", "x.slp")}
    path = write({})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**others, "train-script.sh": script}.items():
            archive.writestr(name, data)
    assert "trainer_devices=4 is left out" in inspect_package(path).warnings[0]
