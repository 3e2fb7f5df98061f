"""What the commands about room secrets do: make, list, show and remove them."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from attrs import frozen

from protocol.converter import to_json
from protocol.faults import FaultCode
from protocol.ids import RoomId
from rtc.command_line.read_config import remembered_rooms
from rtc.common.errors import RtcError
from rtc.common.line_writer import LineWriter
from rtc.config.credentials import check_room
from rtc.config.folders import SETTINGS_FOLDER
from rtc.config.room_secrets.finder import RoomSecrets
from rtc.config.room_secrets.rules import make_secret
from rtc.config.room_secrets.sources import FOLDER_NAME, SecretPlaces, SecretSource, SourceKind
from rtc.config.room_secrets.variables import VARIABLE_PREFIX, variable_of
from rtc.runtime.root import print_error
from rtc.terminal.worker_table import columns, table_width

NONE_HERE = "No room secret is here. Make one: sleap-rtc room create-secret --room ROOM\n"
HEADINGS = ("room", "source", "where", "changed")


def room_meant(name_or_id: str) -> RoomId:
    """Return the id of the room that a person has typed: the name of a remembered room, or an id.

    Raises:
        RtcError: USAGE: it is neither.
    """
    try:
        found = remembered_rooms().find(name_or_id)
    except RtcError:  # the file is damaged; ids need it not
        found = None
    return check_room(name_or_id) if found is None else found.room


def _say(text: str) -> None:
    LineWriter(sys.stdout).say(text)


# -------- making a secret


@frozen
class MadeSecret:
    """A new secret as `room create-secret --json` prints it. Scripts read it, so its names must not change."""

    room: str
    secret: str
    saved: str | None
    """The file in which it was saved."""


def create(places: SecretPlaces, room_id: str, *, save: bool, force: bool, as_json: bool) -> int:
    """Make a secret for a room, print it, and save it if wanted; return the exit code.

    Raises:
        RtcError: USAGE: the room's id is malformed; there is a secret already and nobody agreed to replace or hide it;
            or the credentials file cannot be used.
        click.Abort: the person does not agree.
    """
    room = room_meant(room_id)
    secret = make_secret()
    file = places.credentials_file if save else None
    if file is not None:
        file.rooms()  # one that is malformed is an error before any question
        _ask(places, room, force=force)
        file.save(room, secret)
    saved = None if file is None else file.place
    if as_json:
        LineWriter(sys.stdout).write(to_json(MadeSecret(room, secret, saved), indent=2) + "\n")
    else:
        _say(_about_made(room, secret, saved, _place_before(places, room)))
    return 0


def _ask(places: SecretPlaces, room: RoomId, *, force: bool) -> None:
    """Ask whether to save a new secret although there is one; return if there is none, or if it may be saved."""
    sentences = [text for source in places.remembered(room) if (text := _about_existing(source, room))]
    if not sentences or force:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        text = f"{' '.join(sentences)} Nothing was changed; add --force to save a new one, or --no-save to print one."
        raise RtcError(FaultCode.USAGE, text)
    for text in sentences:
        print_error(text)
    click.confirm("Save a new secret?", abort=True, err=True)


def _about_existing(source: SecretSource, room: RoomId) -> str | None:
    """Return a sentence about what a new secret means for the one of this source; None if there is none."""
    try:
        text = source.read()
    except RtcError as error:
        if source.kind is SourceKind.REMEMBERED:
            return None  # it is looked at last
        is_replaced = source.kind is SourceKind.CREDENTIALS
        return f"{error.fault.text} {'It would be replaced.' if is_replaced else 'It comes before a new secret.'}"
    if text is None or not text.strip():
        return None
    if source.kind is SourceKind.CREDENTIALS:
        return f"{source.place} has a secret of {room}, which would be lost."
    if source.kind is SourceKind.REMEMBERED:
        return f"A secret of {room} is remembered with the room; the new one would be used in its place."
    return f"{source.place} has a secret of {room}, which would be used before the new one."


def _place_before(places: SecretPlaces, room: RoomId) -> str | None:
    """Return the place that is looked at before the credentials file and is not empty; None if there is none."""
    later = (SourceKind.CREDENTIALS, SourceKind.REMEMBERED)
    sources = [source for source in places.remembered(room) if source.kind not in later]
    return next((source.place for source in sources if _about_existing(source, room)), None)


def _about_made(room: RoomId, secret: str, saved: str | None, before: str | None) -> str:
    """Return the text with a new secret, which stands alone on its line, and how to use it.

    Args:
        saved: the file in which it was saved, if it was.
        before: the place whose secret is used in place of a saved one.
    """
    if saved is None:
        kept = "It is not saved anywhere."
    elif before is None:
        kept = f"It is saved in {saved}, where workers and\nclients of this user find it by themselves."
    else:
        kept = (
            f"It is saved in {saved}, but workers and clients of this user\n"
            f"use the secret of {before} until that is removed."
        )
    return f"""The secret of {room}, shown this once:

{secret}

{kept}

Start the workers of this room again. Give the secret to the others in a way
that does not use the server. On each machine, in one of these ways:

  a file       ~/{SETTINGS_FOLDER}/{FOLDER_NAME}/{room}
               with the secret in it and mode 0600
  a variable   {variable_of(room)}
  an option, added to the commands that the worker's banner shows:
               sleap-rtc worker … --room-secret-file FILE
               sleap-rtc client-train … --room-secret-file FILE
  by hand      --room-secret - in place of --room-secret-file FILE asks for it

With the file or the variable, workers and clients need no option."""


# -------- listing, showing, removing


@frozen
class SecretRow:
    """One secret as `secrets list --json` prints it, without the secret. Scripts read it: its names must not change."""

    room: str | None
    """None for a variable, whose name does not tell the room's id exactly."""
    source: str
    where: str
    changed: str | None
    """When the file was changed, in UTC (ISO 8601); None for a variable."""


def list_secrets(places: SecretPlaces, *, as_json: bool) -> int:
    """Print where there are secrets; return the exit code, which is that of an error if one source cannot be read."""
    error: RtcError | None = None
    rows = [SecretRow(None, SourceKind.ENVIRONMENT.value, name, None) for name in places.variables()]
    for read in (_rows_of_folder, _rows_of_credentials, _rows_of_remembered):
        try:
            rows += read(places)
        except RtcError as failed:
            print_error(failed.fault.text)
            error = failed
    rows.sort(key=lambda row: (row.room or row.where.removeprefix(VARIABLE_PREFIX).lower(), row.source))
    LineWriter(sys.stdout).write(_rows_json(rows) if as_json else _rows_table(rows))
    return 0 if error is None else error.exit_code


def _rows_of_folder(places: SecretPlaces) -> list[SecretRow]:
    files = [(room, *places.file_of(room).paths[0]) for room in places.rooms_with_files()]
    return [SecretRow(room, SourceKind.FILE.value, place, _changed(path)) for room, path, place in files]


def _rows_of_credentials(places: SecretPlaces) -> list[SecretRow]:
    file = places.credentials_file
    if file is None:
        return []
    changed = _changed(file.path)
    return [SecretRow(room, SourceKind.CREDENTIALS.value, file.place, changed) for room in file.rooms()]


def _rows_of_remembered(_places: SecretPlaces) -> list[SecretRow]:
    rooms = remembered_rooms()
    changed = _changed(rooms.path)
    found = (room for room in rooms.read().rooms if room.secret)
    kind = SourceKind.REMEMBERED.value
    return [SecretRow(room.room, kind, f"the remembered room {room.name}", changed) for room in found]


def _changed(path: Path) -> str | None:
    try:
        seconds = path.stat().st_mtime
    except OSError:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _rows_json(rows: Sequence[SecretRow]) -> str:
    return to_json(tuple(rows), indent=2) + "\n"


def _rows_table(rows: Sequence[SecretRow]) -> str:
    if not rows:
        return NONE_HERE
    cells = [(row.room or "-", row.source, row.where, row.changed or "-") for row in rows]
    lines = columns([HEADINGS, *cells], table_width(sys.stdout), {})
    return "".join(f"{line}\n" for line in lines)


@frozen
class ShownSecret:
    """A secret as `secrets show --json` prints it. Scripts read it, so its names must not change."""

    room: str
    source: str
    where: str
    secret: str


def show(places: SecretPlaces, room_id: str, *, as_json: bool) -> int:
    """Print the secret that this user's programs find for a room, and return the exit code.

    Raises:
        RtcError: USAGE: there is none, or it cannot be read or used.
    """
    room = room_meant(room_id)
    found = RoomSecrets(places, print_error).find(room)
    if found is None:
        raise RtcError(FaultCode.USAGE, _none_of(room))
    secret, source = found
    if as_json:
        shown = ShownSecret(room, source.kind.value, source.place, secret.text)
        LineWriter(sys.stdout).write(to_json(shown, indent=2) + "\n")
    else:
        print_error(f"The secret of {room}, from {source.place}:")
        _say(secret.text)
    return 0


def _none_of(room: RoomId) -> str:
    return f"There is no secret of {room} here. sleap-rtc secrets list shows those that are here."


def remove(places: SecretPlaces, room_id: str, forget_lost: Callable[[RoomId], bool] = lambda _room: False) -> int:
    """Remove the secret of a room from the files of this user, and return the exit code.

    Args:
        places: where secrets are.
        room_id: the room.
        forget_lost: lets a secret not be missed any more whose file has vanished; returns whether there was one.

    Raises:
        RtcError: USAGE: there is none, or a file cannot be changed.
    """
    room = room_meant(room_id)
    removed = [*_remove_files(places, room), *_remove_credentials(places, room), *_remove_remembered(room)]
    variable = variable_of(room)
    if variable in places.variables():
        print_error(f"The variable {variable} still has a secret; remove it where it is set.")
    elif not removed and forget_lost(room):
        _say(f"Forgotten: the secret of {room}, whose file is gone; a worker serves the room without one.")
    elif not removed:
        raise RtcError(FaultCode.USAGE, _none_of(room))
    for place in removed:
        _say(f"Removed: the secret of {room} in {place}")
    return 0


def _remove_files(places: SecretPlaces, room: RoomId) -> list[str]:
    if room not in places.rooms_with_files():
        return []
    path, place = places.file_of(room).paths[0]
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RtcError(FaultCode.USAGE, f"{place} cannot be removed ({error.strerror}).") from None
    return [place]


def _remove_credentials(places: SecretPlaces, room: RoomId) -> list[str]:
    file = places.credentials_file
    if file is None or room not in file.rooms():
        return []
    file.remove(room)
    return [file.place]


def _remove_remembered(room: RoomId) -> list[str]:
    rooms = remembered_rooms()
    found = rooms.with_secret(room)
    if found is None:
        return []
    rooms.forget_secret(room)
    return [f"the remembered room {found.name}, which stays"]
