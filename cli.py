"""The command line: words in, exit code out. It parses, hands over to `rtc`, and decides nothing else.

Whatever is slow to import is imported inside the commands: `--help` must feel instant.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtc.command_line.options import (
    SERVER_HELP,
    attach_options,
    check_client_mix,
    check_showing,
    check_where,
    check_worker_mix,
    config_option,
    job_track_options,
    model_option,
    package_option,
    server_options,
    train_options,
    where_options,
    worker_options,
)
from rtc.command_line.predict_options import chosen_options, track_options
from rtc.packages.predict_options import OPTIONS

if TYPE_CHECKING:
    from rtc.config.load import Config
    from rtc.worker.embedded_server import ServerOptions


def run(arguments: list[str]) -> int:
    """Parse and obey; returns the exit code. Expected failures are one sentence on standard error."""
    try:
        result = main.main(arguments, prog_name="sleap-rtc", standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sleap-rtc", prog_name="sleap-rtc")
def main() -> None:
    """Train SLEAP models, and predict with them, on a GPU elsewhere; get back what was made.

    \b
    On the GPU machine:   sleap-rtc worker
    On your laptop:       sleap-rtc train package.zip --session-string …
                          sleap-rtc track video.mp4 --model FOLDER --session-string …
    All of it, here:      sleap-rtc demo
    """


@main.group()
def client() -> None:
    """Have a job run by a worker."""


def _config(server: str | None, *, relay_only: bool = False) -> "Config":
    """The configuration for this call."""
    from rtc.command_line.read_config import read_config

    return read_config(server, relay_only=relay_only)


def _obey(work: Callable[[], int], *, events: bool = False) -> int:
    """Do it; an expected failure before anything runs becomes its sentence and exit code, and with `events` its end."""
    from rtc.common.errors import RtcError
    from rtc.runtime.root import complain

    try:
        return work()
    except RtcError as error:
        if events:
            from rtc.terminal.json_view import tell_end

            tell_end(error.fault)
        complain(error.fault.text)
        return error.exit_code


def _say(text: str) -> int:
    """Print it, to whomever still reads; done."""
    from rtc.common.line_writer import LineWriter

    LineWriter(sys.stdout).say(text)
    return 0


# -------- worker


@main.command()
@worker_options
def worker(room_id: str | None, token: str | None, **options: Any) -> int:
    """Offer this machine's GPU to a room.

    Without options it makes a room of its own and prints how clients and other workers join it.
    """
    if (room_id is None) != (token is None):
        raise click.UsageError("--room-id and --token go together: give both, or neither to make a new room.")
    check_worker_mix(**options)
    return _obey(lambda: _worker(room_id, token, **options))


def _worker(
    room_id: str | None,
    token: str | None,
    *,
    room_secret: str | None,
    server: str | None,
    name: str | None,
    work_dir: Path | None,
    results_dir: Path | None,
    relay_only: bool,
    sleap_nn: str | None,
    gpu: str | None,
    all_gpus: bool,
    **serving: Any,
) -> int:
    from rtc.common.errors import ExitCode
    from rtc.common.gpu import choose_gpu, list_gpus
    from rtc.config.credentials import check_name, check_room, read_secret
    from rtc.runtime.run_program import run_program
    from rtc.worker.fleet import serve
    from rtc.worker.program import WorkerOptions

    base = Path.home() / ".sleap-rtc"
    options = WorkerOptions(
        config=_config("localhost" if serving["serve"] else server, relay_only=relay_only),
        room=check_room(room_id) if room_id else None,
        token=token,
        secret=read_secret(room_secret),
        name=check_name(name),
        work=work_dir or base / "work",
        results=results_dir or base / "results",
        sleap_nn=sleap_nn,
        gpu=choose_gpu(gpu) if gpu is not None else None,
    )
    gpus = list_gpus() if all_gpus else None
    own = _own_server(base / "server", **serving)
    return run_program(
        "worker",
        lambda *inner: serve(options, *inner, gpus=gpus, server=own),
        secrets=(token, room_secret, *options.config.credentials),
        stopped=lambda: ExitCode.CANCELLED,
    )


def _own_server(
    data: Path, *, serve: bool, serve_host: str | None, ws_port: int | None, http_port: int | None
) -> "ServerOptions | None":
    """The server beside the worker, if one is wanted."""
    from rtc.config.server_url import HTTP_PORT, WS_PORT
    from rtc.worker.embedded_server import ServerOptions

    if not serve:
        return None
    ws_port = WS_PORT if ws_port is None else ws_port
    return ServerOptions(serve_host or "0.0.0.0", ws_port, HTTP_PORT if http_port is None else http_port, data)  # noqa: S104


# -------- client


def _read(options: dict[str, Any]) -> dict[str, Any]:
    """A client's words, checked for what goes together."""
    check_client_mix(**options)
    check_showing(**options)
    return options


@client.command("train")
@package_option
@train_options
def client_train(pkg_path: Path, overrides: tuple[str, ...], **options: Any) -> int:
    """Train a package's models on a worker, and get them back.

    Settings of sleap-nn may be changed for this run after "--": -- trainer_config.max_epochs=50
    """
    if pkg_path.suffix.lower() == ".slp":
        raise click.UsageError(
            "--pkg-path takes a package (.zip). For labels: sleap-rtc train LABELS.slp --config CONFIG.yaml …"
        )
    return _train(pkg_path, (), overrides, _read(options))


@main.command()
@click.argument("path", type=click.Path(path_type=Path))
@config_option
@train_options
def train(path: Path, configs: tuple[Path, ...], overrides: tuple[str, ...], **options: Any) -> int:
    """Train PATH on a worker: a job package (.zip), or labels (.slp, .pkg.slp) with --config.

    Settings of sleap-nn may be changed for this run after "--": -- trainer_config.max_epochs=50
    """
    return _train(path, configs, overrides, _read(options))


def _train(path: Path, configs: tuple[Path, ...], overrides: tuple[str, ...], options: dict[str, Any]) -> int:
    def work() -> int:
        from rtc.command_line.client_commands import start_training

        return start_training(path, configs, overrides, **options)

    return _obey(work, events=options["as_json"])


@client.command("track")
@package_option
@job_track_options
def client_track(pkg_path: Path, **options: Any) -> int:
    """Predict with a package's models on a worker, and get the predictions back."""
    if pkg_path.suffix.lower() != ".zip":
        raise click.UsageError(
            "--pkg-path takes a package (.zip). For a video or labels: sleap-rtc track DATA --model FOLDER …"
        )
    return _track(pkg_path, (), _read(options))


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@model_option
@job_track_options
@track_options
def track(data: Path, models: tuple[Path, ...], **options: Any) -> int:
    """Predict on DATA on a worker: a video, a .slp or a .pkg.slp with --model, or an inference package (.zip)."""
    return _track(data, models, _read(options))


def _track(data: Path, models: tuple[Path, ...], options: dict[str, Any]) -> int:
    def work() -> int:
        from rtc.command_line.client_commands import start_tracking

        predict = chosen_options(options)
        asked = {option.name for option in OPTIONS}
        rest = {name: value for name, value in options.items() if name not in asked}
        return start_tracking(data, models, predict, **rest)

    return _obey(work, events=options["as_json"])


main.add_command(client_train, "client-train")
main.add_command(client_track, "client-track")


@main.command()
@click.argument("job", required=False)
@attach_options
def attach(job: str | None, **options: Any) -> int:
    """Come back to a job that was started from here, the newest if none is named: watch it, and fetch its result."""
    check_showing(**options)
    check_where(**options)

    def work() -> int:
        from rtc.command_line import client_commands as commands

        return commands.attach(job, **options)

    return _obey(work, events=options["as_json"])


@main.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for scripts.")
@where_options
@click.pass_context
def jobs(context: click.Context, /, as_json: bool, **where: Any) -> int:
    """List the jobs that were started from here and whose results are not home; or see to one of them."""
    command = context.invoked_subcommand
    if command is not None:
        early = [option.opts[0] for option in context.command.params if context.params[str(option.name)]]
        if early:
            raise click.UsageError(f"Options come after the command: sleap-rtc jobs {command} … {' '.join(early)}")
        return 0
    return _job(where, lambda commands: int(commands.jobs_list(as_json=as_json, **where)))


def _job(where: dict[str, Any], see_to_it: Callable[[Any], int], *, events: bool = False) -> int:
    """One of the commands about a job; they are imported when the words are found right."""
    check_where(**where)

    def work() -> int:
        from rtc.command_line import client_commands as commands

        return see_to_it(commands)

    return _obey(work, events=events)


@jobs.command("stop")
@click.argument("job")
@click.option("--all", "everything", is_flag=True, help="Stop the whole sequence, not only the model that trains now.")
@where_options
def jobs_stop(job: str, everything: bool, **where: Any) -> int:
    """Let JOB stop early; what it has learned is kept."""
    scope = "all" if everything else "this"
    return _job(where, lambda commands: int(commands.jobs_stop(job, scope=scope, **where)))


@jobs.command("cancel")
@click.argument("job")
@where_options
def jobs_cancel(job: str, **where: Any) -> int:
    """End JOB now."""
    return _job(where, lambda commands: int(commands.jobs_cancel(job, **where)))


@jobs.command("logs")
@click.argument("job")
@click.option("--follow", "-f", is_flag=True, help="Go on until the job ends.")
@where_options
def jobs_logs(job: str, follow: bool, **where: Any) -> int:
    """Print what sleap-nn has printed in JOB."""
    return _job(where, lambda commands: int(commands.jobs_logs(job, follow=follow, **where)))


@jobs.command("fetch")
@click.argument("job")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where the result goes; as was said before else.")
@click.option("--quiet", "-q", is_flag=True, help="Warnings, and what has come of it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@where_options
def jobs_fetch(job: str, output: Path | None, quiet: bool, as_json: bool, **where: Any) -> int:
    """Bring home the result of JOB, which has ended."""
    check_showing(quiet=quiet, as_json=as_json)
    more = {"output": output, "quiet": quiet, "as_json": as_json}
    return _job(where, lambda commands: int(commands.jobs_fetch(job, **more, **where)), events=as_json)


# -------- packages


@main.group()
def package() -> None:
    """Make job packages, and look into them."""


@package.command("train")
@click.argument("labels", type=click.Path(path_type=Path))
@config_option
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The package; named after the labels otherwise.")
@click.argument("overrides", nargs=-1, metavar="[-- KEY=VALUE ...]")
def package_train(labels: Path, configs: tuple[Path, ...], output: Path | None, overrides: tuple[str, ...]) -> int:
    """Make a training package of LABELS (.slp, .pkg.slp), and send it nowhere."""
    if not configs:
        raise click.UsageError("Say how to train: --config CONFIG.yaml, once for each model.")

    def work() -> int:
        from rtc.command_line.client_commands import write_training

        return write_training(labels, configs, overrides, output)

    return _obey(work)


@package.command("track")
@click.argument("data", type=click.Path(path_type=Path))
@model_option
@click.option("--output", "-o", type=click.Path(path_type=Path), help="The package; named after the data otherwise.")
@track_options
def package_track(data: Path, models: tuple[Path, ...], output: Path | None, **options: Any) -> int:
    """Make an inference package of DATA (a video, .slp or .pkg.slp) and models, and send it nowhere."""

    def work() -> int:
        from rtc.command_line.client_commands import write_tracking

        return write_tracking(data, models, chosen_options(options), output)

    return _obey(work)


@package.command("inspect")
@click.argument("file", type=click.Path(path_type=Path))
def package_inspect(file: Path) -> int:
    """Say what the package FILE will do."""

    def work() -> int:
        from rtc.command_line.client_commands import inspect

        return inspect(file)

    return _obey(work)


# -------- looking into a room


@main.command()
@click.option("--room-id", help="The room to look into.")
@click.option("--token", help="The room's token.")
@click.option("--session-string", help="A worker's own line, instead of both.")
@click.option("--server", help=SERVER_HELP)
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for scripts.")
def workers(
    room_id: str | None, token: str | None, session_string: str | None, server: str | None, as_json: bool
) -> int:
    """List a room's workers: their GPUs, what they do, and since when."""
    if session_string is not None and (room_id or token):
        raise click.UsageError("--session-string already names the room; leave out --room-id and --token.")
    if session_string is None and (room_id is None or token is None):
        raise click.UsageError("Say which room: --room-id R --token T, or --session-string S.")

    def work() -> int:
        from rtc.client.list_workers import ListOptions, look
        from rtc.client.target import choose_target

        room = choose_target(session_string, room_id, token, None, auto_select=True)
        options = ListOptions(_config(server or room.server), room.room, room.token, as_json)
        return look(options, secrets=(session_string,))

    return _obey(work)


# -------- server and demo


@main.command()
@server_options
def server(
    host: str,
    ws_port: int,
    http_port: int,
    data: Path | None,
    stun_url: tuple[str, ...],
    turn_url: tuple[str, ...],
    turn_secret_file: Path | None,
) -> int:
    """Run the signalling server: rooms, who is in them, and their offers and answers. It never sees a package."""
    if bool(turn_url) != (turn_secret_file is not None):
        raise click.UsageError(
            "--turn-url and --turn-secret-file go together: peers get credentials made from that secret."
        )

    def work() -> int:
        from rtc.common.errors import ExitCode
        from rtc.runtime.root import run_root, supervise
        from rtc.server.program import serve
        from rtc.server.turn_credentials import read_turn_credentials

        folder = data or Path.home() / ".sleap-rtc" / "server"
        turn_credentials = read_turn_credentials(stun_url, turn_url, turn_secret_file)
        secrets = (turn_credentials.secret.decode(errors="replace"),)
        main = partial(serve, host, ws_port, http_port, folder, turn_credentials)
        return run_root("server", partial(supervise, main, stopped=lambda: ExitCode.DONE), secrets=secrets)

    return _obey(work)


@main.command()
@click.option("--output", type=click.Path(path_type=Path), help="Where the model goes; ./demo otherwise.")
@click.option("--verbose", is_flag=True, help="Show what sleap-nn prints.")
def demo(output: Path | None, verbose: bool) -> int:
    """Everything on this machine: server, worker, client and real sleap-nn, from nothing to a trained model."""

    def work() -> int:
        from rtc.common.errors import ExitCode
        from rtc.demo.program import show
        from rtc.runtime.run_program import run_program

        return run_program(
            "demo", lambda *inner: show(output, *inner, verbose=verbose), stopped=lambda: ExitCode.CANCELLED
        )

    return _obey(work)


# -------- this machine


@main.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON array, for scripts.")
@click.option("--server", help=SERVER_HELP)
@click.option("--as", "role", type=click.Choice(["worker", "client"]), help="Look at what this needs; both otherwise.")
def doctor(as_json: bool, server: str | None, role: str | None) -> int:
    """Say what would stop this machine from being a worker or a client, and what to do.

    Each line is ok, warn, fail or skip. The exit code is 1 when any of them is fail, and 0 otherwise.
    """

    def work() -> int:
        from rtc.doctor.plan import ROLES
        from rtc.doctor.program import DoctorOptions, read_config, run

        cwd, home = Path.cwd(), Path.home()
        config = read_config(server, os.environ, cwd, home)
        return run(DoctorOptions(config, ROLES[role], cwd, home, as_json))

    return _obey(work)


@main.group("config")
def settings() -> None:
    """The settings, and where they come from."""


@settings.command("show")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
@click.option("--server", help=SERVER_HELP)
def config_show(as_json: bool, server: str | None) -> int:
    """Print every setting with the place that decided it. Passwords are masked."""

    def work() -> int:
        from rtc.config.show import settings_json, settings_text

        config = _config(server)
        cwd, home = Path.cwd(), Path.home()
        return _say(settings_json(config, os.environ, cwd, home) if as_json else settings_text(config, os.environ))

    return _obey(work)


@settings.command("path")
def config_path() -> int:
    """Print which configuration file is used, or where one is looked for."""

    def work() -> int:
        from rtc.config.show import places_text

        return _say(places_text(Path.cwd(), Path.home()))

    return _obey(work)


@settings.command("init")
@click.option("--force", is_flag=True, help="Replace the file that is there.")
@click.option("--here", is_flag=True, help="Write sleap-rtc.toml into this folder, not ~/.sleap-rtc/config.toml.")
def config_init(force: bool, here: bool) -> int:
    """Write a commented configuration file with all settings and their defaults."""

    def work() -> int:
        from rtc.config.example import write_example

        path = write_example(cwd=Path.cwd(), home=Path.home(), here=here, force=force)
        return _say(f"Written: {path}")

    return _obey(work)
