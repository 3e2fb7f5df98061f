"""The commands about remembered rooms: `join`, `rooms` with `default`, and `leave`.

`--help` imports this module, so it imports nothing that takes long.
"""

from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from rtc.command_line.credential_options import read_credentials, secret_options, token_options
from rtc.command_line.room_option import complete_room_name, room_argument
from rtc.command_line.run_work import run_work

if TYPE_CHECKING:
    from rtc.config.room_secrets.finder import RoomSecrets


def _complete_code(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the texts that make one more word of a short code whole, for the shell's Tab."""
    from rtc.invitations.short_code import complete

    return [CompletionItem(text) for text in complete(incomplete)]


class JoinCommand(click.Command):
    """A command whose arguments may begin with a hyphen, as in `join 7-tulip -otter`: the shell has put a space after a
    word that Tab has completed."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; one hyphen before a word does not matter, as all options but -h have two."""
        options = [option for option in self.params if isinstance(option, click.Option) and not option.is_flag]
        with_value = {name for option in options for name in option.opts}
        words = zip(("", *args), args, strict=False)
        plain = [word if before in with_value else _without_hyphen(word) for before, word in words]
        return super().parse_args(ctx, plain)


def _without_hyphen(word: str) -> str:
    return word if word.startswith("--") or word in ("-", "-h") else word.removeprefix("-")


@click.command(cls=JoinCommand)
@click.argument("what", nargs=-1, metavar="[WHAT]", shell_complete=_complete_code)
@click.option("--name", help="The name under which the room is remembered; by default lab, lab-2, …")
@click.option("--server", help="Address of the room's signalling server, such as ws://lab.example.org:8080.")
@click.option("--room-id", help="The room's id, with --token, in place of WHAT.")
@token_options
@secret_options
@click.option("--nearby", is_flag=True, help="Find a worker of the local network that runs with --nearby.")
@click.option("--worker", metavar="NAME", help="With --nearby: the worker's name; by default you choose.")
@read_credentials()
def join(
    what: tuple[str, ...], room_id: str | None, token: str | None, nearby: bool, worker: str | None, **options: Any
) -> int:
    """Join a room once, and remember it.

    Jobs then need not name it, unless several rooms are remembered.

    WHAT is the short code (7-tulip-otter-radio) or the session string that a worker shows; without it you are asked.
    With --nearby, a worker of the local network is asked, and you compare words with its screen.
    Joining again under the same --name renews what is remembered.
    """
    if what and (room_id is not None or token is not None):
        raise click.UsageError("A short code or session string already names the room; leave out --room-id, --token.")
    if (room_id is None) != (token is None):
        raise click.UsageError("--room-id and --token go together: --room-id R --token T.")
    if nearby and (what or room_id is not None):
        raise click.UsageError(
            "--nearby finds the room itself; leave out the code, session string, --room-id, --token."
        )
    if worker is not None and not nearby:
        raise click.UsageError("--worker names a worker of the local network: add --nearby.")
    return run_work(lambda: _join(" ".join(what) or None, room_id, token, nearby=nearby, worker=worker, **options))


def _join(
    what: str | None,
    room_id: str | None,
    token: str | None,
    *,
    name: str | None,
    server: str | None,
    find_secret: "RoomSecrets",
    nearby: bool,
    worker: str | None,
) -> int:
    from rtc.command_line.join_command import ask_what, join_and_print, join_nearby_and_print

    if nearby:
        return join_nearby_and_print(worker, server=server, name=name, find_secret=find_secret)
    if what is None and room_id is None:
        what, named = ask_what()
        server = server or named
    return join_and_print(what, room_id, token, server=server, name=name, find_secret=find_secret)


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON array, for scripts.")
@click.pass_context
def rooms(context: click.Context, /, as_json: bool) -> int:
    """List the remembered rooms and their workers.

    It joins each room for a moment, and says why one cannot be reached.
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json is for the list: sleap-rtc rooms --json")
        return 0

    def work() -> int:
        from rtc.client.rooms_table import run_list_rooms
        from rtc.command_line.read_config import read_config, remembered_rooms

        return run_list_rooms(remembered_rooms().read(), read_config, as_json=as_json)

    return run_work(work)


@rooms.command("default")
@click.argument("room_name", metavar="[NAME]", required=False, shell_complete=complete_room_name)
@click.option("--none", "no_room", is_flag=True, help="Choose none: each command then needs --room, or there is one.")
def rooms_default(room_name: str | None, no_room: bool) -> int:
    """Choose the room that is meant when none is named; without NAME, say which it is."""
    if room_name is not None and no_room:
        raise click.UsageError("NAME chooses a room and --none chooses none: give one of them.")

    def work() -> int:
        from rtc.command_line.join_command import choose_default, print_default

        return print_default() if room_name is None and not no_room else choose_default(room_name)

    return run_work(work)


@click.command()
@room_argument
def leave(room_name: str) -> int:
    """Forget the remembered room NAME. The room, its workers and your jobs go on."""

    def work() -> int:
        from rtc.command_line.join_command import forget

        return forget(room_name)

    return run_work(work)
