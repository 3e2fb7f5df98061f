"""Builds packages from files on the client's disk: labels and training configurations, or data and trained models.

A package has the same layout as one exported by SLEAP. It is read back before it appears under its name, so every
package that is built here can be run. The functions are synchronous and meant for a thread; in a thread that trio
started, they end when the task that waits for the thread is cancelled.
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

from protocol.faults import FaultCode
from rtc.client.package_builder.configure import check_labels_fit, check_pipeline, configure_texts
from rtc.client.package_builder.contents import (
    InspectedLabels,
    PackageContents,
    check_has_labels,
    inspect_data_labels,
    inspect_labels,
    inspect_training_labels,
)
from rtc.client.package_builder.frames_read import frames_of_prediction, frames_of_training
from rtc.client.package_builder.image_folders import add_images, find_images, left_out
from rtc.client.package_builder.models_fit import check_models_fit
from rtc.client.package_builder.packing_progress import PackingProgress
from rtc.client.package_builder.slp_files import (
    TrainingFrames,
    check_file,
    check_labels,
    copy_without_images,
    has_sleap_io,
)
from rtc.client.package_builder.trained_models import ModelFiles, find_models
from rtc.client.package_builder.training_config import TrainingConfig, find_refused_in, read_training_configs
from rtc.common.errors import RtcError
from rtc.common.full_disk import is_full_disk
from rtc.config.folders import shown_path
from rtc.packages.file_names import plain_name, unused_path
from rtc.packages.hydra_overrides import (
    FROM_COMMAND_LINE,
    left_out_overrides,
    read_override,
    read_overrides,
    split_secrets,
)
from rtc.packages.inference import LABELS_ENDING, VIDEO_ENDINGS
from rtc.packages.member_names import IMAGE_ENDINGS
from rtc.packages.model_sets import check_models_together
from rtc.packages.original_paths import MEMBER
from rtc.packages.plan import inspect_package
from rtc.packages.predict_options import BY_NAME, NEED_LABELS, Value, option_arguments, read_options
from rtc.packages.safe_yaml import yaml_text
from rtc.packages.setting_checks import newest_refusals
from rtc.packages.zip_writer import add_file, add_text, open_zip_writer

ReportProgress = Callable[[str], None]
"""Shows a person one line about the progress of the build."""
_SCRIPT_HEAD = "#!/bin/bash\n"


def build_training(
    labels: Path,
    configs: Sequence[Path],
    overrides: Sequence[str],
    target: Path,
    report: ReportProgress,
    pipeline: str | None = None,
) -> None:
    """Write a training package: labels with their images, and a configuration for each model.

    Args:
        labels: a `.slp` or `.pkg.slp` file.
        configs: one training configuration for each model; none: sleap-nn is to write them on the worker.
        overrides: Hydra overrides, which apply to every model.
        target: the path of the package.
        report: called with a line of text before each step that takes a while.
        pipeline: what sleap-nn is to write configurations for; None: it chooses.

    Raises:
        RtcError: USAGE or BAD_PACKAGE: a file is missing or wrong; DISK_FULL. Then no file is left behind.
    """
    check_pipeline(pipeline, has_configs=bool(configs))
    effective = [text for text in overrides if read_override(text, FROM_COMMAND_LINE) is not None]
    read = read_overrides(effective, FROM_COMMAND_LINE)
    for note in left_out_overrides(overrides, FROM_COMMAND_LINE):
        report(note)
    shown, secrets = split_secrets(effective)
    for key in secrets:
        report(f"{key} is left out: a job uploads nothing, so the worker needs no key or password")
    _check_training_labels(labels)
    training_configs = read_training_configs(tuple(configs)) if configs else ()
    other_labels = dict.fromkeys(
        path for training_config in training_configs for path in training_config.other_labels()
    )
    for other in other_labels:
        check_labels(other)
    for sentence in newest_refusals(find_refused_in(training_configs, read)):
        report(sentence)  # who sends the package may refuse it for that, when it knows the worker
    report(f"Reading {labels.name}")
    reads = frames_of_training(training_configs, read)
    inspected = {path: inspect_training_labels(path, reads, report) for path in (labels, *other_labels)}
    check_labels_fit(inspected[labels], pipeline)
    check_models_fit(training_configs, read, inspected[labels], report)
    with _open_scratch_folder(target) as scratch:
        contents = PackageContents(scratch)
        report(f"Packing {labels.name}")
        if training_configs:
            texts = _training_texts(labels, training_configs, inspected, contents, list(shown), report)
        else:
            packed = contents.add_training_labels(inspected[labels], report)
            texts = configure_texts(labels, packed, _count_frames(inspected[labels]), pipeline, list(shown))
        _write_package(target, contents, texts | {MEMBER: contents.originals.text()}, report)


def build_config_request(labels: Path, pipeline: str | None, target: Path, report: ReportProgress) -> None:
    """Write a package that has sleap-nn write the training configurations of labels, and trains nothing.

    The images of the labels are left out where sleap-nn can do without them.

    Args:
        labels: a `.slp` or `.pkg.slp` file.
        pipeline: what sleap-nn is to write configurations for; None: it chooses.
        target: the path of the package.
        report: called with a line of text before each step that takes a while.

    Raises:
        RtcError: under the conditions of `build_training`.
    """
    check_pipeline(pipeline, has_configs=False)
    _check_training_labels(labels)
    report(f"Reading {labels.name}")
    with _open_scratch_folder(target) as scratch:
        contents = PackageContents(scratch)
        bare = scratch / "bare.slp"
        if has_sleap_io() and copy_without_images(labels, bare):
            inspected = inspect_labels(labels)
            check_has_labels(inspected)
            check_labels_fit(inspected, pipeline)
            packed = contents.add(bare, name=labels.name)
        else:
            inspected = inspect_training_labels(labels, TrainingFrames(), report)
            check_labels_fit(inspected, pipeline)
            report(f"Packing {labels.name}")
            packed = contents.add_training_labels(inspected, report)
        texts = configure_texts(labels, packed, _count_frames(inspected), pipeline, [], train=False)
        _write_package(target, contents, texts, report)


def _check_training_labels(labels: Path) -> None:
    """Check the name and the first bytes of labels to train on.

    Raises:
        RtcError: USAGE: they are none.
    """
    check_labels_name(labels)
    check_labels(labels)


def check_labels_name(labels: Path) -> None:
    """Check the name of labels to train on.

    Raises:
        RtcError: USAGE: it is not one of labels.
    """
    if labels.suffix.lower() != LABELS_ENDING:
        raise RtcError(
            FaultCode.USAGE, f"{labels.name or labels} is not a file of labels. Name a .slp or .pkg.slp file."
        )


def _count_frames(labels: InspectedLabels) -> int | None:
    """Return the number of frames that a person has labelled; None when it is not known."""
    return None if labels.project is None else labels.project.frames


def _training_texts(
    labels: Path,
    training_configs: Sequence[TrainingConfig],
    inspected: Mapping[Path, InspectedLabels],
    contents: PackageContents,
    overrides: list[str],
    report: ReportProgress,
) -> dict[str, str]:
    """Return the text files of a training package by name.

    The labels, and each file that a configuration names, are added to `contents`.
    """
    packed_labels = contents.add_training_labels(inspected[labels], report)
    project = inspected[labels].project
    count = f".n={project.frames}" if project is not None else ""
    stamp = datetime.now().strftime("%y%m%d_%H%M%S")

    def add(path: Path, folder: str) -> str:
        if path in inspected:
            return contents.add_training_labels(inspected[path], report)
        return contents.add(path, folder)

    texts: dict[str, str] = {}
    entries, script = [], _SCRIPT_HEAD
    for training_config in training_configs:
        config = unused_path(
            f"{plain_name(training_config.head, 'model')}{training_config.ending}",
            [*texts, *contents.files],
            training_config.ending,
        )
        run = f"{stamp}.{config.removesuffix(training_config.ending)}{count}"
        texts[config] = training_config.package_text(packed_labels, run, add)
        entry: dict[str, Any] = {"cfg": config, "run_path": f"models/{run}", "train_labels": packed_labels}
        entries.append(entry | ({"overrides": overrides} if overrides else {}))
        script += _training_line(config, run, overrides)
    jobs = yaml_text({"training": entries, "inference": []})
    return texts | {"jobs.yaml": jobs, "train-script.sh": script, "inference-script.sh": _SCRIPT_HEAD}


def _training_line(config: str, run: str, overrides: Sequence[str]) -> str:
    """Return the line of `train-script.sh` that trains one model."""
    arguments = ['trainer_config.ckpt_dir="models"', f'trainer_config.run_name="{run}"', *overrides]
    return f"sleap train --config-name {config} --config-dir . {shlex.join(arguments)}\n"


def build_tracking(
    data: Path, models: Sequence[Path], options: Mapping[str, Any], target: Path, report: ReportProgress
) -> None:
    """Write an inference package: a video, images, or labels with their videos, and two files of each model.

    Args:
        data: a video, a folder of images, or labels (`.slp`, `.pkg.slp`).
        models: folders of trained models, or files in them; without models, the predictions in the labels are tracked.
        options: options of `sleap-nn predict` by sleap-nn's names.
        target: the path of the package.
        report: called with a line of text before each step that takes a while.

    Raises:
        RtcError: under the conditions of `build_training`.
    """
    chosen = read_options(options)
    found = find_models(models)
    if not found and not (chosen.get("tracking") and data.suffix.lower() == LABELS_ENDING):
        text = "Say which models: --model FOLDER, once for each; the folder as it came back from training."
        raise RtcError(FaultCode.USAGE, text)
    described = [model.described for model in found]
    on_labels = data.suffix.lower() == LABELS_ENDING
    for note in check_models_together(described, data.name, on_labels=on_labels, are_chosen=True):
        report(note)
    labels = _inspect_data(data, chosen, bool(found), report)
    images = find_images(data) if data.is_dir() else ()
    with _open_scratch_folder(target) as scratch:
        contents = PackageContents(scratch)
        report(f"Packing {data.name}")
        if images:
            name = add_images(contents, data, images)
        elif labels is None:
            name = contents.add(data)
        else:
            name = contents.add_data_labels(labels)
        contents.originals.add(name, data.as_posix(), in_provenance=True)
        folders = [_add_model(contents, model) for model in found]
        texts = _tracking_texts(name, folders, chosen) | {MEMBER: contents.originals.text()}
        _write_package(target, contents, texts, report)


def _inspect_data(
    data: Path, chosen: Mapping[str, Value], has_models: bool, report: ReportProgress
) -> InspectedLabels | None:
    """Check the data to predict on; return the inspected labels, or None for a video or a folder of images.

    Raises:
        RtcError: USAGE: it cannot be predicted on, or an option does not apply to a video.
    """
    ending = data.suffix.lower()
    if ending == ".zip":
        text = f"{data.name} is a package already. Give it as it is, without models and options."
        raise RtcError(FaultCode.USAGE, text)
    if data.is_dir():
        _check_options_without_labels(data, chosen, "a folder of images")
        if (note := left_out(data, find_images(data))) is not None:
            report(note)
        return None
    check_file(data)
    if ending == LABELS_ENDING:
        check_labels(data)
        report(f"Reading {data.name}")
        return inspect_data_labels(data, frames_of_prediction(chosen, has_models), report)
    if ending not in (*VIDEO_ENDINGS, *IMAGE_ENDINGS):
        known = ", ".join(VIDEO_ENDINGS)
        raise RtcError(
            FaultCode.USAGE,
            f"{data.name} is no data to predict on. Name labels (.slp), a video ({known}) or a folder of images.",
        )
    _check_options_without_labels(data, chosen, "a video")
    return None


def _check_options_without_labels(data: Path, chosen: Mapping[str, Value], what: str) -> None:
    for name in NEED_LABELS & chosen.keys():
        raise RtcError(FaultCode.USAGE, f"{BY_NAME[name].flag} is for labels, and {data.name} is {what}. Leave it out.")


def _add_model(contents: PackageContents, model: ModelFiles) -> str:
    """Add the files of a model to a folder of their own; return the folder's name in the package."""
    taken = {"/".join(name.split("/")[:2]) for name in contents.files}
    folder = unused_path(f"models/{plain_name(model.name, 'model')}", taken)
    for path in model.files:
        contents.add(path, folder)
    contents.originals.add(folder, model.files[0].parent.as_posix(), in_provenance=True)
    return folder


def _tracking_texts(data: str, models: Sequence[str], options: Mapping[str, Value]) -> dict[str, str]:
    """Return the text files of an inference package by name; `data` and `models` are names in the package."""
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
    model_arguments = [argument for model in models for argument in ("--model_paths", model)]
    arguments = ["--data_path", data, *model_arguments, "-o", output, *option_arguments(options)]
    line = shlex.join(["sleap", "predict", "--gui", *arguments])
    return {
        "jobs.yaml": yaml_text({"training": [], "inference": [entry]}),
        "train-script.sh": _SCRIPT_HEAD,
        "inference-script.sh": f"{_SCRIPT_HEAD}{line}\n",
    }


@contextmanager
def _open_scratch_folder(target: Path) -> Iterator[Path]:
    """Create a temporary folder beside the target and remove it at the end; turn an OSError into an RtcError.

    Raises:
        RtcError: DISK_FULL or USAGE: a file could not be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".sleap-rtc-", dir=target.parent, ignore_cleanup_errors=True) as name:
            yield Path(name)
    except OSError as error:
        if is_full_disk(error):
            raise _disk_full(target) from None
        if error.errno == errno.ENAMETOOLONG:
            text = f"The name of {target.stem} is too long for a package. Rename the file, and try again."
            raise RtcError(FaultCode.USAGE, text) from None
        text = f"The package {target.name} could not be written: {error.strerror}. Name another place."
        raise RtcError(FaultCode.USAGE, text) from None


def _write_package(target: Path, contents: PackageContents, texts: Mapping[str, str], report: ReportProgress) -> None:
    """Write the package, check that it can be run, and rename it into place.

    Raises:
        RtcError: DISK_FULL; or BAD_PACKAGE or USAGE: it cannot be run.
    """
    if shutil.disk_usage(target.parent).free < sum(path.stat().st_size for path in contents.files.values()):
        raise _disk_full(target)
    with open_zip_writer(target, 0o666, inspect_package) as archive:
        for name, text in texts.items():
            add_text(archive, name, text)
        progress = PackingProgress(len(contents.files), report)
        for name, path in contents.files.items():
            add_file(archive, name, path)
            progress.add_one()


def _disk_full(target: Path) -> RtcError:
    """Return the error about the disk of a package, which is a temporary file if it is to be sent."""
    temporary = Path(tempfile.gettempdir())
    is_temporary = target.parent.parent == temporary
    folder = shown_path(temporary if is_temporary else target.parent.absolute())
    advice = "Make room there, or name another folder with the variable TMPDIR." if is_temporary else "Make room there."
    return RtcError(FaultCode.DISK_FULL, f"The disk of {folder} is too full for the package {target.name}. {advice}")
