"""Turns the arguments of `Room.submit` into a package and the options of a client."""

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from actors.events import AskPerson, BestWorker, Interrupt, WorkerCalled, WorkerChoice
from protocol.fields import SECONDS_MAX
from protocol.signaling import WorkerPresent
from rtc.api.access import RoomAccess
from rtc.api.arguments import check_texts, path_of, paths_of, seconds_of, texts_of
from rtc.api.errors import usage_error
from rtc.client.options import ClientOptions
from rtc.client.package_source import PackageSource, data_source, labels_source
from rtc.common.size_limits import RESULT_MAX
from rtc.packages.plan import inspect_package
from rtc.packages.predict_options import read_options

PathText = str | os.PathLike[str]
"""A path, as text or as a `Path`."""
ONE_OF_THREE = (
    "Say what to run, one of three: a package; or labels=…, with or without configs=[…], to train; or data=… with "
    "models=[…], to predict."
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
    gpus: int = 0
    give_up_after: float | None = None

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
            min_gpus=self.gpus,
            wait=self.wait,
            output=self.output,
            kind=self.source.kind,
            result_max=self.max_result,
            overrides=self.source.overrides,
            give_up_after=self.give_up_after,
            tickets_folder=access.tickets_folder,
            remembered_as=access.target.name,
            on_interrupt=Interrupt.DETACH,
        )


def find_source(
    package: PathText | None,
    labels: PathText | None,
    configs: Iterable[PathText] | None,
    data: PathText | None,
    models: Iterable[PathText],
    overrides: Iterable[str],
    predict_options: Mapping[str, Any],
    pipeline: str | None = None,
) -> PackageSource:
    """Return the source of a job's package. It reads a package that exists, to know what the package does.

    Raises:
        RtcError: USAGE or BAD_PACKAGE: the arguments do not fit together, or the package cannot be run.
    """
    package_path, labels_path, data_path = (
        path_of(name, given) for name, given in (("package", package), ("labels", labels), ("data", data))
    )
    if sum(given is not None for given in (package_path, labels_path, data_path)) != 1:
        raise usage_error(ONE_OF_THREE)
    config_paths, model_paths = paths_of("configs", configs or ()), paths_of("models", models)
    changes = texts_of("overrides", overrides)
    check_texts(pipeline=pipeline)
    if config_paths and labels_path is None:
        raise usage_error("configs=… are for labels=…: a package brings its own, and a prediction needs none.")
    if pipeline is not None and labels_path is None:
        raise usage_error("pipeline=… is for labels=…, whose configuration sleap-nn is to write.")
    if (model_paths or predict_options) and data_path is None:
        raise usage_error("models=… and options of the prediction are for data=…: a package brings its own.")
    if labels_path is not None:
        if configs is not None and not config_paths:
            raise usage_error(
                "configs=… names no file. Name one for each model, or leave it out: then sleap-nn writes them."
            )
        return labels_source(labels_path, config_paths, changes, pipeline)
    if data_path is not None:
        if changes:
            raise usage_error("overrides=… change settings of a training; a prediction has options of its own.")
        return data_source(data_path, model_paths, read_options(predict_options))
    assert package_path is not None, "one of the three is given"
    return PackageSource(inspect_package(package_path, overrides=changes).kind, package_path, changes)


def choose_worker(access: RoomAccess, worker: str | WorkerPresent | None, *, auto_select: bool) -> WorkerChoice:
    """Return how the worker is chosen.

    Args:
        access: the room.
        worker: an id, a name, or one of the room's list; None: the one that the session string names, if there is one.
        auto_select: without a worker: take the best one; otherwise only one that there is no choice about.

    Raises:
        RtcError: USAGE: that is no worker.
    """
    if isinstance(worker, WorkerPresent):
        return WorkerCalled(worker.peer)
    check_texts(worker=worker)
    if worker is not None:
        return WorkerCalled(worker)
    if not isinstance(access.target.choice, AskPerson):
        return access.target.choice
    return BestWorker() if auto_select else AskPerson(take_only=True)


def check_give_up_after(seconds: float | None) -> float | None:
    """Return the seconds of silence after which a job is ended; None for a time that is never over.

    Raises:
        RtcError: USAGE: it is no number of seconds of 1 or more.
    """
    checked = seconds_of("give_up_after", seconds)
    if checked is not None and checked < 1:
        raise usage_error(f"give_up_after=… is a number of seconds of 1 or more, and not {checked:g}.")
    return checked if checked is not None and checked <= SECONDS_MAX else None


def check_wait(wait: float | bool | None) -> float | None:
    """Return the seconds to wait in the room's queue: True is without limit, False and None are not at all.

    Raises:
        RtcError: USAGE: it is no number of seconds.
    """
    if isinstance(wait, bool):
        return math.inf if wait else None
    return seconds_of("wait", wait) or None
