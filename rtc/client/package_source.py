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
from rtc.client.package_builder.build import ReportProgress, build_tracking, build_training
from rtc.common.errors import RtcError

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


def labels_source(labels: Path, configs: Sequence[Path], overrides: Sequence[str]) -> PackageSource:
    """Return the source of a training package that is built from labels and a configuration for each model."""
    name = labels.name.removesuffix(".slp").removesuffix(".pkg")
    build = partial(build_training, labels, configs, overrides)
    return PackageSource(JobKind.TRAIN, Path(f"{name}.zip"), build=build)


def data_source(data: Path, models: Sequence[Path], options: Mapping[str, Any]) -> PackageSource:
    """Return the source of an inference package that is built from data, models and options of the prediction."""
    build = partial(build_tracking, data, models, options)
    name = data.name or data.resolve().name  # `.` has no name
    return PackageSource(JobKind.TRACK, Path(f"{name}.zip"), build=build)


def training_source(path: Path, configs: Sequence[Path], overrides: Sequence[str]) -> PackageSource:
    """Return the source of a training's package: the file itself, or labels with their configurations.

    Raises:
        RtcError: USAGE: labels without a configuration, or a package with one.
    """
    if path.suffix.lower() == ".slp":
        if not configs:
            raise RtcError(FaultCode.USAGE, "To train labels, say how: --config CONFIG.yaml, once for each model.")
        return labels_source(path, configs, overrides)
    if configs:
        raise RtcError(FaultCode.USAGE, "A package brings its own configurations; --config is for labels (.slp).")
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
