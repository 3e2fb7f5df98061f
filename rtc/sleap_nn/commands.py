"""How sleap-nn is found and called, and the few environment variables it gets to see."""

import importlib.metadata
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.hydra_overrides import quote
from rtc.packages.inference import PredictStep
from rtc.packages.plan import TrainStep
from rtc.packages.predict_options import option_words

Accelerator = Literal["cpu", "auto"]

SHIM = Path(__file__).resolve().parent / "shim"
"""Absolute, since jobs run in another folder."""
CONVERTER = Path(__file__).resolve().parent / "convert_legacy.py"

_ALLOWED_NAMES = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|LD_LIBRARY_PATH|CUDA\w*|NVIDIA\w*|NCCL_\w+|PYTORCH_\w+|TORCH_HOME|"
    r"(OMP|MKL|OPENBLAS|NUMEXPR|VECLIB)_\w+|SYSTEMROOT|XDG_CACHE_HOME|SSL_CERT_(FILE|DIR)"
)
_SECRET_NAMES = re.compile(r"SECRET|TOKEN|KEY|PASS|CREDENTIAL", re.IGNORECASE)


@frozen
class Ports:
    """Where the monitor listens on 127.0.0.1; sleap-nn connects to both."""

    publish: int
    controller: int


def find_sleap_nn(name_or_path: str | None = None) -> Path:
    """The sleap-nn program: the one given, else the one beside our Python, else the one on PATH.

    Raises:
        RtcError: USAGE: there is none.
    """
    if name_or_path is not None:
        found = shutil.which(name_or_path)
        if found is None:
            raise RtcError(
                FaultCode.USAGE, f"{Path(name_or_path).name} is no program that can be run. Check --sleap-nn."
            )
        return Path(found).absolute()
    # not resolved: a virtual environment's python is a link to one that has no sleap-nn beside it
    found = shutil.which("sleap-nn", path=str(Path(sys.executable).parent)) or shutil.which("sleap-nn")
    if found is None:
        raise RtcError(
            FaultCode.USAGE, "sleap-nn is not installed here. Run: pip install '.[worker]' in sleap-rtc's folder"
        )
    return Path(found).absolute()


def sleap_nn_version() -> str | None:
    """The version installed beside us, without importing it (that takes ten seconds); None if there is none."""
    try:
        return importlib.metadata.version("sleap-nn")
    except importlib.metadata.PackageNotFoundError:
        return None


def python_of(sleap_nn: Path) -> Path:
    """The Python that a sleap-nn program belongs to: named in its first lines by pip and uv, else beside it.

    Raises:
        RtcError: USAGE: it cannot be told.
    """
    with sleap_nn.open("rb") as file:
        head = file.read(1024).decode(errors="replace")
    # pip writes a second form for long paths or paths with spaces: #!/bin/sh, then '''exec' "/the/python" …
    for pattern in (r"#!\s*(\S*python[\w.]*)\s*\n", r"'''exec' [\"']?([^\"'\n]*python[\w.]*)"):
        found = re.match(pattern, head) or re.search(r"\n" + pattern, head)
        if found is not None and Path(found[1]).is_file():
            return Path(found[1])
    for name in ("python", "python3", "python.exe"):
        sibling = sleap_nn.with_name(name)
        if sibling.is_file():
            return sibling
    raise RtcError(
        FaultCode.USAGE, "The Python of sleap-nn was not found. Run: pip install '.[worker]' in sleap-rtc's folder"
    )


def train_command(sleap_nn: Path, step: TrainStep, config: str, ports: Ports, accelerator: Accelerator) -> list[str]:
    """What trains one model when run in the package's root; `config` is the step's own file or its conversion."""
    folder, _, run = step.run_path.partition("/")
    settings = [str(override) for override in step.overrides]
    settings += [
        f"++trainer_config.zmq.publish_port={ports.publish}",
        f"++trainer_config.zmq.controller_port={ports.controller}",
        f"++trainer_config.ckpt_dir={quote(folder)}",
        f"++trainer_config.run_name={quote(run)}",
        "++trainer_config.save_ckpt=true",  # off by default, and without it there is no model to bring back
    ]
    if step.labels:
        settings.append(f"++data_config.train_labels_path=[{','.join(map(quote, step.labels))}]")
    if accelerator == "cpu":
        settings += ["++trainer_config.trainer_accelerator=cpu", "++trainer_config.trainer_devices=1"]
    return [str(sleap_nn), "train", "--config", config, *settings]


def predict_command(sleap_nn: Path, step: PredictStep, accelerator: Accelerator) -> list[str]:
    """What predicts on one file when run in the package's root; `--gui` makes it tell its progress on stdout."""
    arguments = [str(sleap_nn), "predict", "--gui", "--data_path", step.data]
    for model in step.models:
        arguments += ["--model_paths", model]
    arguments += ["--output_path", step.output, *(["--device", "cpu"] if accelerator == "cpu" else [])]
    return arguments + option_words(step.options)


def convert_command(sleap_nn: Path, source: str, target: str) -> list[str]:
    """The command that turns SLEAP ≤ 1.4's JSON into sleap-nn's YAML."""
    # -P: the helper lies beside our own sleap_nn.py, which must not be taken for the real package
    return [str(python_of(sleap_nn)), "-P", str(CONVERTER), source, target]


def clean_environment(job_tmp: Path, gpu: str | None, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a job: what sleap-nn needs, and nothing that could be somebody's secret.

    Configurations and models of a package can run code and read the environment; hence an allow-list.
    """
    environment = os.environ if environment is None else environment
    clean = {
        name: value
        for name, value in environment.items()
        if _ALLOWED_NAMES.fullmatch(name) and not _SECRET_NAMES.search(name)
    }
    clean |= {
        "TMPDIR": str(job_tmp),
        "PYTHONUNBUFFERED": "1",  # log lines as they come
        "PYTHONPATH": str(SHIM),
        "WANDB_MODE": "offline",
    }
    if gpu is not None:
        clean["CUDA_VISIBLE_DEVICES"] = gpu
    return clean


def show_command(command: list[str]) -> str:
    """A command as people would type it, with bare program names, for the log."""
    return shlex.join([Path(command[0]).name, *command[1:]])
