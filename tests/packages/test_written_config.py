"""What sleap-nn has written for labels is checked as any configuration, and written anew for two uses."""

import pytest
import yaml

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.safe_yaml import safe_yaml, yaml_text
from rtc.packages.sources import TEXT_MAX
from rtc.packages.written_config import WRITTEN_MAX, read_written_configs


def config(head="bottomup", **changes):
    return {
        "data_config": {"train_labels_path": ["/srv/worker/jobs/1/x.pkg.slp"]},
        "model_config": {"head_configs": {head: {"pafs": {"edges": [["a", "b"]]}}, "other": None}},
        "trainer_config": {"optimizer": {"lr": 0.0001}, "ckpt_dir": "./models", "run_name": None},
    } | changes


@pytest.fixture
def read(tmp_path):
    """Write configurations as sleap-nn would, and return what is made of them."""

    def read(**trees):
        for name, tree in trees.items():
            (tmp_path / f"{name}.yaml").write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
        return read_written_configs(tmp_path, "x.pkg.slp", "my project/x.slp")

    return read


def test_the_training_gets_the_labels_of_the_package_and_the_person_theirs(read):
    [written] = read(a=config())
    assert (written.head, written.name) == ("bottomup", "bottomup.yaml")
    for text, labels in ((written.text, "x.pkg.slp"), (written.home_text, "my project/x.slp")):
        tree = config(data_config={"train_labels_path": [labels]})
        tree["trainer_config"]["ckpt_dir"] = "models"
        assert safe_yaml("it", text) == tree
        assert "/srv" not in text


def test_the_persons_text_is_easy_to_read_where_all_readers_agree_on_it(read):
    [written] = read(a=config())
    assert "\ndata_config:\n  train_labels_path:\n  - my project/x.slp\n" in written.home_text
    assert "sleap-rtc train LABELS --config FILE" in written.home_text.splitlines()[1]
    [written] = read(a=yaml_text(config(name="1e3")))  # without quotes a number for sleap-nn, a text for PyYAML
    assert safe_yaml("it", written.home_text)["name"] == "1e3"


@pytest.mark.parametrize("first", ["centroid", "bbox_ssd"])
def test_the_model_that_finds_the_animals_is_trained_first(read, first):
    assert [one.head for one in read(a=config("centered_instance"), b=config(first))] == [first, "centered_instance"]


@pytest.mark.parametrize(
    ("tree", "code", "expected"),
    [
        (config(trainer_config={"resume_ckpt_path": "/etc/x.ckpt"}), FaultCode.BAD_PACKAGE, "outside the package"),
        (config(x="${oc.env:HOME}"), FaultCode.BAD_PACKAGE, "environment"),
        ("a: [", FaultCode.BAD_PACKAGE, "no valid YAML"),
        ("", FaultCode.BAD_PACKAGE, r"^What sleap-nn wrote .* no training configuration\. Give .* with --config\.$"),
        ("#" * (TEXT_MAX + 1), FaultCode.JOB_FAILED, "too large"),
        (config(model_config={"head_configs": {"a": {}, "b": {}}}), FaultCode.JOB_FAILED, "not of one model"),
        (
            config(model_config={"head_configs": {"bottomup": {"pafs": {"edges": []}}}}),
            FaultCode.JOB_FAILED,
            "no edges, and bottomup needs some",
        ),
    ],
)
def test_what_no_training_may_have_is_refused(read, tree, code, expected):
    with pytest.raises(RtcError, match=expected) as caught:
        read(a=tree)
    assert caught.value.fault.code is code


def test_a_link_in_place_of_a_configuration_is_not_followed(tmp_path, read):
    (tmp_path / "b.yaml").symlink_to("/etc/hostname")
    with pytest.raises(RtcError, match="could not be read"):
        read()


def test_two_configurations_for_one_model_are_refused_as_only_one_could_be_trained(read):
    with pytest.raises(RtcError, match=r"more than one configuration for centroid\.$"):
        read(a=config("centroid"), b=config("centroid"))


def test_more_configurations_than_sleap_nn_writes_are_refused(read):
    with pytest.raises(RtcError, match="more than"):
        read(**{f"c{number}": config() for number in range(WRITTEN_MAX + 1)})
