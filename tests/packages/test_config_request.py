"""A package may leave its training configurations to sleap-nn; what it asks for is read without trust."""

import zipfile

import pytest
import yaml

from protocol.faults import FaultCode
from protocol.jobs import JobKind
from rtc.common.errors import RtcError
from rtc.packages.config_request import ConfigRequest
from rtc.packages.describe import describe
from rtc.packages.hydra_overrides import Override
from rtc.packages.plan import Plan, inspect_package
from rtc.testing.stand_in import make_labels_package


@pytest.fixture
def package(tmp_path):
    """Write a package with these changes of its request, or of its whole jobs.yaml, and return its path."""

    def write(whole=None, **changes):
        path = tmp_path / "package.zip"
        request = {"labels": "x.pkg.slp", "pipeline": None, "run_path": "models/now.{head}.n=3", "named": "my/x.slp"}
        jobs = {"training": [], "inference": [], "configure": request | changes} | (whole or {})
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("jobs.yaml", yaml.safe_dump(jobs))
            archive.writestr("x.pkg.slp", b"labels")
        return path

    return write


def test_the_plan_says_what_sleap_nn_is_asked_for_and_names_no_models(package):
    request = ConfigRequest("x.pkg.slp", "bottomup", "models/now.{head}.n=3", "my/x.slp")
    assert inspect_package(package(pipeline="bottomup")) == Plan(JobKind.TRAIN, (), configure=request)
    assert request.run_of("centroid") == "models/now.centroid.n=3"


def test_overrides_of_the_package_and_of_the_person_are_kept_for_the_models(package):
    path = package(overrides=["trainer_config.max_epochs=5", "trainer_config.seed=1"])
    configure = inspect_package(path, ["trainer_config.max_epochs=2"]).configure
    assert configure.overrides == (Override("trainer_config.seed", "1"), Override("trainer_config.max_epochs", "2"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"labels": None}, "written for no labels"),
        ({"labels": "gone.slp"}, "'gone.slp' is missing"),
        ({"labels": "/etc/passwd"}, "outside itself"),
        ({"pipeline": "--help"}, "cannot have"),
        ({"pipeline": ["topdown"]}, "cannot have"),
        ({"run_path": "../{head}"}, "outside itself"),
        ({"overrides": "trainer_config.max_epochs=5"}, "not understood"),
        ({"overrides": ["trainer_config.run_name=${oc.env:HOME}"]}, "environment"),
        ({"overrides": ["model_config.pretrained_head_weights=w.ckpt"]}, "not in the package"),
        ({"whole": {"training": [{"cfg": "a.yaml"}]}}, "names models and has them written"),
        ({"whole": {"configure": "yes"}}, "written for no labels"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(package, changes, expected):
    with pytest.raises(RtcError, match=expected) as caught:
        inspect_package(package(**changes))
    assert caught.value.fault.code is FaultCode.BAD_PACKAGE


def test_a_path_of_the_labels_that_cannot_be_shown_is_left_out(package):
    assert inspect_package(package(named="x\ny.slp")).configure.named == ""


def test_where_nothing_is_trained_there_is_nothing_to_override(package):
    with pytest.raises(RtcError, match="nothing to override"):
        inspect_package(package(train=False), ["trainer_config.max_epochs=2"])


def test_the_description_says_that_sleap_nn_writes_the_configuration(tmp_path):
    path = make_labels_package(tmp_path / "p.zip", overrides=("trainer_config.max_epochs=2",))
    assert describe(path).splitlines()[1:] == [
        "Has sleap-nn on the worker write the configuration, as it chooses, for toy.pkg.slp.",
        "Then trains with it, and sends it home with the models.",
        "  trainer_config.max_epochs = 2",
    ]
    assert describe(make_labels_package(tmp_path / "q.zip", pipeline="topdown", train=False)).splitlines()[1:] == [
        "Has sleap-nn on the worker write the configuration, for topdown, for toy.pkg.slp.",
        "Trains nothing: the configuration is sent home.",
    ]
