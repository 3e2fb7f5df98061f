"""The text files of a package that leaves the training configurations to sleap-nn on the worker."""

import difflib
import shlex
from datetime import datetime
from pathlib import Path

from protocol.faults import FaultCode
from protocol.fields import is_printable
from rtc.client.package_builder.contents import InspectedLabels
from rtc.common.errors import RtcError
from rtc.packages.config_request import HEAD, PIPELINES, ConfigRequest, request_tree
from rtc.packages.safe_yaml import yaml_text

NEED_EDGES = ("bottomup",)
"""Pipelines whose models learn the edges of the skeleton (part affinity fields)."""
NEED_TRACKS = ("multi_class_bottomup", "multi_class_topdown")
"""Pipelines whose models learn which animal is which."""
WITHOUT_EDGES = "{} needs edges in the skeleton, and {} has none. --pipeline topdown needs none."
WITHOUT_TRACKS = (
    "{} needs tracks, which say which animal is which, and {} has none. Leave --pipeline out, or give the animals "
    "tracks in SLEAP."
)
_SCRIPT_HEAD = "#!/bin/bash\n"


def check_pipeline(pipeline: str | None, *, has_configs: bool) -> None:
    """Check what a person has said about the pipeline.

    Raises:
        RtcError: USAGE: sleap-nn has no such pipeline, or the configurations are there already.
    """
    if pipeline is None:
        return
    if has_configs:
        text = (
            "--pipeline says what sleap-nn is to write a configuration for, and --config brings one that is written "
            "already. Leave one of them out."
        )
        raise RtcError(FaultCode.USAGE, text)
    if pipeline not in PIPELINES:
        known = ", ".join(PIPELINES)
        near = difflib.get_close_matches(pipeline[:64].lower(), PIPELINES, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        text = f"sleap-nn writes no configuration for the pipeline {pipeline[:64]!r}.{meant} Choose one of: {known}."
        raise RtcError(FaultCode.USAGE, text)


def check_labels_fit(labels: InspectedLabels, pipeline: str | None) -> None:
    """Check that models of a pipeline can be trained on labels, as far as the contents are known.

    Raises:
        RtcError: USAGE: they have no edges or no tracks, and the pipeline needs them.
    """
    if labels.project is None or pipeline is None:
        return
    name = labels.path.name
    if pipeline in NEED_EDGES and labels.project.edges == 0:
        raise RtcError(FaultCode.USAGE, WITHOUT_EDGES.format(pipeline, name))
    if pipeline in NEED_TRACKS and labels.project.tracks == 0:
        raise RtcError(FaultCode.USAGE, WITHOUT_TRACKS.format(pipeline, name))


def configure_texts(
    labels: Path, packed: str, frames: int | None, pipeline: str | None, overrides: list[str], *, train: bool = True
) -> dict[str, str]:
    """Return the text files of the package by name.

    Args:
        labels: the labels as the person named them.
        packed: the name of the labels in the package.
        frames: number of frames that a person has labelled; None: not known.
        pipeline: what sleap-nn is to write configurations for; None: it chooses.
        overrides: Hydra overrides, which apply to every model.
        train: train with the configurations; False: only send them home.
    """
    stamp = datetime.now().strftime("%y%m%d_%H%M%S")
    count = "" if frames is None else f".n={frames}"
    named = str(labels) if is_printable(str(labels)) else packed
    request = ConfigRequest(packed, pipeline, f"models/{stamp}.{HEAD}{count}", named, train=train)
    return {
        "jobs.yaml": yaml_text(request_tree(request, overrides)),
        "train-script.sh": _script(request, overrides),
        "inference-script.sh": _SCRIPT_HEAD,
    }


def _script(request: ConfigRequest, overrides: list[str]) -> str:
    """Return what a person would type to run the package by hand."""
    chosen = ["--pipeline", request.pipeline] if request.pipeline is not None else []
    script = _SCRIPT_HEAD + shlex.join(["sleap-nn", "config", request.labels, "--auto", "-o", "config.yaml", *chosen])
    if request.train:
        settings = shlex.join(overrides)
        script += f'\nfor config in config*.yaml; do sleap-nn train --config "$config" {settings}; done'
    return f"{script}\n"
