"""The options and arguments of the commands, and which of them may be combined.

`--help` imports this module, so it imports nothing that takes long.
"""

import math
import os
import re
import sys
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import click

from rtc.command_line.background_options import background_options, check_background_options
from rtc.command_line.credential_options import read_credentials, secret_options, token_options
from rtc.command_line.detach_option import check_detach_option, detach_option
from rtc.command_line.gpus_option import gpus_option
from rtc.command_line.room_option import room_option
from rtc.common.size_limits import PACKAGE_MAX, RESULT_MAX

SERVER_HELP = "Address of the signalling server, such as ws://lab.example.org:8080."
RELAY_HELP = "Connect only through a TURN server, never directly."
PORT = click.IntRange(0, 65535)
MEMORY_MAX = 10**9
"""MB; as in `protocol.status`."""
SECONDS_MAX = 10**9
"""As in `protocol.fields`."""

TRACE_HELP = "Write everything that the program decides into FILE, for a report of a bug; no secrets are in it."

Command = Callable[..., int]
Decorator = Callable[[Command], Command]


class Duration(click.ParamType[float]):
    """A click type for durations: `90s`, `30m`, `2h`, `1d`, plain seconds, or `inf`. The value is in seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the duration in seconds, or fail with a text that shows how it is written."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)|inf", str(value).strip().lower())
        if not found:
            self.fail(f"{value!r} is not a duration; write 90s, 30m or 2h.", param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]] if found[1] else math.inf


class NetworkType(click.ParamType[IPv4Network | IPv6Network]):
    """A click type for networks: a CIDR such as `10.0.0.0/8`, or one address."""

    name = "CIDR"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IPv4Network | IPv6Network:
        """Return the network, or fail with a text that shows how it is written."""
        try:
            return ip_network(str(value).strip(), strict=False)
        except ValueError:
            self.fail(f"{value!r} is no network; write 127.0.0.1, 10.0.0.0/8 or fd00::/8.", param, ctx)


class Size(click.ParamType[int]):
    """A click type for the size of a file: `20GB`, `500MB`; a plain number is in GB of 10**9 bytes. It is in bytes."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the size in bytes, or fail with a text that shows how it is written."""
        if isinstance(value, int):  # the default
            return value
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([kmgt]?)b?", str(value).strip().lower())
        size = (
            int(float(found[1]) * {"k": 10**3, "m": 10**6, "": 10**9, "g": 10**9, "t": 10**12}[found[2]])
            if found
            else 0
        )
        if size < 1:
            self.fail(f"{value!r} is not the size of a file; write 20GB or 500MB.", param, ctx)
        return size

    def write(self, size: int) -> str:
        """Return a text that `convert` reads as this size."""
        return f"{size / 10**6:.6f}MB"


class VariableName(click.ParamType[str]):
    """A click type for the name of an environment variable that jobs may be shown."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail with a text that says what is wrong, and has no value, which may be secret."""
        from rtc.common.job_variables import why_not_passed

        name, equals, _ = str(value).partition("=")
        if equals:
            self.fail(f"give the name alone, and set the variable before: {name}=… sleap-rtc worker …", param, ctx)
        if (why := why_not_passed(name)) is not None:
            self.fail(why, param, ctx)
        return name


def _never(_context: click.Context, _param: click.Parameter, seconds: float | None) -> float | None:
    """Return None for a time that is never over."""
    if seconds is not None and seconds < 1:
        raise click.BadParameter("it must be at least 1s; an hour (1h) is a good one.")
    return seconds if seconds is not None and seconds <= SECONDS_MAX else None


def _combine(*options: Decorator) -> Decorator:
    """Return one decorator for several options. `--help` shows them in the order of the arguments."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_trace_option = click.option(
    "--trace", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=TRACE_HELP
)

worker_options = _combine(
    room_option("Join this remembered room instead of creating one."),
    click.option("--room-id", help="Join this room instead of creating one."),
    token_options,
    secret_options,
    click.option("--require-secret", is_flag=True, help="Do not start without a room secret."),
    click.option("--server", help=SERVER_HELP),
    click.option("--name", help="The name under which people see this worker; by default the host's name."),
    click.option(
        "--gpu",
        metavar="INDEX|UUID[,…]",
        help="Use this GPU, named as in nvidia-smi; by default the first. Each job gets all of several: 0,1.",
    ),
    click.option("--all-gpus", is_flag=True, help="Start one worker for each GPU, all in one room."),
    click.option("--serve", is_flag=True, help="Run a signalling server here too, and use it: for labs without one."),
    click.option("--serve-host", help="With --serve: the address to listen on; by default all of this machine."),
    click.option("--ws-port", type=PORT, help="With --serve: the signalling port (WebSocket); by default 8080."),
    click.option("--http-port", type=PORT, help="With --serve: the HTTP port; by default 8001."),
    click.option("--work-dir", type=click.Path(path_type=Path, file_okay=False), help="The folder in which jobs run."),
    click.option(
        "--results-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="The folder for results until they are fetched.",
    ),
    click.option(
        "--max-package",
        type=Size(),
        default=f"{PACKAGE_MAX // 10**9}GB",
        show_default=True,
        help="The largest package that is accepted, packed or unpacked: 20GB, 500MB; a plain number is in GB.",
    ),
    click.option(
        "--nearby", is_flag=True, help="Let computers of the local network find this worker; you let each in."
    ),
    click.option("--relay-only", is_flag=True, help=RELAY_HELP),
    click.option("--sleap-nn", "sleap_nn", help="The sleap-nn program to use; by default the one installed here."),
    click.option(
        "--pass-env",
        multiple=True,
        type=VariableName(),
        help="Let jobs see this environment variable of the worker, too, even if it is a secret; repeatable.",
    ),
    *background_options,
    _trace_option,
    read_credentials(),
)

_display_options = (
    click.option("--quiet", "-q", is_flag=True, help="Show only warnings and the result."),
    click.option("--verbose", "-v", is_flag=True, help="Show what sleap-nn prints."),
    click.option("--json", "as_json", is_flag=True, help="Write one JSON object per line, for programs."),
)


def _interrupt_option(*choices: str) -> Decorator:
    return click.option(
        "--on-interrupt",
        type=click.Choice(choices),
        help="What Ctrl-C does to a running job; by default you are asked.",
    )


_max_result_option = click.option(
    "--max-result",
    type=Size(),
    default=f"{RESULT_MAX // 10**9}GB",
    show_default=True,
    help="The largest result that is accepted, packed or unpacked: 20GB, 500MB; a plain number is in GB.",
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
        help="The port to which SLEAP's LossViewer sends its Stop.",
    ),
    click.option(
        "--publish-port",
        default=9001,
        show_default=True,
        type=click.IntRange(1, 65535),
        help="The port on which SLEAP's LossViewer listens for progress.",
    ),
)
_package_option = click.option(
    "--pkg-path", required=True, type=click.Path(path_type=Path), help="The job package (.zip)."
)
_target_options = (
    room_option("The remembered room; by default the default one, or the only one."),
    click.option("--session-string", help="Room, token and worker in one text, which the worker prints."),
    click.option("--room-id", help="The room to look for workers in."),
    token_options,
    click.option("--worker-id", help="Use this worker of the room: its id, or its name."),
)
_connection_options = (
    secret_options,
    click.option("--server", help=SERVER_HELP),
    click.option("--relay-only", is_flag=True, help=RELAY_HELP),
    _trace_option,
)
_job_options = (
    *_target_options,
    click.option("--auto-select", is_flag=True, help="Use the available worker with the most GPU memory."),
    click.option(
        "--min-gpu-memory",
        type=click.IntRange(0, MEMORY_MAX),
        help="The GPU memory that the worker must have at least, in MB.",
    ),
    gpus_option("Use a worker that gives this job so many GPUs, or more."),
    click.option(
        "--wait",
        is_flag=False,
        flag_value="inf",
        type=Duration(),
        help="Wait in the queue while every suitable worker is busy: for TIME (90s, 30m, 2h), or without a limit.",
    ),
    click.option(
        "--give-up-after",
        type=Duration(),
        callback=_never,
        help="End the job when sleap-nn says nothing and uses neither processor nor GPU for TIME; by default never.",
    ),
    detach_option,
    *_connection_options,
)

train_options = _combine(
    *_job_options,
    *_viewer_options,
    click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        help="The folder for the models; by default named after the package.",
    ),
    _max_result_option,
    _train_interrupt_option,
    _stop_option,
    *_display_options,
    click.argument("overrides", nargs=-1, metavar="[-- KEY=VALUE ...]"),
    read_credentials(json_events=True),
)
job_track_options = _combine(
    *_job_options,
    click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        help="The file for the predictions, which ends in .slp, or a folder for it; by default named after the data.",
    ),
    _max_result_option,
    _track_interrupt_option,
    *_display_options,
    read_credentials(json_events=True),
)
package_option = _combine(_package_option)


def _pipeline_option(condition: str) -> Decorator:
    """Return the option that names a pipeline, for a command that takes it under a condition."""
    text = (
        "what sleap-nn is to write a configuration for, such as single_instance, topdown, bottomup or "
        "multi_class_topdown; by default it chooses."
    )
    return click.option("--pipeline", help=f"{condition}: {text}" if condition else text[0].upper() + text[1:])


fetch_config_options = _combine(
    _pipeline_option(""),
    *_job_options,
    click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        help="The folder for the configurations; by default named after the labels.",
    ),
    *_display_options,
    read_credentials(json_events=True),
)
max_result_option = _combine(_max_result_option)
config_option = _combine(
    click.option(
        "--config",
        "configs",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A training configuration of sleap-nn (.yaml) for the labels; once for each model. Without any, sleap-nn "
        "writes them on the worker.",
    ),
    _pipeline_option("Without --config"),
)
model_option = _combine(
    click.option(
        "--model",
        "-m",
        "models",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A trained model's folder; twice for top-down.",
    ),
)
worker_location_options = _combine(
    *_target_options,
    *_connection_options,
    read_credentials(),
)
"""Where the worker of an earlier job is now, if it is not where it was when the job was started."""
fetch_location_options = _combine(
    *_target_options,
    *_connection_options,
    read_credentials(json_events=True),
)
"""The same for a command whose `--json` writes events."""
room_options = _combine(
    room_option("The remembered room; by default the default one, or the only one."),
    click.option("--room-id", help="The room whose workers are listed."),
    token_options,
    click.option("--session-string", help="The text that a worker prints, instead of room and token."),
    click.option("--server", help=SERVER_HELP),
    read_credentials(),
)
"""The room of `sleap-rtc workers`."""

attach_options = _combine(
    *_target_options,
    *_connection_options,
    *_viewer_options,
    click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        help="Where the result goes; by default as given when the job was started.",
    ),
    _max_result_option,
    _train_interrupt_option,
    _stop_option,
    *_display_options,
    read_credentials(json_events=True),
)

_COUNT = click.IntRange(1, 1_000_000)
_PERCENT = click.IntRange(1, 100)


def _limit(name: str, default: int, kind: click.ParamType[int], help_text: str) -> Decorator:
    """Return the option that sets one limit of the server."""
    return click.option(name, default=default, show_default=True, type=kind, help=help_text)


_limit_options = (
    _limit("--max-connections", 1000, _COUNT, "Peers in rooms, of all rooms together."),
    _limit("--max-unjoined", 200, _COUNT, "Signalling connections that are in no room yet."),
    _limit("--max-unjoined-per-address", 50, _COUNT, "The same from one address."),
    _limit(
        "--crowded-percent",
        90,
        _PERCENT,
        "From this part of the places on, of the server or of a room, they are shared.",
    ),
    _limit("--max-share-percent", 10, _PERCENT, "Then an address with more than this part gets no new place."),
    _limit("--max-http", 200, _COUNT, "Connections to the HTTP port."),
    _limit("--max-http-per-address", 50, _COUNT, "The same from one address."),
    _limit("--max-rooms-per-hour", 20, _COUNT, "Rooms that one address may make."),
    _limit("--max-wrong-tokens", 10, _COUNT, "Wrong tokens a minute from one address that are answered without delay."),
    _limit(
        "--max-invitations",
        64,
        click.IntRange(0, 1_000_000),
        "Short codes and other invitations that are open in one room; 0 for none.",
    ),
    _limit("--max-invitations-per-hour", 300, _COUNT, "Invitations that are made in one room."),
    _limit("--max-asks", 30, _COUNT, "Invitations that are asked for in a minute from one address."),
    _limit("--max-waiting-mb", 64, _COUNT, "MB of messages that wait for peers that read slowly."),
)
"""The fields of `rtc.server.limits.ServerLimits`; a test compares the defaults."""

server_options = _combine(
    click.option("--host", default="0.0.0.0", show_default=True, help="The address to listen on."),  # noqa: S104 (a server)
    click.option(
        "--ws-port",
        default=8080,
        show_default=True,
        type=click.IntRange(0, 65535),
        help="The signalling port (WebSocket).",
    ),
    click.option(
        "--http-port",
        default=8001,
        show_default=True,
        type=click.IntRange(0, 65535),
        help="The HTTP port: health and rooms.",
    ),
    click.option(
        "--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of the server's database."
    ),
    click.option("--stun-url", multiple=True, help="A STUN server for all peers, such as stun:host:3478; repeatable."),
    click.option("--turn-url", multiple=True, help="A TURN server for all peers, such as turn:host:3478; repeatable."),
    click.option(
        "--turn-secret-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A file with the secret that is shared with the TURN server (coturn's static-auth-secret).",
    ),
    click.option(
        "--rooms",
        type=click.Choice(["open", "closed"]),
        default="open",
        show_default=True,
        help="Who may make rooms: everybody, or only you (see: sleap-rtc server admin create-room).",
    ),
    click.option(
        "--trusted-proxy",
        "trusted_proxies",
        type=NetworkType(),
        multiple=True,
        help="A proxy in front, by address or network, whose X-Forwarded-For is believed; repeatable.",
    ),
    *_limit_options,
)

create_room_options = _combine(
    click.option("--name", default="", help="A name for people, at most 64 characters."),
    click.option(
        "--data", type=click.Path(path_type=Path, file_okay=False), help="The folder of the server's database."
    ),
)


def check_worker_options(
    *,
    server: str | None,
    gpu: str | None,
    all_gpus: bool,
    serve: bool,
    serve_host: str | None,
    ws_port: int | None,
    http_port: int | None,
    nearby: bool,
    **others: Any,
) -> None:
    """Raise a `UsageError` if the options of `sleap-rtc worker` contradict each other, or do not fit here."""
    check_background_options(**others)
    if nearby and not os.isatty(0):
        raise click.UsageError(
            "--nearby asks at the worker's terminal who may join, and there is none. Use a short code: "
            "sleap-rtc room invite"
        )
    if gpu is not None and all_gpus:
        raise click.UsageError("--gpu names the GPUs and --all-gpus takes each: give one of them.")
    if serve and server is not None:
        raise click.UsageError("--serve runs a server here and --server names one elsewhere: give one of them.")
    listening = {"--serve-host": serve_host, "--ws-port": ws_port, "--http-port": http_port}
    given = [name for name, value in listening.items() if value is not None]
    if given and not serve:
        raise click.UsageError(f"{', '.join(given)}: these are for the server that --serve starts; add --serve.")


def check_room_options(
    *, session_string: str | None, room_name: str | None, room_id: str | None, token: str | None, **others: Any
) -> None:
    """Raise a `UsageError` if the options that name a room, or a worker in it, contradict each other.

    Args:
        session_string, room_name, room_id, token: what may name the room. Without any of them it is a remembered one.
        others: options that choose a worker, by their parameter; those that a session string excludes.
    """
    room_options = {"--room": room_name, "--room-id": room_id, "--token": token}
    worker_options = {f"--{name.replace('_', '-')}": value for name, value in others.items()}
    if session_string is not None:
        given = [name for name, value in (room_options | worker_options).items() if value]
        if given:
            raise click.UsageError(
                f"--session-string already names the room and the worker; leave out {', '.join(given)}."
            )
        return
    if room_name is not None and (room_id is not None or token is not None):
        raise click.UsageError("--room names a remembered room, with its token; leave out --room-id and --token.")
    if (room_id is None) != (token is None):
        raise click.UsageError(
            "--room-id and --token go together: --room-id R --token T. A remembered room needs neither: --room NAME."
        )


def check_client_options(
    *,
    session_string: str | None,
    room_name: str | None,
    room_id: str | None,
    token: str | None,
    worker_id: str | None,
    auto_select: bool,
    min_gpu_memory: int | None,
    wait: float | None,
    detach: bool,
    **_others: Any,
) -> None:
    """Raise a `UsageError` if the options that choose a worker contradict each other; its text names the right ones."""
    check_detach_option(detach=detach)
    check_room_options(
        session_string=session_string,
        room_name=room_name,
        room_id=room_id,
        token=token,
        worker_id=worker_id,
        auto_select=auto_select,
        min_gpu_memory=min_gpu_memory,
    )
    if session_string is not None:
        return
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
    is_in_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if room_id is not None and not worker_id and not auto_select and not is_in_terminal:
        raise click.UsageError(
            "There is no terminal to choose a worker in: add --auto-select, or --worker-id P to name one."
        )


def check_display_options(*, quiet: bool, verbose: bool = False, as_json: bool, **_others: Any) -> None:
    """Raise a `UsageError` if more than one of `--quiet`, `--verbose` and `--json` is given."""
    if quiet + verbose + as_json > 1:
        raise click.UsageError("--quiet, --verbose and --json exclude each other: give one of them.")


def check_location_options(
    *,
    session_string: str | None,
    room_name: str | None,
    room_id: str | None,
    token: str | None,
    worker_id: str | None,
    **_others: Any,
) -> None:
    """Raise a `UsageError` if the options say only in part where the worker of an earlier job is.

    Without any of them, the worker is where the job's ticket says.
    """
    rooms = {"session_string": session_string, "room_name": room_name, "room_id": room_id, "token": token}
    check_room_options(**rooms, worker_id=worker_id)
    is_whole = session_string is not None or room_name is not None or bool(room_id) == bool(worker_id)
    if not is_whole:
        raise click.UsageError(
            "To say where the worker is now: --session-string S, or --room NAME, or --room-id, --token and --worker-id."
        )
