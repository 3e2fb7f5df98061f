"""A package of labels without a configuration asks the worker for it; what cannot work is said before it is made."""

import zipfile
from functools import partial
from pathlib import Path

import pytest

from protocol.faults import FaultCode
from rtc.client.package_builder import build, contents, slp_files
from rtc.client.package_builder.build import build_config_request, build_training
from rtc.client.package_builder.slp_files import Project
from rtc.common.errors import RtcError
from rtc.common.hdf5 import HDF5
from rtc.packages.hydra_overrides import Override
from rtc.packages.original_paths import MEMBER
from rtc.packages.plan import inspect_package


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return labels in the working folder, of which no sleap-io is there to read them."""
    monkeypatch.setattr(slp_files, "python_with", lambda _module: None)
    monkeypatch.chdir(tmp_path)
    Path("flies.pkg.slp").write_bytes(HDF5 + b"labels")
    return Path("flies.pkg.slp")


def report(_text: str) -> None:
    """Show nothing."""


def test_the_package_asks_for_the_configuration_and_has_no_other(labels: Path) -> None:
    build_training(labels, (), ["trainer_config.max_epochs=2"], Path("out.zip"), report, "topdown")
    request = inspect_package(Path("out.zip")).configure
    assert request is not None
    assert (request.labels, request.pipeline, request.named, request.train) == (
        "flies.pkg.slp",
        "topdown",
        "flies.pkg.slp",
        True,
    )
    assert request.overrides == (Override("trainer_config.max_epochs", "2"),)
    assert request.run_path.startswith("models/")
    assert request.run_path.endswith(".{head}")
    with zipfile.ZipFile("out.zip") as archive:
        assert archive.namelist() == ["jobs.yaml", "train-script.sh", "inference-script.sh", MEMBER, "flies.pkg.slp"]
        script = archive.read("train-script.sh").decode()
    assert "sleap-nn config flies.pkg.slp --auto -o config.yaml --pipeline topdown\n" in script


def test_a_path_that_no_line_can_show_does_not_leave(labels: Path) -> None:
    odd = labels.rename("fl\nies.pkg.slp")
    build_training(odd, (), (), Path("out.zip"), report)
    request = inspect_package(Path("out.zip")).configure
    assert request is not None
    assert request.named == request.labels == "fl_ies.pkg.slp"


def test_a_request_for_the_configuration_alone_trains_nothing(labels: Path) -> None:
    build_config_request(labels, None, Path("out.zip"), report)
    request = inspect_package(Path("out.zip")).configure
    assert request is not None
    assert not request.train


@pytest.mark.parametrize(
    ("project", "pipeline", "expected"),
    [
        (Project(0, ()), None, "no labelled frames"),
        (Project(3, (), edges=0), "bottomup", "bottomup needs edges"),
        (Project(3, (), edges=2, tracks=0), "multi_class_topdown", "multi_class_topdown needs tracks"),
        (Project(3, ()), "top-down", "Choose one of"),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_what_cannot_be_learned_is_said_before_a_package_is_made(
    labels: Path, monkeypatch: pytest.MonkeyPatch, project: Project, pipeline: str | None, expected: str, train: bool
) -> None:
    monkeypatch.setattr(contents, "read_project", lambda _path, _reads: project)
    for module in (build, contents):
        monkeypatch.setattr(module, "has_sleap_io", lambda: True)
    monkeypatch.setattr(build, "copy_without_images", lambda _labels, out: out.write_bytes(HDF5) > 0)
    work = (
        partial(build_training, labels, (), (), Path("out.zip"), report, pipeline)
        if train
        else partial(build_config_request, labels, pipeline, Path("out.zip"), report)
    )
    with pytest.raises(RtcError, match=expected) as caught:
        work()
    assert caught.value.fault.code is FaultCode.USAGE
    assert not Path("out.zip").exists()


def test_labels_that_fit_their_pipeline_are_taken(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "has_sleap_io", lambda: True)
    monkeypatch.setattr(contents, "read_project", lambda _path, _reads: Project(3, (), edges=0, tracks=2))
    for pipeline in ("topdown", "multi_class_topdown", None):
        build_training(labels, (), (), Path(f"{pipeline}.zip"), report, pipeline)
        request = inspect_package(Path(f"{pipeline}.zip")).configure
        assert request is not None
        assert request.run_path.endswith(".{head}.n=3")
