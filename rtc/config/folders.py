"""The folders in which this user's files are.

Settings and secrets, which people write by hand, are in `~/.sleap-rtc`. What must not vanish (jobs, results, remembered
rooms, logs, the server's database) is where the platform keeps the state of programs: other programs are known to use
the name `~/.sleap-rtc` too, and one of them moves that folder away.
"""

import os
from pathlib import Path

from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError

HOME_VARIABLE = "SLEAP_RTC_HOME"
"""The environment variable that names one folder for everything."""
SETTINGS_FOLDER = ".sleap-rtc"
"""The name of the folder for settings and secrets, in the home folder."""
NAME = "sleap-rtc"
"""The name of our folder where the platform keeps state."""


@frozen
class Folders:
    """The folders of one user. None of them needs to exist."""

    settings: Path
    """`config.toml`, `secrets/` and `credentials.json`."""
    state: Path
    """Everything that programs write by themselves."""

    @property
    def settings_name(self) -> str:
        """What people call the folder of settings and secrets."""
        return name_of_settings(self.settings)

    @property
    def old_state(self) -> Path | None:
        """The folder in which programs kept their state up to now; None with `SLEAP_RTC_HOME`.

        With `SLEAP_RTC_HOME`, nothing is taken from the home folder: it may be meant for a trial only.
        """
        return None if self.settings == self.state else self.settings

    @property
    def notices_file(self) -> Path:
        """What people have been told once."""
        return self.state / "notices.json"

    @property
    def remembered_settings_file(self) -> Path:
        """Which settings and secrets were there when a program was last started."""
        return self.state / "settings-seen.json"

    @property
    def tickets(self) -> Path:
        """The tickets of jobs that were started from here."""
        return self.state / "jobs"

    @property
    def work(self) -> Path:
        """Where a worker runs jobs."""
        return self.state / "work"

    @property
    def results(self) -> Path:
        """Where a worker keeps results until they are fetched, its database of jobs, and its place in its room."""
        return self.state / "results"

    @property
    def server(self) -> Path:
        """The database of the signalling server."""
        return self.state / "server"

    @property
    def logs(self) -> Path:
        """The log of every program."""
        return self.state / "logs"

    @property
    def rooms_file(self) -> Path:
        """The remembered rooms."""
        return self.state / "rooms.json"


def name_of_settings(settings: Path) -> str:
    """Return what people call the settings folder: `~/.sleap-rtc`, or its whole path if it was chosen."""
    return str(settings) if os.environ.get(HOME_VARIABLE) else f"~/{SETTINGS_FOLDER}"


def find_folders() -> Folders:
    """Return the folders of this user.

    Raises:
        RtcError: USAGE: `SLEAP_RTC_HOME` is no absolute path, or no home folder is known.
    """
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        folder = Path(chosen)
        if not folder.is_absolute():
            raise RtcError(FaultCode.USAGE, "SLEAP_RTC_HOME must be the whole path of a folder, from its root on.")
        return Folders(folder, folder)
    home = _home()
    return Folders(home / SETTINGS_FOLDER, _platform_state(home))


def _platform_state(home: Path) -> Path:
    """Return our folder where the platform keeps the state of programs."""
    from platformdirs import user_state_path  # not needed by `--help`

    state = user_state_path(NAME, appauthor=False)
    # a relative XDG_STATE_HOME is invalid and to be ignored (XDG Base Directory Specification 0.8, "Basics")
    return state if state.is_absolute() else home / ".local" / "state" / NAME


def known_home() -> Path | None:
    """Return the home folder of this user, or None if none is known."""
    try:
        home = Path.home()
    except RuntimeError:  # there is no HOME, and the system does not know the user
        return None
    # a relative HOME would mean whatever the working folder is, and an empty one the root of the file system
    return home if home.is_absolute() and os.environ.get("HOME") != "" else None


def shown_path(path: Path) -> str:
    """Return a path as people write it: `~/…` inside the home folder, otherwise whole."""
    home = known_home()
    if home is None or home == Path(home.anchor) or not path.is_relative_to(home):
        return str(path)
    return str(Path("~") / path.relative_to(home))


def _home() -> Path:
    """Return the home folder of this user.

    Raises:
        RtcError: USAGE: none is known.
    """
    home = known_home()
    if home is None:
        raise RtcError(
            FaultCode.USAGE,
            f"No home folder is known for this user. Set the variable HOME; or {HOME_VARIABLE}, to keep everything in "
            "another folder.",
        )
    return home
