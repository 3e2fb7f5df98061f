"""The worker looks at the settings once more, for the sleap-nn that it has."""

import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import rtc.runner.supervisor as supervisor
from rtc.common.errors import RtcError
from rtc.packages.config_schema import known_schemas
from rtc.sleap_nn.commands import version_of
from rtc.testing.stand_in import install_stand_in, make_package

KNOWN = known_schemas()[0].version


def install(folder: Path, version: str) -> Path:
    """Write what says the version of a sleap-nn in an environment, and return its program."""
    metadata = folder / "lib" / "python3.11" / "site-packages" / f"sleap_nn-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: sleap-nn\nVersion: {version}\n")
    for name in ("python", "sleap-nn"):
        (folder / "bin" / name).parent.mkdir(exist_ok=True)
        (folder / "bin" / name).write_text(f"#!{folder}/bin/python\n")
    return folder / "bin" / "sleap-nn"


def plan_of(folder, sleap_nn, *overrides):
    make_package(folder / "p.zip")
    with zipfile.ZipFile(folder / "p.zip") as archive:
        archive.extractall(folder / "package")
    spec = SimpleNamespace(overrides=overrides, sleap_nn=sleap_nn)
    return supervisor._Supervisor._read_plan(SimpleNamespace(folder=folder / "package", spec=spec))


def test_the_version_of_a_program_is_that_of_its_environment(tmp_path):
    assert version_of(install(tmp_path / "venv", "9.8.7")) == "9.8.7"
    assert version_of(install_stand_in(tmp_path / "stand-in")) is None
    assert version_of(tmp_path / "nowhere") is None


def test_a_setting_that_its_sleap_nn_refuses_ends_a_job_before_it_begins(tmp_path):
    sleap_nn = install(tmp_path / "venv", KNOWN)
    with pytest.raises(RtcError, match="did you mean"):
        plan_of(tmp_path, sleap_nn, "trainer_config.max_epoch=5")
    assert plan_of(tmp_path, sleap_nn, "trainer_config.max_epochs=5").warnings == ()


def test_a_worker_with_another_version_only_notes_it(tmp_path):
    plan = plan_of(tmp_path, install(tmp_path / "venv", "99.0"), "trainer_config.max_epoch=5")
    assert "max_epoch is no setting" in plan.warnings[0]
