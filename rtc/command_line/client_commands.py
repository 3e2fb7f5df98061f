"""What the client's commands do: they turn their arguments into `ClientOptions` or `JobsOptions`, and run a program."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio

from actors.events import Interrupt
from protocol.faults import FaultCode
from protocol.jobs import JobKind, StopScope
from rtc.api.result import Result
from rtc.client.jobs import (
    JobsOptions,
    cancel_job,
    check_fetchable,
    client_options_to_attach,
    list_jobs,
    show_logs,
    stop_job,
)
from rtc.client.lossviewer.bridge import check_ports
from rtc.client.options import ClientOptions
from rtc.client.package_builder.build import ReportProgress, build_tracking, build_training, check_labels_name
from rtc.client.package_builder.configure import check_pipeline
from rtc.client.package_builder.training_config import refused_settings
from rtc.client.package_source import PackageSource, base_name, tracking_source, training_source
from rtc.client.result_folder import choose_result_folder
from rtc.client.target import choose_target
from rtc.command_line.client_program import ClientProgram
from rtc.command_line.read_config import read_config, remembered_rooms
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.common.size_limits import RESULT_MAX
from rtc.config.folders import find_folders
from rtc.config.load import Config
from rtc.config.take_over import take_over_tickets
from rtc.packages.describe import describe
from rtc.packages.setting_checks import check_refused
from rtc.runtime.room_keys import SecretFinder, no_secret
from rtc.runtime.root import print_error
from rtc.runtime.run_program import run_program
from rtc.sleap_nn.commands import sleap_nn_version
from rtc.terminal.interface import Mode
from rtc.terminal.json_view import write_end
from rtc.transport.webrtc import AsyncioLoop


def ticket_folder() -> Path:
    """Return the folder with this person's job tickets, after taking over those of an earlier version."""
    return take_over_tickets(find_folders(), print_error)


def choose_mode(*, quiet: bool, verbose: bool, as_json: bool) -> Mode:
    """Return how much is shown; `check_display_options` has checked that at most one of them is set."""
    return Mode.QUIET if quiet else Mode.VERBOSE if verbose else Mode.JSON if as_json else Mode.NORMAL


def progress_writer(mode: Mode) -> ReportProgress:
    """Return the function that prints progress while there is no view yet: to standard error, or nowhere.

    Standard output is used by the view alone.
    """
    return (lambda _text: None) if mode in (Mode.QUIET, Mode.JSON) else print_error


# -------- starting jobs


def start_training(
    path: Path, configs: Sequence[Path], overrides: Sequence[str], pipeline: str | None = None, **options: Any
) -> int:
    """Have a training run by a worker, and return the exit code.

    Args:
        path: a package, or labels; a package is built from labels and `configs`.
        pipeline: for labels without `configs`: what sleap-nn is to write them for.
        options: as for `_start_client`.
    """
    return start_job(training_source(path, configs, overrides, pipeline), **options)


def start_tracking(path: Path, models: Sequence[Path], predict_options: Mapping[str, Any], **options: Any) -> int:
    """Have a prediction run by a worker, and return the exit code.

    Args:
        path: a package, or data; a package is built from data, `models` and `predict_options`.
        options: as for `_start_client`.
    """
    return start_job(tracking_source(path, models, predict_options), **options)


def start_job(source: PackageSource, **options: Any) -> int:
    """Have a job run by a worker, and return the exit code.

    A package that has to be built is built only after all checks that are quick.

    Args:
        source: the job's package.
        options: as for `_start_client`.
    """
    with source.open() as package:

        def prepare(client_options: ClientOptions) -> None:
            if source.build is not None:
                choose_result_folder(client_options)
                source.build(package, progress_writer(_mode_of(options)))

        return _start_client(source.kind, package, source.overrides, prepare, **options)


def _mode_of(options: Mapping[str, Any]) -> Mode:
    return choose_mode(quiet=options["quiet"], verbose=options["verbose"], as_json=options["as_json"])


def _start_client(
    kind: JobKind,
    package: Path,
    overrides: tuple[str, ...],
    prepare: Callable[[ClientOptions], None] = lambda _options: None,
    *,
    session_string: str | None,
    room_name: str | None,
    room_id: str | None,
    token: str | None,
    worker_id: str | None,
    auto_select: bool,
    min_gpu_memory: int | None,
    wait: float | None,
    find_secret: SecretFinder,
    server: str | None,
    relay_only: bool,
    output: Path | None,
    max_result: int = RESULT_MAX,
    on_interrupt: str | None,
    stop: str = StopScope.THIS.value,
    controller_port: int | None = None,
    publish_port: int | None = None,
    give_up_after: float | None = None,
    detach: bool = False,
    gpus: int | None = None,
    trace: Path | None = None,
    finish: Callable[[Result], None] | None = None,
    **display_options: bool,
) -> int:
    """Run a client that starts a new job with these options of the command line, and return the exit code.

    Args:
        prepare: called after the options are checked and before the client runs.
        finish: called after a job that has ended well, with its result.
    """
    target = choose_target(
        remembered=remembered_rooms(),
        session=session_string,
        room_name=room_name,
        room=room_id,
        token=token,
        server=server,
        worker=worker_id,
        auto_select=auto_select,
    )
    client_options = ClientOptions(
        config=read_config(target.address(server), relay_only=relay_only),
        package=package,
        room=target.room,
        token=target.token,
        choice=target.choice,
        remembered_as=target.name,
        find_secret=find_secret,
        min_memory_mb=min_gpu_memory or 0,
        min_gpus=gpus or 0,
        wait=wait,
        output=output,
        result_max=max_result,
        kind=kind,
        overrides=overrides,
        viewer_ports=None if detach else _viewer_ports(controller_port, publish_port),
        tickets_folder=ticket_folder(),
        on_interrupt=Interrupt(on_interrupt) if on_interrupt else None,
        stop=StopScope(stop),
        give_up_after=give_up_after,
        detach=detach,
    )
    find_secret(target.room)  # one that cannot be used is reported before a package is built
    prepare(client_options)
    secrets = (session_string, target.token, *client_options.config.credentials)
    return run_client_program(client_options, choose_mode(**display_options), secrets, trace, finish)


def _viewer_ports(controller: int | None, publish: int | None) -> tuple[int, int] | None:
    """Return LossViewer's ports (controller, publish) after checking them; None if one of them is None."""
    if controller is None or publish is None:
        return None
    check_ports(controller, publish)
    return controller, publish


def run_client_program(
    client_options: ClientOptions,
    mode: Mode,
    secrets: tuple[str | None, ...],
    trace: Path | None = None,
    finish: Callable[[Result], None] | None = None,
) -> int:
    """Run one client, and return its exit code.

    Args:
        secrets: texts that must not appear in the log.
        trace: the file of `--trace`.
        finish: called after a job that has ended well, with its result.
    """
    program = ClientProgram(client_options, mode)
    exit_code = run_program(
        "client",
        program.run,
        cancelled_exit_code=program.cancelled_exit_code,
        handle_signal=program.handle_signal,
        secrets=secrets,
        trace=trace,
    )
    if finish is not None and exit_code == ExitCode.DONE and program.result is not None:
        finish(program.result)
    return exit_code


# -------- jobs that were started earlier


def _jobs_options(
    *,
    find_secret: SecretFinder = no_secret,
    session_string: str | None = None,
    room_name: str | None = None,
    room_id: str | None = None,
    token: str | None = None,
    worker_id: str | None = None,
    server: str | None = None,
    relay_only: bool = False,
    **_others: Any,
) -> JobsOptions:
    """Return where the tickets are and how the workers of earlier jobs are reached: as the options say, or else as each
    ticket says."""
    target = None
    if session_string is not None or room_name is not None or room_id is not None:
        target = choose_target(
            remembered=remembered_rooms(),
            session=session_string,
            room_name=room_name,
            room=room_id,
            token=token,
            server=server,
            worker=worker_id,
        )
        server = target.address(server) if target.name is not None else server
    configs: dict[str | None, Config] = {}

    def config_for(address: str | None) -> Config:
        if address not in configs:
            configs[address] = read_config(server or address, relay_only=relay_only)
        return configs[address]

    return JobsOptions(config_for, ticket_folder(), find_secret, target, remembered_rooms().read_or_warn())


def attach(
    job: str | None,
    *,
    output: Path | None,
    max_result: int,
    on_interrupt: str | None,
    stop: str,
    controller_port: int,
    publish_port: int,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    **worker_location: Any,
) -> int:
    """Reconnect to a job, show its progress, fetch its result, and return the exit code; None is the newest job."""
    jobs_options = _jobs_options(**worker_location)
    ticket = jobs_options.ticket(job)
    jobs_options.find_secret(ticket.room)  # what is to be said about it is said before the view opens
    if ticket.kind is JobKind.TRACK and on_interrupt == Interrupt.STOP.value:
        raise RtcError(FaultCode.USAGE, "A prediction cannot be stopped early: --on-interrupt cancel, or detach.")
    client_options = client_options_to_attach(
        jobs_options,
        ticket,
        output=output,
        result_max=max_result,
        on_interrupt=Interrupt(on_interrupt) if on_interrupt else None,
        stop=StopScope(stop),
        viewer_ports=_viewer_ports(controller_port, publish_port) if ticket.kind is JobKind.TRAIN else None,
    )
    mode = choose_mode(quiet=quiet, verbose=verbose, as_json=as_json)
    secrets = _secrets(jobs_options, ticket.token, ticket.key, worker_location)
    return run_client_program(client_options, mode, secrets, worker_location.get("trace"))


def jobs_list(*, as_json: bool, **worker_location: Any) -> int:
    """Print the state of every job that has a ticket here, and return the exit code."""
    jobs_options = _jobs_options(**worker_location)
    job_tickets, error_texts = jobs_options.read_tickets()
    for error_text in error_texts:
        print_error(error_text)
    work = partial(list_jobs, jobs_options, job_tickets, json_wanted=as_json)
    job_secrets = tuple(secret for ticket in job_tickets for secret in (ticket.token, ticket.key))
    secrets = (*job_secrets, worker_location.get("session_string"))
    return _run_job_work(work, secrets, worker_location.get("trace"))


def jobs_stop(job: str, *, scope: str, **worker_location: Any) -> int:
    """Stop a job early, and return the exit code."""
    jobs_options = _jobs_options(**worker_location)
    ticket = jobs_options.ticket(job)
    return _run_job_work(
        partial(stop_job, jobs_options, ticket, StopScope(scope)),
        _secrets(jobs_options, ticket.token, ticket.key, worker_location),
        worker_location.get("trace"),
    )


def jobs_cancel(job: str, **worker_location: Any) -> int:
    """Cancel a job, and return the exit code."""
    jobs_options = _jobs_options(**worker_location)
    ticket = jobs_options.ticket(job)
    return _run_job_work(
        partial(cancel_job, jobs_options, ticket),
        _secrets(jobs_options, ticket.token, ticket.key, worker_location),
        worker_location.get("trace"),
    )


def jobs_logs(job: str, *, follow: bool, **worker_location: Any) -> int:
    """Print what sleap-nn has printed in a job, and return the exit code.

    Args:
        follow: continue until the job ends.
    """
    jobs_options = _jobs_options(**worker_location)
    ticket = jobs_options.ticket(job)
    return _run_job_work(
        partial(show_logs, jobs_options, ticket, follow=follow),
        _secrets(jobs_options, ticket.token, ticket.key, worker_location),
        worker_location.get("trace"),
    )


def jobs_fetch(
    job: str, *, output: Path | None, max_result: int, quiet: bool, as_json: bool, **worker_location: Any
) -> int:
    """Fetch the result of a job that has ended, and return the exit code."""
    jobs_options = _jobs_options(**worker_location)
    ticket = jobs_options.ticket(job)
    program = ClientProgram(
        client_options_to_attach(jobs_options, ticket, output=output, result_max=max_result),
        choose_mode(quiet=quiet, verbose=False, as_json=as_json),
    )

    async def work(asyncio_loop: AsyncioLoop, drain: trio.Event) -> None:
        try:
            await check_fetchable(jobs_options, ticket, asyncio_loop, drain)
        except RtcError as error:
            if as_json:
                write_end(error.fault)
            raise
        await program.run(asyncio_loop, drain)

    return run_program(
        "client",
        work,
        cancelled_exit_code=program.cancelled_exit_code,
        secrets=_secrets(jobs_options, ticket.token, ticket.key, worker_location),
        trace=worker_location.get("trace"),
    )


def _secrets(
    jobs_options: JobsOptions, token: str, key: str, worker_location: Mapping[str, Any]
) -> tuple[str | None, ...]:
    """Return the texts that must not appear in the log of a command about one job."""
    config = jobs_options.config_for(None)
    return (
        token,
        key,
        worker_location.get("session_string"),
        worker_location.get("token"),
        *config.credentials,
    )


def _run_job_work(
    work: Callable[[AsyncioLoop, trio.Event], Any], secrets: tuple[str | None, ...], trace: Path | None
) -> int:
    """Run `work` as the program of one command, and return the exit code."""
    return run_program("client", work, cancelled_exit_code=lambda: ExitCode.INTERRUPTED, secrets=secrets, trace=trace)


# -------- packages


def write_training(
    labels: Path, configs: Sequence[Path], overrides: Sequence[str], output: Path | None, pipeline: str | None = None
) -> int:
    """Create a training package, without sending it; print its path, and return the exit code."""
    target = output or Path.cwd() / f"{base_name(labels)}.training_job.zip"
    check_labels_name(labels)
    check_pipeline(pipeline, has_configs=bool(configs))
    for doubt in check_refused(refused_settings(tuple(configs), overrides), _own_versions()):
        print_error(doubt)
    build_training(labels, configs, overrides, _require_absent(target), print_error, pipeline)
    LineWriter(sys.stdout).say(f"Written: {target}")
    return 0


def write_tracking(data: Path, models: Sequence[Path], predict_options: Mapping[str, Any], output: Path | None) -> int:
    """Create an inference package, without sending it; print its path, and return the exit code."""
    target = output or Path.cwd() / f"{data.name or data.resolve().name}.inference.zip"
    build_tracking(data, models, predict_options, _require_absent(target), print_error)
    LineWriter(sys.stdout).say(f"Written: {target}")
    return 0


def _own_versions() -> tuple[str, ...]:
    """Return the version of sleap-nn on this machine, for a package that is sent later; empty if there is none."""
    version = sleap_nn_version()
    return (version,) if version is not None else ()


def _require_absent(target: Path) -> Path:
    """Return the path after checking that it does not exist.

    Raises:
        RtcError: USAGE: it exists.
    """
    if os.path.exists(target):  # unlike Path.exists this does not raise for an impossible path; writing will
        raise RtcError(FaultCode.USAGE, f"{target.name} is there already. Name another file with --output.")
    return target


def inspect(path: Path) -> int:
    """Print what a job package will do, and return the exit code."""
    LineWriter(sys.stdout).say(describe(path, _own_versions()))
    return 0
