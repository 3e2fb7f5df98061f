"""What a model needs of its labels, and does not find there, is said before anything is packed."""

from pathlib import Path

import pytest

from protocol.faults import FaultCode
from rtc.client.package_builder.contents import InspectedLabels
from rtc.client.package_builder.models_fit import check_models_fit
from rtc.client.package_builder.slp_files import LabelledAnimals, Project
from rtc.client.package_builder.training_config import TrainingConfig
from rtc.common.errors import RtcError
from rtc.packages.hydra_overrides import FROM_COMMAND_LINE, read_overrides

NODES = ("nose", "thorax", "tail")


def check(head, settings, overrides=(), legacy=False, **labelled):
    animals = LabelledAnimals(
        **(
            {"nodes": NODES, "edges": 2, "used_nodes": (NODES,), "tracks": 0, "max_animals": 1, "video": 0, "frame": 0}
            | labelled
        )
    )
    tree = {"model": {"heads": {head: settings}}} if legacy else {"model_config": {"head_configs": {head: settings}}}
    config = TrainingConfig(Path("mine.yaml"), head, tree, legacy)
    said = []
    read = read_overrides(overrides, FROM_COMMAND_LINE)
    check_models_fit([config], read, InspectedLabels(Path("flies.slp"), Project(3, (), animals=animals)), said.append)
    return said


CONFMAPS = {"part_names": None, "anchor_part": None, "sigma": 2.5}
MAPS = {"confmaps": {}, "class_maps": {"classes": None}}
PAFS = {"confmaps": {}, "pafs": {"edges": None}}


@pytest.mark.parametrize(
    ("arguments", "labelled"),
    [
        (("single_instance", {"confmaps": CONFMAPS}), {}),
        (("single_instance", {"confmaps": {"part_names": list(NODES)}}), {}),
        (("centered_instance", {"confmaps": {"anchor_part": "thorax"}}), {"max_animals": 4}),
        (("centroid", {"confmaps": {}}), {"nodes": (), "edges": 0, "max_animals": 2}),
        (("bottomup", PAFS), {"max_animals": 2}),
        (("bottomup", {"pafs": {"edges": [["nose", "tail"]]}}), {"edges": 0}),
        (("multi_class_bottomup", MAPS), {"tracks": 2, "edges": 0}),
        (("multi_class_topdown", {"class_vectors": {"classes": ["a", "b"]}}), {}),
        (("centered_instance", {"anchor_part": "nose"}, (), True), {}),
        (("centroid", {"confmaps": "text"}), {}),
        (("bottomup", {"pafs": {"edges": "all"}}), {}),
        (("centroid", None), {}),
        (("centroid", {}), {"used_nodes": (("nose",),)}),
    ],
)
def test_a_model_that_fits_is_packed(arguments, labelled):
    assert check(*arguments, **labelled) == []


THORAX = "model_config.head_configs.centroid.confmaps.anchor_part=throax"


@pytest.mark.parametrize(
    ("arguments", "labelled", "expected"),
    [
        (("centered_instance", {"confmaps": {"anchor_part": "throax"}}), {}, "anchor_part is 'throax', but the parts"),
        (("centroid", {"confmaps": {"anchor_part": "throax"}}), {}, "are nose, thorax, tail. Name one of them"),
        (("centroid", {"confmaps": {}}, (THORAX,)), {}, "anchor_part is 'throax'"),
        (("centroid", {"anchor_part": "throax"}, (), True), {}, "anchor_part is 'throax'"),
        (("single_instance", {"confmaps": {"part_names": ["nose", "tail"]}}), {}, "part_names has to name all parts"),
        (("single_instance", {"confmaps": {"part_names": ["tail", "thorax", "nose"]}}), {}, "in their order: nose, "),
        (("bottomup", {"pafs": {"edges": [["nose", "leg"]]}}), {}, "edges names 'leg'"),
        (("bottomup", PAFS), {"edges": 0}, "the skeleton in flies.slp has no edges"),
        (("multi_class_bottomup", MAPS), {}, "from the tracks, but flies.slp has none"),
        (("multi_class_topdown", {"class_vectors": {}}), {}, "from the tracks, but flies.slp has none"),
        (("bottomup", {}), {"used_nodes": (("a", "b"),)}, "are labelled with a, b. Leave only one skeleton"),
        (
            ("single_instance", {}),
            {"max_animals": 3, "video": 1, "frame": 42},
            "frame 42 of video 1 in flies.slp (both ",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_what_to_change(arguments, labelled, expected):
    with pytest.raises(RtcError) as caught:
        check(*arguments, **labelled)
    assert caught.value.fault.code is FaultCode.USAGE
    assert caught.value.fault.text.startswith("mine.yaml: ")
    assert expected in caught.value.fault.text


def test_an_override_may_mend_a_configuration():
    mended = THORAX.replace("throax", "thorax")
    check("centroid", {"confmaps": {"anchor_part": "throax"}}, (mended,))


def test_parts_that_sleap_nn_takes_for_others_are_said():
    (said,) = check("bottomup", {}, used_nodes=(NODES, NODES[::-1]))
    assert said.endswith("takes the parts tail, thorax, nose of some animals for nose, thorax, tail, in this order")


def test_many_parts_are_not_all_named():
    nodes = tuple(f"leg {number}" for number in range(40))
    with pytest.raises(RtcError) as caught:
        check("centroid", {"confmaps": {"anchor_part": "thorax"}}, nodes=nodes)
    assert "leg 11, …. Name" in caught.value.fault.text


def test_labels_that_cannot_be_opened_here_are_packed():
    config = TrainingConfig(Path("mine.yaml"), "multi_class_bottomup", {}, False)
    check_models_fit([config], (), InspectedLabels(Path("flies.pkg.slp"), None), print)
