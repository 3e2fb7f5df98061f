"""What `sleap-rtc package config` does: training configurations for labels, from sleap-nn here or from a worker's."""

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from protocol.faults import FaultCode
from rtc.api.result import Result
from rtc.client.package_source import config_source
from rtc.client.write_config import ConfigsHere, write_configs_here
from rtc.command_line.client_commands import choose_mode, progress_writer, start_job
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.terminal.interface import Mode
from rtc.terminal.json_events import EndedEvent, to_line

NAMES_WORKER = (
    "session_string",
    "room_name",
    "room_id",
    "token",
    "worker_id",
    "auto_select",
    "min_gpu_memory",
    "wait",
    "detach",
    "server",
    "relay_only",
)
"""Options that are about a worker: with one of them, sleap-nn on this machine is not asked."""


def fetch_config(labels: Path, pipeline: str | None, output: Path | None, **options: Any) -> int:
    """Have sleap-nn write configurations for labels, say what to do with them, and return the exit code.

    Args:
        labels: a `.slp` or `.pkg.slp` file.
        pipeline: what sleap-nn is to write configurations for; None: it chooses.
        output: the folder for them; None: one in the working folder, named after the labels.
        options: options that choose a room and a worker, and how much is shown.

    Raises:
        RtcError: USAGE: the labels, the pipeline or the folder is wrong, or sleap-nn cannot do it.
    """
    if labels.suffix.lower() != ".slp":
        text = f"{labels.name or labels} is not a file of labels. Name a .slp or .pkg.slp file."
        raise RtcError(FaultCode.USAGE, text)
    mode = choose_mode(quiet=options["quiet"], verbose=options["verbose"], as_json=options["as_json"])
    source = config_source(labels, pipeline)
    if not any(options[name] for name in NAMES_WORKER):
        here = write_configs_here(labels, pipeline, source.path, output, progress_writer(mode))
        if here is not None:
            return _show(here, labels, mode)
    finish = partial(_say_next_step, labels) if mode is not Mode.JSON else None
    return start_job(source, output=output, on_interrupt=None, finish=finish, **options)


def _show(here: ConfigsHere, labels: Path, mode: Mode) -> int:
    """Show the configurations that were written on this machine, and return exit code 0."""
    if mode is Mode.JSON:
        files = tuple(map(str, here.files))
        ended = EndedEvent(
            outcome="done", text=here.text, fault=None, exit_code=0, folder=str(here.folder), models=(), files=files
        )
        LineWriter(sys.stdout).say(to_line(ended).rstrip())
        return ExitCode.DONE
    writer = LineWriter(sys.stdout)
    if mode is not Mode.QUIET:
        writer.say(here.text)
    writer.say(f"Written: {', '.join(map(str, here.files))}")
    writer.say(next_step(labels, here.files))
    return ExitCode.DONE


def _say_next_step(labels: Path, result: Result) -> None:
    if result.configs:
        LineWriter(sys.stdout).say(next_step(labels, result.configs))


def next_step(labels: Path, configs: Sequence[Path]) -> str:
    """Return the line that says how to train with the configurations."""
    shown = [path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path for path in configs]
    options = [word for path in shown for word in ("--config", str(path))]
    return f"Change what you like, and then: {shlex.join(['sleap-rtc', 'train', str(labels), *options])}"
