"""Names of the files in a job's folder, and the small JSON files that the worker and the supervisor exchange there.

The job's own code runs as the same user and could write these files too, so everything that is read is checked.
"""

import errno
import json
import os
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from protocol.ids import JobId
from protocol.jobs import JobKind, Outcome
from rtc.common.job_result import JobResult
from rtc.common.safe_open import open_private, open_regular
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
"""FIFO for commands to the supervisor, one per line."""
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


@frozen
class Spec:
    """The job that a supervisor runs, the program and the GPU for it. Its fields are the keys of `spec.json`."""

    job: JobId
    sleap_nn: Path
    """The sleap-nn program."""
    accelerator: Accelerator
    gpu: str | None = None
    """UUID of the only GPU that the job may see; None to leave CUDA_VISIBLE_DEVICES unchanged."""
    overrides: tuple[str, ...] = ()
    """Settings changed for this run, in Hydra's notation, for every model of the package."""


def write_spec(folder: Path, spec: Spec) -> None:
    """Write `spec.json`, which `read_spec` reads in the supervisor.

    Raises:
        OSError: it cannot be written; the disk is full, for example.
    """
    _write_json(folder / SPEC, attrs.asdict(spec) | {"sleap_nn": str(spec.sleap_nn)}, os.O_TRUNC)


def read_spec(folder: Path) -> Spec:
    """Read `spec.json` back as a `Spec`.

    A supervisor is started only by a worker of the same version, so any exception raised here is a bug.
    """
    fields = _read_json(folder / SPEC)
    return Spec(**fields | {"sleap_nn": Path(fields["sleap_nn"]), "overrides": tuple(fields["overrides"])})


def write_result_paths(folder: Path, plan: Plan) -> None:
    """Write `made.json`: the paths in the package where the job's models and predictions will be.

    The worker packs the result by these paths. It cannot read the package's plan again at that time: the files that
    the job has created would change how the package is read.

    Raises:
        OSError: it cannot be written; the disk is full, for example.
    """
    runs = [step.run_path for step in plan.steps]
    outputs = [step.output for step in plan.predictions]
    fields = {"kind": plan.kind.value, "root": plan.root, "runs": runs, "outputs": outputs}
    _write_synced(_part_path(folder / RESULT_PATHS), json.dumps(fields).encode(), os.O_TRUNC)
    _part_path(folder / RESULT_PATHS).replace(folder / RESULT_PATHS)


def read_result_paths(folder: Path) -> Plan:
    """Read `made.json` back as a plan that has only what packing the result needs.

    The plan is empty when there is no such file: the job ended before the supervisor had read the package.

    Raises:
        OSError: the file cannot be read, or holds something that `write_result_paths` would not have written.
    """
    try:
        fields = _read_json(folder / RESULT_PATHS)
        steps = tuple(TrainStep(run, "", run) for run in _check_paths(fields["runs"]))
        predictions = tuple(PredictStep(output, "", (), output) for output in _check_paths(fields["outputs"]))
        return Plan(JobKind(fields["kind"]), steps, root=_check_path(fields["root"]), predictions=predictions)
    except FileNotFoundError:
        return Plan(JobKind.TRAIN, ())
    except (ValueError, KeyError, TypeError):
        raise OSError(errno.EINVAL, _INVALID_RESULT_PATHS, RESULT_PATHS) from None


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
    _write_json(folder / OUTCOME, {"outcome": result.outcome.value, "text": result.text[:TEXT_MAX]}, 0)


def read_outcome(folder: Path) -> JobResult | None:
    """Read `outcome.json`: how the job ended. None when it is missing or invalid: the supervisor died before."""
    try:
        fields = _read_json(folder / OUTCOME)
        return JobResult(Outcome(fields["outcome"]), _check_text(fields["text"])[:TEXT_MAX])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_json(path: Path) -> Any:
    """Read a JSON file; the types of what is in it are not checked.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or longer than `JSON_FILE_MAX`.
    """
    with open_regular(path) as file:
        content = file.read(JSON_FILE_MAX)
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError from None


def _check_text(value: object) -> str:
    """Return a value that is a string.

    Raises:
        TypeError: it is not a string.
    """
    if not isinstance(value, str):
        raise TypeError
    return value


def _check_paths(value: object) -> list[str]:
    """Return a list of paths, each checked by `_check_path`.

    Raises:
        TypeError: it is not a list.
    """
    if not isinstance(value, list):
        raise TypeError
    return [_check_path(item) for item in value]


def _check_path(value: object) -> str:
    """Return a path that the file system can have and that stays inside the package.

    Raises:
        TypeError: it is not a string.
        ValueError: it is not such a path.
    """
    path = _check_text(value)
    os.fsencode(path)  # raises a ValueError for lone surrogates
    if leaves_folder(path) or "\0" in path:
        raise ValueError
    return path


def _write_json(path: Path, fields: dict[str, Any], flags: int) -> None:
    """Write a JSON file, padded with blanks to at least `OUTCOME_RESERVED` bytes; it is on disk when this returns.

    It is written under a temporary name (`_part_path`) first, then renamed.
    """
    _write_synced(_part_path(path), json.dumps(fields).encode().ljust(OUTCOME_RESERVED), flags)
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
