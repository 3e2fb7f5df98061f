"""Makes packages of what lies on a person's disk: labels and configurations, or data and models.

A package is laid out as SLEAP lays out its own, and is read again before it appears: what is built here can be run.
All of it is synchronous, for a thread; in a thread of trio's, it ends when the task that waits is cancelled.
"""

import errno
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from protocol.faults import FaultCode
from rtc.client.package_builder.contents import Labels, PackageContents, look_data, look_training
from rtc.client.package_builder.slp_files import check_file, check_labels
from rtc.client.package_builder.trained_models import ModelFiles, find_models
from rtc.client.package_builder.training_config import TrainingConfig, read_training_configs
from rtc.common.errors import RtcError
from rtc.packages.file_names import fresh, plain_name
from rtc.packages.hydra_overrides import TYPED, read_overrides
from rtc.packages.inference import LABELS_ENDING, VIDEO_ENDINGS
from rtc.packages.plan import inspect_package
from rtc.packages.predict_options import BY_NAME, NEED_LABELS, Value, option_words, read_options
from rtc.packages.zip_writer import add_file, add_text, open_packing

Say = Callable[[str], None]
_SCRIPT = "#!/bin/bash\n"


def build_training(labels: Path, configs: Sequence[Path], overrides: Sequence[str], target: Path, say: Say) -> None:
    """Write a training package: labels with their images, and a configuration for each model.

    `overrides` hold for every model; `say` is told what takes a while.

    Raises:
        RtcError: USAGE, BAD_PACKAGE or DISK_FULL: something named is not there or wrong; nothing is left behind.
    """
    read_overrides(overrides, TYPED)
    if labels.suffix.lower() != LABELS_ENDING:
        raise RtcError(FaultCode.USAGE, f"{labels.name or labels} are no labels. Name a .slp or .pkg.slp file.")
    check_labels(labels)
    training_configs = read_training_configs(tuple(configs))
    others = dict.fromkeys(path for training_config in training_configs for path in training_config.others())
    for other in others:
        check_labels(other)
    say(f"Reading {labels.name}")
    looked = {path: look_training(path) for path in (labels, *others)}
    with _making(target) as scratch:
        contents = PackageContents(scratch)
        say(f"Packing {labels.name}")
        texts = _training_texts(labels, training_configs, looked, contents, list(overrides))
        _write(target, contents, texts)


def _training_texts(
    labels: Path,
    training_configs: Sequence[TrainingConfig],
    looked: Mapping[Path, Labels],
    contents: PackageContents,
    overrides: list[str],
) -> dict[str, str]:
    """The package's own files; what the configurations name is taken along."""
    packed = contents.bring_training(looked[labels])
    project = looked[labels].project
    count = f".n={project.frames}" if project is not None else ""
    stamp = datetime.now().strftime("%y%m%d_%H%M%S")

    def bring(path: Path, folder: str) -> str:
        return contents.bring_training(looked[path]) if path in looked else contents.bring(path, folder)

    texts: dict[str, str] = {}
    entries, script = [], _SCRIPT
    for training_config in training_configs:
        config = fresh(
            f"{plain_name(training_config.head, 'model')}{training_config.ending}",
            [*texts, *contents.files],
            training_config.ending,
        )
        run = f"{stamp}.{config.removesuffix(training_config.ending)}{count}"
        texts[config] = training_config.packed(packed, run, bring)
        entry: dict[str, Any] = {"cfg": config, "run_path": f"models/{run}", "train_labels": packed}
        entries.append(entry | ({"overrides": overrides} if overrides else {}))
        script += _training_line(config, run, overrides)
    jobs = yaml.safe_dump({"training": entries, "inference": []}, sort_keys=False)
    return texts | {"jobs.yaml": jobs, "train-script.sh": script, "inference-script.sh": _SCRIPT}


def _training_line(config: str, run: str, overrides: Sequence[str]) -> str:
    words = ['trainer_config.ckpt_dir="models"', f'trainer_config.run_name="{run}"', *overrides]
    return f"sleap train --config-name {config} --config-dir . {shlex.join(words)}\n"


def build_tracking(data: Path, models: Sequence[Path], options: Mapping[str, Any], target: Path, say: Say) -> None:
    """Write an inference package: a video or labels with their videos, and what each model needs to predict.

    `options` by sleap-nn's names. Without models, what labels hold of predictions is tracked. Raises as
    `build_training` does.
    """
    chosen = read_options(options)
    found = find_models(models)
    if not found and not (chosen.get("tracking") and data.suffix.lower() == LABELS_ENDING):
        text = "Say which models: --model FOLDER, once for each; the folder as it came back from training."
        raise RtcError(FaultCode.USAGE, text)
    labels = _look_at(data, chosen, say)
    with _making(target) as scratch:
        contents = PackageContents(scratch)
        say(f"Packing {data.name}")
        index = chosen.get("video_index")
        if labels is None:
            name = contents.bring(data)
        else:
            name = contents.bring_data(labels, int(index) if index is not None else None)
        folders = [_bring_model(contents, model) for model in found]
        _write(target, contents, _tracking_texts(name, folders, chosen))


def _look_at(data: Path, chosen: Mapping[str, Value], say: Say) -> Labels | None:
    """The labels to predict on; None for a video."""
    ending = data.suffix.lower()
    if ending == ".zip":
        text = f"{data.name} is a package already. Give it as it is, without models and options."
        raise RtcError(FaultCode.USAGE, text)
    check_file(data)
    if ending == LABELS_ENDING:
        check_labels(data)
        say(f"Reading {data.name}")
        index = chosen.get("video_index")
        return look_data(data, int(index) if index is not None else None)
    if ending not in VIDEO_ENDINGS:
        known = ", ".join(VIDEO_ENDINGS)
        raise RtcError(
            FaultCode.USAGE, f"{data.name} is no data to predict on. Name labels (.slp) or a video ({known})."
        )
    for name in NEED_LABELS & chosen.keys():
        raise RtcError(
            FaultCode.USAGE, f"{BY_NAME[name].flag} is for labels, and {data.name} is a video. Leave it out."
        )
    return None


def _bring_model(contents: PackageContents, model: ModelFiles) -> str:
    taken = {"/".join(name.split("/")[:2]) for name in contents.files}
    folder = fresh(f"models/{plain_name(model.name, 'model')}", taken)
    for path in model.files:
        contents.bring(path, folder)
    return folder


def _tracking_texts(data: str, models: Sequence[str], options: Mapping[str, Value]) -> dict[str, str]:
    output = f"{data}.predictions.slp"
    entry = {
        "data_path": data,
        "models": list(models),
        "output_path": output,
        "type": "labels" if data.lower().endswith(LABELS_ENDING) else "video",
        "only_suggested_frames": bool(options.get("only_suggested_frames")),
        "tracking": {},
        "options": dict(options),
    }
    words = ["--data_path", data, *(word for model in models for word in ("--model_paths", model)), "-o", output]
    line = shlex.join(["sleap", "predict", "--gui", *words, *option_words(options)])
    return {
        "jobs.yaml": yaml.safe_dump({"training": [], "inference": [entry]}, sort_keys=False),
        "train-script.sh": _SCRIPT,
        "inference-script.sh": f"{_SCRIPT}{line}\n",
    }


@contextmanager
def _making(target: Path) -> Iterator[Path]:
    """A folder beside the target for what has to be made first; what the system refuses becomes a sentence."""
    try:
        with tempfile.TemporaryDirectory(prefix=".sleap-rtc-", dir=target.parent, ignore_cleanup_errors=True) as name:
            yield Path(name)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(target) from None
        if error.errno == errno.ENAMETOOLONG:
            text = f"The name of {target.stem} is too long for a package. Rename the file, and try again."
            raise RtcError(FaultCode.USAGE, text) from None
        text = f"The package {target.name} could not be written: {error.strerror}. Name another place."
        raise RtcError(FaultCode.USAGE, text) from None


def _write(target: Path, contents: PackageContents, texts: Mapping[str, str]) -> None:
    if shutil.disk_usage(target.parent).free < sum(path.stat().st_size for path in contents.files.values()):
        raise _disk_full(target)
    with open_packing(target, 0o666, inspect_package) as archive:
        for name, text in texts.items():
            add_text(archive, name, text)
        for name, path in contents.files.items():
            add_file(archive, name, path)


def _disk_full(target: Path) -> RtcError:
    return RtcError(FaultCode.DISK_FULL, f"The disk is too full for the package {target.name}. Make room.")
