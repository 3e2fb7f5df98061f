"""The options of `sleap-rtc worker` about workers in the background, and how one is started with the same options.

`--help` imports this module, so it imports nothing that takes long.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from rtc.config.room_secrets.finder import RoomSecrets
    from rtc.worker.background.inside import BackgroundWorker

STANDARD_INPUT = "-"
IS_WINDOWS = os.name == "nt"
MODES = {"background": "--background", "show_status": "--status", "stop_worker": "--stop"}
BACKGROUND_MODES = (*MODES, "in_background", "stop_now", "as_json")
NOT_REPEATED = (*BACKGROUND_MODES, "token", "room_secret")
"""Options that the worker does not get on its command line: secrets are handed over."""

background_options = (
    click.option("--background", is_flag=True, help="Start the worker, and let it stay when this terminal is closed."),
    click.option("--status", "show_status", is_flag=True, help="Show the workers that were started with --background."),
    click.option("--stop", "stop_worker", is_flag=True, help="Let such a worker finish its job, and then end."),
    click.option("--now", "stop_now", is_flag=True, help="With --stop: end its job, too."),
    click.option("--json", "as_json", is_flag=True, help="With --status: write one JSON array, for scripts."),
    click.option("--in-background", is_flag=True, hidden=True),
)


def check_background_options(**options: Any) -> None:
    """Raise a `UsageError` if the options contradict each other."""
    modes = [option for name, option in MODES.items() if options[name]]
    if modes and IS_WINDOWS:
        raise click.UsageError(f"Workers run on Linux, and this is Windows, so {modes[0]} has no meaning here.")
    if len(modes) > 1:
        raise click.UsageError(f"{' and '.join(modes)} are different things: give one of them.")
    if options["stop_now"] and not options["stop_worker"]:
        raise click.UsageError("--now goes with --stop.")
    if options["as_json"] and not options["show_status"]:
        raise click.UsageError("--json goes with --status.")
    given = [option.opts[0] for option in _given() if option.name not in (*MODES, "stop_now", "as_json", "name")]
    if given and (options["show_status"] or options["stop_worker"]):
        raise click.UsageError(f"{modes[0]} is about a worker that runs, so {', '.join(given)} would have no effect.")
    if options["background"] and "--nearby" in given:
        raise click.UsageError("--nearby asks at the worker's terminal, which a worker in the background has not.")


def _given() -> list[click.Option]:
    """Return the options that stand on the command line."""
    context = click.get_current_context()
    return [
        param
        for param in context.command.params
        if isinstance(param, click.Option)
        and context.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
    ]


def repeated_options() -> tuple[str, ...]:
    """Return the options of this command as the worker gets them: all but those about the background, and no secret."""
    values = click.get_current_context().params
    words: list[str] = []
    for option in _given():
        value = values[str(option.name)]
        if option.name in NOT_REPEATED or (isinstance(value, Path) and str(value) == STANDARD_INPUT):
            continue
        if option.is_flag:
            words.append(option.opts[0])
        for each in () if option.is_flag else value if option.multiple else (value,):
            words += [option.opts[0], _word(option, each)]
    return tuple(words)


def _word(option: click.Option, value: Any) -> str:
    """Return the text of an option's value."""
    write = getattr(option.type, "write", str)
    return str(write(value))


def start_in_background(token: str | None, find_secret: "RoomSecrets", name: str | None) -> int:
    """Start a worker in the background with the options of this command, and return the exit code."""
    from functools import partial

    from rtc.config.folders import HOME_VARIABLE, find_folders
    from rtc.runtime.root import run_root, run_until_signal
    from rtc.worker.background.folder import file_name
    from rtc.worker.background.inside import UNIT_VARIABLE
    from rtc.worker.background.process import with_our_modules
    from rtc.worker.background.record import HandOver
    from rtc.worker.background.start import REQUIRE_SECRET, StartRequest, start

    values = click.get_current_context().params
    given = find_secret.places.given
    typed_secret = given.text if given is not None and given.file is None else None
    is_typed = values.get("token") is not None or str(values.get("token_file")) == STANDARD_INPUT
    typed_token = token if is_typed else None
    handed = HandOver(typed_token, typed_secret, dict(find_secret.places.environ))
    options = repeated_options()
    if typed_secret is not None and REQUIRE_SECRET not in options:
        options += (REQUIRE_SECRET,)  # systemd may start it again, without what is handed over now
    home = os.environ.get(HOME_VARIABLE)
    suffix = "" if not home else file_name(f"-{home}")[-9:]
    environment = {name: value for name, value in with_our_modules(os.environ).items() if name != UNIT_VARIABLE}
    request = StartRequest(find_folders().state, _name(name), options, handed, environment, suffix)
    return run_root("background", partial(run_until_signal, partial(start, request)), secrets=(token, typed_secret))


def show_or_stop(name: str | None, *, stop_worker: bool, stop_now: bool, as_json: bool, **_modes: bool) -> int:
    """Do what `--status` or `--stop` says, and return the exit code."""
    from functools import partial

    from rtc.config.folders import find_folders
    from rtc.runtime.root import run_root, run_until_signal
    from rtc.worker.background.stop import show_status, stop

    state = find_folders().state
    if not stop_worker:
        return show_status(state, name, as_json=as_json)
    return run_root("background", partial(run_until_signal, partial(stop, state, name, now=stop_now)))


def _name(name: str | None) -> str:
    """Return the name of the worker that a person has named so, or has not named."""
    import socket

    from rtc.config.credentials import check_name

    return check_name(name) or socket.gethostname()


def run_inside(name: str | None, work: Any) -> int:
    """Run the worker of this command as a background worker, and return its exit code.

    Args:
        name: the worker's name, if it was named.
        work: is called with the `BackgroundWorker`, and returns the exit code.
    """
    from rtc.config.folders import find_folders
    from rtc.worker.background.inside import run_in_background

    return run_in_background(find_folders(), _name(name), repeated_options(), work)


def take_handed(
    background: "BackgroundWorker", token: str | None, find_secret: "RoomSecrets"
) -> tuple[str | None, "RoomSecrets"]:
    """Return the token and the finder of secrets with what the starter has handed over."""
    from rtc.command_line.credential_options import finder
    from rtc.config.room_secrets.sources import GivenSecret

    handed = background.handed
    context = click.get_current_context()
    context.obj = {**(context.obj or {}), **handed.variables}
    if handed.secret is not None:
        find_secret = finder(GivenSecret(handed.secret, "--room-secret"))
    elif handed.variables:
        find_secret = finder(find_secret.places.given)
    return token or handed.token, find_secret


def check_handed_token(room: str | None, token: str | None) -> None:
    """Check that a background worker has the token of the room that it is to join.

    Raises:
        RtcError: USAGE: the token was typed when the worker was started for the first time, and is kept nowhere.
    """
    from protocol.faults import FaultCode
    from rtc.common.errors import RtcError

    if (room is None) == (token is None):
        return
    raise RtcError(
        FaultCode.USAGE,
        "The token of the room was given by hand when this worker was started, and is kept nowhere. "
        "Give it with --token-file FILE, so that the worker finds it whenever it is started.",
    )
