"""`SLEAP_RTC_HOME` puts everything that this user has under one folder, also where no home folder is known."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import cli
from protocol.faults import FaultCode
from protocol.ids import RoomId
from rtc.client.options import explain_without_secret
from rtc.command_line.client_commands import ticket_folder
from rtc.common.errors import RtcError
from rtc.config.load import load_config
from rtc.runtime.root import run_root
from rtc.worker.program import WorkerOptions

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder; there is no home folder."""
    monkeypatch.setenv("SLEAP_RTC_HOME", str(tmp_path / "all"))
    monkeypatch.setenv("HOME", "")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "all"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `sleap-rtc` in this process; return its exit code, and what it has printed to the two standard streams."""
    return lambda *words: (cli.run(list(words)), *capsys.readouterr())


def test_settings_are_written_to_it_and_read_from_it(folder: Path, run: Run) -> None:
    assert run("config", "init") == (0, f"Written: {folder / 'config.toml'}\n", "")
    assert run("config", "path")[1] == f"{folder / 'config.toml'}\n"
    (folder / "config.toml").write_text("[default]\nconnection_timeout = 7\n")
    shown = json.loads(run("config", "show", "--json")[1])
    source = f"{folder}/config.toml [default]"
    assert shown["settings"]["connection_timeout"] == {"value": 7.0, "source": source}


def test_secrets_are_saved_in_it_and_found_in_it(folder: Path, run: Run) -> None:
    made = json.loads(run("room", "create-secret", "--room", "room-1", "--json")[1])
    assert made["saved"] == f"{folder}/credentials.json"
    code, secret, _ = run("secrets", "show", "room-1")
    assert (code, secret) == (0, f"{made['secret']}\n")
    assert str(folder) in run("secrets", "list")[1]


def test_what_programs_write_is_in_it(folder: Path, tmp_path: Path) -> None:
    config = load_config(server=None, environ={}, cwd=tmp_path, settings=folder)
    options = WorkerOptions(config)
    assert (options.work, options.results, ticket_folder()) == (folder / "work", folder / "results", folder / "jobs")

    async def nothing() -> int:
        await trio.lowlevel.checkpoint()
        return 0

    assert run_root("client", nothing) == 0
    assert [path.name for path in (folder / "logs").iterdir()] == ["client.log"]


def test_what_people_are_told_to_do_names_it(folder: Path) -> None:
    refused = RtcError(FaultCode.AUTH_MISSING, "The worker asks for a secret.")
    assert f"{folder}/secrets/room-1" in explain_without_secret(refused, RoomId("room-1"), None).fault.text


def test_a_relative_folder_is_a_usage_error(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEAP_RTC_HOME", "all")
    for words in (("config", "show"), ("secrets", "list"), ("jobs",), ("worker",), ("server",), ("doctor",)):
        code, _, errors = run(*words)
        assert (code, errors.count("\n"), "SLEAP_RTC_HOME must be" in errors) == (2, 1, True), words
    assert not folder.exists()
