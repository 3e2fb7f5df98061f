"""A worker in the background, with real processes: it outlives its starter, is found and stopped, and leaks nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from attrs import define, field

from rtc.testing import systemd_stand_in
from rtc.testing.homes import STATE
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import TrainingPause, install_stand_in, make_package
from rtc.testing.terminals import eventually, processes_in

pytestmark = pytest.mark.slow

SECRET = "a room secret of thirty characters"
WITHOUT_SYSTEMD = {"XDG_RUNTIME_DIR": ""}


@define
class Machine:
    """A machine with one person, whose home folder is in the test's folder."""

    folder: Path
    server: str
    variables: dict[str, str] = field(factory=lambda: dict(WITHOUT_SYSTEMD))
    path: str = ""
    """Folders before the others in PATH."""

    @property
    def state(self) -> Path:
        return self.folder / "home" / STATE

    def background(self, name: str = "lab") -> Path:
        return self.state / "background" / name

    def environment(self, more: Mapping[str, str] = {}) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SLEAP_RTC", "XDG_"))}
        paths = {"PATH": f"{self.path}{os.pathsep}{os.environ['PATH']}" if self.path else os.environ["PATH"]}
        folders = {"HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp")}
        source = str(Path(sys.modules["rtc"].__path__[0]).parent)
        return inherited | paths | folders | {"PYTHONPATH": source} | self.variables | dict(more)

    def run(
        self,
        *words: str,
        code: int = 0,
        text: str | None = None,
        more: Mapping[str, str] = {},
    ) -> str:
        """Run `sleap-rtc` with these words to its end; check its exit code, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "rtc", *words],
            env=self.environment(more),
            cwd=self.folder,
            input=text,
            capture_output=True,
            text=True,
            timeout=HANG_TIME,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == code, printed
        assert "Traceback" not in printed
        return printed

    def start(self, *words: str, code: int = 0, **more: Any) -> str:
        """Start the worker `lab` in the background."""
        options = ("--server", self.server, "--sleap-nn", str(self.folder / "bin" / "sleap-nn"))
        name = () if "--name" in words else ("--name", "lab")
        return self.run("worker", "--background", *options, *name, *words, code=code, **more)

    def status(self, name: str = "lab", *, code: int = 0) -> dict[str, Any]:
        [found] = json.loads(self.run("worker", "--status", "--json", "--name", name, code=code))
        return dict(found)

    def session(self, printed: str) -> str:
        return next(line for line in printed.splitlines() if line.startswith("eyJ"))

    def close(self) -> None:
        for process in processes_in(self.folder):
            process.kill()


@pytest.fixture
def machine(server_url: str, tmp_path: Path) -> Iterator[Machine]:
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    install_stand_in(tmp_path / "bin")
    made = Machine(tmp_path, server_url)
    yield made
    made.close()


def contents_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path, path.read_bytes()


# -------- as a process of its own


def test_it_joins_stays_works_is_found_and_ends(machine: Machine) -> None:
    printed = machine.start()
    for part in ("Worker lab is ready.", "Session string", "runs in the background", "@reboot", "--stop --name lab"):
        assert part in printed
    assert "Ctrl-C" not in printed
    found = machine.status()
    assert (found["running"], found["unit"], found["exit_code"]) == (True, None, None)
    assert found["room"] in printed
    assert [(one["name"], one["status"]) for one in found["workers"]] == [("lab", "available")]
    worker = psutil.Process(found["pid"])
    assert worker.terminal() is None
    assert os.getsid(worker.pid) == worker.pid

    pause = TrainingPause(str(machine.folder / "go-on"))
    package = make_package(machine.folder / "toy.zip", wait_for=pause.file)
    machine.run("train", str(package), "--session-string", machine.session(printed), "--detach", "--json")
    busy = eventually("a busy worker", lambda: busy_jobs(machine))
    assert "is busy" not in machine.run("worker", "--status")
    assert busy[0] in machine.run("worker", "--status")
    stop = subprocess.Popen(
        [sys.executable, "-m", "rtc", "worker", "--stop"],
        env=machine.environment(),
        cwd=machine.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stop.stdout is not None
    assert "no new job" in stop.stdout.readline()
    assert busy[0] in stop.stdout.readline()
    assert stop.poll() is None
    pause.end()
    assert "has ended" in stop.stdout.read()
    assert stop.wait(HANG_TIME) == 0
    stop.stdout.close()
    ended = machine.status(code=3)
    assert (ended["running"], ended["pid"], ended["exit_code"]) == (False, None, 0)
    assert processes_in(machine.folder) == []
    machine.run("worker", "--stop", code=3)
    assert machine.session(machine.start()) == machine.session(printed), "a result waits for its owner"
    machine.run("attach", "--json")
    machine.run("worker", "--stop")


def busy_jobs(machine: Machine) -> list[str]:
    [worker] = machine.status()["workers"]
    return worker["jobs"] if worker["status"] == "busy" else []


@pytest.mark.long
def test_it_stays_when_its_terminal_is_closed(machine: Machine) -> None:
    typing, terminal = os.openpty()
    # a shell with job control that is a session leader, as after an ssh login; its end sends SIGHUP to its jobs
    shell = subprocess.Popen(
        [
            *(sys.executable, "-m", "rtc", "worker", "--background", "--name", "lab", "--server", machine.server),
            *("--sleap-nn", str(machine.folder / "bin" / "sleap-nn")),
        ],
        env=machine.environment(),
        cwd=machine.folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(terminal)
    output = b""
    while b"crontab" not in output:
        output += os.read(typing, 65536)
    shell.wait(HANG_TIME)
    os.close(typing)  # the terminal is gone
    assert machine.status()["running"]
    machine.run("worker", "--stop")


def take_terminal() -> None:
    """Make standard input the controlling terminal of this session (ioctl_tty(2))."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.long
@pytest.mark.long
def test_a_second_start_says_that_it_runs_and_several_names_are_several_workers(machine: Machine) -> None:
    machine.start()
    first = machine.status()
    assert "runs already" in machine.start()
    assert machine.status()["pid"] == first["pid"]
    assert "with other options" in machine.start("--relay-only", code=2)
    machine.start("--name", "lab 2")
    assert "lab, lab 2" in machine.run("worker", "--stop", code=2)
    machine.run("worker", "--stop", "--name", "lab 2")
    assert machine.status()["running"]
    machine.run("worker", "--stop")
    machine.run("worker", "--status", code=3)


@pytest.mark.long
@pytest.mark.long
def test_two_starts_at_one_moment_make_one_worker(machine: Machine) -> None:
    command = [sys.executable, "-m", "rtc", "worker", "--background", "--name", "lab", "--server", machine.server]
    command += ["--sleap-nn", str(machine.folder / "bin" / "sleap-nn")]
    both = [
        subprocess.Popen(command, env=machine.environment(), cwd=machine.folder, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    printed = [one.communicate(timeout=HANG_TIME)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    assert sorted("It runs already" in text for text in printed) == [False, True]
    assert len(workers_in(machine)) == 1


def workers_in(machine: Machine) -> list[psutil.Process]:
    return [process for process in processes_in(machine.folder) if "--in-background" in process.cmdline()]


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        pytest.param(("--server", "ws://127.0.0.1:9"), 5, "127.0.0.1", marks=pytest.mark.long),
        pytest.param(("--room-id", "room-none", "--token", "wrong"), 4, "room", marks=pytest.mark.long),
        (("--sleap-nn", "/nowhere/sleap-nn"), 2, "--sleap-nn"),
        pytest.param(("--require-secret",), 2, "secret", marks=pytest.mark.long),
    ],
    ids=["no server", "no room", "no sleap-nn", "no secret"],
)
def test_a_worker_that_fails_says_why_and_gives_its_exit_code(
    machine: Machine, words: tuple[str, ...], code: int, part: str
) -> None:
    assert part in machine.start(*words, code=code)
    assert workers_in(machine) == []
    assert machine.status(code=3)["exit_code"] == code


@pytest.mark.parametrize(
    ("words", "part"), [(("--room", "nowhere"), "No room is remembered"), (("--gpu", "99"), "GPU")], ids=["room", "gpu"]
)
def test_a_worker_that_fails_before_its_log_is_open_says_why(
    machine: Machine, words: tuple[str, ...], part: str
) -> None:
    """Regression: logging wrote the sentence to standard error, which passed it to logging, without an end."""
    assert part in machine.start(*words, code=2)
    assert part in machine.background().joinpath("output.txt").read_text()


@pytest.mark.long
def test_the_line_for_the_crontab_means_this_worker_also_where_no_variable_is_set(machine: Machine) -> None:
    """Regression: cron started another worker, in other folders and at another server."""
    machine.variables |= {"SLEAP_RTC_HOME": str(machine.folder / "lab's 100% home"), "SLEAP_RTC_SIGNALING_WS": "ws://x"}
    printed = machine.start()
    line = next(line.strip() for line in printed.splitlines() if "@reboot" in line)
    done = subprocess.run(
        ["/bin/sh", "-c", line.removeprefix("@reboot ").replace("\\%", "%").replace(">/dev/null", "")],
        env={"HOME": str(machine.folder / "home"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=HANG_TIME,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "It runs already." in done.stdout


@pytest.mark.long
def test_a_python_that_does_not_even_begin_is_told_with_its_last_line(machine: Machine) -> None:
    broken = machine.folder / "broken"
    broken.mkdir()
    (broken / "trio.py").write_text("import os, sys\nif '--in-background' in sys.orig_argv: sys.exit('no trio')\n")
    source = str(Path(sys.modules["rtc"].__path__[0]).parent)
    real = Path(sys.modules["trio"].__path__[0]).parent
    (broken / "trio.py").write_text(
        "import sys\n"
        "if '--in-background' in sys.orig_argv: sys.exit('no trio here')\n"
        f"sys.path.insert(0, {str(real)!r}); del sys.modules['trio']; import trio\n"
    )
    text = machine.start(code=1, more={"PYTHONPATH": os.pathsep.join((source, str(broken)))})
    assert "no trio here" in text


@pytest.mark.long
def test_after_a_crash_it_is_not_said_to_run_and_its_job_and_room_are_found_again(machine: Machine) -> None:
    printed = machine.start()
    pause = TrainingPause(str(machine.folder / "go-on"))
    package = make_package(machine.folder / "toy.zip", wait_for=pause.file)
    machine.run("train", str(package), "--session-string", machine.session(printed), "--detach", "--json")
    psutil.Process(machine.status()["pid"]).kill()
    eventually("a worker that does not run", lambda: not workers_in(machine))
    dead = machine.status(code=3)
    assert (dead["running"], dead["pid"], dead["exit_code"]) == (False, None, None)
    assert "It was killed" in machine.run("worker", "--status", code=3)
    assert machine.session(machine.start()) == machine.session(printed)
    assert eventually("the adopted job", lambda: busy_jobs(machine))
    pause.end()
    machine.run("attach", "--json")
    machine.run("worker", "--stop")


@pytest.mark.long
def test_stop_now_ends_the_job_and_keeps_what_it_has_made(machine: Machine) -> None:
    printed = machine.start()
    pause = TrainingPause(str(machine.folder / "never"))
    package = make_package(machine.folder / "toy.zip", wait_for=pause.file)
    machine.run("train", str(package), "--session-string", machine.session(printed), "--detach", "--json")
    eventually("a busy worker", lambda: busy_jobs(machine))
    assert "is ended" in machine.run("worker", "--stop", "--now")
    assert machine.status(code=3)["exit_code"] == 6
    assert processes_in(machine.folder) == []


@pytest.mark.long
@pytest.mark.long
def test_stop_may_be_repeated_and_interrupted_without_harm_to_the_job(machine: Machine) -> None:
    printed = machine.start()
    pause = TrainingPause(str(machine.folder / "go-on"))
    package = make_package(machine.folder / "toy.zip", wait_for=pause.file)
    machine.run("train", str(package), "--session-string", machine.session(printed), "--detach", "--json")
    eventually("a busy worker", lambda: busy_jobs(machine))
    for _ in range(3):
        stop = subprocess.Popen(
            [sys.executable, "-m", "rtc", "worker", "--stop"],
            env=machine.environment(),
            cwd=machine.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert stop.stdout is not None
        assert [stop.stdout.readline() for _ in range(2)][1] != ""
        eventually("a leaving worker", lambda: "leaving" in machine.status()["workers"][0]["status"])
        stop.send_signal(signal.SIGINT)
        assert stop.wait(HANG_TIME) == 130
        stop.stdout.close()
    assert busy_jobs_of_any_status(machine)
    pause.end()
    eventually("an ended worker", lambda: not workers_in(machine))
    assert machine.status(code=3)["exit_code"] == 0


def busy_jobs_of_any_status(machine: Machine) -> list[str]:
    [worker] = machine.status()["workers"]
    return list(worker["jobs"])


@pytest.mark.long
@pytest.mark.parametrize("way", ["option", "input", "variable"])
def test_no_secret_is_in_a_file_of_ours_or_in_a_process_title(machine: Machine, way: str) -> None:
    printed = machine.start("--name", "first")
    room, token = (
        next(line.split()[1] for line in printed.splitlines() if line.startswith(f"  {what} "))
        for what in ("room", "token")
    )
    machine.run("worker", "--stop")
    shutil.rmtree(machine.folder / "home")
    (machine.folder / "home").mkdir()
    variable = {"SLEAP_RTC_ROOM_SECRET_" + room.upper().replace("-", "_"): SECRET}
    words = {"option": ("--room-secret", SECRET), "input": ("--room-secret", "-"), "variable": ()}[way]
    machine.start(
        *("--room-id", room, "--token", token, *words),
        text=SECRET if way == "input" else None,
        more=variable if way == "variable" else {},
    )
    [worker] = workers_in(machine)
    assert token not in " ".join(worker.cmdline())
    environment = Path(f"/proc/{worker.pid}/environ").read_bytes()
    for path, data in [*contents_below(machine.folder / "home"), (Path("environ"), environment)]:
        assert SECRET.encode() not in data, path
    with_token = {path.name for path, data in contents_below(machine.folder / "home") if token.encode() in data}
    assert with_token <= {"banner.txt", ".place-lab-cpu.json"}, "private files of mode 0600 that a worker needs"
    proof = machine.run("workers", "--room-id", room, "--token", token, "--server", machine.server, "--json")
    assert json.loads(proof)[0]["name"] == "lab"
    machine.run("worker", "--stop")


@pytest.mark.long
def test_an_interrupted_start_leaves_no_worker(machine: Machine) -> None:
    command = [sys.executable, "-m", "rtc", "worker", "--background", "--name", "lab", "--room-id", "room-1"]
    command += ["--token", "t", "--server", "ws://127.0.0.1:9", "--sleap-nn", str(machine.folder / "bin" / "sleap-nn")]
    starter = subprocess.Popen(
        command, env=machine.environment(), cwd=machine.folder, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    while "cannot be reached" not in starter.stdout.readline():
        assert starter.poll() is None
    starter.send_signal(signal.SIGINT)
    assert starter.wait(HANG_TIME) == 130
    starter.stdout.close()
    eventually("no worker", lambda: not workers_in(machine))


@pytest.mark.long
@pytest.mark.long
def test_it_runs_a_server_of_its_own_too(machine: Machine, own_port: int) -> None:
    printed = machine.run(
        *("worker", "--background", "--name", "lab", "--sleap-nn", str(machine.folder / "bin" / "sleap-nn")),
        *("--serve", "--serve-host", "127.0.0.1", "--ws-port", str(own_port), "--http-port", "0"),
    )
    assert "Server started." in printed
    listed = machine.run("workers", "--session-string", machine.session(printed), "--json")
    assert json.loads(listed)[0]["name"] == "lab"
    machine.run("worker", "--stop")


# -------- as a systemd user unit (a stand-in for systemctl; there is no real user manager in a container)


@pytest.fixture
def calls(machine: Machine) -> Path:
    """A machine with a user manager, which ends at log-out; the file has the calls of its programs."""
    folder = machine.folder / "systemd"
    found = systemd_stand_in.install(folder, linger=False)
    machine.path = str(folder)
    machine.variables = {"XDG_RUNTIME_DIR": str(folder), "SYSTEMD_STAND_IN": str(folder)}
    return found


@pytest.mark.long
def test_with_a_user_manager_it_is_a_unit(machine: Machine, calls: Path) -> None:
    unit = "sleap-rtc-worker-lab.service"
    printed = machine.start("--room-secret", SECRET, more={"CUDA_VISIBLE_DEVICES": "0"})
    file = machine.folder / "home" / ".config" / "systemd" / "user" / unit
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert SECRET not in text
    assert '"--require-secret"' in text, "it never runs open because the secret was given only once"
    assert 'Environment="CUDA_VISIBLE_DEVICES=0"' in text
    for part in (f"systemctl --user enable {unit}", "loginctl enable-linger", "given to this start only"):
        assert part in printed
    found = machine.status()
    assert (found["running"], found["unit"]) == (True, unit)
    assert "runs already" in machine.start("--room-secret", SECRET, more={"CUDA_VISIBLE_DEVICES": "0"})
    machine.run("worker", "--stop")
    assert machine.status(code=3)["exit_code"] == 0
    made = calls.read_text().splitlines()
    for call in ("daemon-reload", f"start --wait {unit}", f"stop --no-block {unit}"):
        assert f"systemctl --user {call}" in made


@pytest.mark.long
def test_at_the_start_of_the_machine_it_looks_for_its_secret_and_does_not_run_open(
    machine: Machine, calls: Path
) -> None:
    assert calls.parent.is_dir()
    printed = machine.start()
    room, token = (
        next(line.split()[1] for line in printed.splitlines() if line.startswith(f"  {what} "))
        for what in ("room", "token")
    )
    machine.run("worker", "--stop")
    token_file = machine.folder / "token"
    token_file.write_text(token)
    secret = {"SLEAP_RTC_ROOM_SECRET_" + room.upper().replace("-", "_"): SECRET}
    machine.start("--room-id", room, "--token-file", str(token_file), more=secret)
    machine.run("worker", "--stop")
    unit = ["systemctl", "--user", "start", "--wait", "sleap-rtc-worker-lab.service"]
    booted = subprocess.run(unit, env=machine.environment(), timeout=HANG_TIME, check=False)
    assert booted.returncode == 2
    assert machine.status(code=3)["exit_code"] == 2
    secrets = machine.folder / "home" / ".sleap-rtc" / "secrets"
    secrets.mkdir(mode=0o700, parents=True)
    (secrets / room).write_text(SECRET)
    (secrets / room).chmod(0o600)
    with subprocess.Popen(unit, env=machine.environment()) as booting:
        eventually("a worker in its room", lambda: machine.background().is_dir() and joined(machine))
        machine.run("worker", "--stop")
        assert booting.wait(HANG_TIME) == 0


@pytest.mark.long
@pytest.mark.long
def test_a_remembered_room_is_all_that_the_start_of_the_machine_needs(machine: Machine, calls: Path) -> None:
    printed = machine.start("--room-secret", SECRET)
    machine.run("join", machine.session(printed), "--name", "flies", "--room-secret", SECRET)
    machine.run("worker", "--stop")
    again = machine.start("--room", "flies")
    assert "given to this start only" not in again
    assert machine.status()["room"] in printed
    machine.run("worker", "--stop")
    unit = ["systemctl", "--user", "start", "--wait", "sleap-rtc-worker-lab.service"]
    with subprocess.Popen(unit, env=machine.environment()) as booting:
        eventually("a worker in its room", lambda: joined(machine))
        assert machine.status()["room"] in printed
        machine.run("worker", "--stop")
        assert booting.wait(HANG_TIME) == 0
    assert "enable" not in calls.read_text(), "whether it starts with the machine is for the person to decide"


def joined(machine: Machine) -> bool:
    [found] = json.loads(machine_status_text(machine))
    return bool(found["running"] and found["room"])


def machine_status_text(machine: Machine) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rtc", "worker", "--status", "--json", "--name", "lab"],
        env=machine.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


@pytest.mark.long
def test_a_systemd_that_does_not_start_the_unit_is_named(machine: Machine, calls: Path) -> None:
    """Regression: it said that the worker had ended, and named a file with the words of an earlier one."""
    output = machine.background() / "output.txt"
    output.parent.mkdir(parents=True)
    output.write_text("words of an earlier one\n")
    program = calls.parent / "systemctl"
    program.write_text('#!/bin/sh\ncase "$3" in --wait) echo "Unit is masked." >&2; exit 1;; esac\n')
    printed = machine.start(code=1)
    assert "Unit is masked." in printed
    assert "systemctl --user status sleap-rtc-worker-lab.service" in printed
    assert "earlier" not in printed


@pytest.mark.long
def test_a_unit_that_fails_is_stopped_and_not_tried_again_and_again(machine: Machine, calls: Path) -> None:
    assert "127.0.0.1" in machine.start("--server", "ws://127.0.0.1:9", code=5)
    assert "systemctl --user stop --no-block sleap-rtc-worker-lab.service" in calls.read_text().splitlines()
    assert workers_in(machine) == []


@pytest.mark.long
def test_where_the_user_manager_stays_at_log_out_nothing_is_to_be_done(machine: Machine, calls: Path) -> None:
    (calls.parent / "linger").write_text("yes")
    assert "enable-linger" not in machine.start()
    machine.run("worker", "--stop", "--now")
    assert machine.status(code=3)["exit_code"] in (0, 6)
