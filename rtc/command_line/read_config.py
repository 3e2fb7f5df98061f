"""The configuration of one call of the command line."""

import os
from pathlib import Path

from attrs import evolve

from rtc.config.load import Config, load_config
from rtc.config.server_url import server_url
from rtc.runtime.root import complain


def read_config(server: str | None, *, relay_only: bool = False) -> Config:
    """What holds for this call; a file in the working folder that changes the server is mentioned once.

    Raises:
        RtcError: USAGE: an address or a setting is wrong.
    """
    address = server_url(server) if server else None
    config = load_config(server=address, environ=os.environ, cwd=Path.cwd(), home=Path.home())
    if config.notice:
        complain(config.notice)
    return evolve(config, relay_only=relay_only)
