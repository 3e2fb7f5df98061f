"""Server, worker and clients as separate processes, as people start them in terminals, for tests that kill them.

Each `Scene` has one worker and one person with a home folder each, in a folder of its own: every process and file that
is found there afterwards was left behind by that scene.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
from attrs import define, field

from rtc.testing import sleap_nn_stand_in
from rtc.testing.homes import STATE
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import install_stand_in

T = TypeVar("T")
NO_VARIABLES: Mapping[str, str] = {}

POLL_PERIOD = 0.03
"""Seconds between two checks of a condition; every moment that tests wait for lasts many times as long."""
WRAPPER = """#!/bin/sh
{real} "$@"
status=$?
for model in models/*/best.ckpt; do
  test "$1" = train && test -f "$model" || continue
  sha256sum "$model" >> {record}
  more=${{model%/*}}/more
  test ! -e {file_count} || (mkdir -p "$more" && seq "$(cat {file_count})" | (cd "$more" && xargs touch))
done
exit $status
"""
"""A sleap-nn program that runs the stand-in, then appends the SHA-256 of each trained model to `record`, a file outside
of the jobs' folders. If the package contains `FILE_COUNT_NAME`, it adds that many empty files to the result."""
STAND_IN = str(Path(sleap_nn_stand_in.__file__).resolve())
FILE_COUNT_NAME = "how-many.txt"
"""A file in the package that contains the number of files to add."""


def eventually(what: str, check: Callable[[], T | None], seconds: float = HANG_TIME) -> T:
    """Poll until `check` returns a true value, and return the value; other processes offer no event to wait for.

    Raises:
        AssertionError: `what`, after `seconds`.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(POLL_PERIOD)
    raise AssertionError(f"it never came: {what}")


@define
class Terminal:
    """One started program and its output."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    @property
    def text(self) -> str:
        """The standard output and standard error so far."""
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The `--json` events printed so far; an incomplete last line is left out."""
        whole, _, _ = self.out.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    @property
    def code(self) -> int:
        """The exit code, once the program has ended."""
        return int(self.process.returncode)

    @property
    def sentence(self) -> str:
        """The sentence with which the program has ended: from its event `ended`, otherwise from standard error."""
        ended = self.event("ended")
        return str(ended["text"]) if ended else self.err.read_text().strip()

    def event(self, name: str, **fields: Any) -> dict[str, Any] | None:
        """Return the first event of this name with these fields; None when there is none."""
        for event in self.events:
            if event["event"] == name and fields.items() <= event.items():
                return event
        return None

    def until(self, what: str, check: Callable[[], T | None], seconds: float = HANG_TIME) -> T:
        """Poll as `eventually` does, but fail at once when the program ends and `check` returns nothing."""

        def check_or_fail() -> T | None:
            over = self.process.poll() is not None
            found = check()
            assert found or not over, f"{what} never came, it ended with {self.process.returncode}:\n{self.text}"
            return found

        return eventually(f"{what}\n{self.text}", check_or_fail, seconds)

    def until_printed(self, pattern: str) -> str:
        """Wait until the output matches `pattern`; return the first group, or the whole match without a group."""
        found = self.until(pattern, lambda: re.search(pattern, self.text, re.MULTILINE))
        return found[found.re.groups and 1]

    def until_event(self, name: str, **fields: Any) -> dict[str, Any]:
        """Wait until an event of this name with these fields is printed, and return it."""
        return self.until(f"{name} {fields}", lambda: self.event(name, **fields))

    def signal(self, number: int) -> None:
        """Send the signal `number` to the program."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the program with SIGKILL, which also works while it is stopped, and wait for its end."""
        self.process.kill()
        self.process.wait()

    def ended(self, seconds: float = HANG_TIME) -> int:
        """Wait until the program ends; return its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.text}") from None


@define
class Scene:
    """One worker and one person, and the folder that contains both home folders."""

    folder: Path
    server: str
    """The WebSocket address of the signalling server."""
    wrappers: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """For each home folder, a command that wraps the programs started there, such as one that enters a network
    namespace."""
    sources: Mapping[str, Path] = field(factory=dict)
    """For each home folder, the folder of the source of the programs started there; by default this source."""
    session: str = ""
    """The session string that the worker prints."""
    worker: Terminal = field(init=False)
    _started: list[Terminal] = field(factory=list, init=False)

    @property
    def person_folder(self) -> Path:
        """The person's working folder, in which results are saved."""
        return self._make_folder("person-folder")

    @property
    def work(self) -> Path:
        """The folder in which the worker's jobs run."""
        return self.folder / "bench" / STATE / "work"

    @property
    def results(self) -> Path:
        """The folder in which the worker saves results."""
        return self.folder / "bench" / STATE / "results"

    @property
    def tickets(self) -> list[Path]:
        """The person's job tickets."""
        return sorted((self.folder / "person" / STATE / "jobs").glob("*.json"))

    @property
    def trained(self) -> set[str]:
        """SHA-256 of every model that was completely trained on the scene's worker."""
        record = self.folder / "trained-models"
        return {line.split()[0] for line in record.read_text().splitlines()} if record.exists() else set()

    def start(
        self,
        home: str,
        *arguments: str,
        where: Path | None = None,
        terminal: int | None = None,
        variables: Mapping[str, str] = NO_VARIABLES,
    ) -> Terminal:
        """Start `sleap-rtc` with these arguments.

        Args:
            home: name of the home folder, "bench" for the worker or "person".
            arguments: the command and its arguments.
            where: the working folder; by default the person's.
            terminal: descriptor of a terminal for the three standard streams; by default the output goes to files.
            variables: environment variables to add.
        """
        name = self._make_folder("output") / f"{len(self._started)}-{arguments[0]}"
        out, err = name.with_suffix(".out"), name.with_suffix(".err")
        with out.open("wb") as stdout_file, err.open("wb") as stderr_file:
            process = subprocess.Popen(
                [*self.wrappers.get(home, ()), sys.executable, "-m", "rtc", *arguments],
                env={**self._environment(home), **variables},
                cwd=where or self.person_folder,
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=stdout_file if terminal is None else terminal,
                stderr=stderr_file if terminal is None else terminal,
                start_new_session=terminal is not None,
            )
        self._started.append(Terminal(process, out, err))
        return self._started[-1]

    def start_worker(self, *more: str, variables: Mapping[str, str] = NO_VARIABLES) -> None:
        """Start or restart the worker, with the same arguments, and with `more` and these environment variables.

        While the person has job tickets, a restarted worker must print the same session string.
        """
        real = install_stand_in(self._make_folder("bin"))
        wrapper = self.folder / "bin" / "wrapper"
        wrapper.write_text(WRAPPER.format(real=real, file_count=FILE_COUNT_NAME, record=self.folder / "trained-models"))
        wrapper.chmod(0o755)
        arguments = ("worker", "--server", self.server, "--sleap-nn", str(wrapper), *more)
        self.worker = self.start("bench", *arguments, where=self._make_folder("bench"), variables=variables)
        session = self.worker.until_printed(r"^(eyJ\S+)$")
        assert self.session == session or not self.tickets, "the worker rejoined under another name"
        self.session = session

    def client(self, package: Path, *arguments: str) -> Terminal:
        """Start a client that sends a package to the worker and prints `--json` events."""
        command = "track" if package.name.startswith("track") else "train"
        signaling = ("--session-string", self.session, "--json")
        return self.start("person", command, str(package), *signaling, *arguments)

    def at_terminal(self, package: Path, *arguments: str) -> tuple[Terminal, int]:
        """Start a client at a pseudo-terminal; return it with the descriptor for typing into the terminal."""
        typing, terminal = os.openpty()
        client = self.start(
            "person", "train", str(package), "--session-string", self.session, *arguments, terminal=terminal
        )
        os.close(terminal)
        threading.Thread(target=_copy, args=(typing, client.out), daemon=True).start()
        return client, typing

    def person(self, *arguments: str) -> Terminal:
        """Start any other command of the person."""
        return self.start("person", *arguments)

    def status(self) -> str | None:
        """Return the worker's status as `sleap-rtc workers` lists it; None when it is in no room."""
        listing = self.start("person", "workers", "--session-string", self.session, "--json")
        assert listing.ended() == 0, listing.text
        return next((one["status"] for one in json.loads(listing.out.read_text())), None)

    def processes(self) -> list[psutil.Process]:
        """Return all processes that belong to this scene, by working folder, command line or environment."""
        return processes_in(self.folder)

    def trainers(self) -> list[psutil.Process]:
        """Return the processes of this scene that run the stand-in for sleap-nn."""
        return [process for process in self.processes() if STAND_IN in _words(process)]

    def models(self) -> set[str]:
        """Return the SHA-256 of every model in the person's working folder."""
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in self.person_folder.rglob("best.ckpt")}

    def check_nothing_is_left(self) -> None:
        """Check that no process, no job folder and no temporary file is left, and that the worker is available."""
        eventually("an empty work folder", lambda: not any(self.work.iterdir()))
        eventually("an available worker", lambda: self.status() == "available")
        eventually("no process left", lambda: {one.pid for one in self.processes()} <= {self.worker.process.pid})
        assert sorted(self.person_folder.rglob(".sleap-rtc-*")) == []
        assert list((self.folder / "tmp").iterdir()) == []
        for terminal in self._started:
            assert "Traceback" not in terminal.text, terminal.text
            assert "bug in sleap-rtc" not in terminal.text, terminal.text
            assert str(self.folder / "bench") not in terminal.text, f"a full path of the worker: {terminal.text}"

    def close(self) -> None:
        """Kill all processes of this scene."""
        for terminal in self._started:
            if terminal.process.poll() is None:
                terminal.kill()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _make_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _environment(self, home: str) -> Mapping[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SLEAP_RTC", "XDG_"))}
        ours = {"HOME": str(self._make_folder(home)), "TMPDIR": str(self._make_folder("tmp")), "PYTHONUNBUFFERED": "1"}
        source = self.sources.get(home, Path(sys.modules["rtc"].__path__[0]).parent)
        return inherited | ours | {"PYTHONPATH": str(source)}


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return all processes that belong to a test's folder, by working folder, command line or environment."""
    return [process for process in psutil.process_iter() if _belongs(process, str(folder))]


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):  # the process has ended
        return process.cmdline()
    return []


def _belongs(process: psutil.Process, folder: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        words = (process.cwd(), *process.cmdline(), *process.environ().values())
    except psutil.Error:  # the process has ended, or belongs to another user
        return False
    return any(f"{word}/".startswith(f"{folder}/") for word in words)


def _copy(terminal: int, out: Path) -> None:
    """Copy a program's terminal output to a file until the terminal is closed."""
    with out.open("ab", buffering=0) as file, suppress(OSError):
        while shown := os.read(terminal, 65536):
            file.write(shown)


def start_server(folder: Path, source: Path | None = None) -> tuple[Terminal, str]:
    """Start a signalling server on a free port of loopback; return it and its WebSocket address.

    Args:
        folder: its folder, for its home and its data.
        source: the folder of its source; by default this source.
    """
    scene = Scene(folder, "", sources={} if source is None else {"server": source})
    ports = ("--host", "127.0.0.1", "--ws-port", "0", "--http-port", "0")
    server = scene.start("server", "server", *ports, "--data", str(folder / "data"))
    return server, server.until_printed(r"Signalling at (ws://[\d.:]+),")


@contextmanager
def stopped(*processes: psutil.Process) -> Iterator[None]:
    """Stop processes with SIGSTOP until this context ends; for their peers this looks like a cut link."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # killed meanwhile
                process.resume()


def freeze(*terminals: Terminal, seconds: float) -> None:
    """Stop programs with SIGSTOP for `seconds`."""
    with stopped(*(psutil.Process(terminal.process.pid) for terminal in terminals)):
        time.sleep(seconds)
