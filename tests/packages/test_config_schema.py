"""Settings that sleap-nn refuses, by its own schema as data."""

import json
import os
import subprocess
import sys
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

import rtc.packages.config_schema as config_schema
from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.config_schema import SCHEMAS, known_schemas
from rtc.packages.hydra_overrides import FROM_COMMAND_LINE, read_overrides, split_secrets
from rtc.packages.plan import inspect_package
from rtc.packages.setting_checks import check_refused, find_refused
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import make_package

CONFIG = {
    "data_config": {"train_labels_path": ["a.slp"]},
    "model_config": {"backbone_config": {"unet": {}}, "head_configs": {"centroid": {"confmaps": {}}}},
    "trainer_config": {"max_epochs": 5, "lr_scheduler": {"step_lr": {}}},
}
SCHEMA = known_schemas()[0]
ROOT = Path(__file__).parents[2]


def refused(*overrides, tree=CONFIG):
    """Return what the newest schema says about a configuration with overrides."""
    read = read_overrides(overrides, FROM_COMMAND_LINE)
    return find_refused("c.yaml", tree, read, ("a.slp",)).get(SCHEMA.version, ())


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("trainer_config.max_epoch=5", "trainer_config.max_epochs"),
        ("++trainer_config.max_epoch=5", "trainer_config.max_epochs"),
        ("+trainer_config.maxepochs=5", "trainer_config.max_epochs"),
        ("trainer_config.batch_size=8", "trainer_config.train_data_loader.batch_size"),
        ("trainer_config.lr=0.1", "trainer_config.optimizer.lr"),
        ("trainer_config.optimiser.lr=0.1", "trainer_config.optimizer"),
        ("trainer_config.optimizer={lrr:0.1}", "trainer_config.optimizer.lr"),
        ("model_config.head_configs.centriod.confmaps.sigma=2", "model_config.head_configs.centroid"),
        ("data_config.max_epochs=5", "trainer_config.max_epochs"),
    ],
)
def test_a_near_miss_is_suggested(override, meant):
    (text,) = refused(override)
    assert f"is no setting of sleap-nn {SCHEMA.version}; did you mean {meant}" in text


@pytest.mark.parametrize(
    "override",
    [
        "trainer_config.max_epochs=three",
        "trainer_config.max_epochs=5.0",
        "trainer_config.max_epochs=true",
        "trainer_config.max_epochs=1,2",
        "trainer_config.max_epochs=[1]",
        "trainer_config.max_epochs=null",
        "trainer_config.optimizer.lr=abc",
        "trainer_config.optimizer.lr=0",
        "trainer_config.optimizer=Adam",
        "trainer_config.optimizer_name=SGD",
        "trainer_config.use_wandb=maybe",
        "trainer_config.train_data_loader.num_workers=-1",
        "trainer_config.train_data_loader.num_workers=many",
        "data_config.val_labels_path=a.slp",
        "data_config.augmentation_config.geometric.affine_p=1.5",
        "model_config.head_configs.bottomup={}",
        "model_config.head_configs.centroid=null",
        "model_config.backbone_config.unet=null",
        "model_config.backbone_config.swint={model_type:tiny}",
        "trainer_config.nothing_like_that=1",
        "~trainer_config.not_there",
    ],
)
def test_what_sleap_nn_would_refuse_is_refused(override):
    assert len(refused(override)) == 1


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["trainer_config.max_epochs='7'"],
        ["trainer_config.max_epochs=1_000"],
        ["trainer_config.optimizer.lr=1e-5", "trainer_config.optimizer.amsgrad=yes"],
        ["trainer_config.optimizer={lr: 0.1, amsgrad: on}"],
        ["trainer_config.train_data_loader.num_workers=AUTO"],
        ["trainer_config.lr_scheduler=null"],
        ["trainer_config.lr_scheduler.step_lr={}"],
        ["~trainer_config.lr_scheduler"],
        ["trainer_config.seed=null"],
        ["trainer_config.lr_scheduler.reduce_lr_on_plateau.min_lr=[0.1,0.2]"],
        ["data_config.test_file_path=a.slp"],
        ["data_config.test_file_path=[a.slp,'b c.slp']"],
        ["model_config.head_configs.centroid=null", "model_config.head_configs.bottomup={confmaps: {}, pafs: {}}"],
        ["model_config.backbone_config.unet=null", "model_config.backbone_config.convnext.arch={depths: [3, 3]}"],
        ["trainer_config.wandb.name=my run"],
        ["trainer_config.max_epochs=???", "model_config.head_configs.bottomup=???"],
    ],
)
def test_what_sleap_nn_takes_is_taken(overrides):
    assert refused(*overrides) == ()


@pytest.mark.parametrize(
    ("path", "value", "is_taken"),
    [
        (("trainer_config", "train_data_loader", "num_workers"), [], False),
        (("trainer_config", "train_data_loader", "num_workers"), ["auto"], False),
        (("trainer_config", "train_data_loader", "num_workers"), "auto", True),
        (("model_config", "head_configs", "bottomup", "pafs", "edges"), [{}], False),
        (("model_config", "head_configs", "bottomup", "pafs", "edges"), [["a", "b"]], True),
        (("model_config", "head_configs", "bottomup", "pafs", "edges"), [], True),
    ],
)
def test_an_empty_list_is_none_of_several_choices_and_a_mapping_no_list(path, value, is_taken):
    assert SCHEMA.find_problems(tree_with(path, value)) is not is_taken


def test_a_key_of_the_configuration_itself_is_named_with_its_file():
    tree = deepcopy(CONFIG) | {"trainer_config": {"max_epoch": 5}}
    assert refused(tree=tree) == (
        f"c.yaml: trainer_config.max_epoch is no setting of sleap-nn {SCHEMA.version}; "
        "did you mean trainer_config.max_epochs?",
    )
    assert refused("~trainer_config.max_epoch", tree=tree) == ()


def test_what_the_worker_sets_is_not_refused_for_what_it_says():
    ours = {"trainer_devices": "two", "trainer_device_indices": "all", "trainer_accelerator": None, "zmq": 5}
    tree = deepcopy(CONFIG) | {"trainer_config": ours | {"trainer_strategy": [], "save_ckpt": "perhaps"}}
    assert refused(tree=tree | {"data_config": {"train_labels_path": "one text"}}) == ()


def test_of_a_configuration_that_is_converted_later_only_the_overrides_are_checked():
    assert find_refused("old.json", None, read_overrides(["trainer_config.max_epochs=5"], FROM_COMMAND_LINE), ()) == {}
    assert find_refused("old.json", None, read_overrides(["trainer_config.max_epoch=5"], FROM_COMMAND_LINE), ()) != {}


def test_thousands_of_wrong_settings_are_not_all_looked_up():
    tree = deepcopy(CONFIG) | {"trainer_config": {f"max_epoch{number}": 1 for number in range(20_000)}}
    assert len(refused(tree=tree)) == config_schema._PROBLEMS_MAX


def test_a_mapping_is_checked_setting_by_setting_and_hides_nothing():
    (one, two) = read_overrides(["trainer_config.optimizer={lr: 0.1, amsgrad: true}"], FROM_COMMAND_LINE)
    assert (str(one), str(two)) == ("++trainer_config.optimizer.lr=0.1", "++trainer_config.optimizer.amsgrad=true")
    for text in (
        "trainer_config.wandb={prv_runid: /etc/passwd}",
        "model_config.backbone_config={pretrained: {model_name: ../x}}",
    ):
        with pytest.raises(RtcError):
            read_overrides([text], FROM_COMMAND_LINE)
    assert read_overrides(["trainer_config.zmq={publish_port: 5}"], FROM_COMMAND_LINE) == (), "the worker's own"
    assert split_secrets(["trainer_config.wandb={api_key: S, name: x}"]) == (
        ('trainer_config.wandb.name="x"',),
        ("trainer_config.wandb.api_key",),
    )


class TestVersions:
    """Who refuses depends on the versions of the workers that may get the package."""

    refused_by: ClassVar = {SCHEMA.version: ("A is no setting.",)}

    @pytest.mark.parametrize("versions", [(), (SCHEMA.version,), (SCHEMA.version, SCHEMA.version)])
    def test_a_package_that_no_known_worker_takes_is_refused(self, versions):
        with pytest.raises(RtcError) as caught:
            check_refused(self.refused_by, versions)
        assert (caught.value.fault.code, caught.value.fault.text) == (FaultCode.USAGE, "A is no setting.")

    @pytest.mark.parametrize("versions", [("99.0",), ("unknown",), ("99.0", SCHEMA.version)])
    def test_for_an_unknown_version_it_is_only_said(self, versions):
        (text,) = check_refused(self.refused_by, versions)
        assert text.startswith("A is no setting.")

    def test_nothing_is_said_about_what_is_right(self):
        assert check_refused({}, ("99.0",)) == ()

    def test_what_another_version_takes_is_not_refused(self, tmp_path, monkeypatch):
        """A second version, which knows one more setting, is a second file."""
        newer = json.loads((SCHEMAS / f"{SCHEMA.version}.json").read_text()) | {"version": "99.0"}
        newer["sections"]["TrainerConfig"]["settings"]["max_epoch"] = {"kind": "int"}
        for version in (SCHEMA.version, "99.0"):
            text = (SCHEMAS / f"{SCHEMA.version}.json").read_text() if version != "99.0" else json.dumps(newer)
            (tmp_path / f"{version}.json").write_text(text)
        for cached in (config_schema._versions, config_schema._all_keys, config_schema.schema_of_file):
            cached.cache_clear()
        monkeypatch.setattr(config_schema, "SCHEMAS", tmp_path)
        try:
            found = find_refused("c", CONFIG, read_overrides(["trainer_config.max_epoch=5"], FROM_COMMAND_LINE), ("a",))
            assert set(found) == {SCHEMA.version}
            assert check_refused(found, ["99.0"]) == ()
            assert len(check_refused(found)) == len(check_refused(found, ["99.0", SCHEMA.version])) == 1
            with pytest.raises(RtcError):
                check_refused(found, [SCHEMA.version])
            assert "99.0" in {schema.version for schema in known_schemas()}
            assert "1.0" not in {schema.version for schema in known_schemas()}
        finally:
            for cached in (config_schema._versions, config_schema._all_keys, config_schema.schema_of_file):
                cached.cache_clear()


def test_a_package_says_what_is_refused_in_it(tmp_path):
    package = make_package(tmp_path / "p.zip", ("centroid", "centered_instance"))
    assert inspect_package(package).refused_by == {}
    found = inspect_package(package, ["trainer_config.max_epoch=5"]).refused_by
    assert [len(texts) for texts in found.values()] == [1]
    with zipfile.ZipFile(package) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    tree = yaml.safe_load(files["centroid.yaml"]) | {"treiner_config": {}}
    with zipfile.ZipFile(package, "w") as archive:
        for name, data in (files | {"centroid.yaml": yaml.safe_dump(tree).encode()}).items():
            archive.writestr(name, data)
    (text,) = inspect_package(package).refused_by[SCHEMA.version]
    assert text.startswith("centroid.yaml: treiner_config is no setting")


# -------- compared with the sleap-nn that is installed


def run_in_sleap_nn(script, *arguments, stdin=None):
    pytest.importorskip("sleap_nn", reason="sleap-nn is not installed")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "rtc" / "sleap_nn" / "shim")}
    command = [sys.executable, "-P", str(script), *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, text=True, stdout=subprocess.PIPE, env=environment, timeout=10 * HANG_TIME, check=True
    ).stdout


@pytest.mark.long
def test_the_schema_is_what_the_installed_sleap_nn_says(tmp_path):
    run_in_sleap_nn(ROOT / "rtc" / "sleap_nn" / "export_schema.py", tmp_path)
    (made,) = tmp_path.iterdir()
    assert made.read_text() == (SCHEMAS / made.name).read_text()


VALUES = [
    *(None, True, 0, 1, -1, 300, 0.0, 0.5, 1.0, -0.5, 200.0, float("nan"), float("inf"), "", "5", " 7 ", "5.5", "-1"),
    *("true", "Yes", "off", "abc", "auto", "AUTO", "null", "1_0", "1e-3", "nan", "???"),
    *([], [1], [0.5], ["a"], [None], [True], ["1"], [["a", "b"]], {}, {"x": 1}, {"a": {"b": [1]}}, [{}]),
]


def settings_of(schema):
    """Return one path of keys to each setting of each section."""
    found = {}

    def walk(name, path):
        for key, setting in schema.sections[name].settings.items():
            if (name, key) not in found:
                found[name, key] = (setting, (*path, key))
                if setting.kind == "section":
                    walk(setting.section, (*path, key))

    walk(schema.root, ())
    return found.values()


def tree_with(path, value):
    """Return a configuration with another value in one place, and one head and one backbone."""
    tree = deepcopy(CONFIG)
    node = tree
    for part in path[:-1]:
        node = node[part] if isinstance(node.get(part), dict) else node.setdefault(part, {})
        if part in ("head_configs", "backbone_config"):
            node.clear()
    node[path[-1]] = value
    return tree


def values_of(setting):
    choices = [choice for rule in setting.rules for choice in rule.choices or ()]
    bounds = [bound + step for rule in setting.rules for bound in rule.bounds.values() for step in (-1, 0, 0.001, 1)]
    return [*VALUES, *choices, *bounds]


PARTS = 8
"""The number of parts of the next test: all of it in one would take longer than one test may, on a busy machine."""


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_the_same_configurations_are_taken_as_by_sleap_nn(tmp_path, part):
    """Each setting of each section, with one value of every kind that it shares with others of its type."""
    trees, seen = [], set()
    for setting, path in settings_of(SCHEMA):
        trees.append(tree_with((*path[:-1], f"{path[-1]}x"), 1))
        for value in values_of(setting):
            kind = (setting.kind, setting.optional, str(setting.item), str(setting.rules), repr(value))
            if kind not in seen:
                seen.add(kind)
                trees.append(tree_with(path, value))
    trees = trees[part::PARTS]
    lines = "".join(f"{json.dumps(tree)}\n" for tree in trees)
    said = run_in_sleap_nn(Path(__file__).with_name("sleap_nn_oracle.py"), tmp_path, stdin=lines)
    wrong = [
        tree
        for tree, answer in zip(trees, said.split(), strict=True)
        if (answer == "1") == bool(SCHEMA.find_problems(tree))
    ]
    assert wrong == []


OVERRIDES = [
    *("trainer_config.max_epochs=5", "trainer_config.max_epoch=5", "trainer_config.max_epochs=three"),
    *("trainer_config.max_epochs='5'", "trainer_config.max_epochs=[5]", "trainer_config.max_epochs=null"),
    *("trainer_config.optimizer={lr: 0.1}", "trainer_config.optimizer={lr: 0}", "trainer_config.optimizer={}"),
    *(
        "trainer_config.lr_scheduler.step_lr={step_size: 3}",
        "trainer_config.lr_scheduler={}",
        "trainer_config.seed=null",
    ),
    *("~trainer_config.lr_scheduler", "~trainer_config.not_there", "~trainer_config.max_epochs"),
    *("data_config.test_file_path=[a.slp, 'b c.slp']", "data_config.val_labels_path=a.slp"),
    *(
        "data_config.val_labels_path=[a.slp]",
        "data_config.preprocessing.scale=[0.5]",
        "data_config.preprocessing.scale=1",
    ),
    *("model_config.backbone_config.unet={filters: 8, filters_rate: 1.5}", "model_config.backbone_config.unet=null"),
    *("model_config.head_configs.bottomup={confmaps: {}}", "model_config.head_configs.centroid=null"),
    *("trainer_config.use_wandb=on", "trainer_config.use_wandb=2", "trainer_config.use_wandb=perhaps"),
    *("trainer_config.train_data_loader.num_workers=auto", "trainer_config.train_data_loader.num_workers=1.5"),
    *("trainer_config.optimizer.lr=1e-4", "trainer_config.optimizer.lr=nan", "trainer_config.wandb.name=a b"),
    *("trainer_config.wandb.name=", "trainer_config.optimizer.lr=", "trainer_config.profiler=null"),
    *("model_config.head_configs.centroid.confmaps.anchor_part=2", "trainer_config.max_epochs.x=3"),
]


@pytest.mark.long
def test_the_same_overrides_are_taken_as_by_hydra_and_sleap_nn(tmp_path):
    """As the worker hands them to sleap-nn, and as a person would write them for sleap-nn with `++`."""
    cases = []
    for text in OVERRIDES:
        by_hand = text if text.startswith("~") else f"++{text}"
        ours = [str(override) for override in read_overrides([text], FROM_COMMAND_LINE)]
        cases += [[CONFIG, by_hand], [CONFIG, *ours]]
    lines = "".join(f"{json.dumps(case)}\n" for case in cases)
    said = run_in_sleap_nn(Path(__file__).with_name("sleap_nn_oracle.py"), tmp_path, stdin=lines).split()
    answers = {text: {said[2 * index], said[2 * index + 1]} for index, text in enumerate(OVERRIDES)}
    assert answers == {text: {"0" if refused(text) else "1"} for text in OVERRIDES}
