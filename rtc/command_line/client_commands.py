"""What the client's commands do with the words they were given: orders made of them, and programs run."""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio

from protocol.faults import FaultCode
from protocol.jobs import JobKind, StopScope
from rtc.client.jobs import (
    JobsOptions,
    cancel_job,
    check_fetchable,
    coming_back,
    list_jobs,
    show_logs,
    stop_job,
)
from rtc.client.lossviewer.bridge import check_ports
from rtc.client.package_builder.build import Say, build_tracking, build_training
from rtc.client.program import ClientOptions, ClientProgram
from rtc.client.result_folder import choose_result_folder
from rtc.client.target import choose_target
from rtc.command_line.read_config import read_config
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.config.credentials import read_secret
from rtc.config.load import Config
from rtc.packages.describe import describe
from rtc.runtime.root import complain
from rtc.runtime.run_program import run_program
from rtc.terminal.interface import Interrupt, Mode
from rtc.terminal.json_view import tell_end
from rtc.transport.webrtc import AsyncioLoop


def ticket_folder() -> Path:
    """Where this person's tickets are."""
    return Path.home() / ".sleap-rtc" / "jobs"


def choose_mode(*, quiet: bool, verbose: bool, as_json: bool) -> Mode:
    """How much is shown; the command line has seen to it that at most one is asked for."""
    return Mode.QUIET if quiet else Mode.VERBOSE if verbose else Mode.JSON if as_json else Mode.NORMAL


def _say(mode: Mode) -> Say:
    """For what is told before there is a view; standard output stays the view's own."""
    return (lambda _text: None) if mode in (Mode.QUIET, Mode.JSON) else complain


# -------- jobs that are started


def start_training(path: Path, configs: Sequence[Path], overrides: Sequence[str], **options: Any) -> int:
    """Train a package, or one made here of labels and configurations."""
    if path.suffix.lower() == ".slp":
        if not configs:
            raise RtcError(FaultCode.USAGE, "To train labels, say how: --config CONFIG.yaml, once for each model.")
        build = partial(build_training, path, configs, overrides)
        return _start_built(JobKind.TRAIN, f"{_bare(path)}.zip", build, **options)
    if configs:
        raise RtcError(FaultCode.USAGE, "A package brings its own configurations; --config is for labels (.slp).")
    return _start(JobKind.TRAIN, path, tuple(overrides), **options)


def start_tracking(path: Path, models: Sequence[Path], predict: Mapping[str, Any], **options: Any) -> int:
    """Predict with a package, or one made here of data and models."""
    if path.suffix.lower() != ".zip":
        build = partial(build_tracking, path, models, predict)
        return _start_built(JobKind.TRACK, f"{path.name}.zip", build, **options)
    if models or predict:
        text = "A package brings its own models and options; leave out --model and the options."
        raise RtcError(FaultCode.USAGE, text)
    return _start(JobKind.TRACK, path, (), **options)


def _start_built(kind: JobKind, name: str, build: Callable[[Path, Say], None], **options: Any) -> int:
    """Start with a package that lives as long as its client, and is built after all that is cheap to check."""
    with tempfile.TemporaryDirectory(prefix="sleap-rtc-", ignore_cleanup_errors=True) as folder:
        package = Path(folder) / name

        def ready(client_options: ClientOptions) -> None:
            choose_result_folder(client_options)
            build(package, _say(_mode_of(options)))

        return _start(kind, package, (), ready, **options)


def _bare(path: Path) -> str:
    return path.name.removesuffix(".slp").removesuffix(".pkg")


def _mode_of(options: Mapping[str, Any]) -> Mode:
    return choose_mode(quiet=options["quiet"], verbose=options["verbose"], as_json=options["as_json"])


def _start(
    kind: JobKind,
    package: Path,
    overrides: tuple[str, ...],
    ready: Callable[[ClientOptions], None] = lambda _order: None,
    *,
    session_string: str | None,
    room_id: str | None,
    token: str | None,
    worker_id: str | None,
    auto_select: bool,
    min_gpu_memory: int | None,
    wait: float | None,
    room_secret: str | None,
    server: str | None,
    relay_only: bool,
    output: Path | None,
    on_interrupt: str | None,
    stop: str = StopScope.THIS.value,
    controller_port: int | None = None,
    publish_port: int | None = None,
    **showing: bool,
) -> int:
    target = choose_target(session_string, room_id, token, worker_id, auto_select=auto_select)
    client_options = ClientOptions(
        config=read_config(server or target.server, relay_only=relay_only),
        package=package,
        room=target.room,
        token=target.token,
        choice=target.choice,
        secret=read_secret(room_secret),
        min_memory_mb=min_gpu_memory or 0,
        wait=wait,
        output=output,
        kind=kind,
        overrides=overrides,
        viewer_ports=_viewer_ports(controller_port, publish_port),
        tickets=ticket_folder(),
        on_interrupt=Interrupt(on_interrupt) if on_interrupt else None,
        stop=StopScope(stop),
    )
    ready(client_options)
    secrets = (session_string, target.token, room_secret, *client_options.config.credentials)
    return run_client_program(client_options, choose_mode(**showing), secrets)


def _viewer_ports(controller: int | None, publish: int | None) -> tuple[int, int] | None:
    if controller is None or publish is None:
        return None
    check_ports(controller, publish)
    return controller, publish


def run_client_program(client_options: ClientOptions, mode: Mode, secrets: tuple[str | None, ...]) -> int:
    """Run one client to its exit code."""
    watch = ClientProgram(client_options, mode)
    return run_program("client", watch.run, stopped=watch.stopped, handle=watch.handle, secrets=secrets)


# -------- jobs that were started before


def _jobs_order(
    *,
    room_secret: str | None = None,
    session_string: str | None = None,
    room_id: str | None = None,
    token: str | None = None,
    worker_id: str | None = None,
    server: str | None = None,
    relay_only: bool = False,
) -> JobsOptions:
    """How the workers of earlier jobs are reached: as their tickets say, or where the person says they are now."""
    target = None
    if session_string is not None or room_id is not None:
        target = choose_target(session_string, room_id, token, worker_id, auto_select=worker_id is None)
    configs: dict[str | None, Config] = {}

    def config(address: str | None) -> Config:
        if address not in configs:
            configs[address] = read_config(server or address, relay_only=relay_only)
        return configs[address]

    return JobsOptions(config, ticket_folder(), read_secret(room_secret), target)


def attach(
    job: str | None,
    *,
    output: Path | None,
    on_interrupt: str | None,
    stop: str,
    controller_port: int,
    publish_port: int,
    quiet: bool,
    verbose: bool,
    as_json: bool,
    **where: Any,
) -> int:
    """Come back to a job: watch it on, and bring home its result."""
    jobs = _jobs_order(**where)
    ticket = jobs.ticket(job)
    if ticket.kind == JobKind.TRACK.value and on_interrupt == Interrupt.STOP.value:
        raise RtcError(FaultCode.USAGE, "A prediction cannot be stopped early: --on-interrupt cancel, or detach.")
    client_options = coming_back(
        jobs,
        ticket,
        output=output,
        on_interrupt=Interrupt(on_interrupt) if on_interrupt else None,
        stop=StopScope(stop),
        viewer_ports=_viewer_ports(controller_port, publish_port) if ticket.kind == JobKind.TRAIN.value else None,
    )
    mode = choose_mode(quiet=quiet, verbose=verbose, as_json=as_json)
    return run_client_program(client_options, mode, _secrets(jobs, ticket.token, ticket.key, where))


def jobs_list(*, as_json: bool, **where: Any) -> int:
    """Print all of them."""
    jobs = _jobs_order(**where)
    job_tickets, troubles = jobs.job_tickets()
    for trouble in troubles:
        complain(trouble)
    work = partial(list_jobs, jobs, job_tickets, json_wanted=as_json)
    shown = tuple(word for ticket in job_tickets for word in (ticket.token, ticket.key))
    return _run(work, (*shown, where.get("room_secret"), where.get("session_string")))


def jobs_stop(job: str, *, scope: str, **where: Any) -> int:
    """Stop one early."""
    jobs = _jobs_order(**where)
    ticket = jobs.ticket(job)
    return _run(partial(stop_job, jobs, ticket, StopScope(scope)), _secrets(jobs, ticket.token, ticket.key, where))


def jobs_cancel(job: str, **where: Any) -> int:
    """End one now."""
    jobs = _jobs_order(**where)
    ticket = jobs.ticket(job)
    return _run(partial(cancel_job, jobs, ticket), _secrets(jobs, ticket.token, ticket.key, where))


def jobs_logs(job: str, *, follow: bool, **where: Any) -> int:
    """Print what sleap-nn printed in one."""
    jobs = _jobs_order(**where)
    ticket = jobs.ticket(job)
    return _run(partial(show_logs, jobs, ticket, follow=follow), _secrets(jobs, ticket.token, ticket.key, where))


def jobs_fetch(job: str, *, output: Path | None, quiet: bool, as_json: bool, **where: Any) -> int:
    """Bring home the result of one that has ended."""
    jobs = _jobs_order(**where)
    ticket = jobs.ticket(job)
    watch = ClientProgram(
        coming_back(jobs, ticket, output=output), choose_mode(quiet=quiet, verbose=False, as_json=as_json)
    )

    async def work(asyncio_loop: AsyncioLoop, drain: trio.Event) -> None:
        try:
            await check_fetchable(jobs, ticket, asyncio_loop, drain)
        except RtcError as error:
            if as_json:
                tell_end(error.fault)
            raise
        await watch.run(asyncio_loop, drain)

    return run_program("client", work, stopped=watch.stopped, secrets=_secrets(jobs, ticket.token, ticket.key, where))


def _secrets(jobs: JobsOptions, token: str, key: str, where: Mapping[str, Any]) -> tuple[str | None, ...]:
    config = jobs.config(None)
    return (token, key, where.get("room_secret"), where.get("session_string"), where.get("token"), *config.credentials)


def _run(work: Callable[[AsyncioLoop, trio.Event], Any], secrets: tuple[str | None, ...]) -> int:
    return run_program("client", work, stopped=lambda: ExitCode.INTERRUPTED, secrets=secrets)


# -------- packages


def write_training(labels: Path, configs: Sequence[Path], overrides: Sequence[str], output: Path | None) -> int:
    """Make a training package, and send it nowhere."""
    target = output or Path.cwd() / f"{_bare(labels)}.training_job.zip"
    build_training(labels, configs, overrides, _free(target), complain)
    LineWriter(sys.stdout).say(f"Written: {target}")
    return 0


def write_tracking(data: Path, models: Sequence[Path], predict: Mapping[str, Any], output: Path | None) -> int:
    """Make an inference package, and send it nowhere."""
    target = output or Path.cwd() / f"{data.name}.inference.zip"
    build_tracking(data, models, predict, _free(target), complain)
    LineWriter(sys.stdout).say(f"Written: {target}")
    return 0


def _free(target: Path) -> Path:
    if os.path.exists(target):  # unlike Path's it says no of a place that cannot be; what is wrong is told in writing
        raise RtcError(FaultCode.USAGE, f"{target.name} is there already. Name another file with --output.")
    return target


def inspect(path: Path) -> int:
    """Print what a package will do."""
    LineWriter(sys.stdout).say(describe(path))
    return 0
