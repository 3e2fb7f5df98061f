"""The option `--room`, which names a remembered room, and the names that Tab completes.

`--help` imports this module, so it imports nothing that takes long.
"""

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

Command = Callable[..., int]
NAMED_ROOM = "NAME|ID"


def complete_room_name(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of the remembered rooms that begin as typed, for Tab; none if they cannot be read."""
    from rtc.common.errors import RtcError
    from rtc.config.folders import find_folders
    from rtc.config.remembered_rooms import RememberedRooms

    try:
        rooms = RememberedRooms(find_folders().rooms_file).read().rooms
    except RtcError:
        return []
    typed = incomplete.casefold()
    return [CompletionItem(room.name, help=room.server) for room in rooms if room.name.casefold().startswith(typed)]


def room_option(help_text: str, **more: Any) -> Callable[[Command], Command]:
    """Return the option `--room`; the command gets its value as `room_name`."""
    return click.option(
        "--room", "room_name", metavar=NAMED_ROOM, help=help_text, shell_complete=complete_room_name, **more
    )


def room_argument(command: Command) -> Command:
    """Add the argument NAME, the name of a remembered room, to a command, which gets it as `room_name`."""
    return click.argument("room_name", metavar="NAME", shell_complete=complete_room_name)(command)
