"""`config` and `doctor` as people and scripts use them, on the command line."""

import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from attrs import evolve, frozen

import cli
from rtc.common.errors import RtcError
from rtc.config.example import example_text, write_example
from rtc.config.ice_servers import IceServer
from rtc.config.load import load_config
from rtc.config.show import MASK, masked_url, settings_json, settings_rows, settings_text, shown_value
from rtc.server import open_server
from rtc.testing.homes import STATE
from rtc.testing.limits import HANG_TIME

ROOT = Path(__file__).parents[2]
NOWHERE = "ws://127.0.0.1:9"  # the discard port: nobody listens
TURN = 'ice_servers = [{urls = "turn:127.0.0.1:9?transport=tcp", username = "lab", credential = "canary-password"}]'
PATIENT = """
from rtc.__main__ import main
from rtc.doctor import finding, machine, server
async def without_timeout(check):
    return await check.run()
finding._run_within_timeout = without_timeout
machine.LOAD_TIME = server.REACH_TIME = 1000.0
main()
"""
"""The program, with a doctor that waits for its checks however slow the machine is."""
Run = Callable[..., "Done"]


@frozen
class Done:
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("SLEAP_RTC")}
    return plain | {"HOME": str(home)}


@pytest.fixture
def run(work: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `sleap-rtc` with these arguments to its end in this process, in the folder `work`."""
    for name in [name for name in os.environ if name.startswith("SLEAP_RTC")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)

    def begin(*words: str, **more: str) -> Done:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in more.items():
                patch.setenv(name, value)
            code = cli.run(list(words))
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err)

    return begin


@pytest.fixture
def run_program(work: Path, environment: dict[str, str]) -> Run:
    """Run `sleap-rtc` with these arguments to its end in a process of its own, in the folder `work`."""

    def begin(*words: str, **more: str) -> Done:
        command = [sys.executable, "-c", PATIENT, *words]
        done = subprocess.run(
            command, env=environment | more, cwd=work, capture_output=True, text=True, timeout=HANG_TIME, check=False
        )
        assert "Traceback" not in done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return begin


# -------- config show


def test_each_setting_is_shown_with_the_source_of_its_value(run: Run, work: Path) -> None:
    (work / "sleap-rtc.toml").write_text(
        f"[default]\nchunk_size = 2048\n{TURN}\n[environments.development]\nconnection_timeout = 7"
    )
    words = ("config", "show", "--json", "--server", "lab.example.org:9090")
    variables = {"SLEAP_RTC_ENV": "development", "SLEAP_RTC_SIGNALING_HTTP": "http://lab.example.org:9091"}
    done = run(*words, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "file": "sleap-rtc.toml",
        "settings": {
            "environment": {"value": "development", "source": "SLEAP_RTC_ENV"},
            "signaling_websocket": {"value": "ws://lab.example.org:9090", "source": "--server"},
            "signaling_http": {"value": "http://lab.example.org:9091", "source": "SLEAP_RTC_SIGNALING_HTTP"},
            "connection_timeout": {"value": 7, "source": "sleap-rtc.toml [environments.development]"},
            "chunk_size": {"value": 2048, "source": "sleap-rtc.toml [default]"},
            "keep_days": {"value": 30, "source": "default"},
            "keep_gigabytes": {"value": 100, "source": "default"},
            "pass_env": {"value": [], "source": "default"},
            "ice_servers": {
                "value": [{"urls": "turn:127.0.0.1:9?transport=tcp", "username": "lab", "credential": MASK}],
                "source": "sleap-rtc.toml [default]",
            },
        },
    }
    text = run(*words[:2]).stdout
    assert "canary" not in text + done.stdout
    assert "chunk_size           2048 " in text
    assert "(default)" in text


def test_every_setting_has_its_row_and_no_secret_is_in_any(tmp_path: Path) -> None:
    config = load_config(server=None, environ={}, cwd=tmp_path, settings=tmp_path)
    config = evolve(config, ice_servers=(IceServer("turn:u:canary@lab", "u", "canary"),))
    assert set(settings_rows(config, {})) == {"environment", *config.sources}
    assert "canary" not in settings_text(config, {}) + settings_json(config, {}, tmp_path, tmp_path)
    assert masked_url("turn:u:canary@lab:3478") == f"turn:{MASK}@lab:3478"
    assert shown_value("turn_secret", "canary") == MASK


def test_a_broken_file_is_reported_as_by_all_commands(run: Run, work: Path) -> None:
    (work / "sleap-rtc.toml").write_text("[default]\nchunksize = 1")
    done = run("config", "show")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown key chunksize" in done.stderr


# -------- config path


def test_the_file_in_use_is_printed_or_else_where_one_would_be_read(run: Run, work: Path, home: Path) -> None:
    nothing = run("config", "path")
    assert nothing.returncode == 0
    for file in (work / "sleap-rtc.toml", home / ".sleap-rtc" / "config.toml"):
        assert str(file) in nothing.stdout
    assert run("config", "init").returncode == 0
    assert run("config", "path").stdout == f"{home / '.sleap-rtc' / 'config.toml'}\n"
    (work / "sleap-rtc.toml").write_text("this is broken, and still the one that is read")
    assert run("config", "path").stdout == f"{work / 'sleap-rtc.toml'}\n"


# -------- config init


def test_init_writes_the_example_and_never_over_another(run: Run, home: Path) -> None:
    file = home / ".sleap-rtc" / "config.toml"
    assert run("config", "init").returncode == 0
    assert file.read_text() == (ROOT / "config.example.toml").read_text()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    file.write_text("# mine")
    again = run("config", "init")
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert file.read_text() == "# mine"
    assert run("config", "init", "--force").returncode == 0
    assert file.read_text() == example_text()
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_init_here_writes_into_the_working_folder(run: Run, work: Path, home: Path) -> None:
    assert run("config", "init", "--here").returncode == 0
    assert [path.name for path in work.iterdir()] == ["sleap-rtc.toml"]
    assert list(home.iterdir()) == []
    assert run("config", "show").returncode == 0


def test_a_file_instead_of_the_folder_is_reported_and_kept(tmp_path: Path) -> None:
    (tmp_path / ".sleap-rtc").write_text("mine")
    for force in (False, True):
        with pytest.raises(RtcError, match=r"config\.toml cannot be written \(Not a directory\)"):
            write_example(cwd=tmp_path, settings=tmp_path / ".sleap-rtc", here=False, force=force)
    assert (tmp_path / ".sleap-rtc").read_text() == "mine"


@pytest.mark.parametrize("force", [False, True])
def test_a_disk_that_fills_up_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    if force:
        (tmp_path / "sleap-rtc.toml").write_text("# mine")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RtcError, match="No space left"):
        write_example(cwd=tmp_path, settings=tmp_path, here=True, force=force)
    assert [path.read_text() for path in tmp_path.iterdir()] == (["# mine"] if force else [])


def test_the_example_ships_in_the_wheel_from_its_one_source() -> None:
    assert example_text() == (ROOT / "config.example.toml").read_text(encoding="utf-8")
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"config.example.toml": "rtc/config.example.toml"}
    assert not (ROOT / "rtc" / "config.example.toml").exists()  # a second copy would become outdated


# -------- a file in the working folder that changes the server


def test_a_folder_that_changes_the_server_is_mentioned_once_on_standard_error(run: Run, work: Path) -> None:
    (work / "sleap-rtc.toml").write_text(f'[default]\nsignaling_websocket = "{NOWHERE}"')
    show = run("config", "show")
    assert show.stderr.count("sleap-rtc.toml") == 1
    assert NOWHERE in show.stderr
    worker = run("client-train", "--room-id", "r", "--token", "t", "--auto-select", "--pkg-path", "none.zip")
    assert worker.stderr.count("in this folder sets the server") == 1
    assert run("config", "show", "--server", "lab").stderr == ""


# -------- doctor


def levels(done: Done) -> dict[str, str]:
    return {one["name"]: one["level"] for one in json.loads(done.stdout)}


@pytest.mark.slow
async def test_the_doctor_finds_a_client_of_our_server_healthy(run_program: Run, tmp_path: Path) -> None:
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path / "data") as server:
        variables = {"SLEAP_RTC_SIGNALING_WS": server.ws_url, "SLEAP_RTC_SIGNALING_HTTP": server.http_url}

        def both() -> tuple[Done, Done]:
            return run_program("doctor", "--as", "client", "--json", **variables), run_program(
                "doctor", "--as", "client", **variables
            )

        for_scripts, for_people = await trio.to_thread.run_sync(both)
    assert for_scripts.returncode == for_people.returncode == 0, for_scripts.stdout
    found = levels(for_scripts)
    for name in ("python", "packages", "config", "server-websocket", "server-http", "clock"):
        assert found[name] == "ok"
    assert found["turn"] == found["stun"] == "skip"
    assert for_people.stdout.splitlines()[-1].startswith("Nothing failed")


@pytest.mark.slow
def test_the_doctor_fails_where_no_server_is_and_shows_no_password(run: Run, work: Path, home: Path) -> None:
    (work / "sleap-rtc.toml").write_text(f"[default]\n{TURN}")
    done = run("doctor", "--as", "client", "--json", "--server", NOWHERE)
    assert done.returncode == 1
    found = levels(done)
    assert (found["server-websocket"], found["turn"]) == ("fail", "fail")
    people = run("doctor", "--as", "client", "--server", NOWHERE)
    assert people.returncode == 1
    assert "sleap-rtc server" in people.stdout
    logs = "".join(path.read_text() for path in (home / STATE / "logs").iterdir())
    assert "canary" not in done.stdout + done.stderr + people.stdout + people.stderr + logs


@pytest.mark.slow
def test_the_doctor_goes_on_when_the_settings_are_broken(run: Run, work: Path) -> None:
    (work / "sleap-rtc.toml").write_text("[default]\nchunksize = 1")
    done = run("doctor", "--as", "client", "--json")
    assert done.returncode == 1
    found = levels(done)
    assert (found["config"], found["python"], found["server-websocket"]) == ("fail", "ok", "skip")


def test_a_wrong_argument_of_the_doctor_is_a_usage_error(run: Run) -> None:
    assert run("doctor", "--server", "gopher://lab").returncode == 2
    assert run("doctor", "--as", "patient").returncode == 2


@pytest.mark.slow
def test_the_doctor_can_be_interrupted(work: Path, environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(HANG_TIME)
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-c", PATIENT, "doctor", "--as", "client", "--server", url]
        with subprocess.Popen(command, env=environment, cwd=work, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=HANG_TIME)
            connection.close()
    assert process.returncode == 130
    assert "Traceback" not in errors


@pytest.mark.slow
def test_the_doctor_needs_no_aiortc_to_say_that_it_is_broken(run_program: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "aiortc.py").write_text("raise ImportError('libvpx is missing')")
    done = run_program("doctor", "--as", "client", "--json", "--server", NOWHERE, PYTHONPATH=str(broken))
    packages = next(one for one in json.loads(done.stdout) if one["name"] == "packages")
    assert packages["level"] == "fail"
    assert "libvpx is missing" in packages["detail"]
