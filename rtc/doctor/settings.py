"""Check of the configuration: what was read, and from where."""

import stat

from protocol.faults import Fault
from rtc.config.load import Config
from rtc.config.show import describe_source
from rtc.doctor.finding import Finding, fail, ok, warn

FIX = "Correct it there. docs/configuration.md and config.example.toml tell how each setting is written."


async def check_config(config: Config | Fault) -> Finding:
    """Report the configuration that was read, or why it could not be read."""
    return config_finding(config)


def config_finding(config: Config | Fault) -> Finding:
    """Return which environment and server are configured.

    It is a warning if others can read a file with passwords, or a file in the working folder has set the server.
    """
    if isinstance(config, Fault):
        return fail(config.text, FIX)
    server = config.signaling_websocket
    source = describe_source(config.sources.get("signaling_websocket", "default"))
    detail = f"environment {config.environment}; the server is {server} ({source})"
    if config.file is not None and any(s.credential for s in config.ice_servers):
        try:
            open_to_others = stat.S_IMODE(config.file.stat().st_mode) & 0o077
        except OSError:
            open_to_others = 0  # the file was deleted in the meantime, and its passwords with it
        if open_to_others:
            return warn(
                f"{detail}; {config.file.name} holds a password and others on this machine may read it",
                f"chmod 600 {config.file.name} in its folder",
            )
    if config.notice:
        return warn(f"{detail}, a file in this folder", "Fine if that file is yours. If not, work in another folder.")
    return ok(detail)
