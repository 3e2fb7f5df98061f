"""The environment variables that hold room secrets.

`--help` imports this module, so it imports nothing that takes long.
"""

from collections.abc import MutableMapping

VARIABLE_PREFIX = "SLEAP_RTC_ROOM_SECRET_"


def variable_of(room: str) -> str:
    """Return the name of the variable for a room. Rooms whose ids differ only in case, `-` and `_` share one."""
    return VARIABLE_PREFIX + room.upper().replace("-", "_")


def is_secret_variable(name: str) -> bool:
    """Return whether an environment variable holds the secret of some room."""
    return name.upper().startswith(VARIABLE_PREFIX)  # on Windows, names have no case


def take_secret_variables(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Remove the variables with room secrets from the environment, and return them.

    No program that this one starts shall have them in its environment: jobs, and what reads packages and labels, run
    code of other people.
    """
    return {name: environ.pop(name) for name in list(environ) if is_secret_variable(name)}
