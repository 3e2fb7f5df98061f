"""The command line: words in, exit code out. It parses, hands over to `rtc`, and decides nothing else.

Whatever is slow to import is imported inside the commands: `--help` must feel instant.
"""

import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rtc.config import Config

SERVER_HELP = "Address of the signalling server, such as ws://lab.example.org:8080."
PROOF_HELP = "The room secret that worker and client prove to each other; the server never sees it."


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


def _config(server: str | None) -> "Config":
    """The configuration for this call; a file in the working folder that changes the server is mentioned once."""
    from rtc.app.run import complain
    from rtc.config import load_config
    from rtc.signaling import server_url

    address = server_url(server) if server else None
    config = load_config(server=address, environ=os.environ, cwd=Path.cwd(), home=Path.home())
    if config.notice:
        complain(config.notice)
    return config


def _obey(work: Callable[[], int]) -> int:
    """Do it; an expected failure before anything runs becomes its sentence and exit code."""
    from rtc.app.run import complain
    from rtc.errors import RtcError

    try:
        return work()
    except RtcError as error:
        complain(error.fault.text)
        return error.exit_code


# -------- worker


@main.command()
@click.option("--room-id", help="Join this room instead of making one.")
@click.option("--token", help="The room's token.")
@click.option("--room-secret", help=PROOF_HELP)
@click.option("--server", help=SERVER_HELP)
@click.option("--name", help="What people see this worker called; the host's name otherwise.")
@click.option("--work-dir", type=click.Path(path_type=Path, file_okay=False), help="Where jobs run.")
@click.option("--results-dir", type=click.Path(path_type=Path, file_okay=False), help="Where unfetched results wait.")
@click.option("--sleap-nn", "sleap_nn", help="The sleap-nn program to use, if not the one installed here.")
def worker(room_id: str | None, token: str | None, **options: Any) -> int:
    """Offer this machine's GPU to a room.

    Without options it makes a room of its own and prints how clients and other workers join it.
    """
    if (room_id is None) != (token is None):
        raise click.UsageError("--room-id and --token go together: give both, or neither to make a new room.")
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
    sleap_nn: str | None,
) -> int:
    from rtc.app.run import run_program
    from rtc.app.worker import WorkerOrder, serve
    from rtc.credentials import check_name, check_room, read_secret
    from rtc.errors import ExitCode

    base = Path.home() / ".sleap-rtc"
    order = WorkerOrder(
        config=_config(server),
        room=check_room(room_id) if room_id else None,
        token=token,
        secret=read_secret(room_secret),
        name=check_name(name),
        work=work_dir or base / "work",
        results=results_dir or base / "results",
        sleap_nn=sleap_nn,
    )
    return run_program(
        "worker", lambda *inner: serve(order, *inner), secrets=(token, room_secret), stopped=ExitCode.CANCELLED
    )


# -------- client


class Duration(click.ParamType[float]):
    """`90s`, `30m`, `2h` or plain seconds; in seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it, or say how it is written."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)|inf", str(value).strip().lower())
        if not found:
            self.fail(f"{value!r} is no time; write 90s, 30m or 2h.", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]] if found[1] else math.inf


def _client_options(command: Callable[..., int]) -> Callable[..., int]:
    for option in reversed(
        (
            click.option("--session-string", help="A worker's own line: room, token and worker in one."),
            click.option("--room-id", help="The room to look for workers in."),
            click.option("--token", help="The room's token."),
            click.option("--worker-id", help="Take this worker of the room."),
            click.option("--auto-select", is_flag=True, help="Take the available worker with most GPU memory."),
            click.option("--min-gpu-memory", type=click.IntRange(0), help="Least GPU memory, in MB."),
            click.option(
                "--wait",
                is_flag=False,
                flag_value="inf",
                type=Duration(),
                help="Stand in line when every fitting worker is taken: for TIME (90s, 30m, 2h) or for ever.",
            ),
            click.option(
                "--pkg-path",
                required=True,
                type=click.Path(path_type=Path),
                help="The job package (.zip) that SLEAP exported.",
            ),
            click.option("--room-secret", help=PROOF_HELP),
            click.option("--server", help=SERVER_HELP),
            click.option(
                "--output",
                type=click.Path(path_type=Path),
                help="Where the models go; a folder named after the package otherwise.",
            ),
            click.option("--verbose", is_flag=True, help="Show what sleap-nn prints."),
        )
    ):
        command = option(command)
    return command


@client.command("train")
@_client_options
def client_train(**options: Any) -> int:
    """Train a package's models on a worker, and get them back."""
    _check_mix(**options)
    return _obey(lambda: _train(**options))


main.add_command(client_train, "client-train")


def _check_mix(
    *,
    session_string: str | None,
    room_id: str | None,
    token: str | None,
    worker_id: str | None,
    auto_select: bool,
    min_gpu_memory: int | None,
    wait: float | None,
    **_others: Any,
) -> None:
    """Each wrong mix of ways to connect is answered with the right one."""
    room_options = {
        "--room-id": room_id,
        "--token": token,
        "--worker-id": worker_id,
        "--auto-select": auto_select,
        "--min-gpu-memory": min_gpu_memory,
    }
    given = [name for name, value in room_options.items() if value]
    if session_string is not None:
        if given:
            raise click.UsageError(
                f"--session-string already names the room and the worker; leave out {', '.join(given)}."
            )
        return
    if room_id is None or token is None:
        raise click.UsageError(
            "Say where: --session-string S, or --room-id R --token T (then choose from the list, "
            "or add --auto-select or --worker-id P)."
        )
    if worker_id and auto_select:
        raise click.UsageError("--worker-id names a worker and --auto-select looks for one: give one of them.")
    if worker_id and min_gpu_memory:
        raise click.UsageError(
            "--min-gpu-memory looks for workers; with --worker-id the worker is named: leave one out."
        )
    if wait is not None and not worker_id and not auto_select:
        raise click.UsageError(
            "--wait goes with --auto-select, --worker-id or --session-string; the list to choose from waits by itself."
        )
    if not worker_id and not auto_select and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError(
            "There is no terminal to choose a worker in: add --auto-select, or --worker-id P to name one."
        )


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
    output: Path | None,
    verbose: bool,
) -> int:
    from rtc.app.client import ClientOrder, choose_way, watch
    from rtc.app.run import run_program
    from rtc.credentials import read_secret

    way = choose_way(session_string, room_id, token, worker_id, auto_select=auto_select)
    order = ClientOrder(
        config=_config(server or way.server),
        package=pkg_path,
        room=way.room,
        token=way.token,
        choice=way.choice,
        secret=read_secret(room_secret),
        min_memory_mb=min_gpu_memory or 0,
        wait=wait,
        output=output,
    )
    return run_program(
        "client", lambda *inner: watch(order, *inner, verbose=verbose), secrets=(session_string, way.token, room_secret)
    )


# -------- server and demo


@main.command()
@click.option("--host", default="0.0.0.0", show_default=True, help="The address to listen on.")  # noqa: S104 (a server)
@click.option(
    "--ws-port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Signalling (WebSocket)."
)
@click.option(
    "--http-port", default=8001, show_default=True, type=click.IntRange(0, 65535), help="Health and rooms (HTTP)."
)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Where rooms are kept.")
def server(host: str, ws_port: int, http_port: int, data: Path | None) -> int:
    """Run the signalling server: rooms, who is in them, and their offers and answers. It never sees a package."""

    def work() -> int:
        from rtc.app.run import run_program
        from rtc.app.server import serve

        folder = data or Path.home() / ".sleap-rtc" / "server"
        return run_program("server", lambda *inner: serve(host, ws_port, http_port, folder, *inner))

    return _obey(work)


@main.command()
@click.option("--output", type=click.Path(path_type=Path), help="Where the model goes; ./demo otherwise.")
@click.option("--verbose", is_flag=True, help="Show what sleap-nn prints.")
def demo(output: Path | None, verbose: bool) -> int:
    """Everything on this machine: server, worker, client and real sleap-nn, from nothing to a trained model."""

    def work() -> int:
        from rtc.app.demo import show
        from rtc.app.run import run_program

        return run_program("demo", lambda *inner: show(output, *inner, verbose=verbose))

    return _obey(work)
