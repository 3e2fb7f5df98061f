"""Reads this user's configuration for one program: environment variables, one file, defaults."""

import os
from collections.abc import Callable
from pathlib import Path

from rtc.config.folders import find_folders
from rtc.config.load import Config, load_config
from rtc.config.server_url import server_url


def read_user_config(server: str | None, say: Callable[[str], object]) -> Config:
    """Return the configuration of this user, in this working folder.

    Args:
        server: the address of the signalling server as a person typed it; None for the configured one.
        say: gets one sentence if a file in the working folder changes the server, which the person may not expect.

    Raises:
        RtcError: USAGE: the address or a setting is wrong.
    """
    address = server_url(server) if server else None
    config = load_config(server=address, environ=os.environ, cwd=Path.cwd(), settings=find_folders().settings)
    if config.notice:
        say(config.notice)
    return config
