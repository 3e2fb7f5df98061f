"""Many clients and workers in one room: processes are killed at random, and each job ends with one true outcome.

`make test-long` has a small crowd, and one as large as a lab. Other sizes and another random sequence:

    CROWD_WORKERS=3 CROWD_CLIENTS=10 CROWD_JOBS=200 CROWD_SEED=8 pytest tests/programs/test_crowd.py -k small -s
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from attrs import define, field

from rtc.testing.limits import HANG_TIME
from rtc.testing.ports import open_port
from rtc.testing.stand_in import install_stand_in, make_package
from rtc.testing.terminals import Scene, eventually, processes_in

pytestmark = pytest.mark.slow

SMALL = tuple(
    int(os.environ.get(f"CROWD_{name}", size)) for name, size in (("WORKERS", 3), ("CLIENTS", 3), ("JOBS", 12))
)
LARGE = 10, 10, 200
SEED = int(os.environ.get("CROWD_SEED", "7"))

OUTCOMES = {
    0: "done",
    3: "no worker free",
    5: "link or server lost",
    6: "worker stopped",
    -signal.SIGKILL: "client killed",
}
"""The exit codes that a client may have here, and what each means."""


@define
class Crowd:
    """The programs of one room, and the random numbers that decide which are killed."""

    folder: Path
    rng: random.Random
    ws_port: str
    http_port: str
    room: str = ""
    token: str = ""
    server: "subprocess.Popen[bytes] | None" = None
    workers: "list[subprocess.Popen[bytes]]" = field(factory=list)
    outcomes: list[tuple[int, str]] = field(factory=list)
    lock: threading.Lock = field(factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.ws_port}"

    @property
    def environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLEAP_RTC")}
        return inherited | {"HOME": str(self.folder / "home"), "PYTHONUNBUFFERED": "1"}

    def start(self, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as sink:
            return subprocess.Popen(
                [sys.executable, "-m", "rtc", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.folder,
            )

    def start_server(self) -> None:
        ports = ("--ws-port", self.ws_port, "--http-port", self.http_port)
        self.server = self.start("server", "server", "--host", "127.0.0.1", *ports, "--data", "server")

    def start_worker(self, number: int) -> "subprocess.Popen[bytes]":
        room = ("--room-id", self.room, "--token", self.token) if self.room else ()
        folders = ("--work-dir", f"work-{number}", "--results-dir", f"results-{number}")
        stand_in = ("--sleap-nn", str(self.folder / "bin" / "sleap-nn"))
        arguments = ("worker", "--server", self.url, "--name", f"gpu-{number}", *room, *folders, *stand_in)
        return self.start(f"worker-{number}", *arguments)

    def wait_logged(self, log: str, pattern: str) -> "re.Match[str]":
        def find() -> "re.Match[str] | None":
            return re.search(pattern, (self.folder / log).read_text(), re.MULTILINE)

        return eventually(f"{pattern} in {log}", find)

    def run_job(self, number: int) -> None:
        """Run one client to its end, or kill it by chance, and record its exit code and output."""
        output = self.folder / f"out-{number}"
        name = f"client-{number}"
        room = (
            "--server",
            self.url,
            "--room-id",
            self.room,
            "--token",
            self.token,
            "--auto-select",
            "--wait",
            "60s",
        )
        client = self.start(name, "client-train", *room, "--pkg-path", "toy.zip", "--output", output.name)
        if self.rng.random() < 0.15:
            time.sleep(self.rng.uniform(0.5, 4))
            client.kill()
        code = client.wait(3 * HANG_TIME)
        models = len(list(output.rglob("best.ckpt"))) if output.exists() else 0
        with self.lock:
            printed = (self.folder / f"{name}.log").read_text()
            self.outcomes.append((code, printed))
            assert code != 0 or models == 1, f"success without a model: {printed}"

    def kill_one(self) -> None:
        """Kill a worker or the server with SIGKILL, and start it again."""
        if self.rng.random() < 0.25 and self.server is not None:
            self.server.kill()
            self.server.wait()
            time.sleep(self.rng.uniform(0, 1))
            self.start_server()
            # A client that starts while there is no server gives up within seconds.
            eventually("the server is back", self.server_listens)
        else:
            number = self.rng.randrange(len(self.workers))
            self.workers[number].kill()
            self.workers[number].wait()
            self.workers[number] = self.start_worker(number)

    def list_workers(self) -> list[dict[str, object]]:
        arguments = ("workers", "--server", self.url, "--room-id", self.room, "--token", self.token, "--json")
        done = subprocess.run(
            [sys.executable, "-m", "rtc", *arguments],
            capture_output=True,
            check=False,
            cwd=self.folder,
            env=self.environment,
        )
        found: list[dict[str, object]] = json.loads(done.stdout) if done.returncode == 0 else []
        return found

    def server_listens(self) -> bool:
        host, port = self.url.removeprefix("ws://").split(":")
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return True
        return False

    def trainers(self) -> list[psutil.Process]:
        """Return the processes of this test that run the stand-in for sleap-nn."""
        return Scene(self.folder, self.url).trainers()


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    (tmp_path / "home").mkdir()
    install_stand_in(tmp_path / "bin")
    make_package(tmp_path / "toy.zip", epochs=5, seconds=0.2)
    with open_port() as ws_port, open_port() as http_port:
        crowd = Crowd(tmp_path, random.Random(SEED), str(ws_port), str(http_port))
        yield crowd
        for process in processes_in(tmp_path):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for program in (*crowd.workers, crowd.server):
            if program is not None:
                program.wait()


@pytest.mark.parametrize(
    ("workers", "clients", "jobs"),
    [
        pytest.param(*SMALL, id="small", marks=pytest.mark.long),
        pytest.param(*LARGE, id="large", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_every_job_ends_with_one_true_outcome_whichever_program_is_killed(
    crowd: Crowd, workers: int, clients: int, jobs: int
) -> None:
    crowd.start_server()
    crowd.wait_logged("server.log", "Signalling at")
    crowd.workers.append(crowd.start_worker(0))
    crowd.room = crowd.wait_logged("worker-0.log", r"room +(room-\S+)")[1]
    crowd.token = crowd.wait_logged("worker-0.log", r"token +(\S+)")[1]
    crowd.workers += [crowd.start_worker(number) for number in range(1, workers)]
    for number in range(1, workers):
        crowd.wait_logged(f"worker-{number}.log", "is ready")

    numbers, over, failures = iter(range(jobs)), threading.Event(), []

    def client() -> None:
        try:
            while (number := next(numbers, None)) is not None:
                crowd.run_job(number)
        except Exception as error:  # noqa: BLE001 (passed on to the test, which fails with it)
            failures.append(error)

    def kill_at_random() -> None:
        while not over.wait(crowd.rng.uniform(2, 5)):
            crowd.kill_one()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    killing = threading.Thread(target=kill_at_random)
    for thread in (*threads, killing):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    killing.join()

    assert not failures, failures
    assert len(crowd.outcomes) == jobs
    for code, printed in crowd.outcomes:
        assert code in OUTCOMES, f"{code}: {printed}"
        assert "Traceback" not in printed
    print(Counter(OUTCOMES[code] for code, _ in crowd.outcomes))
    assert any(code == 0 for code, _ in crowd.outcomes)
    names = {f"gpu-{number}" for number in range(workers)}

    def all_free() -> bool:
        listed = crowd.list_workers()
        available = {worker["name"] for worker in listed if worker["status"] == "available"}
        return len(listed) == workers and available == names

    eventually("all workers available again", all_free)
    eventually("no trainer left", lambda: not crowd.trainers())
    for number in range(workers):
        log = (crowd.folder / f"worker-{number}.log").read_text()
        assert "bug in sleap-rtc" not in log
        assert "Traceback" not in log
