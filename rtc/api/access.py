"""What a program needs to work in one room: where it is, how it is let in, and where this user's files are."""

import os
import warnings
from pathlib import Path

from attrs import evolve, field, frozen

from protocol.ids import RoomId
from protocol.trust import Secret
from rtc.api.errors import usage_error
from rtc.api.settings import read_settings
from rtc.client.jobs import JobsOptions
from rtc.client.target import Target, choose_target
from rtc.config.folders import Folders
from rtc.config.load import Config
from rtc.config.remembered_rooms import RememberedRooms
from rtc.config.room_secrets.finder import RoomSecrets
from rtc.config.room_secrets.sources import GivenSecret, SecretPlaces
from rtc.config.room_secrets.variables import is_secret_variable
from rtc.config.server_url import server_url
from rtc.config.settings_watch import watch_settings
from rtc.config.take_over import take_over_tickets
from rtc.runtime.room_keys import SecretFinder


@frozen
class RoomAccess:
    """A room, with its token, its secret, its server and the folders of this user."""

    target: Target = field(repr=False)
    """The room, and the worker that the session string names."""
    tickets_folder: Path
    find_secret: SecretFinder = field(repr=False)
    server: str | None
    """The address of the server that was named; None: that of the target, or else the configured one."""
    rooms: RememberedRooms
    """The remembered rooms: a job is found too if its room has a new token or another server since it was started."""
    base: Config | None
    """The settings that the program has given; None: those of the environment and of files."""

    @property
    def config(self) -> Config:
        """The settings for this room's server.

        Raises:
            RtcError: USAGE: a setting is wrong.
        """
        return self.config_for(self.target.address(self.server))

    def config_for(self, address: str | None) -> Config:
        """Return the settings for the server with this address; None: the configured one.

        Raises:
            RtcError: USAGE: a setting is wrong.
        """
        if self.base is None:
            return read_settings(address)
        return self.base if address is None else evolve(self.base, signaling_websocket=server_url(address))

    @property
    def jobs_options(self) -> JobsOptions:
        """How the workers of earlier jobs are reached: as the job's ticket says."""
        return JobsOptions(self.config_for, self.tickets_folder, self.find_secret, rooms=self.rooms.read_or_warn())


def find_access(
    *,
    room: str | None = None,
    session_string: str | None = None,
    room_id: str | None = None,
    token: str | None = None,
    server: str | None = None,
    room_secret: str | None = None,
    config: Config | None = None,
) -> RoomAccess:
    """Return how the room is reached that these arguments name; they are those of `rtc.api.connect`.

    Raises:
        RtcError: USAGE: no room is meant, or several; or something is malformed.
    """
    if config is not None and not isinstance(config, Config):
        raise usage_error("config=… takes the settings that rtc.api.read_settings() returns.")
    folders = watch_settings(warnings.warn)
    rooms = RememberedRooms(folders.rooms_file, warnings.warn)
    target = choose_target(
        remembered=rooms,
        session=session_string,
        room_name=room,
        room=room_id,
        token=token,
        server=server,
    )
    tickets_folder = take_over_tickets(folders, warnings.warn)
    access = RoomAccess(
        target, tickets_folder, _secret_finder(folders, rooms, target, room_secret), server, rooms, config
    )
    access.find_secret(target.room)  # one that cannot be used is reported at once
    return access


def _secret_finder(folders: Folders, rooms: RememberedRooms, target: Target, room_secret: str | None) -> SecretFinder:
    """Return a function that finds a room's secret where the command line finds it.

    The environment is left as it is: it belongs to the program.
    """
    given = None if room_secret is None else GivenSecret(room_secret, "room_secret")
    environ = {name: text for name, text in os.environ.items() if is_secret_variable(name)}
    places = SecretPlaces(given, environ, folders.settings, folders.settings_name, rooms.secret_of)
    find = RoomSecrets(places, warnings.warn)

    def find_secret(room: RoomId | None) -> Secret | None:
        found = find(room)
        if found is None and room == target.room and target.secret:
            return Secret(target.secret)
        return found

    return find_secret
