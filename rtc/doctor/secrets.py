"""Check of the files with room secrets: can each be used, and can other users of this machine read them."""

from pathlib import Path

import trio

from protocol.ids import RoomId
from rtc.common.errors import RtcError
from rtc.config.folders import name_of_settings
from rtc.config.room_secrets.finder import RoomSecrets
from rtc.config.room_secrets.sources import SecretPlaces
from rtc.doctor.finding import Finding, fail, ok, skip, warn

HOW_TO_MEND = "Correct the file, or remove the secret: sleap-rtc secrets remove ROOM"


async def check_secrets(folder: Path) -> Finding:
    """Check the room secrets in the settings folder. Runs in a thread, since a network drive may hang."""
    return await trio.to_thread.run_sync(inspect_secrets, folder, abandon_on_cancel=True)


def inspect_secrets(folder: Path) -> Finding:
    """Return whether each room secret in the files of this folder can be used, and is private."""
    warnings: list[str] = []
    places = SecretPlaces(folder=folder, folder_name=name_of_settings(folder))
    find = RoomSecrets(places, warnings.append)
    try:
        in_credentials = {} if places.credentials_file is None else places.credentials_file.rooms()
        rooms = {*places.rooms_with_files(), *map(RoomId, in_credentials)}
        for room in sorted(rooms):
            find(room)
    except RtcError as error:
        return fail(error.fault.text, HOW_TO_MEND)
    if not rooms:
        return skip("there are no room secrets in files here")
    if warnings:
        text, _, advice = warnings[0].partition(" Run: ")
        return warn(text, f"Run: {advice}" if advice else HOW_TO_MEND)
    return ok(f"of {len(rooms)} {'room' if len(rooms) == 1 else 'rooms'}, which only you can read")
