"""Commands without a worker: what they print, also when nothing reads the output, and the checks before a package is
built."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import cli
from protocol.faults import FaultCode
from protocol.ids import JobId, PeerId, RoomId
from rtc.client.list_workers import print_workers as show
from rtc.client.options import ClientOptions
from rtc.client.tickets import JobTicket, save
from rtc.command_line import client_commands
from rtc.common.errors import ExitCode, RtcError
from rtc.common.hdf5 import HDF5
from rtc.config.room_secrets.finder import RoomSecrets
from rtc.config.room_secrets.sources import GivenSecret, SecretPlaces
from rtc.runtime.room_keys import no_secret
from rtc.testing.homes import STATE
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import make_package

SESSION = "eyJyIjogInJvb21faWQiLCAidCI6ICJ0b2tlbiIsICJwIjogInBlZXJfaWQifQ=="
ROOT = Path(__file__).parents[2]
RunHere = Callable[..., tuple[int, str, str]]
OPTIONS: dict[str, Any] = {
    "session_string": SESSION,
    "room_name": None,
    "room_id": None,
    "token": None,
    "worker_id": None,
    "auto_select": False,
    "min_gpu_memory": None,
    "wait": None,
    "find_secret": no_secret,
    "server": "ws://127.0.0.1:9",
    "relay_only": False,
    "output": None,
    "on_interrupt": None,
    "quiet": False,
    "verbose": False,
    "as_json": False,
}


def make_model(folder: Path) -> Path:
    """Create the folder of a trained model, with only the files that packing needs."""
    model = folder / "model"
    model.mkdir()
    for name in ("best.ckpt", "training_config.yaml"):
        (model / name).write_text("{}")
    return model


def run(folder: Path, *words: str, out: int = subprocess.PIPE, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run `sleap-rtc` with these arguments, with `folder` as home and working folder."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLEAP_RTC", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-m", "rtc", *words],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE,
        env=environment | {"HOME": str(folder), "PYTHONPATH": str(ROOT)} | more,
        cwd=folder,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=HANG_TIME,
        check=False,
    )


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no setting of the person who runs the tests reach them."""
    for name in [name for name in os.environ if name.startswith("SLEAP_RTC")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run_here(capsys: pytest.CaptureFixture[str]) -> RunHere:
    """Run `sleap-rtc` in this process; return its exit code, and what it has printed to the two standard streams."""

    def begin(*words: str) -> tuple[int, str, str]:
        return cli.run(list(words)), *capsys.readouterr()

    return begin


@contextmanager
def closed_reader() -> Iterator[int]:
    """Yield a pipe's writing end whose reader is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


# -------- what is printed


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["1", ""])
@pytest.mark.parametrize("words", [["package", "inspect", "toy.zip"], ["jobs"], ["config", "path"]])
def test_a_reader_that_leaves_is_no_failure(tmp_path: Path, words: list[str], unbuffered: str) -> None:
    make_package(tmp_path / "toy.zip")
    with closed_reader() as out:
        done = run(tmp_path, *words, out=out, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
def test_a_full_output_is_no_bug_of_ours(tmp_path: Path) -> None:
    make_package(tmp_path / "toy.zip")
    with open("/dev/full", "w") as full:
        done = run(tmp_path, "package", "inspect", "toy.zip", out=full.fileno())
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_errors_that_nobody_reads_do_not_change_the_exit_code(tmp_path: Path) -> None:
    with closed_reader() as out:
        done = subprocess.run(
            [sys.executable, "-m", "rtc", "package", "inspect", "gone.zip"],
            stderr=out,
            env=os.environ | {"HOME": str(tmp_path)},
            cwd=ROOT,
            timeout=HANG_TIME,
            check=False,
        )
    assert done.returncode == 2


def test_a_room_can_be_listed_for_a_closed_output(monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_reader() as out, open(os.dup(out), "w") as writer:
        monkeypatch.setattr(sys, "stdout", writer)
        show((), as_json=False)


@pytest.mark.slow
def test_an_output_that_cannot_show_a_name_shows_the_rest(tmp_path: Path) -> None:
    make_package(tmp_path / "maus тест é.zip")
    done = run(tmp_path, "package", "inspect", "maus тест é.zip", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("maus ???? ?.zip: a training package")


def test_a_name_cannot_move_the_cursor_or_add_a_line(tmp_path: Path, run_here: RunHere) -> None:
    make_package(tmp_path / "a\x1b[2J\n.zip")
    code, printed, _ = run_here("package", "inspect", "a\x1b[2J\n.zip")
    assert (code, "\x1b" in printed) == (0, False)
    assert printed.splitlines()[1] == "Trains, in this order:"


# -------- wrong arguments


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["jobs", "--room-secret", "S", "cancel", "J"], "sleap-rtc jobs cancel … --room-secret"),
        (
            ["jobs", "--session-string", SESSION, "--json", "fetch", "J"],
            "sleap-rtc jobs fetch … --json --session-string",
        ),
        (["client", "train", "--pkg-path", "l.slp", "--session-string", SESSION], "sleap-rtc train LABELS.slp"),
        (["client-track", "--pkg-path", "v.mp4", "--session-string", SESSION], "track DATA --model"),
        (["track", "v.mp4", "--model", "m", "--session-string", SESSION, "-o", "res"], "ends in .slp"),
        (["train", ".", "--session-string", SESSION], ". is a folder"),
        (["train", "", "--session-string", SESSION], ". is a folder"),
        (["package", "inspect", "."], ". is a folder"),
        (["package", "train", "--config", "x.yaml", "."], ". is not a file of labels"),
        (["package", "track", "--model", ".", "v.mp4"], "lacks its best.ckpt"),
    ],
)
def test_what_does_not_work_is_answered_with_what_does(
    tmp_path: Path, run_here: RunHere, words: list[str], expected: str
) -> None:
    (tmp_path / "v.mp4").write_bytes(b"video")
    (tmp_path / "l.slp").write_bytes(HDF5)
    code, _, errors = run_here(*words)
    assert code == 2
    assert expected in " ".join(errors.split())


# -------- what is checked before a package is built


PORTS = {"controller_port": 9000, "publish_port": 9001}


def never(*_: object) -> None:
    raise AssertionError("it was packed")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"session_string": "gibberish!"}, "session string"),
        (
            {"find_secret": RoomSecrets(SecretPlaces(GivenSecret("short", "--room-secret")), print)},
            "at least 16 characters",
        ),
        ({"server": "gopher://lab"}, "ws://HOST:8080"),
        ({"output": Path("taken.slp")}, "taken.slp is "),
    ],
)
@pytest.mark.parametrize(
    "start",
    [
        lambda options: client_commands.start_training(Path("l.slp"), [Path("c.yaml")], (), **PORTS, **options),
        lambda options: client_commands.start_tracking(Path("v.mp4"), [Path("m")], {}, **options),
    ],
    ids=["train", "track"],
)
def test_what_is_cheap_to_check_is_checked_before_packing(
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[[dict[str, Any]], int],
    changes: dict[str, Any],
    expected: str,
) -> None:
    monkeypatch.setattr(client_commands, "build_training", never)
    monkeypatch.setattr(client_commands, "build_tracking", never)
    Path("taken.slp").write_bytes(b"mine")
    with pytest.raises(RtcError) as caught:
        start(OPTIONS | changes)
    assert caught.value.fault.code is FaultCode.USAGE
    assert expected in caught.value.fault.text


def test_ports_of_the_viewer_are_checked_before_packing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_commands, "build_training", never)
    ports = {"controller_port": 9000, "publish_port": 9000}
    with pytest.raises(RtcError, match="both 9000"):
        client_commands.start_training(Path("l.slp"), [Path("c.yaml")], (), **OPTIONS | ports)


def test_a_name_that_is_too_long_for_a_package_is_reported(tmp_path: Path, run_here: RunHere) -> None:
    name = "n" * 245 + ".mp4"
    model = make_model(tmp_path)
    (tmp_path / name).write_bytes(b"video")
    for words in (["package", "track"], ["track", "--session-string", SESSION]):
        code, _, errors = run_here(*words, "--model", model.name, name)
        assert (code, "too long" in errors) == (2, True), errors


# -------- interrupts while a package is built


PACK_FOR_EVER = """
import time
from pathlib import Path
from rtc.__main__ import main
from rtc.packages import zip_writer

def check_for_ever():
    Path("begun").touch()
    while True:
        check_cancelled()
        time.sleep(0.01)

check_cancelled = zip_writer.check_cancelled
zip_writer.add_file.__defaults__ = (check_for_ever,)
main()
"""
"""The program, except that it packs the first block of a file until it is interrupted."""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("words", [["package", "track", "-o", "p.zip"], ["track", "--session-string", SESSION]])
def test_a_signal_while_a_package_is_packed_leaves_nothing(
    tmp_path: Path, words: list[str], number: signal.Signals
) -> None:
    model = make_model(tmp_path)
    (tmp_path / "v.mp4").write_bytes(b"video")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    before = sorted(tmp_path.rglob("*"))
    program = subprocess.Popen(
        [sys.executable, "-c", PACK_FOR_EVER, *words, "--model", model.name, "v.mp4"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        cwd=tmp_path,
    )
    with program:
        end = time.monotonic() + HANG_TIME
        while not (tmp_path / "begun").exists() and program.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        assert list(tmp_path.rglob("*.part"))
        program.send_signal(number)
        assert program.wait(HANG_TIME) == 130
    (tmp_path / "begun").unlink()
    assert sorted(tmp_path.rglob("*")) == before


# -------- --trace


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "actors"),
    [
        (("train", "toy.zip", "--session-string", SESSION), ["discovery 1", "client 1"]),
        (("worker", "--sleap-nn", sys.executable), ["discovery 1", "worker 1", "inviter 1"]),
        (("jobs", "cancel", "job-1"), ["discovery 1", "job query 1"]),
    ],
    ids=["train", "worker", "jobs"],
)
def test_a_trace_tells_what_a_program_decided_and_can_be_replayed(
    tmp_path: Path, words: tuple[str, ...], actors: list[str]
) -> None:
    make_package(tmp_path / "toy.zip")
    ticket = JobTicket(JobId("job-1"), "the-key", PeerId("worker"), RoomId("room"), "the-token", "", "toy.zip")
    save(tmp_path / STATE / "jobs", ticket)
    (tmp_path / "sleap-rtc.toml").write_text("[default]\nconnection_timeout = 1\n")
    more = ("--server", "ws://127.0.0.1:9", "--trace", "t.jsonl")
    done = run(tmp_path, *words, *more)
    assert done.returncode == ExitCode.NETWORK, done.stderr
    text = (tmp_path / "t.jsonl").read_text()
    assert [line["actor"] for line in map(json.loads, text.splitlines()) if "table" in line] == actors
    assert "the-key" not in text
    assert "the-token" not in text
    again = subprocess.run(
        [sys.executable, "-m", "rtc.testing.replay", "t.jsonl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stdout
    assert "ServerDisconnected / try_again" in again.stdout


def test_a_trace_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    make_package(tmp_path / "toy.zip")
    done = run(tmp_path, "train", "toy.zip", "--session-string", SESSION, "--trace", "no/such/folder")
    assert done.returncode == ExitCode.USAGE
    assert "The trace no/such/folder cannot be written (No such file or directory)." in done.stderr


def test_a_number_of_gpus_reaches_the_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[ClientOptions] = []

    def note(options: ClientOptions, *_more: object) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(client_commands, "run_client_program", note)
    make_package(tmp_path / "toy.zip")
    words = ("train", "toy.zip", "--session-string", SESSION, "--server", "ws://127.0.0.1:9", "--gpus", "2")
    assert cli.run(list(words)) == 0
    assert [options.min_gpus for options in asked] == [2]
