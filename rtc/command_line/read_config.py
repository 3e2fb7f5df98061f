"""Reads the configuration for one call of the command line."""

from functools import cache

from attrs import evolve

from rtc.config.folders import find_folders
from rtc.config.load import Config
from rtc.config.remembered_rooms import RememberedRooms
from rtc.config.user_config import read_user_config
from rtc.runtime.root import print_error


def read_config(server: str | None, *, relay_only: bool = False) -> Config:
    """Return the configuration for this call.

    If a file in the working folder changes the server, a notice about it is printed to standard error.

    Args:
        server: the value of `--server`.
        relay_only: the value of `--relay-only`.

    Raises:
        RtcError: USAGE: the address or a setting is wrong.
    """
    return evolve(read_user_config(server, print_error), relay_only=relay_only)


def remembered_rooms() -> RememberedRooms:
    """Return the file with this user's remembered rooms; what is wrong with its permissions goes to standard error.

    Raises:
        RtcError: USAGE: `SLEAP_RTC_HOME` is no absolute path.
    """
    return RememberedRooms(find_folders().rooms_file, _warn_once)


@cache
def _warn_once(text: str) -> None:
    """Print a sentence that was not printed before: a command may read the file several times."""
    print_error(text)
