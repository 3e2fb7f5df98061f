"""The step before training when a package leaves its configurations to sleap-nn: have them written, and plan with them.

What sleap-nn has written passes the same checks as a configuration in a package.
"""

import tempfile
from pathlib import Path

import trio
from attrs import evolve

from protocol.faults import FaultCode
from protocol.jobs import ConfigurationStarted
from rtc.common.errors import RtcError
from rtc.packages.config_request import ConfigRequest
from rtc.packages.file_names import UsedNames
from rtc.packages.plan import Plan, plan_written_configs
from rtc.packages.sources import FolderSource
from rtc.packages.written_config import WrittenConfig, read_written_configs, write_new_file
from rtc.runner.step_context import StepContext
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

NOT_WRITTEN = "The configuration was not written."
TOO_OLD = (
    "The worker's sleap-nn is too old to write a configuration. Give one with --config, or have sleap-nn upgraded "
    "there."
)


async def write_configs(context: StepContext, folder: Path, plan: Plan, request: ConfigRequest) -> Plan:
    """Have sleap-nn write the configurations, tell the person what it chose, and return the plan with them.

    Args:
        context: what the job's programs need.
        folder: the unpacked package.
        plan: the plan of the package, without models.
        request: what the package asks for.

    Raises:
        RtcError: JOB_FAILED or BAD_PACKAGE, with the reason as its text.
    """
    context.emit(ConfigurationStarted(context.job))
    scratch = await trio.to_thread.run_sync(_make_scratch_folder, context.folder)
    target = f"{scratch.name}/{TARGET}"
    status = await context.run(config_command(context.sleap_nn, request.labels, target, request.pipeline))
    lines = list(context.log.last_lines)
    if has_no_config_command(status, lines):
        raise RtcError(FaultCode.JOB_FAILED, TOO_OLD)
    named = request.named or request.labels
    configs = () if status else await trio.to_thread.run_sync(read_written_configs, scratch, request.labels, named)
    if not configs:
        raise context.step_error(NOT_WRITTEN, status, "one", usage_reason(status, lines), None)
    recommendation = await _explain(context, request)
    written = await trio.to_thread.run_sync(_put_in_place, context.folder, scratch, configs)
    planned = {config.head: f"{scratch.name}/{config.name}" for config in configs} if request.train else {}
    plan = await trio.to_thread.run_sync(plan_written_configs, folder, plan, request, planned)
    context.note(choice_text(request.pipeline, [config.head for config in configs], recommendation))
    return evolve(plan, written=written)


def _make_scratch_folder(root: Path) -> Path:
    """Create a private folder for what sleap-nn writes; no file of a package has its name, which begins with a dot.

    Raises:
        RtcError: JOB_FAILED: it cannot be made.
    """
    try:
        return Path(tempfile.mkdtemp(prefix=".config", dir=root))
    except OSError as error:
        text = f"The worker could not make a folder for the configuration ({error.strerror}). Tell its owner."
        raise RtcError(FaultCode.JOB_FAILED, text) from None


def _put_in_place(root: Path, scratch: Path, configs: tuple[WrittenConfig, ...]) -> tuple[str, ...]:
    """Write each configuration for the training and for the person; return the paths of the latter.

    Raises:
        RtcError: JOB_FAILED: one cannot be written.
    """
    used = UsedNames.of(FolderSource(root).names())
    written = []
    for config in configs:
        write_new_file(scratch / config.name, config.text)
        written.append(used.choose(config.name, ".yaml"))
        write_new_file(root / written[-1], config.home_text)
    return tuple(written)


async def _explain(context: StepContext, request: ConfigRequest) -> Recommendation | None:
    """Return what sleap-nn recommends; None when the person has chosen, or sleap-nn does not say it.

    The configurations are there already, so nothing that goes wrong here fails the job.
    """
    if request.pipeline is not None:
        return None
    found: list[Recommendation] = []

    def read_line(raw: bytes) -> bool:
        if (recommendation := read_recommendation(raw)) is not None:
            found.append(recommendation)
        return True

    try:
        await context.run(explain_command(context.sleap_nn, request.labels), read_line)
    except RtcError:
        return None
    return found[-1] if found else None
