"""Counts a person's first minute: the keystrokes and the seconds of the commands from a worker that runs to a result.

    python benchmarks/first_minute.py

A server, a worker and a person run on this machine, each with a home folder of its own; only sleap-nn is a stand-in. So
the seconds are those of our programs, start of Python included, and not those of a training. Keystrokes are the
characters of each command and its Enter; `pasted` counts a session string as one paste (two keys).
"""

import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from rtc.common.version import VERSION
from rtc.testing.stand_in import make_package
from rtc.testing.terminals import Scene, start_server

CODE = re.compile(r"\b\d+-[a-z]+-[a-z]+-[a-z]+$", re.MULTILINE)
"""A short code at the end of a line, as the worker prints it."""
SESSION = re.compile(r"eyJ[\w=-]+")
PASTE_KEYS = 2
"""Keys of one paste: Ctrl and V."""
LATER_JOBS = 9
"""Jobs after the first one."""


@frozen
class Step:
    """One command of the person, as it was typed and run."""

    command: str
    seconds: float
    code: int

    @property
    def typed(self) -> int:
        """Keystrokes when all of it is typed, Enter included."""
        return len(self.command) + 1

    @property
    def pasted(self) -> int:
        """Keystrokes when a session string is pasted."""
        return len(SESSION.sub("", self.command)) + 1 + PASTE_KEYS * len(SESSION.findall(self.command))


@frozen
class Way:
    """One way to the first result."""

    name: str
    steps: tuple[Step, ...]
    """The first job's commands; the last one is repeated for each later job."""

    def keys(self, jobs: int, *, pasted: bool) -> int:
        """Return the keystrokes for so many jobs."""
        keys = [step.pasted if pasted else step.typed for step in self.steps]
        return sum(keys) + (jobs - 1) * keys[-1]

    @property
    def seconds(self) -> float:
        """Seconds of the first job's commands."""
        return sum(step.seconds for step in self.steps)


def run(scene: Scene, words: Sequence[str]) -> Step:
    """Run one command of the person to its end, and return what it took."""
    # a configured server is as short to type as the default one
    terminal_environment = {"SLEAP_RTC_SIGNALING_WS": scene.server}
    begun = time.monotonic()
    terminal = scene.start("person", *words, variables=terminal_environment)
    code = terminal.ended()
    seconds = time.monotonic() - begun
    if code != 0:
        sys.exit(f"sleap-rtc {words[0]} ended with exit code {code}:\n{terminal.text}")
    return Step(f"sleap-rtc {' '.join(words)}", seconds, code)


@contextmanager
def scene_of(folder: Path, server: str) -> Iterator[Scene]:
    """Start a worker, and give its scene with a package for the person; end everything afterwards."""
    scene = Scene(folder, server)
    folder.mkdir()
    try:
        make_package(scene.person_folder / "bugs.zip", epochs=1)
        scene.start_worker()
        yield scene
    finally:
        scene.close()


def ways(folder: Path, server: str) -> Iterator[Way]:
    """Run all ways, each with a worker and a person of its own, and return them. The first one is the old way."""
    with scene_of(folder / "old", server) as scene:
        old = run(scene, ("client-train", "--session-string", scene.session, "--pkg-path", "bugs.zip"))
        yield Way("old: the session string in every command", (old,))
    with scene_of(folder / "string", server) as scene:
        joined = run(scene, ("join", scene.session))
        yield Way("join once with the session string", (joined, run(scene, ("train", "bugs.zip"))))
    with scene_of(folder / "code", server) as scene:
        found = CODE.search(scene.worker.text)
        if found is None:
            sys.exit(f"The worker shows no short code:\n{scene.worker.text}")
        joined = run(scene, ("join", found[0]))
        yield Way("join once with the short code", (joined, run(scene, ("train", "bugs.zip"))))


def table(found: Sequence[Way]) -> str:
    """Return the commands, the totals, and the ratios to the first way, as Markdown."""
    lines = ["| way | command | keys, typed | keys, pasted | seconds |", "|---|---|---|---|---|"]
    for way in found:
        for step in way.steps:
            shown = SESSION.sub(lambda match: f"eyJ… ({len(match[0])} characters)", step.command)
            lines.append(f"| {way.name} | `{shown}` | {step.typed} | {step.pasted} | {step.seconds:.1f} |")
    old, jobs = found[0], LATER_JOBS + 1
    lines += [
        "",
        f"| way | first job: typed | pasted | seconds | {jobs} jobs: typed | pasted | fewer keys than the old way |",
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for way in found:
        one, many = (way.keys(number, pasted=False) for number in (1, jobs))
        one_pasted, many_pasted = (way.keys(number, pasted=True) for number in (1, jobs))
        ratios = f"{old.keys(1, pasted=False) / one:.1f} ×, {old.keys(jobs, pasted=False) / many:.1f} × for {jobs} jobs"
        lines.append(f"| {way.name} | {one} | {one_pasted} | {way.seconds:.1f} | {many} | {many_pasted} | {ratios} |")
    return "\n".join(lines)


def machine() -> str:
    """Return when and on what this was measured."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 (whichever git is here)
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    day = datetime.now(UTC).date()
    return (
        f"{day}, sleap-rtc {VERSION} ({commit or 'no checkout'}), Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} processor cores, load {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    """Measure all ways and print the tables."""
    with tempfile.TemporaryDirectory(prefix="first-minute-") as name:
        folder = Path(name)
        server, url = start_server(folder / "server")
        try:
            found = list(ways(folder, url))
        finally:
            server.kill()
    sys.stdout.write(f"{table(found)}\n\n{machine()}\n")


if __name__ == "__main__":
    main()
