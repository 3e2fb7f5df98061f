"""Workers in the background, without starting one: names, locks, units, what is printed, and what is handed over."""

import io
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import evolve

from actors.events import JobAdopted, JobFinished, StartJob, StatusChanged
from cli import run
from protocol.converter import from_json, to_json
from protocol.ids import JobId
from protocol.jobs import Outcome
from protocol.status import Status
from rtc.command_line import background_options
from rtc.common.errors import ExitCode, RtcError
from rtc.testing.homes import STATE
from rtc.worker.background import process, start, stop
from rtc.worker.background.console import REPORT_MAX, ConsoleStream, ReportPipe, take_hand_over
from rtc.worker.background.folder import BackgroundFolder, file_name, folder_of, take_lock
from rtc.worker.background.inside import BackgroundWorker
from rtc.worker.background.process import birth_of, signal_worker
from rtc.worker.background.record import BackgroundRecord, ConsoleReport, HandOver, RecordedEnd, RecordedWorker
from rtc.worker.background.show import duration, started_text, status_json, status_text
from rtc.worker.background.start import StartRequest, _boot_by_cron
from rtc.worker.background.stop import SHOWN_TIME, show_status
from rtc.worker.background.systemd import UserUnit, carried, quoted, quoted_variable
from rtc.worker.banner import STOP_HINT

JOB = JobId("job-1")
RECORD = BackgroundRecord("lab", 4_000_000, "gpu", 0.0, log="/logs/worker-lab.log", room="room-1")


@pytest.fixture
def folder(tmp_path: Path) -> BackgroundFolder:
    found = folder_of(tmp_path, "lab")
    found.make()
    return found


@pytest.fixture
def locked(folder: BackgroundFolder) -> Iterator[BackgroundFolder]:
    """A folder whose worker is said to live: this process has its lock."""
    descriptor = take_lock(folder.lock)
    assert descriptor is not None
    yield folder
    os.close(descriptor)


# -------- names and folders


def test_names_that_differ_have_files_that_differ() -> None:
    names = ["lab", "lab 1", "lab_1", "lab/1", "..", ".lab", "-lab", "labor für Fliegen", "ラボ", "lab\u00a01"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all(file == Path(file).name and not file.startswith((".", "-")) for file in files)
    assert file_name("gpu-3.lab") == "gpu-3.lab"


def test_everything_about_it_is_private(folder: BackgroundFolder) -> None:
    folder.write(RECORD)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.record_file.stat().st_mode & 0o777 == 0o600


def test_a_record_that_is_damaged_counts_as_none(folder: BackgroundFolder) -> None:
    for text in ("", "{", "[]", '{"name": 3}', "x" * 300_000):
        folder.record_file.write_text(text)
        assert folder.read() is None
    folder.write(RECORD)
    assert folder.read() == RECORD


# -------- whether it runs


def test_the_lock_says_whether_it_runs_and_no_file_does(folder: BackgroundFolder) -> None:
    folder.write(evolve(RECORD, pid=os.getpid()))
    assert not folder.is_running()
    descriptor = take_lock(folder.lock)
    assert descriptor is not None
    assert folder.is_running()
    assert take_lock(folder.lock) is None
    os.close(descriptor)
    assert not folder.is_running()


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    sent: list[tuple[int, int]] = []

    def send(pid: int, number: int, is_meant: Callable[[], bool]) -> None:
        if is_meant():
            sent.append((pid, number))

    monkeypatch.setattr(process, "signal_process", send)
    return sent


def test_a_worker_that_is_dead_is_never_signalled(folder: BackgroundFolder, signals: list[tuple[int, int]]) -> None:
    assert not signal_worker(folder, signal.SIGTERM)
    folder.write(evolve(RECORD, pid=os.getpid(), birth=birth_of(os.getpid())))
    assert not signal_worker(folder, signal.SIGTERM)
    assert signals == []


def test_a_process_that_only_has_the_id_is_never_signalled(
    locked: BackgroundFolder, signals: list[tuple[int, int]]
) -> None:
    me = os.getpid()
    locked.write(evolve(RECORD, pid=me, birth=f"{birth_of(me)}1"))
    assert not signal_worker(locked, signal.SIGTERM)
    locked.write(evolve(RECORD, pid=me, birth=birth_of(me), ended=RecordedEnd(1.0, 0)))
    assert not signal_worker(locked, signal.SIGTERM)
    assert signals == []
    locked.write(evolve(RECORD, pid=me, birth=birth_of(me)))
    assert signal_worker(locked, signal.SIGINT, signal.SIGTERM)
    assert signals == [(me, signal.SIGINT), (me, signal.SIGTERM)]


# -------- what is shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (93_780, "1 d 2 h")],
)
def test_times_are_said_in_their_largest_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_status_shows_process_room_worker_job_and_log() -> None:
    working = evolve(RECORD, workers=(RecordedWorker("lab", "busy", 0.0, (JOB,)),))
    text = started_text(working, with_workers=True)
    for part in ("4000000 on gpu", "room-1", "lab: busy", "job-1", "/logs/worker-lab.log", "--stop --name lab"):
        assert part in text
    assert "It was killed" in status_text([(RECORD, False)])
    assert "exit code 5" in status_text([(evolve(RECORD, ended=RecordedEnd(0.0, 5)), False)])


def test_the_json_of_a_worker_that_was_killed_names_no_process_and_no_status() -> None:
    working = evolve(RECORD, workers=(RecordedWorker("lab", "busy", 0.0, (JOB,)),))
    text = status_json([(working, False)])
    assert '"running": false' in text
    assert '"pid": null' in text
    assert '"workers": []' in text
    assert '"pid": 4000000' in status_json([(working, True)])


def test_a_room_cannot_write_to_the_terminal() -> None:
    assert "\x1b" not in started_text(evolve(RECORD, room="r\x1b[2J"))


# -------- what the worker prints


@pytest.fixture
def pipe(folder: BackgroundFolder) -> Iterator[tuple[ReportPipe, int]]:
    os.mkfifo(folder.report, 0o600)
    reader = os.open(folder.report, os.O_RDONLY | os.O_NONBLOCK)
    found = ReportPipe.open(folder.report)
    yield found, reader
    found.close()
    os.close(reader)


def reports_of(reader: int) -> list[ConsoleReport]:
    try:
        data = os.read(reader, 65536)
    except BlockingIOError:
        return []
    return [from_json(line, ConsoleReport, limit=REPORT_MAX) for line in data.splitlines()]


def test_the_starter_gets_what_is_printed_and_the_banner_is_kept_in_a_private_file(
    folder: BackgroundFolder, pipe: tuple[ReportPipe, int]
) -> None:
    written, reader = pipe
    out = ConsoleStream(written, folder.banner, io.StringIO(), is_error=False)
    err = ConsoleStream(written, folder.banner, io.StringIO(), is_error=True)
    print("Server started.", file=out)
    out.write(f"Worker lab is ready.\n\n  token     TOKEN{STOP_HINT}\n")
    err.write("sleap-rtc: Look out.\n")
    assert [report for report in reports_of(reader) if report != ConsoleReport()] == [
        ConsoleReport(output="Server started."),
        ConsoleReport(output="Worker lab is ready.\n\n  token     TOKEN"),
        ConsoleReport(error="sleap-rtc: Look out."),
    ]
    assert "TOKEN" in folder.banner.read_text()
    assert folder.banner.stat().st_mode & 0o777 == 0o600


def test_after_that_no_token_goes_into_the_log(
    folder: BackgroundFolder, pipe: tuple[ReportPipe, int], caplog: pytest.LogCaptureFixture
) -> None:
    written, reader = pipe
    written.close()
    ConsoleStream(written, folder.banner, io.StringIO(), is_error=False).write(
        "Worker lab is ready.\n\n  token     TOKEN\n"
    )
    ConsoleStream(written, folder.banner, io.StringIO(), is_error=True).write("sleap-rtc: Look out.\n")
    assert reports_of(reader) == []
    assert "TOKEN" not in caplog.text
    assert "Look out." in caplog.text
    assert "TOKEN" in folder.banner.read_text()


def test_a_log_that_cannot_be_written_is_told_once_and_not_to_itself(
    folder: BackgroundFolder, pipe: tuple[ReportPipe, int]
) -> None:
    written, reader = pipe
    before = io.StringIO()
    err = ConsoleStream(written, folder.banner, before, is_error=True)

    class FullDisk(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print(f"no space for: {record.getMessage()}", file=err)

    handler = FullDisk()
    logger = logging.getLogger("rtc")
    logger.addHandler(handler)
    try:
        err.write("sleap-rtc: Look out.\n")
    finally:
        logger.removeHandler(handler)
    assert before.getvalue().strip() == "no space for: sleap-rtc: Look out."
    assert reports_of(reader) == [ConsoleReport(error="sleap-rtc: Look out.")]


def test_a_starter_that_does_not_read_stops_nothing(folder: BackgroundFolder, pipe: tuple[ReportPipe, int]) -> None:
    written, _reader = pipe
    out = ConsoleStream(written, folder.banner, io.StringIO(), is_error=False)
    for _ in range(20):
        out.write("x" * 10_000)


def test_without_a_starter_nothing_is_waited_for(folder: BackgroundFolder) -> None:
    assert take_hand_over(folder.hand_over) == HandOver()
    os.mkfifo(folder.hand_over)
    os.mkfifo(folder.report)
    assert take_hand_over(folder.hand_over) == HandOver()
    pipe = ReportPipe.open(folder.report)
    pipe.send(ConsoleReport(joined=True))


def test_secrets_are_handed_over_through_a_fifo_and_shown_nowhere(folder: BackgroundFolder) -> None:
    handed = HandOver("TOKEN", "the room secret", {"SLEAP_RTC_ROOM_SECRET_ROOM_1": "another"})
    os.mkfifo(folder.hand_over)
    holder = os.open(folder.hand_over, os.O_RDWR | os.O_NONBLOCK)
    os.write(holder, to_json(handed).encode())
    assert take_hand_over(folder.hand_over) == handed
    os.close(holder)
    assert "TOKEN" not in repr(handed)
    assert "secret" not in repr(handed).lower().replace("secret=", "").replace("handover", "")


# -------- what it writes about itself


def test_the_record_follows_the_worker(folder: BackgroundFolder) -> None:
    background = BackgroundWorker(folder, HandOver(), RECORD, ReportPipe(None))
    background.watch("lab", StatusChanged(Status.BUSY))
    background.watch("lab", StartJob(JOB))
    background.watch("lab-1", JobAdopted(JobId("job-0")))
    found = {one.name: (one.status, one.jobs) for one in background.record.workers}
    assert found == {"lab": ("busy", (JOB,)), "lab-1": ("starting", ("job-0",))}
    background.watch("lab", JobFinished(JOB, Outcome.DONE, "Trained.", result=True))
    background.watch("lab", StatusChanged(Status.AVAILABLE, leaving=True))
    assert background.record.workers[0].status == "available, leaving"
    assert background.record.workers[0].jobs == ()
    folder.banner.write_text("a token")
    background.end(6)
    assert not folder.banner.exists()
    read = folder.read()
    assert read is not None
    assert read.ended is not None
    assert read.ended.code == 6


def test_a_worker_that_has_ended_is_listed_for_a_week_and_then_only_by_its_name(
    folder: BackgroundFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    state = folder.path.parents[1]
    folder.write(evolve(RECORD, ended=RecordedEnd(time.time(), 0)))
    show_status(state, None, as_json=False)
    assert RECORD.name in capsys.readouterr().out
    folder.write(evolve(RECORD, ended=RecordedEnd(time.time() - SHOWN_TIME - 1, 0)))
    show_status(state, None, as_json=True)
    assert capsys.readouterr().out == "[]\n"
    show_status(state, RECORD.name, as_json=False)
    assert RECORD.name in capsys.readouterr().out


# -------- the systemd unit


def unit_in(tmp_path: Path, *options: str, **environment: str) -> UserUnit:
    start = StartRequest(tmp_path, "lab", options, HandOver("TOKEN", "the room secret"), environment)
    return UserUnit(start.unit, "lab", start.command(), environment, tmp_path, tmp_path / "output.txt")


def test_no_secret_is_in_the_unit(tmp_path: Path) -> None:
    secrets = {
        "SLEAP_RTC_ROOM_SECRET_ROOM_1": "canary-1",
        "SLEAP_RTC_API_KEY": "canary-2",
        "CONDA_TOKEN": "canary-3",
        "AWS_SECRET_ACCESS_KEY": "canary-4",
        "PYTHON_PASSWORD": "canary-5",
    }
    text = unit_in(tmp_path, "--name", "lab", PATH="/bin", **secrets).text()
    assert "canary" not in text
    assert "TOKEN" not in text
    assert "the room secret" not in text
    assert 'Environment="PATH=/bin"' in text


def test_the_unit_keeps_jobs_alive_and_does_not_try_again_where_that_is_of_no_use(tmp_path: Path) -> None:
    lines = unit_in(tmp_path).text().splitlines()
    for line in ("KillMode=process", "TimeoutStopSec=infinity", "Restart=on-failure", "WantedBy=default.target"):
        assert line in lines
    [prevented] = [line.partition("=")[2].split() for line in lines if line.startswith("RestartPreventExitStatus=")]
    assert {int(code) for code in prevented} == {1, 2, 4, 6, 8}
    assert ExitCode.NETWORK not in map(int, prevented), "at the start of the machine the server may be later"


def test_the_environment_that_matters_is_taken_along() -> None:
    kept = {"PATH": "/b", "SLEAP_RTC_HOME": "/s", "CUDA_VISIBLE_DEVICES": "1", "VIRTUAL_ENV": "/v", "LC_ALL": "C"}
    others = {"XDG_RUNTIME_DIR": "/run/user/1", "SHLVL": "2", "DISPLAY": ":0", "LANG": "two\nlines"}
    assert carried({**kept, **others}) == kept


def test_what_jobs_see_is_taken_along_but_no_password(tmp_path: Path) -> None:
    kept = {"HF_HOME": "/hf", "http_proxy": "http://proxy:3128", "REQUESTS_CA_BUNDLE": "/ca.pem", "MY_LAB": "/lab"}
    others = {"https_proxy": "http://ada:canary@proxy:3128", "LAB_TOKEN": "canary", "OTHER": "x"}
    unit = unit_in(tmp_path, "--pass-env", "MY_LAB", "--pass-env", "LAB_TOKEN", **kept, **others)
    lines = unit.text().splitlines()
    for name, value in kept.items():
        assert f'Environment="{name}={value}"' in lines
    assert "canary" not in unit.text()
    assert not any("OTHER" in line for line in lines)


@pytest.mark.parametrize("word", ["a b", 'say "hi"', "100%", "$HOME", "back\\slash", "ü", "semi;colon", "{braces}"])
def test_words_are_quoted_as_systemd_reads_them(word: str) -> None:
    text = quoted(word)[1:-1]
    assert text.replace("$$", "$").replace("%%", "%").replace('\\"', '"').replace("\\\\", "\\") == word
    assert quoted_variable("A", "$x") == '"A=$x"'


@pytest.mark.slow
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = unit_in(tmp_path, "--name", 'a "name" of 100% $HOME;', PATH="/bin", LANG="C")
    file = tmp_path / unit.name
    file.write_text(unit.text())
    environ = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    command = ["systemd-analyze", "--user", "verify", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# -------- the command line


RunHere = Callable[..., str]


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunHere:
    """Run `sleap-rtc worker` in this process; check its exit code, and return what it prints."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SLEAP_RTC_HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    def begin(code: int, *words: str) -> str:
        assert run(["worker", *words]) == code
        printed = capsys.readouterr()
        return printed.out + printed.err

    return begin


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--background", "--stop"], "give one of them"),
        (["--status", "--stop"], "give one of them"),
        (["--now"], "--now goes with --stop"),
        (["--background", "--json"], "--json goes with --status"),
        (["--status", "--serve"], "--serve would have no effect"),
        (["--stop", "--room-id", "r", "--token", "t"], "--room-id, --token would have no effect"),
        (["--background", "--room-id", "r"], "go together"),
        (["--background", "--nearby"], "asks at the worker's terminal"),
        (["--status", "--room", "lab"], "--room would have no effect"),
        (["--background", "--name", " "], "one line of at most"),
        (["--background", "--serve", "--server", "ws://x"], "give one of them"),
    ],
)
def test_options_that_make_no_sense_together_are_usage_errors(
    run_here: RunHere, words: list[str], expected: str
) -> None:
    assert expected in run_here(2, *words)


def test_windows_is_told_that_workers_run_on_linux(run_here: RunHere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_options, "IS_WINDOWS", True)
    assert "Workers run on Linux" in run_here(2, "--status")


def test_where_none_was_started_status_says_so_and_stop_has_nothing_to_stop(run_here: RunHere) -> None:
    assert "sleap-rtc worker --background" in run_here(3, "--status")
    assert run_here(3, "--status", "--json").strip() == "[]"
    assert "runs here" in run_here(3, "--stop")
    assert "named lab" in run_here(3, "--stop", "--name", "lab")


def test_stop_asks_which_of_several(run_here: RunHere, tmp_path: Path) -> None:
    held = []
    for name in ("one", "two"):
        folder = folder_of(tmp_path / STATE, name)
        folder.make()
        folder.write(evolve(RECORD, name=name))
        held.append(take_lock(folder.lock))
    assert "one, two" in run_here(2, "--stop")
    assert "Stop it there" in run_here(2, "--stop", "--name", "one"), "it runs on a machine with the same files"
    assert "two" in run_here(0, "--status")
    for descriptor in held:
        assert descriptor is not None
        os.close(descriptor)


def test_a_machine_that_has_got_another_name_is_still_the_same(
    run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: its worker could not be stopped any more."""
    folder = folder_of(tmp_path / STATE, "lab")
    folder.make()
    descriptor = take_lock(folder.lock)
    assert descriptor is not None
    folder.write(evolve(RECORD, hostname="before", pid=os.getpid(), birth=birth_of(os.getpid())))
    monkeypatch.setattr(stop, "signal_worker", lambda *_: os.close(descriptor))
    assert "has ended" in run_here(0, "--stop")


def test_the_line_for_the_crontab_is_never_too_long_for_cron(tmp_path: Path) -> None:
    variables = {"PATH": "/bin", "SLEAP_RTC_HOME": "/data/100% mine", "HOME": "/home/ada", "EDITOR": "vi"}
    request = StartRequest(tmp_path, "lab", ("--name", "lab"), HandOver(), variables)
    line = _boot_by_cron(request)
    assert "env PATH=/bin 'SLEAP_RTC_HOME=/data/100\\% mine' " in line
    assert "ada" not in line.replace(str(Path.cwd()), "")
    long = _boot_by_cron(evolve(request, environment={**variables, "PATH": "/a/folder:" * 100}))
    assert "PATH=" not in long
    assert "SLEAP_RTC_HOME=" in long


async def test_who_gives_up_leaves_no_systemctl_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """Regression: one that hangs when the unit is stopped left the other one behind, which waits for the unit."""

    async def hang(_unit: str) -> bool:
        await trio.sleep_forever()
        return False

    monkeypatch.setattr(start, "stop_unit", hang)
    ended = []
    waiting: Any = SimpleNamespace(terminate=lambda: ended.append("terminated"))
    request = StartRequest(tmp_path, "lab", (), HandOver(), {})
    await start._give_up(request, waiting, by_systemd=True)
    assert ended == ["terminated"]


def test_stop_also_ends_the_unit_of_a_worker_that_systemd_would_start_again(
    run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = []

    async def stop_unit(name: str) -> bool:
        stopped.append(name)
        return True

    monkeypatch.setattr(stop, "stop_unit", stop_unit)
    folder = folder_of(tmp_path / STATE, "lab")
    folder.make()
    folder.write(evolve(RECORD, unit="sleap-rtc-worker-lab.service", ended=RecordedEnd(0.0, 5)))
    run_here(3, "--stop")
    assert stopped == ["sleap-rtc-worker-lab.service"]


def test_a_second_start_with_the_same_options_is_no_error_and_with_others_it_is(
    run_here: RunHere, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / STATE, "lab")
    folder.make()
    folder.write(evolve(RECORD, command=("--name", "lab", "--gpu", "0")))
    descriptor = take_lock(folder.lock)
    assert descriptor is not None
    assert "runs already" in run_here(0, "--background", "--name", "lab", "--gpu", "0")
    assert "other options" in run_here(2, "--background", "--name", "lab", "--gpu", "1")
    os.close(descriptor)


def test_a_folder_that_cannot_be_used_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "background").write_text("a file")
    with pytest.raises(RtcError, match="cannot be used"):
        folder_of(tmp_path, "lab").make()


def test_the_streams_are_text_streams() -> None:
    stream = ConsoleStream(ReportPipe(None), Path(os.devnull), io.StringIO(), is_error=False)
    assert isinstance(stream, io.TextIOBase)
    assert stream.writable()
    assert not stream.isatty()
    assert sys.stdout is not stream


@pytest.mark.parametrize("words", [(), ("--background",)], ids=["at a terminal", "in the background"])
def test_in_a_folder_that_was_removed_it_says_so(
    run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Regression: it was a traceback."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "does not exist any more" in run_here(2, *words)
    os.chdir(tmp_path)
