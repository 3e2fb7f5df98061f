"""Programs in terminals of their own: server, worker and clients as people start them, for tests that kill them.

Each `Scene` has one worker and one person, with a home folder each, in a folder that no other scene shares: what runs
or lies there afterwards was left by that scene.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
from attrs import define, field

from rtc.testing.stand_in import install_stand_in

T = TypeVar("T")

DEADLINE = 90.0
"""Seconds that anything may take on a busy machine."""
POLL_PERIOD = 0.01
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
"""A sleap-nn that notes what it has made where no job's end removes it, and can be told to make many files more."""
FILE_COUNT_NAME = "how-many.txt"
"""The package's file that says how many."""


def eventually(what: str, check: Callable[[], T | None], seconds: float = DEADLINE) -> T:
    """Wait until `check` finds something; other processes have no event to wait for, so it looks again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(POLL_PERIOD)
    raise AssertionError(f"it never came: {what}")


@define
class Terminal:
    """One started program, and all that it has printed."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    @property
    def text(self) -> str:
        """What it told."""
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it told programs; only whole lines."""
        whole, _, _ = self.out.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    @property
    def code(self) -> int:
        """Its exit code, once it has ended."""
        return int(self.process.returncode)

    @property
    def sentence(self) -> str:
        """How it ended, in its own words."""
        ended = self.event("ended")
        return str(ended["text"]) if ended else self.err.read_text().strip()

    def event(self, name: str, **fields: Any) -> dict[str, Any] | None:
        """The first event of this name with these fields."""
        for event in self.events:
            if event["event"] == name and fields.items() <= event.items():
                return event
        return None

    def until(self, what: str, check: Callable[[], T | None], seconds: float = DEADLINE) -> T:
        """As `eventually`; a program that ends meanwhile will not do it any more."""

        def check_or_fail() -> T | None:
            over = self.process.poll() is not None
            found = check()
            assert found or not over, f"{what} never came, it ended with {self.process.returncode}:\n{self.text}"
            return found

        return eventually(f"{what}\n{self.text}", check_or_fail, seconds)

    def until_said(self, pattern: str) -> str:
        """Wait for these words; its first group, or all of it."""
        found = self.until(pattern, lambda: re.search(pattern, self.text, re.MULTILINE))
        return found[found.re.groups and 1]

    def until_event(self, name: str, **fields: Any) -> dict[str, Any]:
        """Wait for an event."""
        return self.until(f"{name} {fields}", lambda: self.event(name, **fields))

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it without a word, also when it is stopped."""
        self.process.kill()
        self.process.wait()

    def ended(self, seconds: float = DEADLINE) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end:\n{self.text}") from None


@define
class Scene:
    """One worker, one person, and the folder that both are in."""

    folder: Path
    server: str
    """Its WebSocket address."""
    inside: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """Words before the commands of somebody with this home, such as those that enter a network namespace."""
    session: str = ""
    worker: Terminal = field(init=False)
    _started: list[Terminal] = field(factory=list, init=False)

    @property
    def job_manager(self) -> Path:
        """Where the person is."""
        return self._make_folder("desk")

    @property
    def work(self) -> Path:
        """Where the worker's jobs run."""
        return self.folder / "bench" / ".sleap-rtc" / "work"

    @property
    def results(self) -> Path:
        """Where the worker's results wait."""
        return self.folder / "bench" / ".sleap-rtc" / "results"

    @property
    def tickets(self) -> list[Path]:
        """What the person has kept of jobs."""
        return sorted((self.folder / "person" / ".sleap-rtc" / "jobs").glob("*.json"))

    @property
    def trained(self) -> set[str]:
        """SHA-256 of every model that was trained to its end here."""
        record = self.folder / "trained-models"
        return {line.split()[0] for line in record.read_text().splitlines()} if record.exists() else set()

    def start(self, home: str, *arguments: str, where: Path | None = None, terminal: int | None = None) -> Terminal:
        """Start `sleap-rtc` with these words, for somebody with this home; at a terminal, or without one."""
        name = self._make_folder("output") / f"{len(self._started)}-{arguments[0]}"
        out, err = name.with_suffix(".out"), name.with_suffix(".err")
        with out.open("wb") as stdout_file, err.open("wb") as stderr_file:
            process = subprocess.Popen(
                [*self.inside.get(home, ()), sys.executable, "-m", "rtc", *arguments],
                env=self._environment(home),
                cwd=where or self.job_manager,
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=stdout_file if terminal is None else terminal,
                stderr=stderr_file if terminal is None else terminal,
                start_new_session=terminal is not None,
            )
        self._started.append(Terminal(process, out, err))
        return self._started[-1]

    def start_worker(self) -> None:
        """Start the worker, or start it again: the words are the same, and while jobs wait, so is its place."""
        real = install_stand_in(self._make_folder("bin"))
        wrapper = self.folder / "bin" / "wrapper"
        wrapper.write_text(WRAPPER.format(real=real, file_count=FILE_COUNT_NAME, record=self.folder / "trained-models"))
        wrapper.chmod(0o755)
        arguments = ("worker", "--server", self.server, "--sleap-nn", str(wrapper))
        self.worker = self.start("bench", *arguments, where=self._make_folder("bench"))
        session = self.worker.until_said(r"^(eyJ\S+)$")
        assert self.session == session or not self.tickets, "it came back under another name"
        self.session = session

    def client(self, package: Path, *arguments: str) -> Terminal:
        """Send a package to the worker."""
        command = "track" if package.name.startswith("track") else "train"
        signaling = ("--session-string", self.session, "--json")
        return self.start("person", command, str(package), *signaling, *arguments)

    def at_terminal(self, package: Path, *arguments: str) -> tuple[Terminal, int]:
        """Send a package, sitting at a terminal; also the descriptor by which to type there."""
        typing, terminal = os.openpty()
        client = self.start(
            "person", "train", str(package), "--session-string", self.session, *arguments, terminal=terminal
        )
        os.close(terminal)
        threading.Thread(target=_copy, args=(typing, client.out), daemon=True).start()
        return client, typing

    def person(self, *arguments: str) -> Terminal:
        """Any other command of theirs."""
        return self.start("person", *arguments)

    def status(self) -> str | None:
        """The worker's, as everybody is told; None when it is in no room."""
        listing = self.start("person", "workers", "--session-string", self.session, "--json")
        assert listing.ended() == 0, listing.text
        return next((one["status"] for one in json.loads(listing.out.read_text())), None)

    def processes(self) -> list[psutil.Process]:
        """All that run here or for this scene, however they came to be."""
        return [process for process in psutil.process_iter() if _belongs(process, str(self.folder))]

    def models(self) -> set[str]:
        """SHA-256 of every model that the person has."""
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in self.job_manager.rglob("best.ckpt")}

    def check_nothing_is_left(self) -> None:
        """No process, no folder of a job, nothing half done on the person's disk; and the worker is free."""
        eventually("an empty work folder", lambda: not any(self.work.iterdir()))
        eventually("an available worker", lambda: self.status() == "available")
        eventually("no process left", lambda: {one.pid for one in self.processes()} <= {self.worker.process.pid}, 20)
        assert sorted(self.job_manager.rglob(".sleap-rtc-*")) == []
        assert list((self.folder / "tmp").iterdir()) == []
        for terminal in self._started:
            assert "Traceback" not in terminal.text, terminal.text
            assert "bug in sleap-rtc" not in terminal.text, terminal.text
            assert str(self.folder / "bench") not in terminal.text, f"a full path of the worker: {terminal.text}"

    def close(self) -> None:
        """End everything."""
        for terminal in self._started:
            if terminal.process.poll() is None:
                terminal.kill()
        for process in self.processes():
            process.kill()

    def _make_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _environment(self, home: str) -> Mapping[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLEAP_RTC")}
        ours = {"HOME": str(self._make_folder(home)), "TMPDIR": str(self._make_folder("tmp")), "PYTHONUNBUFFERED": "1"}
        return inherited | ours | {"PYTHONPATH": str(Path(sys.modules["rtc"].__path__[0]).parent)}


def _belongs(process: psutil.Process, folder: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        words = (process.cwd(), *process.cmdline(), *process.environ().values())
    except psutil.Error:  # it is gone, or another user's
        return False
    return any(f"{word}/".startswith(f"{folder}/") for word in words)


def _copy(terminal: int, out: Path) -> None:
    """What a program shows, to a file, until its terminal is closed."""
    with out.open("ab", buffering=0) as file, suppress(OSError):
        while shown := os.read(terminal, 65536):
            file.write(shown)


@contextmanager
def play_all(
    folder: Path, plays: Mapping[str, Callable[[Scene], T]], at_once: int
) -> Iterator[Mapping[str, "Future[T]"]]:
    """Begin all of these, some at a time, each in a scene of its own, on one server; how each went is in its future."""
    server, address = start_server(folder / "server")

    def run_scene(name: str) -> T:
        scene = Scene(folder / name.replace(" ", "-").replace("'", ""), address)
        try:
            return plays[name](scene)
        finally:
            scene.close()

    try:
        with ThreadPoolExecutor(at_once) as pool:
            yield {name: pool.submit(run_scene, name) for name in plays}
            pool.shutdown(cancel_futures=True)
    finally:
        server.kill()


def start_server(folder: Path) -> tuple[Terminal, str]:
    """A signalling server on a free port of loopback, and its address."""
    scene = Scene(folder, "")
    ports = ("--host", "127.0.0.1", "--ws-port", "0", "--http-port", "0")
    server = scene.start("server", "server", *ports, "--data", str(folder / "data"))
    return server, server.until_said(r"Signalling at (ws://[\d.:]+),")


def freeze(*terminals: Terminal, seconds: float) -> None:
    """Stop programs for this long: to those who wait for them it is as if their link were cut."""
    for terminal in terminals:
        terminal.signal(signal.SIGSTOP)
    time.sleep(seconds)
    for terminal in terminals:
        terminal.signal(signal.SIGCONT)
