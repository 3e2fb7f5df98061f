"""A stand-in for sleap-nn, and packages for it; `sleap_nn_stand_in` is the program, its `KNOBS` set its behaviour.

`install_stand_in` puts it into a folder under the name `sleap-nn`; `make_package` and `make_inference_package` write
packages whose configurations hold the knobs in their `description`, so that they are right for sleap-nn too.
"""

import shlex
import sys
import zipfile
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen

from rtc.testing import sleap_nn_stand_in
from rtc.testing.sleap_nn_stand_in import KNOBS, TOY_LABELS, describe_knobs

TOY_DATA = "toy.pkg.slp"
CONFIG_KNOBS = {"recommend", "no_config", "configuring", "config_crash"}
"""Knobs of `sleap-nn config`: the pipeline that it chooses; fail as a version that has no such command; seconds that it
takes; a reason for failing."""


@frozen
class TrainingPause:
    """A pause of trainings in their last epoch: of those of packages with the knob `wait_for=pause.file`."""

    file: str
    """The path of a file that does not exist yet."""

    def end(self) -> None:
        """Let the trainings go on."""
        Path(self.file).touch()


def make_package(
    path: Path,
    models: tuple[str, ...] = ("centroid",),
    *,
    predict: bool = False,
    options: dict[str, Any] | None = None,
    **knobs: Any,
) -> Path:
    """Write a training package with the layout of SLEAP 1.6, for the stand-in; return `path`.

    Args:
        path: the zip file to write.
        models: the head of each model.
        predict: whether the trained models then predict on the package's labels.
        options: options of the prediction.
        knobs: values of `KNOBS`, for all models.

    Raises:
        TypeError: a knob does not exist.
    """
    runs = _runs(models, knobs)
    jobs = {
        "training": [
            {"cfg": f"{model}.yaml", "run_path": f"models/{run}", "train_labels": TOY_DATA}
            for model, run in runs.items()
        ],
        "inference": [_prediction(TOY_DATA, runs, options)] if predict else [],
    }
    with zipfile.ZipFile(path, "w") as archive:
        for model, run in runs.items():
            archive.writestr(f"{model}.yaml", yaml.safe_dump(_config(model, run, knobs)))
        archive.writestr("jobs.yaml", yaml.safe_dump(jobs))
        archive.writestr(TOY_DATA, TOY_LABELS)
        archive.writestr("train-script.sh", "#!/bin/bash\n" + "".join(_script_line(*item) for item in runs.items()))
        archive.writestr("inference-script.sh", "#!/bin/bash\n")
    return path


def make_inference_package(
    path: Path,
    models: tuple[str, ...] = ("centroid",),
    data: tuple[str, ...] = ("toy.mp4",),
    *,
    options: dict[str, Any] | None = None,
    **knobs: Any,
) -> Path:
    """Write a package with trained models and files to predict on, for the stand-in; return `path`.

    Raises:
        TypeError: a knob does not exist.
    """
    runs = _runs(models, knobs)
    jobs = {"training": [], "inference": [_prediction(name, runs, options) for name in data]}
    with zipfile.ZipFile(path, "w") as archive:
        for model, run in runs.items():
            archive.writestr(f"models/{run}/training_config.yaml", yaml.safe_dump(_config(model, run, knobs)))
            archive.writestr(f"models/{run}/best.ckpt", b"stand-in model\n")
        for name in data:
            archive.writestr(name, TOY_LABELS)
        archive.writestr("jobs.yaml", yaml.safe_dump(jobs))
    return path


def make_labels_package(
    path: Path, *, pipeline: str | None = None, train: bool = True, overrides: tuple[str, ...] = (), **knobs: Any
) -> Path:
    """Write a training package whose configurations sleap-nn is to write, for the stand-in; return `path`.

    Args:
        path: the zip file to write.
        pipeline: what the person asks for.
        train: whether to train with the configurations.
        overrides: Hydra overrides in the package.
        knobs: values of `KNOBS` for all models, and of `CONFIG_KNOBS`.

    Raises:
        TypeError: a knob does not exist.
    """
    unknown = set(knobs) - set(KNOBS) - CONFIG_KNOBS
    if unknown:
        raise TypeError(f"no such knob: {', '.join(sorted(unknown))}")
    request = {
        "labels": TOY_DATA,
        "pipeline": pipeline,
        "run_path": "models/260101_120000.{head}.n=12",
        "named": "project/toy.slp",
        "train": train,
        "overrides": list(overrides),
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("jobs.yaml", yaml.safe_dump({"training": [], "inference": [], "configure": request}))
        archive.writestr(TOY_DATA, TOY_LABELS)
        archive.writestr("stand_in.yaml", yaml.safe_dump(knobs))
    return path


def _runs(models: tuple[str, ...], knobs: dict[str, Any]) -> dict[str, str]:
    """Return the run name of each model; check that the knobs exist."""
    unknown = set(knobs) - set(KNOBS)
    if unknown:
        raise TypeError(f"no such knob: {', '.join(sorted(unknown))}")
    return {model: f"260101_120000.{model}.n=12" for model in models}


def _prediction(data: str, runs: dict[str, str], options: dict[str, Any] | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "data_path": data,
        "models": [f"models/{run}" for run in runs.values()],
        "output_path": f"{data}.predictions.slp",
        "type": "labels" if data.endswith(".slp") else "video",
        "only_suggested_frames": False,
        "tracking": {},
    }
    return entry | ({"options": options} if options else {})


def _config(model: str, run: str, knobs: dict[str, Any]) -> dict[str, Any]:
    return {
        "data_config": {"train_labels_path": [TOY_DATA], "val_labels_path": None},
        "model_config": {"backbone_config": {"unet": {}}, "head_configs": {model: {"confmaps": {"sigma": 2.5}}}},
        "trainer_config": {"max_epochs": knobs.get("epochs", KNOBS["epochs"]), "ckpt_dir": "models", "run_name": run},
        "description": describe_knobs(knobs),
    }


def _script_line(model: str, run: str) -> str:
    return f"sleap train --config-name {model}.yaml --config-dir . 'trainer_config.run_name=\"{run}\"' \n"


def install_stand_in(folder: Path) -> Path:
    """Write the stand-in into `folder` as `sleap-nn`, and return its path.

    Beside it is a `python` which imitates sleap-nn's Python when it runs our converter of legacy configurations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = (
        f"#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(Path(sleap_nn_stand_in.__file__).resolve()))}"
    )
    for name, command in (("sleap-nn", ""), ("python", " convert")):
        script = folder / name
        script.write_text(f'{start}{command} "$@"\n')
        script.chmod(0o755)
    return folder / "sleap-nn"
