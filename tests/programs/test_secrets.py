"""Room secrets as people use them: the commands of the documentation, as they stand, on several machines."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest
from attrs import define, field

from rtc.common.errors import ExitCode
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import TrainingPause
from rtc.testing.terminals import STAND_IN, Scene, Terminal

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "authentication.md"
MakePackage = Callable[..., Path]


def commands_below(heading: str) -> list[str]:
    """Return the shell blocks of a section of the page, as they stand."""
    section = PAGE.read_text().partition(f"\n{heading}\n")[2]
    section = re.split(r"^#{1,3} ", section, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@define
class Lab:
    """A worker's machine and those of other people: each has a home folder of its own."""

    scene: Scene
    room: str
    token: str
    secret: str = ""
    _count: int = field(default=0, init=False)

    def shell(self, home: str, script: str, typed: str = "") -> str:
        """Run lines of the documentation in a home folder, with the names of this test; return what they print."""
        names = {"ROOM": self.room, "TOKEN": self.token, "'eyJ…'": self.scene.session}
        for name, value in names.items():
            script = re.sub(rf"(?<![\w$]){name}(?!\w)", value, script)
        folder = self.scene.folder / home
        folder.mkdir(exist_ok=True)
        environ = {key: value for key, value in os.environ.items() if not key.startswith("SLEAP_RTC")}
        done = subprocess.run(
            ["sh", "-e", "-c", script],
            input=typed,
            capture_output=True,
            text=True,
            cwd=folder,
            env=environ | {"HOME": str(folder), "PATH": f"{self.scene.folder / 'ours'}:{os.environ['PATH']}"},
            timeout=HANG_TIME,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def train(self, home: str, package: Path, *words: str, variables: Mapping[str, str] | None = None) -> Terminal:
        """Start a client in a home folder, which puts its result into a folder of its own."""
        self._count += 1
        where = ("--session-string", self.scene.session, "--output", str(self.scene.folder / f"out-{self._count}"))
        return self.scene.start(home, "train", str(package), *where, *words, variables=variables or {})


@pytest.fixture
def lab(scene: Scene) -> Lab:
    """A worker in a room of its own, which was made before there was a secret; and `sleap-rtc` on the PATH."""
    ours = scene.folder / "ours" / "sleap-rtc"
    ours.parent.mkdir()
    source = Path(sys.modules["rtc"].__path__[0]).parent
    ours.write_text(f'#!/bin/sh\nPYTHONPATH="{source}" exec "{sys.executable}" -m rtc "$@"\n')
    ours.chmod(0o755)
    scene.start_worker()
    room, token = scene.worker.until_printed(r"^  room +(\S+)"), scene.worker.until_printed(r"^  token +(\S+)")
    return Lab(scene, room, token)


def stop_worker(lab: Lab) -> None:
    lab.scene.worker.signal(signal.SIGINT)
    assert lab.scene.worker.ended() == 0


def start_worker_with_secret(lab: Lab, *words: str) -> None:
    """Start the worker as the page says, with the server of this test; the stand-in for sleap-nn is added."""
    lab.scene.session = ""
    lab.scene.start_worker("--room-id", lab.room, "--token", lab.token, *words)
    assert "Whoever has these and the room secret may send jobs here" in lab.scene.worker.text


def make_secret(lab: Lab) -> None:
    """Make a secret with the first block of the page, and start the worker again with it."""
    create, start = commands_below("## Room secret")[0].splitlines()
    words = ["sleap-rtc", "worker", "--server", "SERVER", "--room-id", "ROOM", "--token", "TOKEN"]
    assert start.split("#")[0].split() == words
    stop_worker(lab)
    printed = lab.shell("bench", create)
    [lab.secret] = [line for line in printed.splitlines() if re.fullmatch(r"[\w-]{43}", line)]
    start_worker_with_secret(lab)


def ended(client: Terminal, code: int) -> str:
    assert client.ended() == code, client.text
    return client.text


@pytest.mark.long
def test_the_commands_of_the_page_work_as_they_stand_in_each_of_the_four_ways(
    lab: Lab, package: MakePackage, tmp_path: Path
) -> None:
    make_secret(lab)
    one = package("one.zip", epochs=1)
    refused = lab.train("nobody", one)
    assert refused.ended() == ExitCode.AUTHENTICATION
    assert len(refused.err.read_text().splitlines()) == 1
    variable = "SLEAP_RTC_ROOM_SECRET_" + lab.room.upper().replace("-", "_")

    save, then = commands_below("## Room secret")[1].split("sleap-rtc train")
    assert then.split()[0] == "package.zip"
    lab.shell("by-file", save, f"{lab.secret}\n")
    mode = (lab.scene.folder / "by-file" / ".sleap-rtc" / "secrets" / lab.room).stat().st_mode
    assert mode & 0o777 == 0o600
    assert "Other users" not in ended(lab.train("by-file", one), 0)

    ended(lab.train("by-variable", one, variables={variable: lab.secret}), 0)

    credentials = lab.scene.folder / "by-credentials" / ".sleap-rtc" / "credentials.json"
    credentials.parent.mkdir(mode=0o700, parents=True)
    shutil.copy2(lab.scene.folder / "bench" / ".sleap-rtc" / "credentials.json", credentials)
    ended(lab.train("by-credentials", one), 0)

    secret_file = tmp_path / "a secret"
    secret_file.write_text(lab.shell("bench", "sleap-rtc secrets show ROOM"))
    ended(lab.train("by-option", one, "--room-secret-file", str(secret_file)), 0)
    ended(lab.train("by-option", one, "--room-secret", lab.secret), 0)

    wrong = lab.train("by-file", one, "--room-secret", "another secret of this length")
    assert wrong.ended() == ExitCode.AUTHENTICATION
    assert len(wrong.err.read_text().splitlines()) == 1
    everything = "".join(path.read_text() for path in lab.scene.folder.rglob("*.log*"))
    assert "proved the room secret" in everything
    assert lab.secret not in everything + lab.scene.worker.text + wrong.text


def test_no_other_process_has_the_secret_while_a_job_runs(lab: Lab, package: MakePackage, pause: TrainingPause) -> None:
    stop_worker(lab)
    lab.secret = "a canary of sixteen or more"
    variable = "SLEAP_RTC_ROOM_SECRET_" + lab.room.upper().replace("-", "_")
    lab.scene.session = ""
    lab.scene.start_worker("--room-id", lab.room, "--token", lab.token, variables={variable: lab.secret})
    client = lab.train("person", package("one.zip", epochs=1, wait_for=pause.file), "--room-secret", lab.secret)
    lab.scene.worker.until_printed("Status: busy")
    client.until("a trainer", lab.scene.trainers)
    others = [one for one in lab.scene.processes() if one.pid not in (lab.scene.worker.process.pid, client.process.pid)]
    assert any(STAND_IN in one.cmdline() for one in others)
    for process in others:
        assert lab.secret not in " ".join((*process.cmdline(), *process.environ().values()))
    for program in (lab.scene.worker, client):
        assert lab.secret not in " ".join(psutil.Process(program.process.pid).cmdline())
    pause.end()
    ended(client, 0)


@pytest.mark.long
def test_a_secret_can_be_changed_while_a_job_runs(lab: Lab, package: MakePackage, pause: TrainingPause) -> None:
    make_secret(lab)
    old, home = lab.secret, lab.scene.folder / "person" / ".sleap-rtc" / "secrets" / lab.room
    save = commands_below("## Room secret")[1].partition("sleap-rtc train")[0]
    lab.shell("person", save, f"{old}\n")
    client = lab.train("person", package("one.zip", epochs=1, wait_for=pause.file))
    lab.scene.worker.until_printed("Status: busy")
    client.until("a trainer", lab.scene.trainers)
    client.signal(signal.SIGTERM)
    ended(client, ExitCode.DETACHED)
    lab.shell("bench", "sleap-rtc room create-secret --room ROOM --force")
    new = lab.shell("bench", "sleap-rtc secrets show ROOM").strip()
    assert new != old
    lab.scene.worker.kill()
    lab.scene.start_worker("--room-id", lab.room, "--token", lab.token)
    ended(lab.scene.person("attach"), ExitCode.AUTHENTICATION)
    [row] = json.loads(ended_list(lab).out.read_text())
    assert row["state"] == "secret-wrong"
    home.unlink()
    [row] = json.loads(ended_list(lab).out.read_text())
    assert (row["state"], f"the secret of {lab.room}, and none is here" in row["text"]) == ("secret-missing", True)
    lab.shell("person", save, f"{new}\n")
    pause.end()
    ended(lab.scene.person("attach"), 0)
    assert lab.scene.trained


def ended_list(lab: Lab) -> Terminal:
    listing = lab.scene.person("jobs", "--json")
    assert listing.ended() == 0, listing.text
    return listing
