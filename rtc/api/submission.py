"""Turns the arguments of `Room.submit` into a package and the options of a client."""

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from actors.events import AskPerson, BestWorker, Interrupt, WorkerCalled, WorkerChoice
from rtc.api.access import RoomAccess
from rtc.api.errors import usage_error
from rtc.client.options import ClientOptions
from rtc.client.package_source import PackageSource, data_source, labels_source
from rtc.common.size_limits import RESULT_MAX
from rtc.packages.plan import inspect_package
from rtc.packages.predict_options import read_options

PathText = str | os.PathLike[str]
"""A path, as text or as a `Path`."""
ONE_OF_THREE = (
    "Say what to run, one of three: a package; or labels=… with configs=[…], to train; or data=… with models=[…], to "
    "predict."
)


@frozen
class Submission:
    """A package, and what is to happen to it: the arguments of `Room.submit`, checked."""

    source: PackageSource
    choice: WorkerChoice
    output: Path | None = None
    min_gpu_memory: int = 0
    wait: float | None = None
    max_result: int = RESULT_MAX

    def options(self, access: RoomAccess, package: Path) -> ClientOptions:
        """Return the options of the client that submits the job.

        Args:
            access: the room.
            package: the path of the package, which need not be built yet.
        """
        return ClientOptions(
            config=access.config,
            package=package,
            room=access.target.room,
            token=access.target.token,
            choice=self.choice,
            find_secret=access.find_secret,
            min_memory_mb=self.min_gpu_memory,
            wait=self.wait,
            output=self.output,
            kind=self.source.kind,
            result_max=self.max_result,
            overrides=self.source.overrides,
            tickets_folder=access.tickets_folder,
            remembered_as=access.target.name,
            on_interrupt=Interrupt.DETACH,
        )


def find_source(
    package: PathText | None,
    labels: PathText | None,
    configs: Iterable[PathText],
    data: PathText | None,
    models: Iterable[PathText],
    overrides: Iterable[str],
    predict_options: Mapping[str, Any],
) -> PackageSource:
    """Return the source of a job's package. It reads a package that exists, to know what the package does.

    Raises:
        RtcError: USAGE or BAD_PACKAGE: the arguments do not fit together, or the package cannot be run.
    """
    if sum(given is not None for given in (package, labels, data)) != 1:
        raise usage_error(ONE_OF_THREE)
    config_paths, model_paths, overrides = _paths("configs", configs), _paths("models", models), _texts(overrides)
    if config_paths and labels is None:
        raise usage_error("configs=… are for labels=…: a package brings its own, and a prediction needs none.")
    if (model_paths or predict_options) and data is None:
        raise usage_error("models=… and options of the prediction are for data=…: a package brings its own.")
    if labels is not None:
        if not config_paths:
            raise usage_error("To train labels, say how: configs=[…], one file for each model.")
        return labels_source(Path(labels), config_paths, overrides)
    if data is not None:
        if overrides:
            raise usage_error("overrides=… change settings of a training; a prediction has options of its own.")
        return data_source(Path(data), model_paths, read_options(predict_options))
    assert package is not None, "one of the three is given"
    path = Path(package)
    return PackageSource(inspect_package(path, overrides=overrides).kind, path, overrides)


def _paths(name: str, given: Iterable[PathText]) -> tuple[Path, ...]:
    if isinstance(given, str | os.PathLike):
        raise usage_error(f"{name}=… takes a list of paths, also for a single one: {name}=[…].")
    return tuple(Path(path) for path in given)


def _texts(given: Iterable[str]) -> tuple[str, ...]:
    """Return the overrides; a single one may be given without a list."""
    return (given,) if isinstance(given, str) else tuple(given)


def choose_worker(access: RoomAccess, worker: str | None, *, auto_select: bool) -> WorkerChoice:
    """Return how the worker is chosen.

    Args:
        access: the room.
        worker: an id or a name; None: the one that the session string names, if there is one.
        auto_select: without a worker: take the best one; otherwise only one that there is no choice about.
    """
    if worker is not None:
        return WorkerCalled(worker)
    if not isinstance(access.target.choice, AskPerson):
        return access.target.choice
    return BestWorker() if auto_select else AskPerson(take_only=True)


def check_wait(wait: float | bool | None) -> float | None:
    """Return the seconds to wait in the room's queue: True is without limit, False and None are not at all.

    Raises:
        RtcError: USAGE: it is no number of seconds.
    """
    if isinstance(wait, bool):
        return math.inf if wait else None
    if wait is not None and not wait >= 0:  # NaN is not, either
        raise usage_error("wait=… takes seconds, or True to wait without a limit.")
    return wait or None
