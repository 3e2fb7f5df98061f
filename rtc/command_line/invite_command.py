"""`sleap-rtc room invite`: a new short code for a room that this computer is in.

`--help` imports this module, so it imports nothing that takes long.
"""

from typing import TYPE_CHECKING

import click

from rtc.command_line.credential_options import read_credentials, secret_options, token_options
from rtc.command_line.options import SERVER_HELP, check_room_options
from rtc.command_line.room_option import room_option
from rtc.command_line.run_work import run_work

if TYPE_CHECKING:
    from rtc.config.room_secrets.finder import RoomSecrets


@click.command("invite")
@room_option("The remembered room; by default the default one, or the only one.")
@click.option("--room-id", help="The room's id, with --token.")
@token_options
@click.option("--session-string", help="The text that a worker prints, instead of room and token.")
@click.option("--server", help=SERVER_HELP)
@secret_options
@read_credentials()
def invite(server: str | None, find_secret: "RoomSecrets", **room_choice: str | None) -> int:
    """Show a short code with which another computer joins the room, once and within ten minutes.

    It gives the room, its token and, if this computer has it, the room secret. The command waits until the code was
    used.
    """
    check_room_options(**room_choice)
    return run_work(lambda: _invite(server, find_secret, **room_choice))


def _invite(
    server: str | None,
    find_secret: "RoomSecrets",
    *,
    session_string: str | None,
    room_name: str | None,
    room_id: str | None,
    token: str | None,
) -> int:
    from rtc.client.target import choose_target
    from rtc.command_line.read_config import read_config, remembered_rooms
    from rtc.config.room_renewal import explain_for_room
    from rtc.invitations.invite import InviteOptions, run_invite

    target = choose_target(
        remembered=remembered_rooms(),
        session=session_string,
        room_name=room_name,
        room=room_id,
        token=token,
        server=server,
    )
    secret = find_secret(target.room)
    options = InviteOptions(
        read_config(target.address(server)),
        target.room,
        target.token,
        None if secret is None else secret.text,
        target.name or "",
        lambda error: explain_for_room(error, target.name),
    )
    return run_invite(options)
