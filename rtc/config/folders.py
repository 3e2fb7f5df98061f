"""The folders in which this user's files are.

Settings and secrets, which people write by hand, are in `~/.sleap-rtc`. What must not vanish (jobs, results, remembered
rooms, logs, the server's database) is where the platform keeps the state of programs: other programs are known to use
the name `~/.sleap-rtc` too, and one of them moves that folder away.
"""

import os
from collections.abc import Mapping
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


def find_folders(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Folders:
    """Return the folders of this user.

    Args:
        environ: environment variables; `SLEAP_RTC_HOME` puts everything into one folder.
        home: the home folder; None for the user's.

    Raises:
        RtcError: USAGE: `SLEAP_RTC_HOME` is no absolute path.
    """
    chosen = environ.get(HOME_VARIABLE)
    if chosen:
        folder = Path(chosen)
        if not folder.is_absolute():
            raise RtcError(FaultCode.USAGE, f"{HOME_VARIABLE} must be the whole path of a folder, from its root on.")
        return Folders(folder, folder)
    from platformdirs import user_state_path  # not needed by `--help`

    return Folders((home or Path.home()) / SETTINGS_FOLDER, user_state_path(NAME, appauthor=False))
