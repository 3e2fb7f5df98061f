"""Choose the environment variables that a job gets."""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

SHIM = Path(__file__).resolve().parent / "shim"
"""Folder with our `sitecustomize.py`, for PYTHONPATH. Absolute, since jobs run in another folder."""

_ALLOWED_NAMES = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|LD_LIBRARY_PATH|CUDA\w*|NVIDIA\w*|NCCL_\w+|PYTORCH_\w+|TORCH_HOME|"
    r"(OMP|MKL|OPENBLAS|NUMEXPR|VECLIB)_\w+|SYSTEMROOT|XDG_CACHE_HOME|SSL_CERT_(FILE|DIR)"
)
"""Environment variables that a job gets: the system's basics, and those of CUDA, PyTorch and the maths libraries."""
_SECRET_NAMES = re.compile(r"SECRET|TOKEN|KEY|PASS|CREDENTIAL", re.IGNORECASE)
"""Parts of names of environment variables that a job never gets, also when `_ALLOWED_NAMES` fits."""
_OWN_SECRETS = re.compile(r"SLEAP_RTC_\w*", re.IGNORECASE)
"""Names of our own variables, some of which hold secrets: a job never gets one, whatever the worker's owner says."""


def job_environment(
    job_tmp: Path,
    gpus: tuple[str, ...] | None,
    pass_env: Collection[str] = (),
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the environment of a job: the variables that sleap-nn needs, and none that could hold a secret.

    It is an allow-list, because a package can run code and read the environment: models are pickles, and a
    configuration can name environment variables (OmegaConf's `${oc.env:NAME}`).

    Args:
        job_tmp: folder for temporary files.
        gpus: UUIDs of the GPUs that the job may see; empty for none, None to leave CUDA_VISIBLE_DEVICES as it is.
        pass_env: names of further variables, which the worker's owner lets a job see.
        environment: the variables to choose from; by default those of this process.
    """
    environment = os.environ if environment is None else environment
    chosen = {
        name: value
        for name, value in environment.items()
        if (name in pass_env and not _OWN_SECRETS.fullmatch(name))
        or (_ALLOWED_NAMES.fullmatch(name) and not _SECRET_NAMES.search(name))
    }
    chosen |= {
        "TMPDIR": str(job_tmp),
        "PYTHONUNBUFFERED": "1",  # so that sleap-nn's lines come when they are printed, not in blocks
        "PYTHONPATH": str(SHIM),
        "WANDB_MODE": "offline",  # a job uploads nothing to Weights & Biases
    }
    if gpus is not None:
        chosen["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    return chosen
