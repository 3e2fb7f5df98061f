"""The command line: words in, exit code out. It parses, hands over to `rtc`, and decides nothing else.

Whatever is slow to import is imported inside the commands: `--help` must feel instant.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtc.options import (
    SERVER_HELP,
    attach_options,
    check_client_mix,
    check_worker_mix,
    client_options,
    server_options,
    worker_options,
)

if TYPE_CHECKING:
    from rtc.app.embedded import ServerOrder
    from rtc.config import Config


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
    """Train SLEAP models on a GPU elsewhere, and get them back.

    \b
    On the GPU machine:   sleap-rtc worker
    On your laptop:       sleap-rtc client-train --session-string … --pkg-path package.zip
    All of it, here:      sleap-rtc demo
    """


@main.group()
def client() -> None:
    """Have a job run by a worker."""


def _config(server: str | None, *, relay_only: bool = False) -> "Config":
    """The configuration for this call; a file in the working folder that changes the server is mentioned once."""
    from attrs import evolve

    from rtc.app.root import complain
    from rtc.config import load_config
    from rtc.signaling import server_url

    address = server_url(server) if server else None
    config = load_config(server=address, environ=os.environ, cwd=Path.cwd(), home=Path.home())
    if config.notice:
        complain(config.notice)
    return evolve(config, relay_only=relay_only)


def _obey(work: Callable[[], int]) -> int:
    """Do it; an expected failure before anything runs becomes its sentence and exit code."""
    from rtc.app.root import complain
    from rtc.errors import RtcError

    try:
        return work()
    except RtcError as error:
        complain(error.fault.text)
        return error.exit_code


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
    from rtc.app.fleet import serve
    from rtc.app.run import run_program
    from rtc.app.worker import WorkerOrder
    from rtc.credentials import check_name, check_room, read_secret
    from rtc.errors import ExitCode
    from rtc.gpu import choose_gpu, list_gpus

    base = Path.home() / ".sleap-rtc"
    order = WorkerOrder(
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
        lambda *inner: serve(order, *inner, gpus=gpus, server=own),
        secrets=(token, room_secret, *order.config.credentials),
        stopped=lambda: ExitCode.CANCELLED,
    )


def _own_server(
    data: Path, *, serve: bool, serve_host: str | None, ws_port: int | None, http_port: int | None
) -> "ServerOrder | None":
    """The server beside the worker, if one is wanted."""
    from rtc.app.embedded import ServerOrder
    from rtc.settings import HTTP_PORT, WS_PORT

    if not serve:
        return None
    ws_port = WS_PORT if ws_port is None else ws_port
    return ServerOrder(serve_host or "0.0.0.0", ws_port, HTTP_PORT if http_port is None else http_port, data)  # noqa: S104


# -------- client


@client.command("train")
@client_options
def client_train(**options: Any) -> int:
    """Train a package's models on a worker, and get them back."""
    check_client_mix(**options)
    return _obey(lambda: _train(**options))


main.add_command(client_train, "client-train")


def _train(
    *,
    session_string: str | None,
    room_id: str | None,
    token: str | None,
    worker_id: str | None,
    auto_select: bool,
    min_gpu_memory: int | None,
    wait: float | None,
    pkg_path: Path,
    room_secret: str | None,
    server: str | None,
    relay_only: bool,
    controller_port: int,
    publish_port: int,
    output: Path | None,
    verbose: bool,
) -> int:
    from rtc.app.client import ClientOrder, Watch
    from rtc.app.run import run_program
    from rtc.app.way import choose_way
    from rtc.credentials import read_secret

    way = choose_way(session_string, room_id, token, worker_id, auto_select=auto_select)
    order = ClientOrder(
        config=_config(server or way.server, relay_only=relay_only),
        package=pkg_path,
        room=way.room,
        token=way.token,
        choice=way.choice,
        secret=read_secret(room_secret),
        min_memory_mb=min_gpu_memory or 0,
        wait=wait,
        output=output,
        viewer_ports=(controller_port, publish_port),
        tickets=Path.home() / ".sleap-rtc" / "jobs",
    )
    watch = Watch(order, verbose)
    secrets = (session_string, way.token, room_secret, *order.config.credentials)
    return run_program("client", watch.run, stopped=watch.stopped, secrets=secrets)


@main.command()
@click.argument("job", required=False)
@attach_options
def attach(job: str | None, room_secret: str | None, relay_only: bool, output: Path | None, verbose: bool) -> int:
    """Come back to a job that was started from here: watch it on, or fetch its result. The newest, if none is named."""

    def work() -> int:
        from actors.events import Direct, Ticket
        from rtc import tickets
        from rtc.app.client import ClientOrder, Watch
        from rtc.app.run import run_program
        from rtc.credentials import read_secret

        folder = Path.home() / ".sleap-rtc" / "jobs"
        stub = tickets.find(folder, job)
        order = ClientOrder(
            config=_config(stub.server, relay_only=relay_only),
            package=Path(stub.package),
            room=stub.room,
            token=stub.token,
            choice=Direct(stub.worker),
            secret=read_secret(room_secret),
            output=output,
            ticket=Ticket(stub.job, stub.key),
            tickets=folder,
        )
        watch = Watch(order, verbose)
        secrets = (stub.token, stub.key, room_secret, *order.config.credentials)
        return run_program("client", watch.run, stopped=watch.stopped, secrets=secrets)

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
        from rtc.app.way import choose_way
        from rtc.app.workers import LookOrder, look

        room = choose_way(session_string, room_id, token, None, auto_select=True)
        order = LookOrder(_config(server or room.server), room.room, room.token, as_json)
        return look(order, secrets=(session_string,))

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
        from rtc.app.run import run_program
        from rtc.app.server import serve
        from rtc.errors import ExitCode
        from rtc.server.ice import read_gift

        folder = data or Path.home() / ".sleap-rtc" / "server"
        gift = read_gift(stun_url, turn_url, turn_secret_file)
        secrets = (gift.secret.decode(errors="replace"),)
        return run_program(
            "server",
            lambda *inner: serve(host, ws_port, http_port, folder, gift, *inner),
            secrets=secrets,
            stopped=lambda: ExitCode.DONE,
        )

    return _obey(work)


@main.command()
@click.option("--output", type=click.Path(path_type=Path), help="Where the model goes; ./demo otherwise.")
@click.option("--verbose", is_flag=True, help="Show what sleap-nn prints.")
def demo(output: Path | None, verbose: bool) -> int:
    """Everything on this machine: server, worker, client and real sleap-nn, from nothing to a trained model."""

    def work() -> int:
        from rtc.app.demo import show
        from rtc.app.run import run_program
        from rtc.errors import ExitCode

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
        from rtc.app.doctor import DoctorOrder, examine, read_config
        from rtc.doctor.plan import AIMS

        cwd, home = Path.cwd(), Path.home()
        config = read_config(server, os.environ, cwd, home)
        return examine(DoctorOrder(config, AIMS[role], cwd, home, as_json))

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
        from rtc.view.settings import settings_json, settings_text

        config = _config(server)
        cwd, home = Path.cwd(), Path.home()
        print(settings_json(config, os.environ, cwd, home) if as_json else settings_text(config, os.environ))
        return 0

    return _obey(work)


@settings.command("path")
def config_path() -> int:
    """Print which configuration file is used, or where one is looked for."""

    def work() -> int:
        from rtc.view.settings import places_text

        print(places_text(Path.cwd(), Path.home()))
        return 0

    return _obey(work)


@settings.command("init")
@click.option("--force", is_flag=True, help="Replace the file that is there.")
@click.option("--here", is_flag=True, help="Write sleap-rtc.toml into this folder, not ~/.sleap-rtc/config.toml.")
def config_init(force: bool, here: bool) -> int:
    """Write a commented configuration file with all settings and their defaults."""

    def work() -> int:
        from rtc.example import write_example

        path = write_example(cwd=Path.cwd(), home=Path.home(), here=here, force=force)
        print(f"Written: {path}")
        return 0

    return _obey(work)
