"""The command line as people and scripts use it: one clear sentence, the right exit code, no traceback."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define

from rtc.testing.homes import STATE
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import TrainingPause, install_stand_in, make_inference_package, make_package

SESSION = "eyJyIjogInJvb21faWQiLCAidCI6ICJ0b2tlbiIsICJwIjogInBlZXJfaWQifQ=="
pytestmark = pytest.mark.slow
NOWHERE = "ws://127.0.0.1:9"  # the discard port: nobody listens


@define
class Program:
    """A started `sleap-rtc`."""

    process: "subprocess.Popen[str]"
    output: Path

    def text(self) -> str:
        return self.output.read_text()

    def until(self, pattern: str) -> "re.Match[str]":
        """Wait until the output matches. A file of another process gives no event, so it is read repeatedly."""
        end = time.monotonic() + HANG_TIME
        while time.monotonic() < end:
            over = self.process.poll() is not None  # before the output is read for the last time
            found = re.search(pattern, self.text(), re.MULTILINE)
            if found:
                return found
            assert not over, self.text()
            time.sleep(0.02)
        raise AssertionError(f"{pattern!r} never came:\n{self.text()}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(HANG_TIME)


Start = Callable[..., Program]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path: Path, home: Path) -> Iterator[Start]:
    """Start `sleap-rtc` with these arguments; a program that still runs at the end of the test is killed."""
    programs: list[Program] = []
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLEAP_RTC")}

    def begin(*words: str, **more: str) -> Program:
        output = tmp_path / f"output-{len(programs)}.txt"
        with output.open("w") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "rtc", *words],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment | {"HOME": str(home), "PYTHONUNBUFFERED": "1"} | more,
                cwd=tmp_path,
                text=True,
            )
        programs.append(Program(process, output))
        return programs[-1]

    yield begin
    running = [program for program in programs if program.process.poll() is None]
    for program in running:
        program.process.kill()
        program.process.wait()
    for program in programs:
        assert "Traceback" not in program.text()


@define
class Stage:
    """A server and a worker, as started in two terminals."""

    server: Program
    worker: Program
    session: str
    room: str
    token: str
    work: Path
    results: Path


@pytest.fixture
def server(start: Start) -> Program:
    return start("server", "--host", "127.0.0.1", "--ws-port", "0", "--http-port", "0", "--data", "server-data")


@pytest.fixture
def stage(start: Start, server: Program, tmp_path: Path) -> Stage:
    url = server.until(r"Signalling at (ws://[\d.:]+),")[1]
    stand_in = install_stand_in(tmp_path / "bin")
    words = ("--work-dir", "work", "--results-dir", "results", "--sleap-nn", str(stand_in), "--server", url)
    worker = start("worker", *words)
    session = worker.until(r"^(eyJ\S+)$")[1]
    room, token = worker.until(r"room +(\S+)")[1], worker.until(r"token +(\S+)")[1]
    return Stage(server, worker, session, room, token, tmp_path / "work", tmp_path / "results")


def waiting(stage: Stage) -> list[str]:
    """Return the names of results that are not fetched yet; records and journals are kept for a while."""
    return [path.name for path in stage.results.glob("*.zip")]


def lives(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def ended(program: Program, code: int) -> str:
    assert program.process.wait(HANG_TIME) == code, program.text()
    return program.text()


def test_a_port_that_is_taken_is_said(start: Start, server: Program) -> None:
    port = server.until(r"Signalling at ws://127\.0\.0\.1:(\d+)")[1]
    text = ended(start("server", "--host", "127.0.0.1", "--ws-port", port, "--http-port", "0", "--data", "other"), 2)
    assert port in text


def test_three_terminals_train_a_package_and_a_second_one(start: Start, stage: Stage, tmp_path: Path) -> None:
    package = make_package(tmp_path / "flies.slp.training_job.zip", models=("centroid", "centered_instance"))
    first = ended(start("client-train", "--session-string", stage.session, "--pkg-path", package.name), 0)
    assert len(list((tmp_path / "flies").rglob("best.ckpt"))) == 2
    assert "flies" in first
    room = ("--room-id", stage.room, "--token", stage.token, "--auto-select")
    url = stage.server.until(r"Signalling at (ws://[\d.:]+),")[1]
    ended(start("client", "train", *room, "--server", url, "--pkg-path", package.name), 0)
    assert len(list((tmp_path / "flies-2").rglob("best.ckpt"))) == 2
    assert stage.worker.stop() == 0
    assert stage.server.stop(signal.SIGTERM) == 0
    assert list(stage.work.iterdir()) == waiting(stage) == []


def test_a_package_with_several_predictions_is_run_again_in_the_same_folder(
    start: Start, stage: Stage, tmp_path: Path
) -> None:
    package = make_inference_package(tmp_path / "inf.zip", data=("a.mp4", "b.mp4"))
    words = ("--session-string", stage.session, "--pkg-path", str(package))
    for _ in range(2):
        ended(start("client-track", *words), 0)
    assert sorted(path.name for path in tmp_path.glob("inf*.slp")) == [
        f"{stem}.predictions.{name}.mp4.predictions.slp" for stem in ("inf-2", "inf") for name in ("a", "b")
    ]
    assert list(tmp_path.glob(".sleap-rtc*")) == []


def test_an_output_folder_that_is_not_empty_is_refused_beforehand(start: Start, stage: Stage, tmp_path: Path) -> None:
    package = make_package(tmp_path / "toy.zip")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("keep me")
    words = ("--session-string", stage.session, "--pkg-path", str(package), "--output", "mine")
    assert "mine" in ended(start("client-train", *words), 2)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["precious.txt"]


def test_a_wrong_token_and_an_unknown_room_get_the_same_answer(start: Start, stage: Stage, tmp_path: Path) -> None:
    package = make_package(tmp_path / "toy.zip")
    url = stage.server.until(r"Signalling at (ws://[\d.:]+),")[1]
    answers = set()
    for room in (stage.room, "room-that-never-was"):
        words = ("--room-id", room, "--token", "wrong", "--auto-select", "--server", url, "--pkg-path", str(package))
        answers.add(ended(start("client-train", *words), 4).replace(room, "ROOM"))
    assert len(answers) == 1


def test_interrupting_a_running_client_detaches_and_the_worker_finishes(
    start: Start, stage: Stage, tmp_path: Path, pause: TrainingPause
) -> None:
    package = make_package(tmp_path / "toy.zip", wait_for=pause.file)
    client = start("client-train", "--session-string", stage.session, "--pkg-path", str(package))
    client.until("epoch 1")
    assert client.stop() == 7
    pause.end()
    stage.worker.until(" done: ")
    stage.worker.until("Status: available")
    assert list(stage.work.iterdir()) == []
    assert len(waiting(stage)) == 1


@pytest.mark.parametrize("when", ["while it runs", "when it is over"])
def test_a_client_reconnects_to_a_job_after_its_first_client_has_ended(
    start: Start, stage: Stage, tmp_path: Path, pause: TrainingPause, home: Path, when: str
) -> None:
    package = make_package(tmp_path / "toy.zip", wait_for=pause.file)
    client = start("client-train", "--session-string", stage.session, "--pkg-path", str(package))
    client.until("epoch 1")
    if when == "while it runs":
        assert client.stop() == 7
        assert re.search(r"sleap-rtc attach job-\S+", client.text())
    else:
        client.stop(signal.SIGKILL)
        pause.end()
        stage.worker.until("Status: available")
    [credential] = (home / STATE / "jobs").iterdir()
    assert credential.stat().st_mode & 0o077 == 0
    back = start("attach", *([credential.stem] if when == "while it runs" else []))
    if when == "while it runs":
        back.until("epoch 1")
        pause.end()
    ended(back, 0)
    assert len(list((tmp_path / "toy").rglob("best.ckpt"))) == 1
    assert list(credential.parent.iterdir()) == []
    assert "waits to be fetched" in ended(start("attach"), 3)


def test_killing_a_running_client_harms_nothing(
    start: Start, stage: Stage, tmp_path: Path, pause: TrainingPause
) -> None:
    package = make_package(tmp_path / "toy.zip", wait_for=pause.file)
    client = start("client-train", "--session-string", stage.session, "--pkg-path", str(package))
    client.until("epoch 1")
    client.stop(signal.SIGKILL)
    pause.end()
    stage.worker.until(" done: ")
    stage.worker.until("Status: available")


@pytest.mark.parametrize("when", ["while the job runs", "after the job has ended"])
def test_a_client_that_sleeps_through_the_loss_of_its_link_gets_back_to_its_job(
    start: Start, stage: Stage, tmp_path: Path, pause: TrainingPause, when: str
) -> None:
    package = make_package(tmp_path / "toy.zip", wait_for=pause.file)
    client = start("client-train", "--session-string", stage.session, "--pkg-path", str(package))
    client.until("epoch 1")
    client.process.send_signal(signal.SIGSTOP)
    if when == "while the job runs":
        stage.worker.until("The other side was silent")
    else:
        pause.end()
        stage.worker.until("Status: available")
    client.process.send_signal(signal.SIGCONT)
    if when == "while the job runs":
        client.until("Trying to get back to it")
        pause.end()
    ended(client, 0)
    assert len(list((tmp_path / "toy").rglob("best.ckpt"))) == 1
    stage.worker.until("was received and unpacked by its owner")
    assert waiting(stage) == []


def test_two_interrupts_stop_a_worker_its_job_and_all_its_processes(
    start: Start, stage: Stage, tmp_path: Path, pause: TrainingPause
) -> None:
    package = make_package(tmp_path / "toy.zip", wait_for=pause.file, grandchild=True)
    client = start("client-train", "--session-string", stage.session, "--pkg-path", str(package))
    client.until("epoch 1")
    [grandchild] = stage.work.rglob("grandchild.pid")
    pid = int(grandchild.read_text())
    stage.worker.process.send_signal(signal.SIGINT)
    stage.worker.until("Stopping")
    assert stage.worker.stop() == 6
    assert "stopped" in ended(client, 6)
    while lives(pid):  # it has been killed, and takes its time
        time.sleep(0.02)
    assert list(stage.work.iterdir()) == []
    assert len(waiting(stage)) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.3])
def test_interrupting_a_client_twice_never_says_that_all_went_well(
    start: Start, stage: Stage, tmp_path: Path, pause: TrainingPause, seconds: float
) -> None:
    package = make_package(tmp_path / "toy.zip", wait_for=pause.file)
    client = start("client-train", "--session-string", stage.session, "--pkg-path", str(package))
    client.until("epoch 1")
    client.process.send_signal(signal.SIGINT)
    time.sleep(seconds)
    assert client.stop() == 7
    pause.end()
    stage.worker.until("Status: available")


def test_a_third_interrupt_lets_the_worker_clean_up(
    start: Start, stage: Stage, tmp_path: Path, pause: TrainingPause
) -> None:
    package = make_package(tmp_path / "toy.zip", wait_for=pause.file, ignore_sigterm=True)
    client = start("client-train", "--session-string", stage.session, "--pkg-path", str(package))
    client.until("epoch 1")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
        stage.worker.process.send_signal(number)
        time.sleep(0.3)
    assert stage.worker.stop(signal.SIGINT) == 6
    assert list(stage.work.iterdir()) == []


def test_a_closed_terminal_lets_the_worker_finish_its_job(
    start: Start, stage: Stage, tmp_path: Path, pause: TrainingPause
) -> None:
    package = make_package(tmp_path / "toy.zip", wait_for=pause.file)
    client = start("client-train", "--session-string", stage.session, "--pkg-path", str(package))
    client.until("epoch 1")
    stage.worker.process.send_signal(signal.SIGHUP)
    stage.worker.until("Stopping")
    pause.end()
    ended(client, 0)
    assert stage.worker.process.wait(HANG_TIME) == 0


def test_interrupting_a_client_before_its_job_leaves_nothing(start: Start, tmp_path: Path) -> None:
    package = make_package(tmp_path / "toy.zip")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(HANG_TIME)
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        client = start("client-train", "--session-string", SESSION, "--server", url, "--pkg-path", str(package))
        with silent.accept()[0]:
            assert client.stop() == 130
    assert sorted(path.name for path in tmp_path.iterdir() if "output" not in path.name) == ["home", "toy.zip"]


def test_no_log_and_no_output_holds_a_token_or_secret(start: Start, stage: Stage, tmp_path: Path, home: Path) -> None:
    package = make_package(tmp_path / "toy.zip")
    secret = "a canary secret, sixteen or more"
    words = ("--session-string", stage.session, "--room-secret", secret, "--pkg-path", str(package))
    client = start("client-train", *words)
    text = ended(client, 4)
    logs = "".join(path.read_text() for path in (home / STATE / "logs").iterdir())
    assert logs
    for value in (secret, stage.token, stage.session):
        assert value not in text + logs + stage.server.text()
    for path in (home / STATE).rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


# -------- several workers, and listing them


def test_the_workers_of_a_room_are_listed_for_people_and_for_scripts(start: Start, stage: Stage) -> None:
    table = ended(start("workers", "--session-string", stage.session), 0)
    assert table.startswith("status")
    assert "1 worker: 1 available" in table
    url = stage.server.until(r"Signalling at (ws://[\d.:]+),")[1]
    signaling = ("--server", url, "--room-id", stage.room, "--token", stage.token)
    [listed] = json.loads(ended(start("workers", *signaling, "--json"), 0))
    assert (listed["status"], listed["worker_id"] in table) == ("available", True)
    assert stage.worker.stop() == 0
    assert "No worker is in this room" in ended(start("workers", *signaling), 0)
    assert json.loads(ended(start("workers", *signaling, "--json"), 0)) == []


def test_listing_workers_ends_with_the_usual_codes(start: Start, stage: Stage) -> None:
    url = stage.server.until(r"Signalling at (ws://[\d.:]+),")[1]
    ended(start("workers", "--server", url, "--room-id", stage.room, "--token", "wrong"), 4)
    assert "127.0.0.1:9" in ended(start("workers", "--server", NOWHERE, "--room-id", "r", "--token", "t"), 5)


FAKE_NVML = """
from types import SimpleNamespace
GPUS = {"GPU-aaaa": ("Big GPU", 24000), "GPU-bbbb": ("Small GPU", 8000)}
class NVMLError(Exception): pass
nvmlInit = nvmlShutdown = lambda: None
nvmlDeviceGetCount = lambda: len(GPUS)
nvmlDeviceGetHandleByIndex = lambda index: list(GPUS)[index]
nvmlDeviceGetHandleByUUID = lambda uuid: uuid
nvmlDeviceGetMemoryInfo = lambda gpu: SimpleNamespace(total=GPUS[gpu][1] * 2**20, free=0, used=0)
nvmlDeviceGetUtilizationRates = lambda gpu: SimpleNamespace(gpu=50)
nvmlSystemGetCudaDriverVersion_v2 = lambda: 13000
nvmlDeviceGetName = lambda gpu: GPUS[gpu][0]
nvmlDeviceGetUUID = lambda gpu: gpu
"""
OWN = ("--serve", "--serve-host", "127.0.0.1", "--http-port", "0", "--work-dir", "work", "--results-dir", "results")


def test_one_command_serves_a_lab_with_all_its_gpus_and_each_job_sees_its_own(start: Start, tmp_path: Path) -> None:
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "pynvml.py").write_text(FAKE_NVML)
    real = install_stand_in(tmp_path / "bin")
    telling = tmp_path / "bin" / "telling"
    telling.write_text(f'#!/bin/sh\necho "sees <$CUDA_VISIBLE_DEVICES>"\nexec {real} "$@"\n')
    telling.chmod(0o755)
    words = (*OWN, "--ws-port", "0", "--all-gpus", "--name", "box", "--sleap-nn", str(telling))
    worker = start("worker", *words, PYTHONPATH=str(tmp_path / "fake"))
    worker.until("2 workers are ready")
    worker.until("Press Ctrl-C")
    assert "Only this machine can reach" in worker.text()
    sessions = re.findall(r"^(eyJ\S+)$", worker.text(), re.MULTILINE)
    package = make_package(tmp_path / "toy.zip")
    for session, uuid in zip(sessions, ("GPU-aaaa", "GPU-bbbb"), strict=True):
        output = f"out-{uuid}"
        ended(start("client-train", "--session-string", session, "--pkg-path", package.name, "--output", output), 0)
        assert f"sees <{uuid}>" in (tmp_path / output / "job.log").read_text()
    worker.until(r"\[box-0\] Result of")
    worker.until(r"\[box-1\] Result of")
    assert "2 workers" in ended(start("workers", "--session-string", sessions[0]), 0)
    assert worker.stop() == 0
    log = (tmp_path / "home" / STATE / "logs" / "worker.log").read_text()
    assert "[box-1] Status: busy." in log
    assert (tmp_path / "home" / STATE / "server").is_dir()


def test_a_worker_whose_own_port_is_taken_says_so(start: Start, server: Program) -> None:
    port = server.until(r"Signalling at ws://127\.0\.0\.1:(\d+)")[1]
    text = ended(start("worker", *OWN, "--ws-port", port), 2)
    assert f"Port {port} is taken" in text
    assert len(text.strip().splitlines()) == 1
