"""Says before labels are sent if a model cannot learn from them, which sleap-nn says only on the worker.

The rules are those of sleap-nn 0.3.5: `_setup_head_config` and `_validate_single_instance_labels` in
`training/model_trainer.py`, which come after ten seconds; an unknown anchor of a centroid ends the training after its
last epoch, and a second skeleton of another size ends it at its first step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from protocol.faults import FaultCode
from rtc.client.package_builder.contents import InspectedLabels
from rtc.client.package_builder.frames_read import POINTS_ONLY
from rtc.client.package_builder.slp_files import LabelledAnimals
from rtc.client.package_builder.training_config import TrainingConfig
from rtc.common.errors import RtcError
from rtc.packages.hydra_overrides import Override
from rtc.packages.setting_checks import with_overrides
from rtc.packages.setting_paths import get_setting

_NODES_SHOWN = 12
"""Maximum number of parts of an animal that one sentence names."""
_HEADS_KEY, _LEGACY_HEADS_KEY = "model_config.head_configs", "model.heads"
_CLASSES = ("class_maps", "class_vectors")
"""The sections of a head that learn identities, which are tracks of the labels."""


def check_models_fit(
    configs: Sequence[TrainingConfig],
    overrides: Sequence[Override],
    labels: InspectedLabels,
    report: Callable[[str], None],
) -> None:
    """Check that models can learn from labels.

    Args:
        configs: one configuration for each model.
        overrides: they apply to every model.
        labels: the labels to train on; nothing is checked if no sleap-io is installed here to read them.
        report: called with a sentence about what sleap-nn would learn wrongly without a word.

    Raises:
        RtcError: USAGE: one of them cannot.
    """
    animals = labels.project.animals if labels.project is not None else None
    if animals is None:
        return
    for config in configs:
        tree = config.tree if config.legacy else with_overrides(config.tree, overrides)
        heads = get_setting(tree, _LEGACY_HEADS_KEY if config.legacy else _HEADS_KEY)
        head = _section(heads, config.head)
        for text in _problems(config, head, animals, labels.path.name):
            raise RtcError(FaultCode.USAGE, f"{config.path.name}: {text}")
    other = next((nodes for nodes in animals.used_nodes if nodes != animals.nodes), None)
    if animals.nodes and other is not None and any(config.head in POINTS_ONLY for config in configs):
        report(
            f"{labels.path.name} has several skeletons. sleap-nn takes the parts {_named(other)} of some animals for "
            f"{_named(animals.nodes)}, in this order"
        )


def _problems(config: TrainingConfig, head: Mapping[str, Any], animals: LabelledAnimals, labels: str) -> Iterator[str]:
    """Yield a sentence about each thing in the labels that a model needs and does not find.

    Args:
        config: the configuration of the model.
        head: the settings of its head; in the form of SLEAP 1.4 and older, some are one level higher.
        animals: what is labelled.
        labels: the name of the labels.
    """
    if config.head == "single_instance" and animals.max_animals > 1:
        yield (
            f"a single_instance model learns from frames with one animal, but frame {animals.frame} of video "
            f"{animals.video} in {labels} (both counted from 0) has {animals.max_animals}. Remove the others in SLEAP, "
            "or train top-down or bottom-up models."
        )
    unequal = next((nodes for nodes in animals.used_nodes if len(nodes) != len(animals.nodes)), None)
    if animals.nodes and unequal is not None and config.head in POINTS_ONLY:
        yield (
            f"{labels} has several skeletons. sleap-nn takes the first one, with {_named(animals.nodes)}, but some "
            f"animals are labelled with {_named(unequal)}. Leave only one skeleton in SLEAP."
        )
    for name, section in ((config.head, head), *head.items()):
        if isinstance(section, dict):
            yield from _unknown_parts(section, animals, labels)
        if name == "pafs" and animals.nodes and not animals.edges and _section(head, name).get("edges") is None:
            yield (
                f"a bottom-up model learns how the parts of an animal are connected, but the skeleton in {labels} has "
                "no edges. Add them in SLEAP, or train top-down models."
            )
    if (
        config.head.startswith("multi_class")
        and not animals.tracks
        and not any(_section(head, name).get("classes") for name in _CLASSES)
    ):
        yield (
            f"{config.head} learns which animal is which from the tracks, but {labels} has none. Give each animal its "
            "track in SLEAP, or train a model without identities."
        )


def _unknown_parts(section: Mapping[str, Any], animals: LabelledAnimals, labels: str) -> Iterator[str]:
    """Yield a sentence about each part of the animal that the settings of a head name and the labels do not have."""
    nodes = _named(animals.nodes)
    anchor, parts, edges = (section.get(name) for name in ("anchor_part", "part_names", "edges"))
    if not animals.nodes:
        return
    if isinstance(anchor, str) and anchor not in animals.nodes:
        yield f"anchor_part is {anchor!r}, but the parts in {labels} are {nodes}. Name one of them, or write null."
    if isinstance(parts, list) and parts != list(animals.nodes):
        yield (
            f"part_names has to name all parts in {labels}, in their order: {nodes}. Write null in its place, then "
            "sleap-nn takes them from the labels."
        )
    named = [part for edge in edges if isinstance(edge, list) for part in edge] if isinstance(edges, list) else []
    for part in named:
        if part not in animals.nodes:
            yield (
                f"edges names {part!r}, but the parts in {labels} are {nodes}. Write null in its place, then sleap-nn "
                "takes the edges from the labels."
            )


def _named(nodes: Sequence[str]) -> str:
    """Return the names of parts of an animal for a sentence."""
    return ", ".join(nodes[:_NODES_SHOWN]) + (", …" if len(nodes) > _NODES_SHOWN else "")


def _section(tree: Any, name: str) -> Mapping[str, Any]:
    """Return the mapping of this name in another; an empty one where there is none."""
    section = tree.get(name) if isinstance(tree, Mapping) else None
    return section if isinstance(section, Mapping) else {}
