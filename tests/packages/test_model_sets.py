"""Which models are refused together, and what is said about those that sleap-nn takes."""

import zipfile

import pytest
import yaml

from rtc.common.errors import RtcError
from rtc.packages.model_sets import TrainedModel, check_models_together, known_head, trained_model
from rtc.packages.plan import inspect_package
from rtc.testing.stand_in import make_inference_package, make_package


def check(*heads, on_labels=False, **more):
    return check_models_together([TrainedModel(f"m-{head}", head) for head in heads], "x", on_labels=on_labels, **more)


@pytest.mark.parametrize(
    "heads",
    [
        *[(head,) for head in ("single_instance", "bottomup", "multi_class_bottomup", "bottomup_segmentation")],
        *[(head,) for head in ("semantic_segmentation", "bbox_centernet", "bbox_ssd", "centroid")],
        ("centroid", "centered_instance"),
        ("centered_instance", "centroid"),
        ("centroid", "multi_class_topdown"),
        ("centroid", "centered_instance_segmentation"),
        ("bbox_ssd", "centered_instance"),
        ("bbox_centernet", "multi_class_topdown"),
        ("centroid", "centered_instance", "embedding"),
        ("bottomup", "embedding"),
        ("a head of tomorrow", ""),
        (),
    ],
)
def test_models_that_belong_together_pass_without_a_word(heads):
    assert check(*map(known_head, heads)) == ()


@pytest.mark.parametrize(
    "heads",
    [
        ("single_instance", "centroid"),
        ("centroid", "centroid"),
        ("bottomup", "centered_instance"),
        ("bottomup", "multi_class_bottomup"),
        ("centroid", "centered_instance", "multi_class_topdown"),
        ("centroid", "bbox_ssd"),
        ("bbox_centernet", "bbox_ssd"),
        ("bbox_ssd", "centroid", "centered_instance"),
        ("single_instance", "bbox_ssd"),
        ("centroid", "bottomup_segmentation"),
    ],
)
@pytest.mark.parametrize("on_labels", [False, True])
def test_models_that_do_not_are_refused_by_name(heads, on_labels):
    with pytest.raises(RtcError) as caught:
        check(*heads, on_labels=on_labels)
    assert sum(f"m-{head}" in caught.value.fault.text for head in heads) >= min(2, len(set(heads)))


@pytest.mark.parametrize("head", ["centered_instance", "multi_class_topdown", "centered_instance_segmentation"])
def test_half_of_a_pair_needs_labels(head):
    with pytest.raises(RtcError, match="is half of a pair"):
        check(head)
    (note,) = check(head, on_labels=True)
    assert "only on animals that are labelled" in note


def test_an_embedding_alone_needs_animals():
    with pytest.raises(RtcError, match="animals that were found before"):
        check("embedding")
    assert check("embedding", on_labels=True) == ()


def test_a_person_who_names_a_centroid_model_alone_is_told_what_it_finds():
    (note,) = check("centroid", are_chosen=True)
    assert "one point for each animal" in note


def test_a_model_of_boxes_needs_a_detector():
    boxes = TrainedModel("crops", "centered_instance", crops_boxes=True)
    with pytest.raises(RtcError, match="bbox model"):
        check_models_together([TrainedModel("c", "centroid"), boxes], "x", on_labels=True)
    assert check_models_together([TrainedModel("d", "bbox_ssd"), boxes], "x", on_labels=False) == ()


def test_models_of_different_animals_are_noticed():
    models = [TrainedModel("a", "centroid", ("head", "tail")), TrainedModel("b", "centered_instance", ("tail", "head"))]
    assert check_models_together(models, "x", on_labels=False) == ()
    models[1] = TrainedModel("b", "centered_instance", ("nose",))
    (note,) = check_models_together(models, "x", on_labels=False)
    assert "other parts" in note


def test_what_a_configuration_says_is_read_whatever_it_is():
    tree = {
        "data_config": {
            "preprocessing": {"crop_mode": "bbox"},
            "skeletons": [{"nodes": [{"name": "head"}, {"name": 5}, "tail", None]}],
        },
        "model_config": {"head_configs": {"centered_instance": {}, "centroid": None}},
    }
    assert trained_model("m", tree) == TrainedModel("m", "centered_instance", ("head", "tail"), crops_boxes=True)
    assert trained_model("m", {"model": {"heads": {"multi_instance": {}}}}).head == "bottomup"
    for odd in (None, [], 5, {"model_config": []}, {"model_config": {"head_configs": {1: 1}}}, {"data_config": 1}):
        assert trained_model("m", odd) == TrainedModel("m")


def test_the_models_of_a_package_are_checked(tmp_path):
    for models in (("centered_instance",), ("single_instance", "centroid")):
        with pytest.raises(RtcError, match=r"half of a pair|do not belong together"):
            inspect_package(make_inference_package(tmp_path / "p.zip", models))
    assert inspect_package(make_inference_package(tmp_path / "p.zip", ("centroid", "centered_instance"))).warnings == ()
    # what is trained is trained; a prediction that cannot be made with it is left out
    plan = inspect_package(make_package(tmp_path / "t.zip", ("bottomup", "centroid"), predict=True))
    assert (len(plan.steps), plan.predictions) == (2, ())
    assert "do not belong together" in plan.warnings[0]


def test_two_folders_of_one_kind_in_a_package_are_refused(tmp_path):
    package = make_inference_package(tmp_path / "p.zip", ("centroid",))
    with zipfile.ZipFile(package, "a") as archive:
        (folder,) = {name.rpartition("/")[0] for name in archive.namelist() if name.startswith("models/")}
        for name in ("training_config.yaml", "best.ckpt"):
            archive.writestr(f"models/other/{name}", archive.read(f"{folder}/{name}"))
        jobs = yaml.safe_load(archive.read("jobs.yaml"))
        files = {name: archive.read(name) for name in archive.namelist() if name != "jobs.yaml"}
    jobs["inference"][0]["models"].append("models/other")
    with zipfile.ZipFile(package, "w") as archive:
        for name, data in (files | {"jobs.yaml": yaml.safe_dump(jobs).encode()}).items():
            archive.writestr(name, data)
    with pytest.raises(RtcError, match="are both centroid models"):
        inspect_package(package)
