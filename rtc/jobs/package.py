"""What a package wants done: read from `jobs.yaml`, else from `train-script.sh`, which is never run.

The client reads the zip before it connects anywhere; the worker reads the unpacked folder again, trusting nobody.
"""

import re
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from attrs import frozen

from protocol.jobs import MODELS_MAX, JobKind
from rtc.jobs.archive import bad, members, open_zip
from rtc.jobs.config import ModelConfig, read_config
from rtc.jobs.overrides import Override, leaves
from rtc.jobs.safe_yaml import safe_yaml
from rtc.jobs.script import LABELS_KEY, read_script

TEXT_MAX = 2**20
"""Bytes of a configuration or script; real ones have 5 kB."""
JOBS, SCRIPT = "jobs.yaml", "train-script.sh"
NAME_LENGTH = 100
"""Bytes of UTF-8 in a name of ours: file systems end at 255, and a hundred names must fit into one `JobStarted`."""


@frozen
class TrainStep:
    """One model to train; one run of sleap-nn."""

    name: str
    """For people: the configuration's name without its ending, as SLEAP names the head."""
    config: str
    """Relative to the plan's root, as all paths here."""
    run_path: str
    """`models/<run>`, not there yet, different for each step."""
    labels: tuple[str, ...] = ()
    """Labels to train on instead of those the configuration names; empty when it is right."""
    overrides: tuple[Override, ...] = ()
    epochs: int | None = None
    legacy: bool = False
    """The configuration is SLEAP ≤ 1.4's JSON."""


@frozen
class Plan:
    """All that a package asks for, checked."""

    kind: JobKind
    steps: tuple[TrainStep, ...]
    root: str = ""
    """The folder inside the package in which everything lies; empty when nothing is wrapped."""


@frozen
class _Wish:
    """A training entry as written, before it is checked against the files."""

    config: str
    run: str | None = None
    labels: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()


class Source(Protocol):
    """A package's files, packed or unpacked."""

    def names(self) -> frozenset[str]:
        """Every file, relative and with slashes."""

    def read(self, name: str) -> bytes:
        """The first TEXT_MAX + 1 bytes of a file."""


@frozen
class _Zip:
    archive: zipfile.ZipFile

    def names(self) -> frozenset[str]:
        return frozenset(info.filename for info in members(self.archive))

    def read(self, name: str) -> bytes:
        with self.archive.open(name) as file:
            return file.read(TEXT_MAX + 1)


@frozen
class _Folder:
    path: Path

    def names(self) -> frozenset[str]:
        files = (path for path in self.path.rglob("*") if stat.S_ISREG(path.lstat().st_mode))
        return frozenset(path.relative_to(self.path).as_posix() for path in files)

    def read(self, name: str) -> bytes:
        with (self.path / name).open("rb") as file:
            return file.read(TEXT_MAX + 1)


def inspect_package(path: Path) -> Plan:
    """What a zip asks for, without unpacking it.

    Raises:
        RtcError: USAGE: no such file. BAD_PACKAGE: it is no package that can be trained, and why.
    """
    with open_zip(path) as archive:
        return _plan(_Zip(archive))


def read_plan(folder: Path) -> Plan:
    """What an unpacked package asks for. Raises as `inspect_package` does."""
    return _plan(_Folder(folder))


def _plan(source: Source) -> Plan:
    names = source.names()
    root = _root(names)
    inside = frozenset(name.removeprefix(root) for name in names if name.startswith(root))

    def text(name: str) -> str:
        return _text(name, source.read(root + name))

    wishes = _from_jobs(text(JOBS)) if JOBS in inside else _from_script(text(SCRIPT))
    if not wishes:
        raise bad("The package holds nothing to train. Export it with SLEAP's 'Export training job package'.")
    if len(wishes) > MODELS_MAX:
        raise bad(f"The package asks for {len(wishes)} models; more than {MODELS_MAX} are not taken.")
    steps: list[TrainStep] = []
    for wish in wishes:
        steps.append(_step(wish, inside, text, frozenset(step.run_path for step in steps)))
    return Plan(JobKind.TRAIN, tuple(steps), root)


def _root(names: frozenset[str]) -> str:
    if names & {JOBS, SCRIPT}:
        return ""
    tops = {f"{name.split('/')[0]}/" for name in names}
    for top in sorted(tops):
        if len(tops) == 1 and names & {top + JOBS, top + SCRIPT}:
            return top
    raise bad("This is no job package: it has neither jobs.yaml nor train-script.sh. Export one with SLEAP.")


def _text(name: str, data: bytes) -> str:
    if len(data) > TEXT_MAX:
        raise bad(f"{name} is too large to be a configuration or script.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise bad(f"{name} is not plain text. Export the package again.") from None


def _from_jobs(text: str) -> tuple[_Wish, ...]:
    tree = safe_yaml("The package's jobs.yaml", text)
    entries = tree.get("training") if isinstance(tree, dict) else None
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise bad("The package's jobs.yaml has no list of models to train. Export it again.")
    return tuple(_wish(entry) for entry in entries)


def _wish(entry: Any) -> _Wish:
    config = entry.get("cfg") if isinstance(entry, dict) else None
    if not isinstance(config, str) or not config:
        raise bad("An entry of the package's jobs.yaml names no configuration. Export it again.")
    run, labels = entry.get("run_path"), entry.get("train_labels")
    return _Wish(config, run if isinstance(run, str) else None, (labels,) if isinstance(labels, str) else ())


def _from_script(text: str) -> tuple[_Wish, ...]:
    return tuple(
        _Wish(line.config, None, line.labels, tuple(item for item in line.overrides if item.key != LABELS_KEY))
        for line in read_script(text)
    )


def _step(wish: _Wish, names: frozenset[str], text: Callable[[str], str], taken: frozenset[str]) -> TrainStep:
    config = _found(wish.config, names, "configuration")
    read = read_config(config, text(config))
    labels = _labels(wish, read, config, names)
    stem = _plain(PurePosixPath(config).stem, "model")
    override = labels if read.legacy or labels != read.labels else ()
    run_path = _run_path(wish.run or read.run or stem, names, taken)
    return TrainStep(stem, config, run_path, override, wish.overrides, read.epochs, read.legacy)


def _labels(wish: _Wish, read: ModelConfig, config: str, names: frozenset[str]) -> tuple[str, ...]:
    """The labels to train on; all that the configuration needs must be here."""
    labels = wish.labels or read.labels
    if not labels:
        raise bad(f"{config} names no labels to train on. Export the package again.")
    for other in read.others:
        _found(other, names, "labels file")
    return tuple(_found(path, names, "labels file") for path in labels)


def _found(path: str, names: frozenset[str], what: str) -> str:
    """A path of the package, written plainly; SLEAP on Windows writes backslashes."""
    if leaves(path):
        raise bad(f"The package names a {what} outside itself. Export it again, with everything inside.")
    plain = PurePosixPath(path.replace("\\", "/")).as_posix()
    if plain not in names:
        shown = PurePosixPath(plain).name
        raise bad(f"The {what} {shown!r} is missing from the package. Export it again.")
    return plain


def _run_path(wished: str, names: frozenset[str], taken: frozenset[str]) -> str:
    """A fresh folder below `models/`: sleap-nn silently picks another where one exists, and its model would be lost."""
    if leaves(wished):
        raise bad("The package would write its models outside itself. Export it again.")
    base = "models/" + _plain(PurePosixPath(wished.replace("\\", "/")).name, "run")
    used = taken | {"/".join(name.split("/")[:2]) for name in names}
    path, count = base, 2
    while path in used:
        path, count = f"{base}-{count}", count + 1
    return path


def _plain(name: str, otherwise: str) -> str:
    """A name that any file system, shell and terminal shows as it is."""
    plain = re.sub(r"[^\w.=+@ ()-]", "_", name).encode()[:NAME_LENGTH].decode(errors="ignore")
    return plain.strip(" .-") or otherwise
