"""The options for room tokens and room secrets, which may be typed, read from a file, or read from standard input.

`--help` imports this module, so it imports nothing that takes long.
"""

import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rtc.command_line.run_work import run_work
from rtc.config.room_secrets.variables import take_secret_variables

if TYPE_CHECKING:
    from rtc.config.room_secrets.finder import RoomSecrets
    from rtc.config.room_secrets.sources import GivenSecret, SecretPlaces

Command = Callable[..., int]
_NAMES = frozenset({"token", "token_file", "room_secret", "room_secret_file"})
"""The parameters of `token_options` and `secret_options`."""
STANDARD_INPUT = "-"
"""What stands in place of a token, a secret or a file that is to be read from standard input."""
LETS_IN_HELP = "The room's token; - reads it from standard input."
PROOF_HELP = (
    "The room secret, which worker and client prove to each other and the server never sees; - reads it from standard "
    "input. What you type here stays in your shell's history: prefer a file."
)
_FILE = click.Path(path_type=Path)


def token_options(command: Command) -> Command:
    """Add `--token` and `--token-file` to a command."""
    command = click.option("--token-file", type=_FILE, metavar="FILE", help="A file with the room's token.")(command)
    return click.option("--token", help=LETS_IN_HELP)(command)


def secret_options(command: Command) -> Command:
    """Add `--room-secret` and `--room-secret-file` to a command."""
    command = click.option("--room-secret-file", type=_FILE, metavar="FILE", help="A file with the room secret.")(
        command
    )
    return click.option("--room-secret", help=PROOF_HELP)(command)


def read_credentials(*, json_events: bool = False) -> Callable[[Command], Command]:
    """Return a decorator that reads what `token_options` and `secret_options` name, before the command runs.

    The command gets `token`, a text or None; and if it has the options for secrets, `find_secret`: a `RoomSecrets`.

    Args:
        json_events: `--json` of this command writes events, so an error is one too.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def call(*arguments: Any, **options: Any) -> int:
            def work() -> int:
                return command(*arguments, **_with_credentials(options))

            return run_work(work, as_json_events=json_events and bool(options.get("as_json")))

        return call

    return decorate


def _with_credentials(options: dict[str, Any]) -> dict[str, Any]:
    """Return a command's options with the token and the finder of secrets in place of the options that name them."""
    rest = dict(options)
    if click.get_current_context().invoked_subcommand is not None:  # the command after this one has its own options
        rest |= dict.fromkeys(_NAMES & rest.keys())
    token, token_file = rest.pop("token", None), rest.pop("token_file", None)
    has_secret_options = "room_secret" in rest
    secret, secret_file = rest.pop("room_secret", None), rest.pop("room_secret_file", None)
    _check(("--token", token, token_file), ("--room-secret", secret, secret_file))
    rest["token"] = _read_token(token, token_file)
    if has_secret_options:
        rest["find_secret"] = finder(_read_secret(secret, secret_file))
    return rest


def _check(*options: tuple[str, str | None, Path | None]) -> None:
    """Check that at most one of two options for the same thing is given, and that standard input is read once.

    Raises:
        click.UsageError: it is not so.
    """
    for name, text, file in options:
        if text is not None and file is not None:
            raise click.UsageError(f"{name} and {name}-file say the same: give one of them.")
    from_input = [name for name, text, file in options if STANDARD_INPUT in (text, str(file))]
    if len(from_input) > 1:
        raise click.UsageError(f"Only one of {' and '.join(from_input)} can be read from standard input.")


def _read_token(text: str | None, file: Path | None) -> str | None:
    if STANDARD_INPUT in (text, str(file)):
        return _from_standard_input("Room token").strip()
    if file is not None:
        from rtc.config.room_secrets.files import read_named_file

        return read_named_file(file, f"The file {file} of --token-file").strip()
    return text


def _read_secret(text: str | None, file: Path | None) -> "GivenSecret | None":
    from rtc.config.room_secrets.files import read_named_file
    from rtc.config.room_secrets.sources import GivenSecret

    if STANDARD_INPUT in (text, str(file)):
        return GivenSecret(_from_standard_input("Room secret"), "standard input")
    if file is not None:
        return GivenSecret(read_named_file(file, f"The file {file} of --room-secret-file"), f"the file {file}", file)
    return None if text is None else GivenSecret(text, "--room-secret")


def _from_standard_input(what: str) -> str:
    """Return what is typed, without showing it, or what a program has written to our standard input.

    Raises:
        RtcError: USAGE: it is too large or not UTF-8.
    """
    from rtc.config.room_secrets.files import TEXT_MAX, decode

    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, err=True))
    return decode(sys.stdin.buffer.read(TEXT_MAX + 1), "Standard input")


def finder(given: "GivenSecret | None") -> "RoomSecrets":
    """Return the finder of room secrets of this command.

    Args:
        given: the secret that the command line has; it is checked at once.

    Raises:
        RtcError: USAGE: that secret cannot be used.
    """
    from rtc.config.room_secrets.finder import RoomSecrets
    from rtc.runtime.root import print_error

    secrets = RoomSecrets(secret_places(given), print_error)
    if given is not None:
        secrets(None)  # so that one that cannot be used is reported before anything else is done
    return secrets


def secret_places(given: "GivenSecret | None" = None) -> "SecretPlaces":
    """Return the places of this user's room secrets: this call's options and environment, the settings folder, and the
    remembered rooms."""
    from rtc.command_line.read_config import remembered_rooms
    from rtc.config.folders import find_folders
    from rtc.config.room_secrets.sources import SecretPlaces

    folders = find_folders()
    return SecretPlaces(
        given, _taken_variables(), folders.settings, folders.settings_name, remembered_rooms().secret_of
    )


def _taken_variables() -> Mapping[str, str]:
    """Return the variables with room secrets that were taken when the command line was parsed."""
    taken = click.get_current_context().obj
    return taken if isinstance(taken, dict) else take_secret_variables(os.environ)
