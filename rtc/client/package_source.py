"""The package of a new job: a file that exists, or one that is built first, from files on this machine."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen

from protocol.faults import FaultCode
from protocol.jobs import JobKind
from rtc.client.package_builder.build import (
    ReportProgress,
    build_config_request,
    build_tracking,
    build_training,
)
from rtc.client.package_builder.configure import check_pipeline
from rtc.common.errors import RtcError
from rtc.packages.inference import VIDEO_ENDINGS

Build = Callable[[Path, ReportProgress], None]
"""Writes a package to a path; tells its progress to the second argument."""


@frozen
class PackageSource:
    """Where the package of a new job comes from."""

    kind: JobKind
    path: Path
    """The package; only its name is used if it is to be built."""
    overrides: tuple[str, ...] = ()
    """Settings that are sent with the job; a package that is built has them inside."""
    build: Build | None = None
    """Builds the package; None: it exists."""

    @contextmanager
    def open(self) -> Iterator[Path]:
        """Give the path of the package; a built one is to be written there, and is deleted at the end of this block."""
        if self.build is None:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="sleap-rtc-", ignore_cleanup_errors=True) as folder:
            yield Path(folder) / self.path.name


def labels_source(
    labels: Path, configs: Sequence[Path], overrides: Sequence[str], pipeline: str | None = None
) -> PackageSource:
    """Return the source of a training package that is built from labels and a configuration for each model.

    Without a configuration, sleap-nn writes them on the worker, for `pipeline` or as it chooses.

    Raises:
        RtcError: USAGE: there is no such pipeline, or it is named beside configurations.
    """
    check_pipeline(pipeline, has_configs=bool(configs))
    build = partial(build_training, labels, configs, overrides, pipeline=pipeline)
    return PackageSource(JobKind.TRAIN, Path(f"{base_name(labels)}.zip"), build=build)


def config_source(labels: Path, pipeline: str | None) -> PackageSource:
    """Return the source of a package that has sleap-nn write the configurations of labels, and trains nothing.

    Raises:
        RtcError: USAGE: there is no such pipeline.
    """
    check_pipeline(pipeline, has_configs=False)
    build = partial(build_config_request, labels, pipeline)
    return PackageSource(JobKind.TRAIN, Path(f"{base_name(labels)}.config.zip"), build=build)


def base_name(labels: Path) -> str:
    """Return the file name of labels without `.slp` or `.pkg.slp`."""
    return labels.name.removesuffix(".slp").removesuffix(".pkg")


def data_source(data: Path, models: Sequence[Path], options: Mapping[str, Any]) -> PackageSource:
    """Return the source of an inference package that is built from data, models and options of the prediction."""
    build = partial(build_tracking, data, models, options)
    name = data.name or data.resolve().name  # `.` has no name
    return PackageSource(JobKind.TRACK, Path(f"{name}.zip"), build=build)


def training_source(
    path: Path, configs: Sequence[Path], overrides: Sequence[str], pipeline: str | None = None
) -> PackageSource:
    """Return the source of a training's package: the file itself, or labels with or without configurations.

    Raises:
        RtcError: USAGE: a video, or a package with a configuration or a pipeline; otherwise as for `labels_source`.
    """
    if path.suffix.lower() == ".slp":
        return labels_source(path, configs, overrides, pipeline)
    if path.suffix.lower() in VIDEO_ENDINGS:
        text = f"{path.name} is a video. Training takes labels (.slp) or a package (.zip); to predict: sleap-rtc track"
        raise RtcError(FaultCode.USAGE, text)
    for option, is_given in (("--config", bool(configs)), ("--pipeline", pipeline is not None)):
        if is_given:
            text = f"A package brings its own configurations; {option} is for labels (.slp)."
            raise RtcError(FaultCode.USAGE, text)
    return PackageSource(JobKind.TRAIN, path, tuple(overrides))


def tracking_source(path: Path, models: Sequence[Path], options: Mapping[str, Any]) -> PackageSource:
    """Return the source of a prediction's package: the file itself, or data with models and options.

    Raises:
        RtcError: USAGE: a package with models or options.
    """
    if path.suffix.lower() != ".zip":
        return data_source(path, models, options)
    if models or options:
        text = "A package brings its own models and options; leave out --model and the options."
        raise RtcError(FaultCode.USAGE, text)
    return PackageSource(JobKind.TRACK, path)
