"""The command line: parses the arguments, calls the function in `rtc` that does the work, and returns the exit code.

Modules that are slow to import are imported inside the commands, so that `--help` appears at once.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtc.command_line.background_options import (
    BACKGROUND_MODES,
    check_handed_token,
    run_inside,
    show_or_stop,
    start_in_background,
    take_handed,
)
from rtc.command_line.gpus_option import gpus_option
from rtc.command_line.invite_command import invite
from rtc.command_line.options import (
    SERVER_HELP,
    attach_options,
    check_client_options,
    check_display_options,
    check_location_options,
    check_room_options,
    check_worker_options,
    config_option,
    create_room_options,
    fetch_config_options,
    fetch_location_options,
    job_track_options,
    max_result_option,
    model_option,
    package_option,
    room_options,
    server_options,
    train_options,
    worker_location_options,
    worker_options,
)
from rtc.command_line.predict_options import add_predict_options, chosen_options
from rtc.command_line.room_commands import join, leave, rooms
from rtc.command_line.run_work import run_work as _run_work
from rtc.command_line.secret_commands import room, secrets
from rtc.common.process_title import without_loose_words
from rtc.config.room_secrets.variables import take_secret_variables
from rtc.packages.predict_options import OPTIONS

if TYPE_CHECKING:
    from rtc.config.load import Config
    from rtc.config.room_secrets.finder import RoomSecrets
    from rtc.worker.background.inside import BackgroundWorker
    from rtc.worker.embedded_server import ServerOptions


def run(arguments: list[str]) -> int:
    """Parse the arguments and run the command; return the exit code.

    An expected failure is one sentence on standard error.
    """
    try:
        secret_variables = take_secret_variables(os.environ)
        result = main.main(arguments, prog_name="sleap-rtc", standalone_mode=False, obj=secret_variables)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        text = without_loose_words(error.message, arguments)
        (error if text == error.message else click.UsageError(text)).show()
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sleap-rtc", prog_name="sleap-rtc")
def main() -> None:
    """Train SLEAP models, and predict with them, on the GPU of another machine; the results come back to this one.

    \b
    On the GPU machine:   sleap-rtc worker
    On your laptop, once: sleap-rtc join, with the code that the worker shows
    And then:             sleap-rtc train package.zip
                          sleap-rtc track video.mp4 --model FOLDER
    All on this machine:  sleap-rtc demo
    """


@main.group()
def client() -> None:
    """Run a job on a worker."""


def _config(server: str | None, *, relay_only: bool = False) -> "Config":
    """Return the configuration for this call."""
    from rtc.command_line.read_config import read_config

    return read_config(server, relay_only=relay_only)


def _print(text: str) -> int:
    """Print a text, and return exit code 0, even if nothing reads standard output any more."""
    from rtc.common.line_writer import LineWriter

    LineWriter(sys.stdout).say(text)
    return 0


# -------- worker


@main.command()
@worker_options
def worker(room_name: str | None, room_id: str | None, token: str | None, **options: Any) -> int:
    """Offer this machine's GPU, or several together, to a room.

    Without options it creates a room, and prints how clients and other workers join it.
    """
    if (room_id is None) != (token is None) and not options["in_background"]:
        raise click.UsageError("--room-id and --token go together: give both, or neither to make a new room.")
    if room_name is not None and room_id is not None:
        raise click.UsageError("--room names a remembered room, with its token; leave out --room-id and --token.")
    check_worker_options(**options)
    modes = {name: options.pop(name) for name in BACKGROUND_MODES}
    if modes["background"]:
        return _run_work(lambda: start_in_background(token, options["find_secret"], options["name"]))
    if modes["show_status"] or modes["stop_worker"]:
        return _run_work(lambda: show_or_stop(options["name"], **modes))
    if modes["in_background"]:
        run_worker = partial(_worker, room_name, room_id, token, **options)
        return _run_work(lambda: run_inside(options["name"], lambda inside: run_worker(background=inside)))
    return _run_work(lambda: _worker(room_name, room_id, token, **options))


def _worker(
    room_name: str | None,
    room_id: str | None,
    token: str | None,
    *,
    background: "BackgroundWorker | None" = None,
    find_secret: "RoomSecrets",
    require_secret: bool,
    server: str | None,
    name: str | None,
    work_dir: Path | None,
    results_dir: Path | None,
    max_package: int,
    relay_only: bool,
    sleap_nn: str | None,
    pass_env: tuple[str, ...],
    gpu: str | None,
    all_gpus: bool,
    nearby: bool,
    trace: Path | None,
    **serve_options: Any,
) -> int:
    from attrs import evolve

    from rtc.command_line.room_members import explained, room_of_worker
    from rtc.common.errors import ExitCode
    from rtc.common.gpu import choose_gpus, list_gpus
    from rtc.config.credentials import check_name, check_room, check_token
    from rtc.config.folders import find_folders
    from rtc.config.settings_watch import SettingsWatch
    from rtc.runtime.root import print_error
    from rtc.runtime.run_program import run_program
    from rtc.worker.fleet import serve
    from rtc.worker.program import WorkerOptions
    from rtc.worker.take_over import choose_worker_folders

    if room_name is not None:
        remembered = room_of_worker(room_name, server, serves=serve_options["serve"])
        room_name, room_id, token, server = remembered.name, remembered.room, remembered.token, remembered.server
    user_folders = find_folders()
    folders = choose_worker_folders(user_folders, print_error, work_dir, results_dir)
    if background is not None:
        token, find_secret = take_handed(background, token, find_secret)
        check_handed_token(room_id, token)
    options = WorkerOptions(
        config=_config("localhost" if serve_options["serve"] else server, relay_only=relay_only),
        room=check_room(room_id) if room_id else None,
        token=check_token(token) if token is not None else None,
        find_secret=find_secret,
        require_secret=require_secret,
        about_other_secrets=find_secret.about_others,
        about_lost_secret=SettingsWatch(user_folders).about_lost_secret,
        name=check_name(name),
        work=folders.work,
        results=folders.results,
        package_max=max_package,
        sleap_nn=sleap_nn,
        pass_env=pass_env,
        gpus=choose_gpus(gpu) if gpu is not None else None,
        nearby=nearby,
    )
    gpus = list_gpus() if all_gpus else None
    own_server = _server_options(**serve_options)
    start: Callable[..., Awaitable[None]] = partial(serve, gpus=gpus, server=own_server)
    if background is not None:
        options, start = evolve(options, watch=background.watch), background.around(start)
    return run_program(
        "worker" if background is None else background.log_name,
        lambda *inner: explained(start(options, *inner), room_name),
        secrets=(token, *options.config.credentials),
        cancelled_exit_code=lambda: ExitCode.CANCELLED,
        trace=trace,
    )


def _server_options(
    *, serve: bool, serve_host: str | None, ws_port: int | None, http_port: int | None
) -> "ServerOptions | None":
    """Return the options of the server that `--serve` starts together with the worker, or None without `--serve`."""
    from rtc.config.server_url import HTTP_PORT, WS_PORT
    from rtc.worker.embedded_server import ServerOptions

    if not serve:
        return None
    ws_port = WS_PORT if ws_port is None else ws_port
    http_port = HTTP_PORT if http_port is None else http_port
    return ServerOptions(serve_host or "0.0.0.0", ws_port, http_port, _server_folder())  # noqa: S104


# -------- client


def _check_client(options: dict[str, Any]) -> dict[str, Any]:
    """Return a client's options, after checking that they can be combined."""
    check_client_options(**options)
    check_display_options(**options)
    return options


@client.command("train")
@package_option
@train_options
def client_train(pkg_path: Path, overrides: tuple[str, ...], **options: Any) -> int:
    """Train a package's models on a worker, and get them back.

    Settings of sleap-nn may be changed for this run after "--": -- trainer_config.max_epochs=50
    """
    if pkg_path.suffix.lower() == ".slp":
        raise click.UsageError("--pkg-path takes a package (.zip). For labels: sleap-rtc train LABELS.slp")
    return _train(pkg_path, (), overrides, _check_client(options))


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@config_option
@train_options
def train(
    path: Path, configs: tuple[Path, ...], pipeline: str | None, overrides: tuple[str, ...], **options: Any
) -> int:
    """Train PATH on a worker: a job package (.zip), or labels (.slp, .pkg.slp).

    Labels need no configuration: without --config sleap-nn writes it on the worker, and it comes back with the models.

    Settings of sleap-nn may be changed for this run after "--": -- trainer_config.max_epochs=50
    """
    return _train(path, configs, overrides, _check_client(options), pipeline)


def _train(
    path: Path,
    configs: tuple[Path, ...],
    overrides: tuple[str, ...],
    options: dict[str, Any],
    pipeline: str | None = None,
) -> int:
    def work() -> int:
        from rtc.command_line.client_commands import start_training

        return start_training(path, configs, overrides, pipeline, **options)

    return _run_work(work, as_json_events=options["as_json"])


@client.command("track")
@package_option
@job_track_options
def client_track(pkg_path: Path, **options: Any) -> int:
    """Predict with a package's models on a worker, and get the predictions back."""
    if pkg_path.suffix.lower() != ".zip":
        raise click.UsageError(
            "--pkg-path takes a package (.zip). For a video or labels: sleap-rtc track DATA --model FOLDER …"
        )
    return _track(pkg_path, (), _check_client(options))


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@model_option
@job_track_options
@add_predict_options
def track(data: Path, models: tuple[Path, ...], **options: Any) -> int:
    """Predict on DATA on a worker: a video, folder of images or .slp with --model, or an inference package (.zip)."""
    return _track(data, models, _check_client(options))


def _track(data: Path, models: tuple[Path, ...], options: dict[str, Any]) -> int:
    def work() -> int:
        from rtc.command_line.client_commands import start_tracking

        predict = chosen_options(options)
        predict_names = {option.name for option in OPTIONS}
        rest = {name: value for name, value in options.items() if name not in predict_names}
        return start_tracking(data, models, predict, **rest)

    return _run_work(work, as_json_events=options["as_json"])


main.add_command(client_train, "client-train")
main.add_command(client_track, "client-track")


@main.command()
@click.argument("job", required=False)
@attach_options
def attach(job: str | None, **options: Any) -> int:
    """Reconnect to JOB: watch it, and fetch its result.

    JOB was started on this machine; if none is named, it is the newest one.
    """
    check_display_options(**options)
    check_location_options(**options)

    def work() -> int:
        from rtc.command_line import client_commands as commands

        return commands.attach(job, **options)

    return _run_work(work, as_json_events=options["as_json"])


@main.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON array, for scripts.")
@worker_location_options
@click.pass_context
def jobs(context: click.Context, /, as_json: bool, **worker_location: Any) -> int:
    """List the jobs that were started here, or act on one of them.

    The list has the jobs whose results are not fetched yet.
    """
    command = context.invoked_subcommand
    if command is not None:
        misplaced = [option.opts[0] for option in context.command.params if context.params[str(option.name)]]
        if misplaced:
            raise click.UsageError(f"Options come after the command: sleap-rtc jobs {command} … {' '.join(misplaced)}")
        return 0
    return _run_job_command(
        worker_location, lambda commands: int(commands.jobs_list(as_json=as_json, **worker_location))
    )


def _run_job_command(
    worker_location: dict[str, Any], run_command: Callable[[Any], int], *, as_json_events: bool = False
) -> int:
    """Run one of the commands about earlier jobs, and return its exit code.

    Args:
        worker_location: the options that say where the worker is; they are checked first.
        run_command: called with the module `client_commands`, which is imported only after that check.
    """
    check_location_options(**worker_location)

    def work() -> int:
        from rtc.command_line import client_commands as commands

        return run_command(commands)

    return _run_work(work, as_json_events=as_json_events)


@jobs.command("stop")
@click.argument("job")
@click.option("--all", "everything", is_flag=True, help="Stop the whole sequence, not only the model that trains now.")
@worker_location_options
def jobs_stop(job: str, everything: bool, **worker_location: Any) -> int:
    """Stop JOB early; what it has learned is kept."""
    scope = "all" if everything else "this"
    return _run_job_command(
        worker_location, lambda commands: int(commands.jobs_stop(job, scope=scope, **worker_location))
    )


@jobs.command("cancel")
@click.argument("job")
@worker_location_options
def jobs_cancel(job: str, **worker_location: Any) -> int:
    """End JOB at once."""
    return _run_job_command(worker_location, lambda commands: int(commands.jobs_cancel(job, **worker_location)))


@jobs.command("logs")
@click.argument("job")
@click.option("--follow", "-f", is_flag=True, help="Print new lines until the job ends.")
@worker_location_options
def jobs_logs(job: str, follow: bool, **worker_location: Any) -> int:
    """Print what sleap-nn has printed in JOB."""
    return _run_job_command(
        worker_location, lambda commands: int(commands.jobs_logs(job, follow=follow, **worker_location))
    )


@jobs.command("fetch")
@click.argument("job")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Where the result goes; by default as given when the job was started.",
)
@click.option("--quiet", "-q", is_flag=True, help="Show only warnings and the result.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object per line, for programs.")
@max_result_option
@fetch_location_options
def jobs_fetch(
    job: str, output: Path | None, max_result: int, quiet: bool, as_json: bool, **worker_location: Any
) -> int:
    """Fetch the result of JOB, which has ended."""
    check_display_options(quiet=quiet, as_json=as_json)
    more = {"output": output, "max_result": max_result, "quiet": quiet, "as_json": as_json}
    return _run_job_command(
        worker_location,
        lambda commands: int(commands.jobs_fetch(job, **more, **worker_location)),
        as_json_events=as_json,
    )


# -------- packages


@main.group()
def package() -> None:
    """Create job packages, and show what they will do."""


@package.command("train")
@click.argument("labels", type=click.Path(path_type=Path))
@config_option
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="The package file; by default named after the labels."
)
@click.argument("overrides", nargs=-1, metavar="[-- KEY=VALUE ...]")
def package_train(
    labels: Path,
    configs: tuple[Path, ...],
    pipeline: str | None,
    output: Path | None,
    overrides: tuple[str, ...],
) -> int:
    """Create a training package of LABELS (.slp, .pkg.slp), without sending it.

    Without --config the package asks the worker to have sleap-nn write the configuration.
    """

    def work() -> int:
        from rtc.command_line.client_commands import write_training

        return write_training(labels, configs, overrides, output, pipeline)

    return _run_work(work)


@package.command("track")
@click.argument("data", type=click.Path(path_type=Path))
@model_option
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="The package file; by default named after the data."
)
@add_predict_options
def package_track(data: Path, models: tuple[Path, ...], output: Path | None, **options: Any) -> int:
    """Create an inference package of DATA (a video, folder of images, or .slp) and models, without sending it."""

    def work() -> int:
        from rtc.command_line.client_commands import write_tracking

        return write_tracking(data, models, chosen_options(options), output)

    return _run_work(work)


@package.command("config")
@click.argument("labels", type=click.Path(path_type=Path))
@fetch_config_options
def package_config(labels: Path, pipeline: str | None, output: Path | None, **options: Any) -> int:
    """Have sleap-nn write training configurations for LABELS (.slp, .pkg.slp), to edit and to train with.

    The sleap-nn of this machine writes them; without one, or if you name a room or a worker, a worker does.
    """
    _check_client(options)

    def work() -> int:
        from rtc.command_line.fetch_config import fetch_config

        return fetch_config(labels, pipeline, output, **options)

    return _run_work(work, as_json_events=options["as_json"])


@package.command("inspect")
@click.argument("file", type=click.Path(path_type=Path))
def package_inspect(file: Path) -> int:
    """Show what the job package FILE will do."""

    def work() -> int:
        from rtc.command_line.client_commands import inspect

        return inspect(file)

    return _run_work(work)


# -------- the workers of a room


@main.command()
@room_options
@gpus_option("List only workers that give a job so many GPUs, or more.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON array, for scripts.")
def workers(as_json: bool, gpus: int | None, server: str | None, **room_choice: str | None) -> int:
    """List a room's workers: their GPUs, their status and since when, and which are leaving."""
    check_room_options(**room_choice)

    def work() -> int:
        from rtc.command_line.room_members import list_workers_of

        return list_workers_of(as_json=as_json, gpus=gpus, server=server, **room_choice)

    return _run_work(work)


# -------- remembered rooms

main.add_command(join)
main.add_command(rooms)
main.add_command(leave)


# -------- room secrets

room.add_command(invite)
main.add_command(room)
main.add_command(secrets)


# -------- server and demo


@main.group(invoke_without_command=True)
@server_options
@click.pass_context
def server(context: click.Context, /, **options: Any) -> int:
    """Run the signalling server: rooms, the peers in them, and their offers and answers. It never sees a package."""
    return 0 if context.invoked_subcommand is not None else _server(**options)


def _server(
    host: str,
    ws_port: int,
    http_port: int,
    data: Path | None,
    stun_url: tuple[str, ...],
    turn_url: tuple[str, ...],
    turn_secret_file: Path | None,
    *,
    rooms: str,
    **limits: Any,
) -> int:
    if bool(turn_url) != (turn_secret_file is not None):
        raise click.UsageError(
            "--turn-url and --turn-secret-file go together: peers get credentials made from that secret."
        )

    def work() -> int:
        from rtc.common.errors import ExitCode
        from rtc.runtime.root import run_root, supervise
        from rtc.server.limits import ServerLimits
        from rtc.server.program import serve
        from rtc.server.turn_credentials import read_turn_credentials

        folder = data or _server_folder()
        turn_credentials = read_turn_credentials(stun_url, turn_url, turn_secret_file)
        secrets = (turn_credentials.secret.decode(errors="replace"),)
        server_limits = ServerLimits(rooms_are_open=rooms == "open", **limits)
        main = partial(serve, host, ws_port, http_port, folder, turn_credentials, server_limits)
        return run_root("server", partial(supervise, main, cancelled_exit_code=lambda: ExitCode.DONE), secrets=secrets)

    return _run_work(work)


def _server_folder() -> Path:
    """Return the folder of the server's database when `--data` names none."""
    from rtc.config.folders import find_folders
    from rtc.runtime.root import print_error
    from rtc.server.take_over import take_over_server

    return take_over_server(find_folders(), print_error)


@server.group()
def admin() -> None:
    """Change the database of a server, whether it runs or not. For the user who runs it, on its machine."""


@admin.command("create-room")
@create_room_options
def create_room(name: str, data: Path | None) -> int:
    """Make a room, and print its id and token. The token is shown only now."""
    from rtc.server.admin import create_room

    return _run_work(lambda: _print(create_room(data or _server_folder(), name)))


@main.command()
@click.option("--output", type=click.Path(path_type=Path), help="The folder for the model; by default ./demo.")
@click.option("--verbose", is_flag=True, help="Show what sleap-nn prints.")
def demo(output: Path | None, verbose: bool) -> int:
    """Train a small model with everything on this machine.

    It runs server, worker, client and the real sleap-nn, on data that it draws itself.
    """

    def work() -> int:
        from rtc.common.errors import ExitCode
        from rtc.demo.program import run_in_terminal
        from rtc.runtime.run_program import run_program

        return run_program(
            "demo",
            lambda *inner: run_in_terminal(output, *inner, verbose=verbose),
            cancelled_exit_code=lambda: ExitCode.CANCELLED,
        )

    return _run_work(work)


# -------- this machine


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Write one JSON array, for scripts.")
@click.option("--server", help=SERVER_HELP)
@click.option(
    "--as", "role", type=click.Choice(["worker", "client"]), help="Check only what this role needs; by default both."
)
def doctor(as_json: bool, server: str | None, role: str | None) -> int:
    """Show what would stop this machine from being a worker or a client, and what to do.

    Each line is ok, warn, fail or skip. The exit code is 1 when any of them is fail, and 0 otherwise.
    """

    def work() -> int:
        from rtc.config.folders import find_folders
        from rtc.doctor.plan import ROLES
        from rtc.doctor.program import DoctorOptions, read_config_or_fault, run

        cwd, folders = Path.cwd(), find_folders()
        config = read_config_or_fault(server, os.environ, cwd, folders.settings)
        return run(DoctorOptions(config, ROLES[role], cwd, folders, as_json))

    return _run_work(work)


@main.group("config")
def settings() -> None:
    """Show the settings and where they come from, or write a file for them."""


@settings.command("show")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object, for scripts.")
@click.option("--server", help=SERVER_HELP)
def config_show(as_json: bool, server: str | None) -> int:
    """Print every setting and where its value comes from. Passwords are masked."""

    def work() -> int:
        from rtc.config.folders import find_folders
        from rtc.config.show import settings_json, settings_text

        config = _config(server)
        if not as_json:
            return _print(settings_text(config, os.environ))
        return _print(settings_json(config, os.environ, Path.cwd(), find_folders().settings))

    return _run_work(work)


@settings.command("path")
def config_path() -> int:
    """Print which configuration file is used, or where one would be read from."""

    def work() -> int:
        from rtc.config.folders import find_folders
        from rtc.config.show import places_text

        return _print(places_text(Path.cwd(), find_folders().settings))

    return _run_work(work)


@settings.command("init")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--here", is_flag=True, help="Write sleap-rtc.toml into this folder, not ~/.sleap-rtc/config.toml.")
def config_init(force: bool, here: bool) -> int:
    """Write a commented configuration file with all settings and their defaults."""

    def work() -> int:
        from rtc.config.example import write_example
        from rtc.config.folders import find_folders

        path = write_example(cwd=Path.cwd(), settings=find_folders().settings, here=here, force=force)
        return _print(f"Written: {path}")

    return _run_work(work)
