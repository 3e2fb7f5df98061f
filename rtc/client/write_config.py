"""Has the sleap-nn of this machine write training configurations for labels, without a worker."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from protocol.faults import FaultCode
from rtc.client.package_builder.configure import check_labels_fit, check_pipeline
from rtc.client.package_builder.contents import check_has_labels, inspect_labels
from rtc.client.package_builder.slp_files import check_labels
from rtc.client.unpack_results import choose_output_folder
from rtc.common.errors import RtcError
from rtc.common.scratch_dirs import scratch_name
from rtc.packages.written_config import WrittenConfig, read_written_configs, write_new_file
from rtc.sleap_nn.auto_config import (
    TARGET,
    Recommendation,
    choice_text,
    config_command,
    explain_command,
    has_no_config_command,
    read_recommendation,
    usage_reason,
)
from rtc.sleap_nn.commands import find_sleap_nn
from rtc.sleap_nn.environment import SHIM
from rtc.sleap_nn.output import clean_line, failure_reason


@frozen
class ConfigsHere:
    """The configurations that were written on this machine."""

    text: str
    """What sleap-nn has chosen, and why."""
    folder: Path
    files: tuple[Path, ...]
    """In the order in which their models are trained."""


def write_configs_here(
    labels: Path, pipeline: str | None, package: Path, output: Path | None, report: Callable[[str], None]
) -> ConfigsHere | None:
    """Have sleap-nn write the configurations for labels; return them, or None if this machine has none that can.

    Args:
        labels: a `.slp` or `.pkg.slp` file.
        pipeline: what sleap-nn is to write configurations for; None: it chooses.
        package: the folder is named after it unless `output` names one.
        output: the folder for the configurations; it must be empty or not exist.
        report: called with a line of text before each step that takes a while.

    Raises:
        RtcError: USAGE: the labels, the pipeline or the folder is wrong, or sleap-nn cannot do it.
    """
    try:
        sleap_nn = find_sleap_nn()
    except RtcError:
        return None
    check_pipeline(pipeline, has_configs=False)
    check_labels(labels)
    folder = choose_output_folder(package, output)
    inspected = inspect_labels(labels)
    check_has_labels(inspected)
    check_labels_fit(inspected, pipeline)
    report(f"sleap-nn on this machine looks at {labels.name}")
    scratch = folder.with_name(scratch_name())
    try:
        scratch.mkdir()
        configs = _run_sleap_nn(sleap_nn, labels, pipeline, scratch)
        if configs is None:
            return None
        recommendation = None if pipeline is not None else _explain(sleap_nn, labels)
        text = choice_text(pipeline, [config.head for config in configs], recommendation)
        return ConfigsHere(text, folder, _write(folder, configs))
    except OSError as error:
        text = f"The configuration could not be written: {error.strerror}. Name another folder with --output."
        raise RtcError(FaultCode.USAGE, text) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run_sleap_nn(
    sleap_nn: Path, labels: Path, pipeline: str | None, scratch: Path
) -> tuple[WrittenConfig, ...] | None:
    """Run `sleap-nn config`; return what it has written, or None if this sleap-nn is too old for that.

    Raises:
        RtcError: USAGE: sleap-nn failed. BAD_PACKAGE or JOB_FAILED: what it has written cannot be used.
    """
    status, lines = _run(config_command(sleap_nn, str(labels.absolute()), str(scratch / TARGET), pipeline))
    if has_no_config_command(status, lines):
        return None
    configs = () if status else read_written_configs(scratch, labels.name, str(labels))
    if not configs:
        why = usage_reason(status, lines) or failure_reason(lines) or f"status {status}"
        raise RtcError(FaultCode.USAGE, f"sleap-nn could not write a configuration for {labels.name}: {why}")
    return configs


def _explain(sleap_nn: Path, labels: Path) -> Recommendation | None:
    """Return what sleap-nn recommends for the labels; None when it does not say it."""
    try:
        _, lines = _run(explain_command(sleap_nn, str(labels.absolute())))
    except RtcError:
        return None
    found = [recommendation for line in lines if (recommendation := read_recommendation(line.encode())) is not None]
    return found[-1] if found else None


def _run(command: list[str]) -> tuple[int, list[str]]:
    """Run a program to its end; return its exit status and the lines that it has printed.

    Raises:
        RtcError: USAGE: it cannot be started.
    """
    paths = [str(SHIM), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    except OSError as error:
        text = f"sleap-nn could not be started ({error.strerror}). Check its installation with: sleap-rtc doctor"
        raise RtcError(FaultCode.USAGE, text) from None
    return done.returncode, [clean_line(line) for line in done.stdout.splitlines()]


def _write(folder: Path, configs: tuple[WrittenConfig, ...]) -> tuple[Path, ...]:
    """Write the configurations for the person into the folder, which is made; return their paths."""
    folder.mkdir(exist_ok=True)
    for config in configs:
        write_new_file(folder / config.name, config.home_text)
    return tuple(folder / config.name for config in configs)
