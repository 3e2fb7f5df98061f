"""Reads the settings for a program, as the command line reads them."""

import warnings
from functools import partial

from rtc.config.load import Config
from rtc.config.user_config import read_user_config


def read_settings(server: str | None = None) -> Config:
    """Return the settings as the command line reads them: environment variables, one file, defaults.

    Args:
        server: the address of the signalling server, if it is to be another one.

    Raises:
        RtcError: USAGE: a setting is wrong.
    """
    return read_user_config(server, partial(warnings.warn, stacklevel=4))
