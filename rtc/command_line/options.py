"""The words that commands may take, and which of them go together. `--help` imports it, so it imports nothing heavy."""

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

SERVER_HELP = "Address of the signalling server, such as ws://lab.example.org:8080."
RELAY_HELP = "Reach the other side through a TURN server or not at all."
PORT = click.IntRange(0, 65535)
PROOF_HELP = "The room secret that worker and client prove to each other; the server never sees it."

Command = Callable[..., int]
Decorator = Callable[[Command], Command]


class Duration(click.ParamType[float]):
    """`90s`, `30m`, `2h` or plain seconds; in seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it, or say how it is written."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)|inf", str(value).strip().lower())
        if not found:
            self.fail(f"{value!r} is no time; write 90s, 30m or 2h.", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]] if found[1] else math.inf


def _together(*options: Decorator) -> Decorator:
    """Several options as one decorator, in the order in which help shows them."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


worker_options = _together(
    click.option("--room-id", help="Join this room instead of making one."),
    click.option("--token", help="The room's token."),
    click.option("--room-secret", help=PROOF_HELP),
    click.option("--server", help=SERVER_HELP),
    click.option("--name", help="What people see this worker called; the host's name otherwise."),
    click.option("--gpu", metavar="INDEX|UUID", help="Offer this GPU, named as nvidia-smi does; the first otherwise."),
    click.option("--all-gpus", is_flag=True, help="One worker for each GPU, all in one room."),
    click.option("--serve", is_flag=True, help="Run a server here too, and use it: for labs that have none."),
    click.option("--serve-host", help="The address that server listens on; all of this machine's otherwise."),
    click.option("--ws-port", type=PORT, help="That server's signalling port (WebSocket); 8080 otherwise."),
    click.option("--http-port", type=PORT, help="That server's HTTP port; 8001 otherwise."),
    click.option("--work-dir", type=click.Path(path_type=Path, file_okay=False), help="Where jobs run."),
    click.option(
        "--results-dir", type=click.Path(path_type=Path, file_okay=False), help="Where unfetched results wait."
    ),
    click.option("--relay-only", is_flag=True, help=RELAY_HELP),
    click.option("--sleap-nn", "sleap_nn", help="The sleap-nn program to use, if not the one installed here."),
)

_showing_options = (
    click.option("--quiet", "-q", is_flag=True, help="Warnings, and what has come of it."),
    click.option("--verbose", "-v", is_flag=True, help="Show what sleap-nn prints."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs."),
)


def _interrupt_option(*choices: str) -> Decorator:
    return click.option(
        "--on-interrupt", type=click.Choice(choices), help="What Ctrl-C means for a running job; it asks otherwise."
    )


_train_interrupt_option = _interrupt_option("stop", "cancel", "detach")
_track_interrupt_option = _interrupt_option("cancel", "detach")
"""A prediction cannot be stopped early."""
_stop_option = click.option(
    "--stop",
    type=click.Choice(["this", "all"]),
    default="this",
    show_default=True,
    help="What stopping early ends: the model that trains now, or the whole sequence.",
)
_viewer_options = (
    click.option(
        "--controller-port",
        default=9000,
        show_default=True,
        type=click.IntRange(1, 65535),
        help="Where SLEAP's LossViewer sends its Stop.",
    ),
    click.option(
        "--publish-port",
        default=9001,
        show_default=True,
        type=click.IntRange(1, 65535),
        help="Where SLEAP's LossViewer listens for progress.",
    ),
)
_package_option = click.option(
    "--pkg-path", required=True, type=click.Path(path_type=Path), help="The job package (.zip)."
)
_way_options = (
    click.option("--session-string", help="A worker's own line: room, token and worker in one."),
    click.option("--room-id", help="The room to look for workers in."),
    click.option("--token", help="The room's token."),
    click.option("--worker-id", help="Take this worker of the room."),
)
_reach_options = (
    click.option("--room-secret", help=PROOF_HELP),
    click.option("--server", help=SERVER_HELP),
    click.option("--relay-only", is_flag=True, help=RELAY_HELP),
)
_job_options = (
    *_way_options,
    click.option("--auto-select", is_flag=True, help="Take the available worker with most GPU memory."),
    click.option("--min-gpu-memory", type=click.IntRange(0), help="Least GPU memory, in MB."),
    click.option(
        "--wait",
        is_flag=False,
        flag_value="inf",
        type=Duration(),
        help="Stand in line when every fitting worker is taken: for TIME (90s, 30m, 2h) or for ever.",
    ),
    *_reach_options,
)

train_options = _together(
    *_job_options,
    *_viewer_options,
    click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        help="The folder for the models; named after the package else.",
    ),
    _train_interrupt_option,
    _stop_option,
    *_showing_options,
    click.argument("overrides", nargs=-1, metavar="[-- KEY=VALUE ...]"),
)
job_track_options = _together(
    *_job_options,
    click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        help="The file for the predictions, which ends in .slp, or a folder for it; named after the data else.",
    ),
    _track_interrupt_option,
    *_showing_options,
)
package_option = _together(_package_option)
config_option = _together(
    click.option(
        "--config",
        "configs",
        multiple=True,
        type=click.Path(path_type=Path),
        help="How to train labels: a configuration of sleap-nn (.yaml), once for each model, in order.",
    ),
)
model_option = _together(
    click.option(
        "--model",
        "-m",
        "models",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A trained model's folder; twice for top-down.",
    ),
)
where_options = _together(
    *_way_options,
    *_reach_options,
)
"""Where the worker of an earlier job is, should it have moved since."""

attach_options = _together(
    *_way_options,
    *_reach_options,
    *_viewer_options,
    click.option(
        "--output", "-o", type=click.Path(path_type=Path), help="Where the result goes; as was said before else."
    ),
    _train_interrupt_option,
    _stop_option,
    *_showing_options,
)

server_options = _together(
    click.option("--host", default="0.0.0.0", show_default=True, help="The address to listen on."),  # noqa: S104 (a server)
    click.option(
        "--ws-port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Signalling (WebSocket)."
    ),
    click.option(
        "--http-port", default=8001, show_default=True, type=click.IntRange(0, 65535), help="Health and rooms (HTTP)."
    ),
    click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Where rooms are kept."),
    click.option("--stun-url", multiple=True, help="A STUN server for all peers, such as stun:host:3478; repeatable."),
    click.option("--turn-url", multiple=True, help="A TURN server for all peers, such as turn:host:3478; repeatable."),
    click.option(
        "--turn-secret-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Holds the secret shared with the TURN server (coturn's static-auth-secret).",
    ),
)


def check_worker_mix(
    *,
    server: str | None,
    gpu: str | None,
    all_gpus: bool,
    serve: bool,
    serve_host: str | None,
    ws_port: int | None,
    http_port: int | None,
    **_others: Any,
) -> None:
    if gpu is not None and all_gpus:
        raise click.UsageError("--gpu takes one GPU and --all-gpus takes all: give one of them.")
    if serve and server is not None:
        raise click.UsageError("--serve runs a server here and --server names one elsewhere: give one of them.")
    listening = {"--serve-host": serve_host, "--ws-port": ws_port, "--http-port": http_port}
    given = [name for name, value in listening.items() if value is not None]
    if given and not serve:
        raise click.UsageError(f"{', '.join(given)}: these are for the server that --serve starts; add --serve.")


def check_client_mix(
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


def check_showing(*, quiet: bool, verbose: bool = False, as_json: bool, **_others: Any) -> None:
    """One way of showing at a time."""
    if quiet + verbose + as_json > 1:
        raise click.UsageError("--quiet, --verbose and --json are different ways of showing: give one of them.")


def check_where(
    *,
    session_string: str | None,
    room_id: str | None,
    token: str | None,
    worker_id: str | None,
    **_others: Any,
) -> None:
    """An earlier job's worker is where its ticket says, or where all of these say."""
    given = [value for value in (room_id, token, worker_id) if value]
    if session_string is not None and given:
        raise click.UsageError("--session-string already names the room and the worker; leave out the others.")
    if session_string is None and 0 < len(given) < 3:
        raise click.UsageError(
            "To say where the worker is now: --session-string S, or --room-id, --token and --worker-id."
        )
