"""Which trained models make a prediction together, by the heads in their configurations (sleap-nn 0.3.5, `loaders.py`).

sleap-nn takes the first model that it knows what to do with, and silently leaves out others that are named beside it,
or it ends with an error after it has loaded everything. Here such models are refused, before anything is sent.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from rtc.common.errors import RtcError
from rtc.packages.file_names import base_name
from rtc.packages.foreign_errors import bad_package
from rtc.packages.setting_paths import get_setting

_WHOLE_IMAGE = frozenset(
    {"single_instance", "bottomup", "multi_class_bottomup", "bottomup_segmentation", "semantic_segmentation"}
)
"""Heads of models that predict by themselves, on whole images."""
_DETECTORS = frozenset({"bbox_centernet", "bbox_ssd"})
"""Heads of models that find a box for each animal."""
_CROPPED = frozenset({"centered_instance", "multi_class_topdown", "centered_instance_segmentation"})
"""Heads of models that predict on a crop around one animal, which another model has found."""
_CENTROID = "centroid"
_EMBEDDING = "embedding"
_LEGACY_HEADS = {"multi_instance": "bottomup"}
"""Heads of SLEAP 1.4 and older that have another name today."""


@frozen
class TrainedModel:
    """What a model's configuration says about how it is used; empty where it says nothing."""

    name: str
    """The name of its folder."""
    head: str = ""
    parts: tuple[str, ...] = ()
    """The names of the animal's parts, in order."""
    crops_boxes: bool = False
    """It was trained on crops of boxes, which only a detector finds (`crop_mode`)."""

    def __str__(self) -> str:
        return f"{base_name(self.name)} ({self.head})" if self.head not in self.name else base_name(self.name)


def trained_model(name: str, tree: Any) -> TrainedModel:
    """Return what the parsed configuration of a model says; `name` is that of its folder."""
    heads = get_setting(tree, "model_config.head_configs") or get_setting(tree, "model.heads")
    filled = [key for key, head in heads.items() if head is not None] if isinstance(heads, dict) else []
    head = filled[0] if len(filled) == 1 and isinstance(filled[0], str) else ""
    return TrainedModel(
        name,
        known_head(head),
        tuple(_parts(tree)),
        get_setting(tree, "data_config.preprocessing.crop_mode") == "bbox",
    )


def known_head(head: str) -> str:
    """Return the name that sleap-nn gives a head today; empty if it is none that is known here."""
    known = {*_WHOLE_IMAGE, *_DETECTORS, *_CROPPED, _CENTROID, _EMBEDDING}
    head = _LEGACY_HEADS.get(head, head)
    return head if head in known else ""


def check_models_together(
    models: Iterable[TrainedModel], data: str, *, on_labels: bool, are_chosen: bool = False
) -> tuple[str, ...]:
    """Check that sleap-nn uses each of the models, and return sentences about what it will do.

    Args:
        models: those of one prediction. One whose head is unknown is taken to fit: a newer sleap-nn may know it.
        data: the name of the data, for the sentences.
        on_labels: the data are labels, which may have animals in them already, and not a video.
        are_chosen: a person has named each model, and may have forgotten one that sleap-nn does not need.

    Raises:
        RtcError: BAD_PACKAGE: they do not belong together, or one that they need is missing.
    """
    models = tuple(models)
    if any(not model.head for model in models):
        return ()
    by_head: dict[str, TrainedModel] = {}
    for model in models:
        if model.head in by_head:
            raise _refusal(by_head[model.head], model, f"are both {model.head} models. Give one of them")
        by_head[model.head] = model
    heads = frozenset(by_head)
    _check_first_stage(by_head)
    for alone in sorted(heads & _WHOLE_IMAGE):
        for other in sorted(heads - {alone, _EMBEDDING}):
            text = f"do not belong together: a {alone} model predicts by itself. Give one of them"
            raise _refusal(by_head[alone], by_head[other], text)
    crops = sorted(heads & _CROPPED)
    if len(crops) > 1:
        text = "both predict on crops of one animal, and sleap-nn would leave one of them out. Give one of them"
        raise _refusal(by_head[crops[0]], by_head[crops[1]], text)
    if crops and not heads & {_CENTROID, *_DETECTORS} and not on_labels:
        raise bad_package(_half_pair(by_head[crops[0]], data))
    if heads == {_EMBEDDING} and not on_labels:
        text = f"The model {by_head[_EMBEDDING]} needs animals that were found before. Give labels with predictions."
        raise bad_package(text)
    return tuple(_notes(by_head, crops, data, on_labels=on_labels, are_chosen=are_chosen))


def _check_first_stage(by_head: Mapping[str, TrainedModel]) -> None:
    """Check that at most one model finds the animals, and that it finds what the other model was trained on.

    Raises:
        RtcError: BAD_PACKAGE: there are two, or boxes are needed.
    """
    first = [by_head[head] for head in sorted({_CENTROID, *_DETECTORS} & set(by_head))]
    if len(first) > 1:
        raise _refusal(first[0], first[1], "both find the animals. Give one of them")
    for head in _CROPPED & set(by_head):
        if by_head[head].crops_boxes and _CENTROID in by_head:
            text = "do not belong together: the second was trained on boxes. Give it a bbox model, not a centroid model"
            raise _refusal(by_head[_CENTROID], by_head[head], text)


def _refusal(one: TrainedModel, other: TrainedModel, text: str) -> RtcError:
    return bad_package(f"The models {one} and {other} {text}.")


def _half_pair(model: TrainedModel, data: str) -> str:
    first = "bbox" if model.crops_boxes else _CENTROID
    return (
        f"The model {model} is half of a pair: it needs a {first} model, which finds the animals in {data}. "
        f"Give both, or labels in which the animals are marked."
    )


def _notes(
    by_head: Mapping[str, TrainedModel], crops: list[str], data: str, *, on_labels: bool, are_chosen: bool
) -> Iterator[str]:
    """Yield sentences about models that sleap-nn takes, and that may not do what was meant."""
    if crops and len(by_head) == 1 and on_labels:
        yield (
            f"The model {by_head[crops[0]]} is half of a pair: without a centroid model it predicts only on animals "
            f"that are labelled in {data} already."
        )
    if set(by_head) == {_CENTROID} and are_chosen:
        yield (
            f"The model {by_head[_CENTROID]} is half of a pair: alone it finds one point for each animal. "
            "Add the centered_instance model to find its parts."
        )
    named = [model for model in by_head.values() if model.parts]
    for other in named[1:]:
        if set(other.parts) != set(named[0].parts):
            yield (
                f"The models {named[0]} and {other} were trained on other parts of the animal. "
                "Are they of the same project?"
            )


def _parts(tree: Any) -> Iterator[str]:
    """Yield the names of the parts in the first skeleton of a configuration of sleap-nn."""
    skeletons = get_setting(tree, "data_config.skeletons")
    nodes = (
        skeletons[0].get("nodes")
        if isinstance(skeletons, list) and skeletons and isinstance(skeletons[0], dict)
        else ()
    )
    for node in nodes if isinstance(nodes, list) else ():
        name = node.get("name") if isinstance(node, dict) else node
        if isinstance(name, str):
            yield name
