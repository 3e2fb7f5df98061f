"""What lies in a job's folder besides its package: names, and small notes between the worker and the keeper.

The job's own code could write them as well, so whatever is read is checked.
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
from rtc.packages.hydra_overrides import leaves
from rtc.packages.inference import PredictStep
from rtc.packages.plan import Plan, TrainStep
from rtc.runner.summary import TEXT_MAX
from rtc.sleap_nn.commands import Accelerator

ARRIVED = "arrived"
"""The folder with the package as it came, until it is unpacked."""
PACKAGE = "package"
"""The folder with the unpacked package."""
SPEC, MADE, OUTCOME = "spec.json", "made.json", "outcome.json"
COMMAND_FIFO = "control"
"""A FIFO for the keeper's orders, a line each."""
LIFE = ".keeper"
"""A file that is locked as long as the keeper lives, by it alone."""
SUPERVISOR_LOG = "supervisor.log"
JSON_FILE_MAX = 4 * 2**20
"""Bytes of a note; more is none of ours."""
OUTCOME_RESERVED = 16 * 1024
"""Bytes that an outcome can have: its sentence as JSON takes six for a character at most."""
ENDED_FROM_OUTSIDE = JobResult(
    Outcome.FAILED,
    "The job was ended from outside (the machine restarted, or ran out of memory, or somebody killed it)."
    " What it had made so far is in the result.",
)
_INVALID_RESULT_PATHS = "the job has spoilt the list of what it made"


@frozen
class Spec:
    """What a keeper is to do."""

    job: JobId
    sleap_nn: Path
    accelerator: Accelerator
    gpu: str | None = None
    """UUID of the one that the job may see."""
    overrides: tuple[str, ...] = ()


def write_spec(folder: Path, spec: Spec) -> None:
    """Leave it for the keeper.

    Raises:
        OSError: the disk is full, or worse.
    """
    _write_json(folder / SPEC, attrs.asdict(spec) | {"sleap_nn": str(spec.sleap_nn)}, os.O_TRUNC)


def read_spec(folder: Path) -> Spec:
    """What the worker left; only a worker of the same version starts a keeper, so anything wrong with it is a bug."""
    fields = _read_json(folder / SPEC)
    return Spec(**fields | {"sleap_nn": Path(fields["sleap_nn"]), "overrides": tuple(fields["overrides"])})


def write_made(folder: Path, plan: Plan) -> None:
    """Note where the job will leave what it makes: read again later, the package would be taken for another one.

    Raises:
        OSError: the disk is full, or worse.
    """
    runs = [step.run_path for step in plan.steps]
    outputs = [step.output for step in plan.predictions]
    fields = {"kind": plan.kind.value, "root": plan.root, "runs": runs, "outputs": outputs}
    _write_synced(_part_path(folder / MADE), json.dumps(fields).encode(), os.O_TRUNC)
    _part_path(folder / MADE).replace(folder / MADE)


def read_made(folder: Path) -> Plan:
    """As much of the plan as packing the result needs; nothing when the job did not come so far.

    Raises:
        OSError: it cannot be told.
    """
    try:
        fields = _read_json(folder / MADE)
        steps = tuple(TrainStep(run, "", run) for run in _check_paths(fields["runs"]))
        predictions = tuple(PredictStep(output, "", (), output) for output in _check_paths(fields["outputs"]))
        return Plan(JobKind(fields["kind"]), steps, root=_check_path(fields["root"]), predictions=predictions)
    except FileNotFoundError:
        return Plan(JobKind.TRAIN, ())
    except (ValueError, KeyError, TypeError):
        raise OSError(errno.EINVAL, _INVALID_RESULT_PATHS, MADE) from None


def reserve_outcome(folder: Path) -> None:
    """Take the room on disk that `write_outcome` will need, so that a full disk cannot hide how the job ended.

    Raises:
        OSError: there is none.
    """
    _write_synced(_part_path(folder / OUTCOME), b" " * OUTCOME_RESERVED, os.O_TRUNC)


def write_outcome(folder: Path, result: JobResult) -> None:
    """Say how the job ended; the note is whole or not there, also after a power cut.

    Raises:
        OSError: it cannot be written, not even into the room reserved.
    """
    # written over what was reserved, which takes no more room; JSON does not mind the blanks that are left of it
    _write_json(folder / OUTCOME, {"outcome": result.outcome.value, "text": result.text[:TEXT_MAX]}, 0)


def read_outcome(folder: Path) -> JobResult | None:
    """How the job ended; None when nobody lived to write it."""
    try:
        fields = _read_json(folder / OUTCOME)
        return JobResult(Outcome(fields["outcome"]), _check_text(fields["text"])[:TEXT_MAX])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_json(path: Path) -> Any:
    """What a note says, of whatever types.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or longer than a note of ours.
    """
    with open_regular(path) as file:
        content = file.read(JSON_FILE_MAX)
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError from None


def _check_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _check_paths(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError
    return [_check_path(item) for item in value]


def _check_path(value: object) -> str:
    """A path that can be one, and stays inside the package."""
    path = _check_text(value)
    os.fsencode(path)  # a ValueError where there are half surrogate pairs
    if leaves(path) or "\0" in path:
        raise ValueError
    return path


def _write_json(path: Path, fields: dict[str, Any], flags: int) -> None:
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
    """A rename lasts only when its folder is on disk, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
