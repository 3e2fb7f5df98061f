"""`sleap-rtc package config`: the sleap-nn of this machine writes the configurations, if it can."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import cli
from rtc.client import write_config
from rtc.client.package_builder import contents, slp_files
from rtc.client.package_builder.slp_files import Project
from rtc.common.hdf5 import HDF5
from rtc.sleap_nn.auto_config import EXPLAINER
from rtc.sleap_nn.commands import show_command
from rtc.testing.sleap_nn_stand_in import RECOMMENDED
from rtc.testing.stand_in import install_stand_in

RunHere = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.slow


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunHere:
    """Run `package config flies.slp` where the stand-in is installed and chooses a pair of models; with these knobs."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    sleap_nn = install_stand_in(tmp_path / "bin")
    monkeypatch.setattr(write_config, "find_sleap_nn", lambda: sleap_nn)
    monkeypatch.setattr(slp_files, "python_with", lambda _module: sys.executable)
    monkeypatch.setattr(contents, "read_project", lambda _path, _reads: Project(3, (), edges=2, tracks=0))
    Path("flies.slp").write_bytes(HDF5 + b"labels")

    def run(*words: str, **knobs: object) -> tuple[int, str, str]:
        Path("stand_in.yaml").write_text(yaml.safe_dump({"recommend": "topdown"} | knobs))
        return cli.run(["package", "config", "flies.slp", *words]), *capsys.readouterr()

    return run


def test_they_are_written_here_with_the_reason_and_what_to_do_next(run_here: RunHere) -> None:
    code, out, _ = run_here()
    assert code == 0
    chosen, _, advice = out.splitlines()
    assert chosen == (
        f"sleap-nn looked at the labels and chose centroid, then centered_instance. Its reason: {RECOMMENDED}."
    )
    files = ["flies.config/centroid.yaml", "flies.config/centered_instance.yaml"]
    assert advice == (
        f"Change what you like, and then: sleap-rtc train flies.slp --config {files[0]} --config {files[1]}"
    )
    for file in files:
        assert yaml.safe_load(Path(file).read_text())["data_config"]["train_labels_path"] == ["flies.slp"]
    assert sorted(path.name for path in Path().iterdir()) == ["flies.config", "flies.slp", "stand_in.yaml"]


@pytest.mark.long
def test_the_pipeline_and_the_folder_are_those_that_the_person_names(run_here: RunHere) -> None:
    code, out, _ = run_here("--pipeline", "bottomup", "-o", "mine", "--json")
    ended = json.loads(out)
    assert (code, ended["event"], ended["exit_code"]) == (0, "ended", 0)
    assert [Path(file).name for file in ended["files"]] == ["bottomup.yaml"]
    assert Path(ended["folder"]).name == "mine"
    code, _, errors = run_here("-o", "mine")
    assert (code, "mine is not empty" in errors) == (2, True)


@pytest.mark.long
def test_what_sleap_nn_says_is_the_reason_when_it_fails(run_here: RunHere) -> None:
    code, _, errors = run_here(config_crash="ValueError: no instances")
    assert (code, errors.splitlines()[-1]) == (
        2,
        "sleap-rtc: sleap-nn could not write a configuration for flies.slp: ValueError: no instances",
    )
    assert not Path("flies.config").exists()
    code, _, errors = run_here("--pipeline", "multi_class_topdown")
    assert (code, "needs tracks" in errors) == (2, True)


@pytest.mark.long
def test_a_worker_is_asked_where_sleap_nn_is_too_old_or_a_worker_is_named(
    run_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def start(source: object, **options: object) -> int:
        asked.append(options["auto_select"])
        return 0

    monkeypatch.setattr("rtc.command_line.fetch_config.start_job", start)
    assert run_here(no_config=True)[0] == run_here("--auto-select")[0] == 0
    assert asked == [False, True]
    assert not Path("flies.config").exists()


def test_a_program_of_ours_is_shown_in_the_log_without_its_folder() -> None:
    assert show_command(["/opt/x/python", "-P", str(EXPLAINER), "a b.slp"]) == "python -P explain_config.py 'a b.slp'"
