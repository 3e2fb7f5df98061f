"""The command with which a person uses a short code, as it is shown beside the code."""

import shlex

from rtc.config.load import DEFAULT_SERVERS
from rtc.invitations.short_code import ShortCode


def join_command(code: ShortCode, server: str) -> str:
    """Return the command that uses a code; it names the server, unless it is the default one."""
    return f"sleap-rtc join {code}{server_option(server)}"


def server_option(server: str) -> str:
    """Return the option of a command that names the server, with a space before it; nothing for the default server."""
    return "" if server == DEFAULT_SERVERS["production"][0] else f" --server {shlex.quote(server)}"
