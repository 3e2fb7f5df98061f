"""Reads the settings for a program, as the command line reads them."""

import os
import warnings
from pathlib import Path

from rtc.config.folders import find_folders
from rtc.config.load import Config, load_config
from rtc.config.server_url import server_url


def read_settings(server: str | None = None) -> Config:
    """Return the settings as the command line reads them: environment variables, one file, defaults.

    Args:
        server: the address of the signalling server, if it is to be another one.

    Raises:
        RtcError: USAGE: a setting is wrong.
    """
    address = server_url(server) if server else None
    config = load_config(server=address, environ=os.environ, cwd=Path.cwd(), settings=find_folders().settings)
    if config.notice:
        warnings.warn(config.notice, stacklevel=2)
    return config
