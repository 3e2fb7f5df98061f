"""What a package leaves to sleap-nn: to write the training configurations of its labels (`sleap-nn config --auto`).

A package of this kind has `jobs.yaml` with a `configure` in place of models to train:

    configure: {labels: bugs.pkg.slp, pipeline: null, run_path: "models/251128_120000.{head}.n=16", named: bugs.slp}
"""

import re
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from protocol.fields import is_printable
from protocol.jobs import OVERRIDES_MAX
from rtc.packages.foreign_errors import bad_package
from rtc.packages.hydra_overrides import FROM_JOBS_YAML, Override, read_overrides

CONFIGURE_KEY = "configure"
"""The key in jobs.yaml."""
PIPELINES = (
    "single_instance",
    "centroid",
    "bottomup",
    "topdown",
    "multi_class_bottomup",
    "multi_class_topdown",
    "bbox_centernet",
    "bbox_ssd",
    "topdown_bbox_centernet",
    "topdown_bbox_ssd",
)
"""What `sleap-nn config --pipeline` takes (sleap-nn 0.3.5). An older sleap-nn of a worker takes fewer, and says so."""
HEAD = "{head}"
"""In `run_path`: the head of the model, such as `centroid`, which is not known before."""
_PIPELINE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NAMED_MAX = 4096
"""Characters of the path of the labels on the client: PATH_MAX of Linux."""


@frozen
class ConfigRequest:
    """The request that sleap-nn writes the training configurations, checked but for the package's files."""

    labels: str
    """Path of the labels in the package."""
    pipeline: str | None = None
    """The pipeline that the person named; None: sleap-nn chooses."""
    run_path: str = f"models/{HEAD}"
    """The run folder of each model, with `HEAD` in it."""
    named: str = ""
    """The path of the labels as the person named them, for the configurations that come home; empty: `labels`."""
    train: bool = True
    """Train with the configurations; False: only send them home."""
    overrides: tuple[Override, ...] = field(default=())
    """Settings changed for this run, for every model."""

    def run_of(self, head: str) -> str:
        """Return the run folder of the model with this head."""
        return self.run_path.replace(HEAD, head)


def read_config_request(tree: Any) -> ConfigRequest | None:
    """Return the request in a parsed jobs.yaml; None when there is none.

    Raises:
        RtcError: BAD_PACKAGE: it is not understood, or stands beside models to train or data to predict on.
    """
    request = tree.get(CONFIGURE_KEY) if isinstance(tree, dict) else None
    if request is None:
        return None
    if tree.get("training") or tree.get("inference"):
        raise bad_package("The package's jobs.yaml names models and has them written by sleap-nn, too. Build it again.")
    if not isinstance(request, dict) or not isinstance(request.get("labels"), str):
        raise bad_package("The package's jobs.yaml has configurations written for no labels. Build it again.")
    pipeline, overrides = request.get("pipeline"), request.get("overrides") or []
    if pipeline is not None and not (isinstance(pipeline, str) and _PIPELINE.fullmatch(pipeline)):
        raise bad_package("The package's jobs.yaml names a pipeline that sleap-nn cannot have. Build it again.")
    if not isinstance(overrides, list) or len(overrides) > OVERRIDES_MAX or not all(map(_is_text, overrides)):
        raise bad_package("The package's jobs.yaml lists overrides in a way that is not understood. Build it again.")
    return ConfigRequest(
        request["labels"],
        pipeline,
        _text(request, "run_path") or f"models/{HEAD}",
        _text(request, "named"),
        train=request.get("train") is not False,
        overrides=read_overrides(overrides, FROM_JOBS_YAML),
    )


def _text(request: Mapping[str, Any], key: str) -> str:
    """Return the text under a key; empty when there is none that can be shown on one line."""
    value = request.get(key)
    return value if isinstance(value, str) and len(value) <= _NAMED_MAX and is_printable(value) else ""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def request_tree(request: ConfigRequest, overrides: list[str]) -> dict[str, Any]:
    """Return the content of a jobs.yaml with the request.

    Args:
        request: the request; its own overrides are left out.
        overrides: the overrides as the person typed them.
    """
    entry: dict[str, Any] = {
        "labels": request.labels,
        "pipeline": request.pipeline,
        "run_path": request.run_path,
        "named": request.named,
        "train": request.train,
    }
    return {"training": [], "inference": [], CONFIGURE_KEY: entry | ({"overrides": overrides} if overrides else {})}
