"""Names of the files in a job's folder, and the small JSON files that the worker and the supervisor exchange there.

The job's own code runs as the same user and could write these files too, so everything that is read is checked.
"""

import errno
import os
from pathlib import Path
from typing import Any, TypeVar

from attrs import Attribute, evolve, field, frozen
from attrs.validators import deep_iterable

from protocol.converter import WireError, from_json, to_json
from protocol.ids import JobId
from protocol.jobs import JobKind, Outcome
from rtc.common.gpu import GpuFacts
from rtc.common.job_result import JobResult
from rtc.common.safe_open import open_private, open_regular
from rtc.common.size_limits import PACKAGE_MAX
from rtc.packages.hydra_overrides import leaves_folder
from rtc.packages.inference import PredictStep
from rtc.packages.plan import Plan, TrainStep
from rtc.runner.summary import TEXT_MAX
from rtc.sleap_nn.commands import Accelerator

ARRIVED = "arrived"
"""Folder with the package as it was received, until it is unpacked."""
PACKAGE = "package"
"""Folder with the unpacked package."""
SPEC, RESULT_PATHS, OUTCOME = "spec.json", "made.json", "outcome.json"
"""JSON files: the job that the supervisor runs; the paths of the results in the package; how the job ended."""
COMMAND_FIFO = "control"
"""FIFO for commands to the supervisor."""
SUPERVISOR_LOCK = ".supervisor"
"""File that is locked as long as the supervisor lives, by the supervisor only."""
SUPERVISOR_LOG = "supervisor.log"
"""The supervisor's stdout and stderr: warnings of its own, and the traceback of a bug. Empty when all went well."""
JSON_FILE_MAX = 4 * 2**20
"""Bytes read of a JSON file; ours are shorter, so a longer one is invalid."""
OUTCOME_RESERVED = 16 * 1024
"""Bytes that `OUTCOME` can have: its text has at most `TEXT_MAX` characters, each at most six bytes as JSON."""
ENDED_FROM_OUTSIDE = JobResult(
    Outcome.FAILED,
    "The job was ended from outside (the machine restarted, or ran out of memory, or somebody killed it)."
    " What it had made so far is in the result.",
)
"""Result of a job whose supervisor died, or got SIGTERM, before it could say how the job ended."""
_INVALID_RESULT_PATHS = "the job has spoilt the list of what it made"

T = TypeVar("T")


@frozen
class Spec:
    """The job that a supervisor runs, the program and the GPUs for it. Its fields are the keys of `spec.json`."""

    job: JobId
    sleap_nn: Path
    """The sleap-nn program."""
    accelerator: Accelerator
    gpus: tuple[str, ...] | None = None
    """UUIDs of the only GPUs that the job may see, none for the CPU; None to leave CUDA_VISIBLE_DEVICES unchanged."""
    overrides: tuple[str, ...] = ()
    """Settings changed for this run, in Hydra's notation, for every model of the package."""
    package_max: int = PACKAGE_MAX
    """Bytes that the files of the package may have together, unpacked."""
    gpu_facts: tuple[GpuFacts, ...] = ()
    """What the driver reported about these GPUs when the job began; fewer if it did not answer."""
    pass_env: tuple[str, ...] = ()
    """Names of further environment variables that the job gets (`worker --pass-env`)."""
    give_up_after: float | None = None
    """Seconds of silence after which a step is ended; None: never."""


def _check_path(_note: object, _field: "Attribute[str]", path: str) -> None:
    """Check that the file system can have a path, and that it stays inside the package (a validator of attrs).

    Raises:
        ValueError: it cannot or does not.
    """
    os.fsencode(path)  # raises a ValueError for lone surrogates
    if leaves_folder(path) or "\0" in path:
        raise ValueError


@frozen
class ResultPaths:
    """Where the job's models and predictions will be, in the package. Its fields are the keys of `made.json`."""

    kind: JobKind
    root: str = field(validator=_check_path)
    runs: tuple[str, ...] = field(validator=deep_iterable(_check_path))
    outputs: tuple[str, ...] = field(validator=deep_iterable(_check_path))
    configs: tuple[str, ...] = field(default=(), validator=deep_iterable(_check_path))
    """Configurations that sleap-nn has written."""


def write_spec(folder: Path, spec: Spec) -> None:
    """Write `spec.json`, which `read_spec` reads in the supervisor.

    Raises:
        OSError: it cannot be written; the disk is full, for example.
    """
    _write_padded(folder / SPEC, spec, os.O_TRUNC)


def read_spec(folder: Path) -> Spec:
    """Read `spec.json` back as a `Spec`.

    A supervisor is started only by a worker of the same version, so any exception raised here is a bug.
    """
    return _read_json(folder / SPEC, Spec)


def write_result_paths(folder: Path, plan: Plan) -> None:
    """Write `made.json`: the paths in the package where the job's models and predictions will be.

    The worker packs the result by these paths. It cannot read the package's plan again at that time: the files that
    the job has created would change how the package is read.

    Raises:
        OSError: it cannot be written (the disk is full, for example), or no file can have one of these paths.
    """
    runs = tuple(step.run_path for step in plan.steps)
    outputs = tuple(step.output for step in plan.predictions)
    try:
        paths = ResultPaths(plan.kind, plan.root, runs, outputs, plan.written)
    except ValueError:
        raise OSError(errno.EINVAL, "the package names a result as no file can be named", RESULT_PATHS) from None
    _write_synced(_part_path(folder / RESULT_PATHS), to_json(paths).encode(), os.O_TRUNC)
    _part_path(folder / RESULT_PATHS).replace(folder / RESULT_PATHS)


def read_result_paths(folder: Path) -> Plan:
    """Read `made.json` back as a plan that has only what packing the result needs.

    The plan is empty when there is no such file: the job ended before the supervisor had read the package.

    Raises:
        OSError: the file cannot be read, or holds something that `write_result_paths` would not have written.
    """
    try:
        paths = _read_json(folder / RESULT_PATHS, ResultPaths)
    except FileNotFoundError:
        return Plan(JobKind.TRAIN, ())
    except WireError:
        raise OSError(errno.EINVAL, _INVALID_RESULT_PATHS, RESULT_PATHS) from None
    steps = tuple(TrainStep(run, "", run) for run in paths.runs)
    predictions = tuple(PredictStep(output, "", (), output) for output in paths.outputs)
    return Plan(paths.kind, steps, root=paths.root, predictions=predictions, written=paths.configs)


def reserve_outcome(folder: Path) -> None:
    """Allocate the disk space that `write_outcome` will need, so that a full disk cannot hide how the job ended.

    Raises:
        OSError: the space cannot be allocated.
    """
    _write_synced(_part_path(folder / OUTCOME), b" " * OUTCOME_RESERVED, os.O_TRUNC)


def write_outcome(folder: Path, result: JobResult) -> None:
    """Write `outcome.json`: how the job ended. The file is complete or missing, also after a power failure.

    Raises:
        OSError: it cannot be written, not even into the reserved space.
    """
    # overwrites the reserved file, which needs no more space; JSON allows the blanks that fill it up
    _write_padded(folder / OUTCOME, _truncated(result), 0)


def read_outcome(folder: Path) -> JobResult | None:
    """Read `outcome.json`: how the job ended. None when it is missing or invalid: the supervisor died before."""
    try:
        return _truncated(_read_json(folder / OUTCOME, JobResult))
    except (OSError, WireError):
        return None


def _truncated(result: JobResult) -> JobResult:
    return evolve(result, text=result.text[:TEXT_MAX])


def _read_json(path: Path, kind: type[T]) -> T:
    """Read a JSON file as an object of a class.

    Raises:
        OSError: it cannot be read.
        WireError: it holds something else, or is longer than `JSON_FILE_MAX`.
    """
    with open_regular(path) as file:
        content = file.read(JSON_FILE_MAX + 1)
    read: T = from_json(content, kind, limit=JSON_FILE_MAX)
    return read


def _write_padded(path: Path, note: Any, flags: int) -> None:
    """Write a JSON file, padded with blanks to at least `OUTCOME_RESERVED` bytes; it is on disk when this returns.

    It is written under a temporary name (`_part_path`) first, then renamed.
    """
    _write_synced(_part_path(path), to_json(note).encode().ljust(OUTCOME_RESERVED), flags)
    _part_path(path).replace(path)
    _sync_folder(path.parent)


def _part_path(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _write_synced(path: Path, content: bytes, flags: int) -> None:
    with open_private(path, flags) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Write a folder to disk: a rename survives a power failure only after that (fsync(2), POSIX)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
