"""What the settings say, and from where."""

import stat

from protocol.faults import Fault
from rtc.config.load import Config
from rtc.config.show import spoken
from rtc.doctor.finding import Finding, fail, ok, warn

FIX = "Correct it there. docs/configuration.md and config.example.toml tell how each setting is written."


async def check_config(config: Config | Fault) -> Finding:
    """The configuration as it was read, or why it could not be."""
    return config_finding(config)


def config_finding(config: Config | Fault) -> Finding:
    """Which environment and server it comes to, and what the person may not know about it."""
    if isinstance(config, Fault):
        return fail(config.text, FIX)
    server = config.signaling_websocket
    source = spoken(config.sources.get("signaling_websocket", "default"))
    told = f"environment {config.environment}; the server is {server} ({source})"
    if config.file is not None and any(s.credential for s in config.ice_servers):
        try:
            open_to_others = stat.S_IMODE(config.file.stat().st_mode) & 0o077
        except OSError:
            open_to_others = 0  # gone meanwhile, and its secrets with it
        if open_to_others:
            return warn(
                f"{told}; {config.file.name} holds a password and others on this machine may read it",
                f"chmod 600 {config.file.name} in its folder",
            )
    if config.notice:
        return warn(f"{told}, a file in this folder", "Fine if that file is yours. If not, work in another folder.")
    return ok(told)
