"""The allowed values of each setting: one row per name, used for files, environment variables and the command line."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from protocol.fields import is_printable
from protocol.transfer import PIECE_MAX, PIECE_MIN
from rtc.common.job_variables import why_not_passed
from rtc.config.ice_servers import IceServer, read_ice_url
from rtc.config.server_url import HTTP_PORT, WS_PORT

TIMEOUT_MAX = 600.0
"""Seconds."""
DAYS_MAX, GIGABYTES_MAX = 3650.0, 1e6
ICE_SERVERS_MAX = 16
NAMES_MAX = 100


def _url_reader(*schemes: str) -> Callable[[object], str]:
    """Return a reader of URLs with one of these schemes."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not is_printable(value) or " " in value:
            raise ValueError
        parts = urlsplit(value)
        # `parts.port` raises ValueError itself; a password in an address would end up in logs
        if parts.scheme not in schemes or not parts.hostname or parts.port == 0 or "@" in parts.netloc:
            raise ValueError
        return value if parts.scheme.startswith("ws") else value.rstrip("/")

    return read


def _read_seconds(value: object) -> float:
    # a comparison with NaN is false
    if not isinstance(value, int | float) or isinstance(value, bool) or not 1 <= value <= TIMEOUT_MAX:
        raise ValueError
    return float(value)


def _number_reader(maximum: float) -> Callable[[object], float]:
    """Return a reader of numbers from 0 to `maximum`."""

    def read(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= maximum:
            raise ValueError
        return float(value)

    return read


def _read_chunk_size(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not PIECE_MIN <= value <= PIECE_MAX:
        raise ValueError
    return value


def _read_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > NAMES_MAX:
        raise ValueError
    if not all(isinstance(name, str) and why_not_passed(name) is None for name in value):
        raise ValueError
    return tuple(value)


def _read_ice_server(value: object) -> IceServer:
    if not isinstance(value, dict) or not {"urls"} <= value.keys() <= {"urls", "username", "credential"}:
        raise ValueError
    if not all(isinstance(part, str) and part for part in value.values()):
        raise ValueError
    server = IceServer(**value)
    read_ice_url(server.urls)
    # a TURN server without credentials would fail much later and without an error message
    if server.relays and (server.username is None or server.credential is None):
        raise ValueError
    return server


def _read_ice_servers(value: object) -> tuple[IceServer, ...]:
    if not isinstance(value, list) or len(value) > ICE_SERVERS_MAX:
        raise ValueError
    return tuple(_read_ice_server(item) for item in value)


@frozen
class Setting:
    """The allowed values of one setting."""

    read: Callable[[object], Any]
    """Converts a value from a file, a variable or an option to its final form; raises `ValueError` for a wrong one."""
    expected: str
    """What is allowed, for error messages: "a number of seconds from 1 to 600"."""
    variable: str | None = None
    """The environment variable that sets it, if there is one."""


SETTINGS: Mapping[str, Setting] = {
    "signaling_websocket": Setting(
        _url_reader("ws", "wss"), f"an address such as ws://host:{WS_PORT} or wss://host", "SLEAP_RTC_SIGNALING_WS"
    ),
    "signaling_http": Setting(
        _url_reader("http", "https"),
        f"an address such as http://host:{HTTP_PORT} or https://host",
        "SLEAP_RTC_SIGNALING_HTTP",
    ),
    "connection_timeout": Setting(_read_seconds, f"a number of seconds from 1 to {TIMEOUT_MAX:g}"),
    "chunk_size": Setting(_read_chunk_size, f"a whole number of bytes from {PIECE_MIN} to {PIECE_MAX}"),
    "keep_days": Setting(_number_reader(DAYS_MAX), f"a number of days from 0 to {DAYS_MAX:g}"),
    "keep_gigabytes": Setting(_number_reader(GIGABYTES_MAX), f"a number of gigabytes from 0 to {GIGABYTES_MAX:g}"),
    "pass_env": Setting(_read_names, 'a list of names of environment variables, such as ["NAME"], without SLEAP_RTC_*'),
    "ice_servers": Setting(
        _read_ice_servers,
        'a list such as [{urls = "stun:host:3478"}, {urls = "turn:host:3478", username = "…", credential = "…"}]',
    ),
}
"""Every setting that may be in a file, in `[default]` and in `[environments.<name>]`."""
