"""The commands about room secrets: `room create-secret`, and `secrets` with `list`, `show` and `remove`.

`--help` imports this module, so it imports nothing that takes long.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from rtc.command_line.room_option import NAMED_ROOM, complete_room_name
from rtc.command_line.run_work import run_work

Command = Callable[..., int]


@click.group()
def room() -> None:
    """Invite others into a room, or make its secret."""


@room.command("create-secret")
@click.option(
    "--room",
    "room_id",
    required=True,
    metavar=NAMED_ROOM,
    help="The room: its id, or the name of a remembered one.",
    shell_complete=complete_room_name,
)
@click.option(
    "--save/--no-save", default=True, show_default=True, help="Save it for this user, in ~/.sleap-rtc/credentials.json."
)
@click.option("--force", "--yes", "force", is_flag=True, help="Replace or hide an earlier secret without a question.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object, for scripts.")
def create_secret(room_id: str, save: bool, force: bool, as_json: bool) -> int:
    """Make a secret for a room, print it once, and save it for this user.

    Workers with a secret accept only clients that know it, and the server never sees it.
    """

    def work() -> int:
        from rtc.command_line.manage_secrets import create

        return create(_places(), room_id, save=save, force=force, as_json=as_json)

    return run_work(work)


@click.group()
def secrets() -> None:
    """Show and remove the room secrets that this user has."""


def _room_argument(command: Command) -> Command:
    """Add the room, as an argument or as `--room`, to a command, which gets it as `room_id`."""

    @wraps(command)
    def call(argument: str | None, option: str | None, **options: Any) -> int:
        if (argument is None) == (option is None):
            raise click.UsageError("Say which room, once: its id, or its name. sleap-rtc secrets list shows the rooms.")
        return command(room_id=option if argument is None else argument, **options)

    with_option = click.option(
        "--room",
        "option",
        metavar=NAMED_ROOM,
        help="The room, in place of the argument.",
        shell_complete=complete_room_name,
    )(call)
    return click.argument("argument", required=False, metavar="ROOM", shell_complete=complete_room_name)(with_option)


@secrets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON array, for scripts.")
def secrets_list(as_json: bool) -> int:
    """List the rooms that have a secret here, and where it is. No secret is shown."""

    def work() -> int:
        from rtc.command_line.manage_secrets import list_secrets

        return list_secrets(_places(), as_json=as_json)

    return run_work(work)


@secrets.command("show")
@_room_argument
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object, for scripts.")
def secrets_show(room_id: str, as_json: bool) -> int:
    """Print the secret of ROOM to standard output, and where it comes from to standard error."""

    def work() -> int:
        from rtc.command_line.manage_secrets import show

        return show(_places(), room_id, as_json=as_json)

    return run_work(work)


@secrets.command("remove")
@_room_argument
def secrets_remove(room_id: str) -> int:
    """Remove the secret of ROOM from the files of this user."""

    def work() -> int:
        from rtc.command_line.manage_secrets import remove
        from rtc.config.folders import find_folders
        from rtc.config.settings_watch import SettingsWatch

        return remove(_places(), room_id, SettingsWatch(find_folders()).forget_room)

    return run_work(work)


def _places() -> Any:
    from rtc.command_line.credential_options import secret_places

    return secret_places()
