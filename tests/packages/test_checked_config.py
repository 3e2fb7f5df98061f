"""What sleap-nn reads on a worker is what was checked, written by us; it names only files of the package."""

import json
import os
import zipfile

import pytest
import trio
import yaml

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.checked_config import prepare_configs, rewrite_config
from rtc.packages.model_config import FILE_SETTINGS
from rtc.packages.plan import inspect_package, read_plan
from rtc.packages.zip_reader import unpack
from rtc.sleap_nn.commands import Ports, train_command

HEAD = "data_config: {train_labels_path: [x.slp]}\n"
MODEL = "model_config: {head_configs: {centroid: {}}}\n"
CONFIG = HEAD + MODEL
JOBS = "training: [{cfg: a.yaml}]\n"
INFERENCE = "inference: [{data_path: v.mp4, models: [m/run], type: video}]\n"
KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def write(tmp_path):
    """Write a zip with labels, a configuration, and other files by their names; return its path."""

    def write(config=CONFIG, jobs=JOBS, **others):
        path = tmp_path / "p.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in {"x.slp": "", "a.yaml": config, "jobs.yaml": jobs, **others}.items():
                archive.writestr(name, text)
        return path

    return write


def unpacked(package, tmp_path, overrides=()):
    trio.run(unpack, package, tmp_path / "job")
    return tmp_path / "job", read_plan(tmp_path / "job", overrides)


def refusal(package, overrides=()):
    with pytest.raises(RtcError) as caught:
        inspect_package(package, overrides)
    assert caught.value.fault.code in (FaultCode.BAD_PACKAGE, FaultCode.USAGE)
    return caught.value.fault.text


@pytest.mark.parametrize(
    "config",
    [
        CONFIG + 'trainer_config: {optimizer_name: "\\x24{oc.env:HOME}"}',
        CONFIG + "trainer_config: {'${oc.env:HOME}': 1}",
        CONFIG + 'name: "\\x24{oc.env:HOME}"',
        CONFIG + "defaults: [/etc/passwd]",
        CONFIG + "defaults: [other]",
        CONFIG + "hydra: {searchpath: ['file:///etc']}",
        CONFIG + "_target_: os.system",
        HEAD + "model_config: {backbone_config: {pretrained: {model_name: /srv/model}}}",
        HEAD + "model_config: {backbone_config: {pretrained: {model_name: a/b, revision: ../../../x}}}",
        HEAD + "model_config: {backbone_config: {convnext: {pre_trained_weights: /srv/w.pth}}}",
        HEAD + "model_config: {pretrained_backbone_weights: ../w.ckpt}",
        HEAD + "model_config: {pretrained_head_weights: /w.ckpt}",
        HEAD + "model_config: {pretrained_head_weights: [[/w.ckpt]]}",
        HEAD + "model_config: {pretrained_head_weights: {a: /w.ckpt}}",
        CONFIG + "trainer_config: {resume_ckpt_path: ~/last.ckpt}",
        CONFIG + "trainer_config: {resume_ckpt_path: 7}",
    ],
)
def test_a_configuration_that_reads_what_is_not_in_the_package_is_refused(config, write):
    assert refusal(write(config))


@pytest.mark.parametrize("key", sorted(set(FILE_SETTINGS) - {"data_config.train_labels_path"}))
def test_every_file_that_a_configuration_names_is_in_the_package(key, write):
    section, name = key.split(".")
    tree = yaml.safe_load(CONFIG)
    tree.setdefault(section, {})[name] = "w/best.ckpt"
    config = yaml.safe_dump(tree)
    assert "'best.ckpt' is missing" in refusal(write(config))
    assert inspect_package(write(config, **{"w/best.ckpt": ""})).steps
    assert inspect_package(write(config), [f"{key}=null"]).steps, "what replaces the setting counts"
    assert "not in the package" in refusal(write(), [f"{key}=w/best.ckpt"])


@pytest.mark.parametrize("backbone", ["convnext: {pre_trained_weights: ConvNeXt_Tiny_Weights}", "swint: null"])
def test_weights_of_torchvision_and_models_of_hugging_face_are_named_freely(backbone, write):
    config = HEAD + f"model_config: {{backbone_config: {{{backbone}, pretrained: {{model_name: facebook/a}}}}}}"
    assert inspect_package(write(config)).steps


def test_a_configuration_is_written_anew_before_sleap_nn_reads_it(write, tmp_path):
    config = CONFIG + "# @package other\n" + 'trainer_config: {seed: 0x10, run_name: "1e5", min: 1:30, lr: 1e-4}\n'
    root, plan = unpacked(write(config), tmp_path)
    rewrite_config(root, "a.yaml", plan.steps[0])
    text = (root / "a.yaml").read_text()
    assert "#" not in text
    read = yaml.safe_load(text)["trainer_config"]
    assert read == {"seed": 16, "run_name": "1e5", "min": "1:30", "lr": 0.0001, "ckpt_dir": "models"}


def test_paths_are_written_as_the_plan_understood_them(write, tmp_path):
    config = HEAD + "model_config: {head_configs: {centroid: {}}, pretrained_head_weights: 'w\\best.ckpt'}"
    root, plan = unpacked(write(config, **{"w/best.ckpt": ""}), tmp_path)
    rewrite_config(root, "a.yaml", plan.steps[0])
    assert yaml.safe_load((root / "a.yaml").read_text())["model_config"]["pretrained_head_weights"] == "w/best.ckpt"


def test_one_configuration_may_serve_two_models(write, tmp_path):
    jobs = "training: [{cfg: a.yaml, train_labels: y.slp}, {cfg: a.yaml}]"
    root, plan = unpacked(write(jobs=jobs, **{"y.slp": ""}), tmp_path)
    for step, labels in zip(plan.steps, ("y.slp", "x.slp"), strict=True):
        rewrite_config(root, "a.yaml", step)
        assert yaml.safe_load((root / "a.yaml").read_text())["data_config"]["train_labels_path"] == [labels]


def test_a_converted_configuration_is_checked_like_any_other(write, tmp_path):
    root, plan = unpacked(write(), tmp_path)
    for text in ("model_config: {pretrained_head_weights: /etc/w.ckpt}", "a: '${oc.env:HOME}'", "hydra: {}"):
        (root / "b.converted.yaml").write_text(text)
        with pytest.raises(RtcError):
            rewrite_config(root, "b.converted.yaml", plan.steps[0])


def test_the_folders_of_the_computer_that_exported_an_old_configuration_do_not_matter(write, tmp_path):
    root, plan = unpacked(write(), tmp_path)
    (root / "b.converted.yaml").write_text(CONFIG + "trainer_config: {ckpt_dir: /home/ada/models, run_name: ../r}")
    rewrite_config(root, "b.converted.yaml", plan.steps[0])
    assert yaml.safe_load((root / "b.converted.yaml").read_text())["trainer_config"] == {
        "ckpt_dir": "models",
        "run_name": plan.steps[0].run_path.removeprefix("models/"),
    }


def test_weights_of_an_old_configuration_are_in_the_package(write):
    backbone = {"backbone": {"unet": {"filters": 8}}, "heads": {"centroid": {}}}
    labels = {"data": {"labels": {"training_labels": "x.slp"}}}
    jobs = "training: [{cfg: b.json}]"
    for path, expected in (("/srv/best_model.h5", "outside the package"), ("w.h5", "'w.h5' is missing")):
        config = json.dumps(labels | {"model": backbone | {"base_checkpoint": path}})
        assert expected in refusal(write(jobs=jobs, **{"b.json": config}))
    assert inspect_package(write(jobs=jobs, **{"b.json": config, "w.h5": ""})).steps


def test_the_key_of_a_service_reaches_neither_sleap_nn_nor_a_command_line(write, tmp_path):
    config = CONFIG + f"trainer_config: {{use_wandb: true, wandb: {{api_key: {KEY}}}}}"
    override = "trainer_config.wandb.api_key=another-secret-key"
    root, plan = unpacked(write(config), tmp_path, (override,))
    assert prepare_configs(root, plan) == {KEY, "another-secret-key"}
    rewrite_config(root, "a.yaml", plan.steps[0])
    assert KEY not in (root / "a.yaml").read_text()
    command = train_command(root, plan.steps[0], "a.yaml", Ports(1, 2), "cpu")
    assert not any("secret" in word for word in command)


def test_configurations_of_trained_models_are_checked_and_written_anew(write, tmp_path):
    files = {"v.mp4": "", "m/run/best.ckpt": ""}
    home = "data_config: {train_labels_path: [/home/ada/flies.slp]}\nlr: 1e-4\n"
    root, plan = unpacked(write(jobs=INFERENCE, **files, **{"m/run/training_config.yaml": home}), tmp_path)
    prepare_configs(root, plan)
    written = (root / "m/run/training_config.yaml").read_text()
    assert yaml.safe_load(written) == {"data_config": {"train_labels_path": ["/home/ada/flies.slp"]}, "lr": 0.0001}
    for name, hostile in (("yaml", 'a: "\\x24{oc.env:HOME}"'), ("json", '{"a": "\\u0024{oc.env:HOME}"}')):
        package = write(jobs=INFERENCE, **files, **{f"m/run/training_config.{name}": hostile})
        assert "environment" in refusal(package)


def test_an_option_of_prediction_holds_no_interpolation(write):
    jobs = json.dumps(yaml.safe_load(INFERENCE)).replace('"video"', '"video", "options": {"anchor_part": "\\u0024{a}"}')
    files = {"v.mp4": "", "m/run/best.ckpt": "", "m/run/training_config.yaml": ""}
    assert "environment" in refusal(write(jobs=jobs, **files))


def test_what_the_code_of_a_job_puts_in_place_of_a_configuration_is_a_job_that_failed(write, tmp_path):
    root, plan = unpacked(write(), tmp_path)
    path = root / "a.yaml"
    for replace in (lambda: os.mkfifo(path), path.mkdir, lambda: path.symlink_to("/etc/passwd"), lambda: None):
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        replace()
        with pytest.raises(RtcError) as caught:
            rewrite_config(root, "a.yaml", plan.steps[0])
        assert caught.value.fault.code is FaultCode.JOB_FAILED


def test_secrets_of_trained_models_are_hidden_too_and_their_key_is_left_out(write, tmp_path):
    files = {"v.mp4": "", "m/run/best.ckpt": ""}
    config = f"trainer_config: {{wandb: {{api_key: {KEY}}}}}\nservice: {{token: 1234567890, password: short}}\n"
    root, plan = unpacked(write(jobs=INFERENCE, **files, **{"m/run/training_config.yaml": config}), tmp_path)
    assert prepare_configs(root, plan) == {KEY, "1234567890"}
    assert KEY not in (root / "m/run/training_config.yaml").read_text()
