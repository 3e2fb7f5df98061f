"""Make the environment of a job: what sleap-nn would see by hand, without secrets (`rtc.common.job_variables`)."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import unquote

import rtc
from rtc.common.job_variables import is_ours, is_passed, looks_secret, password_in

SHIM = Path(__file__).resolve().parent / "shim"
"""Folder with our `sitecustomize.py`, for PYTHONPATH. Absolute, since jobs run in another folder."""
_PATH_LISTS = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Lists of folders. An empty or relative entry means the folder of the package, in which a job runs: it is left out."""
SECRET_MIN = 4
"""Characters from which on a secret is hidden in what a job prints; to hide shorter ones would spoil the text."""


def job_environment(
    job_tmp: Path,
    gpus: tuple[str, ...] | None,
    pass_env: Collection[str] = (),
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the environment of a job: what sleap-nn would see by hand, without what may be a secret (`PASSED`).

    Args:
        job_tmp: folder for temporary files.
        gpus: UUIDs of the GPUs that the job may see; empty for none, None to leave CUDA_VISIBLE_DEVICES as it is.
        pass_env: names of further variables, which the worker's owner lets a job see.
        environment: the variables to choose from; by default those of this process.
    """
    environment = os.environ if environment is None else environment
    defaults = {"WANDB_MODE": "offline"}  # a job uploads nothing to Weights & Biases, unless the owner says otherwise
    chosen = {
        name: value
        for name, value in environment.items()
        if (name in pass_env and not is_ours(name)) or (is_passed(name) and name not in defaults)
    }
    chosen = defaults | {
        name: value for name, value in map(_without_relative, chosen.items()) if value or name not in _PATH_LISTS
    }
    modules = [str(SHIM), *(path for path in _whole_paths(chosen.get("PYTHONPATH", "")) if not _is_our_root(path))]
    chosen |= {
        "TMPDIR": str(job_tmp),
        "PYTHONUNBUFFERED": "1",  # so that sleap-nn's lines come when they are printed, not in blocks
        "PYTHONPATH": os.pathsep.join(modules),
    }
    if gpus is not None:
        chosen["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    return chosen


def _without_relative(variable: tuple[str, str]) -> tuple[str, str]:
    """Return a variable, name and value; a list of folders without the relative ones."""
    name, value = variable
    return name, os.pathsep.join(_whole_paths(value)) if name in _PATH_LISTS else value


def _whole_paths(paths: str) -> list[str]:
    """Return the folders of a list that are named by whole paths."""
    return [path for path in paths.split(os.pathsep) if path.startswith("/")]


def our_root() -> str:
    """Return the folder in which our packages are: `rtc` and others, which a job needs not see."""
    return str(Path(rtc.__file__).absolute().parents[1])


def _is_our_root(path: str) -> bool:
    return os.path.normpath(path) == our_root()


def environment_secrets(environment: Mapping[str, str]) -> frozenset[str]:
    """Return the secrets in a job's environment, to be hidden in what the job prints.

    These are the values of variables whose names look like those of secrets, and passwords in URLs: a proxy may want
    one, and then the job needs it.
    """
    found = {value.strip() for name, value in environment.items() if looks_secret(name)}
    for password in map(password_in, environment.values()):
        found |= {password, unquote(password)}
    return frozenset(value for value in found if len(value) >= SECRET_MIN)
