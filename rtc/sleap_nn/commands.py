"""Find sleap-nn, and build its command lines."""

import importlib.metadata
import importlib.util
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Literal

from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.hydra_overrides import quote_for_hydra
from rtc.packages.inference import PredictStep
from rtc.packages.plan import TrainStep
from rtc.packages.predict_options import option_arguments

Accelerator = Literal["cpu", "auto"]

IMAGE_CACHE = ".images"
"""Folder in the package's root for images that sleap-nn stores while it trains: beside the run's folder, which sleap-nn
itself would take and which goes home with the model. No file of a package has such a name (`safe_name`)."""
CONVERTER = Path(__file__).resolve().parent / "convert_legacy.py"
"""Program that converts a configuration of SLEAP ≤ 1.4; run by sleap-nn's Python."""


@frozen
class Ports:
    """The two ports on which a `Monitor` listens (`rtc.sleap_nn.zmq_progress`). sleap-nn connects to both, always on
    127.0.0.1."""

    publish: int
    """sleap-nn publishes its progress here (`trainer_config.zmq.publish_port`)."""
    controller: int
    """sleap-nn receives the command to stop from here (`trainer_config.zmq.controller_port`)."""


def find_sleap_nn(name_or_path: str | None = None) -> Path:
    """Return the path of the sleap-nn program.

    That is the one given; without one, the `sleap-nn` in the folder of our Python; without that, the one on PATH.

    Raises:
        RtcError: USAGE: there is none, or the given one cannot be run.
    """
    if name_or_path is not None:
        found = shutil.which(name_or_path)
        if found is None:
            raise RtcError(
                FaultCode.USAGE, f"{Path(name_or_path).name} is no program that can be run. Check --sleap-nn."
            )
        return Path(found).absolute()
    # sys.executable is not resolved: in a virtual environment it is a link to a Python that has no sleap-nn beside it
    found = shutil.which("sleap-nn", path=str(Path(sys.executable).parent)) or shutil.which("sleap-nn")
    if found is None:
        raise RtcError(
            FaultCode.USAGE, "sleap-nn is not installed here. Run: pip install '.[worker]' in sleap-rtc's folder"
        )
    return Path(found).absolute()


def sleap_nn_version() -> str | None:
    """Return the version of sleap-nn in our environment, or None. Does not import it, which takes ten seconds."""
    try:
        return importlib.metadata.version("sleap-nn")
    except importlib.metadata.PackageNotFoundError:
        return None


def version_of(sleap_nn: Path) -> str | None:
    """Return the version of a sleap-nn program, or None if it is not found. sleap-nn is not run: that takes seconds."""
    try:
        python = python_of(sleap_nn)
    except (OSError, RtcError):
        return None
    if python.parent == Path(sys.executable).parent:
        return sleap_nn_version()
    for packages in python.parent.parent.glob("lib/python3*/site-packages"):
        for found in importlib.metadata.distributions(name="sleap-nn", path=[str(packages)]):
            return found.version
    return None


def python_of(sleap_nn: Path) -> Path:
    """Return the path of the Python that a sleap-nn program belongs to.

    pip and uv write this path into the first lines of the program. Without such a line, Python is looked for in the
    program's folder.

    Raises:
        RtcError: USAGE: Python is found in neither place.
    """
    with sleap_nn.open("rb") as file:
        head = file.read(1024).decode(errors="replace")
    # for long paths and for paths with spaces, pip writes a second form: #!/bin/sh, then '''exec' "/the/python" …
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


def python_with(module: str) -> str | None:
    """Return the path of a Python that has a module: our own, or that of sleap-nn; None when there is none."""
    if importlib.util.find_spec(module) is not None:
        return sys.executable
    try:
        return str(python_of(find_sleap_nn()))
    except (RtcError, OSError):
        return None


def train_command(
    sleap_nn: Path, step: TrainStep, config: str, ports: Ports, accelerator: Accelerator, devices: int = 1
) -> list[str]:
    """Return the command that trains one model; run it in the package's root.

    sleap-nn trains one model per process, and resolves relative paths against the folder in which it runs. Settings
    are changed by Hydra overrides. The form `++key=value` adds or replaces a key; plain `key=value` fails when the key
    is not in the YAML. The package's overrides come first, then the settings that the worker decides itself
    (`rtc.packages.worker_settings`). An API key is left out: other users of the machine see command lines, and a job
    uploads nothing.

    With several GPUs, sleap-nn starts itself again as `python -m sleap_nn.cli`, and that one starts one more process
    for each further GPU (Lightning's DDP); all stay in the process group. Only the first one reports progress.

    Args:
        config: the step's own configuration, or its conversion from SLEAP ≤ 1.4.
        ports: the ports of the `Monitor`. Both are off by default in sleap-nn.
        devices: number of GPUs that the job may see; it uses all of them.
    """
    folder, _, run = step.run_path.partition("/")
    settings = [str(override) for override in step.overrides if not override.is_secret]
    settings += [
        f"++trainer_config.trainer_accelerator={accelerator}",
        f"++trainer_config.trainer_devices={devices if accelerator == 'auto' else 1}",
        "++trainer_config.trainer_device_indices=null",  # they would be those of the computer that wrote them
        "++trainer_config.trainer_strategy=auto",
        f"++trainer_config.zmq.publish_port={ports.publish}",
        f"++trainer_config.zmq.controller_port={ports.controller}",
        f"++trainer_config.ckpt_dir={quote_for_hydra(folder)}",
        f"++trainer_config.run_name={quote_for_hydra(run)}",
        "++trainer_config.save_ckpt=true",  # off by default in sleap-nn, and then it leaves no best.ckpt
        f"++data_config.cache_img_path={quote_for_hydra(f'{IMAGE_CACHE}/{run}')}",
        "++data_config.use_existing_imgs=false",
        "++data_config.delete_cache_imgs_after_training=true",
    ]
    if step.labels:
        settings.append(f"++data_config.train_labels_path=[{','.join(map(quote_for_hydra, step.labels))}]")
    return [str(sleap_nn), "train", "--config", config, *settings]


def predict_command(sleap_nn: Path, step: PredictStep, accelerator: Accelerator) -> list[str]:
    """Return the command that predicts on one file; run it in the package's root.

    `--gui` makes sleap-nn print its progress on stdout as lines of JSON (`rtc.sleap_nn.predict_progress`).
    """
    arguments = [str(sleap_nn), "predict", "--gui", "--data_path", step.data]
    for model in step.models:
        arguments += ["--model_paths", model]
    arguments += ["--output_path", step.output, *(["--device", "cpu"] if accelerator == "cpu" else [])]
    return arguments + option_arguments(step.options)


def convert_command(sleap_nn: Path, source: str, target: str) -> list[str]:
    """Return the command that converts a configuration of SLEAP ≤ 1.4 (JSON) into one of sleap-nn (YAML)."""
    # -P: without it, Python puts the converter's folder first on its path, and our modules there (output, commands)
    # could be imported in place of others of the same name
    return [str(python_of(sleap_nn)), "-P", str(CONVERTER), source, target]


def show_command(command: list[str]) -> str:
    """Return a command as a person would type it, for the log: programs without their folders, ours too."""
    ours = str(Path(__file__).resolve().parent)
    return shlex.join(
        [Path(command[0]).name, *(Path(word).name if word.startswith(ours) else word for word in command[1:])]
    )
