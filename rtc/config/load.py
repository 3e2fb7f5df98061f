"""Loads the settings: from the command line, then environment variables, then one file, then the defaults.

Rule: a mistake in any of them ends the program at once. The error names the place and what was expected, and never the
value itself, which may be a credential.
"""

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from protocol.faults import FaultCode
from protocol.fields import is_printable
from rtc.common.errors import RtcError
from rtc.config.folders import name_of_settings
from rtc.config.ice_servers import IceServer
from rtc.config.server_url import HTTP_PORT, WS_PORT
from rtc.config.settings import SETTINGS

FILE_SIZE_MAX = 64 * 1024
"""Bytes; a configuration file is written by hand, so a larger one is some other file."""
LOCAL_FILE = "sleap-rtc.toml"
"""The file's name in the working folder."""
HOME_FILE = "config.toml"
"""The file's name in the folder of this user's settings."""
ENVIRONMENTS = ("development", "staging", "production")
"""Values of SLEAP_RTC_ENV."""
KEEP_DEFAULTS: Mapping[str, float] = {"keep_days": 30.0, "keep_gigabytes": 100.0}
"""Default values of `Config.keep_days` and `Config.keep_gigabytes`."""
_PRODUCTION = "ec2-54-176-92-10.us-west-1.compute.amazonaws.com"
DEFAULT_SERVERS: Mapping[str, tuple[str, str]] = {
    "development": (f"ws://localhost:{WS_PORT}", f"http://localhost:{HTTP_PORT}"),
    "production": (f"ws://{_PRODUCTION}:{WS_PORT}", f"http://{_PRODUCTION}:{HTTP_PORT}"),
}
"""WebSocket and HTTP address of each environment that has a default server; `staging` has none."""


@frozen
class Config:
    """All settings in their final form."""

    environment: str
    signaling_websocket: str
    signaling_http: str
    connection_timeout: float = 30.0
    """Seconds that a link may take to open."""
    chunk_size: int = 64 * 1024
    """Bytes of a file that are sent in one message."""
    keep_days: float = KEEP_DEFAULTS["keep_days"]
    """Days for which a worker keeps a result that nobody has fetched."""
    keep_gigabytes: float = KEEP_DEFAULTS["keep_gigabytes"]
    """GB that all such results together may take; the oldest are removed first."""
    pass_env: tuple[str, ...] = ()
    """On a worker: names of further environment variables that jobs get."""
    ice_servers: tuple[IceServer, ...] = ()
    relay_only: bool = False
    """Use only paths through a TURN server (`--relay-only`); it cannot be set in a file."""
    sources: Mapping[str, str] = field(factory=dict)
    """For each setting its source, in words."""
    file: Path | None = None
    """The file that was read, if any."""
    notice: str | None = None
    """One sentence to be shown on standard error, about something that the person may not expect; None without one."""

    @property
    def credentials(self) -> tuple[str, ...]:
        """The values that must never be logged."""
        return tuple(server.credential for server in self.ice_servers if server.credential)


_Sourced = dict[str, tuple[Any, str]]
"""For each setting its value and its source."""


def _invalid(where: str, expected: str) -> RtcError:
    return RtcError(FaultCode.USAGE, f"{where} is not what it should be: expected {expected}.")


def _printable(key: str) -> str:
    """Return a key from the file in a form that is safe to print, cut to 60 characters."""
    return key if len(key) <= 60 and is_printable(key) else ascii(key[:60])


def _read_value(setting: str, value: object, where: str) -> Any:
    """Return a given value of a setting in its final form.

    Args:
        setting: a name in SETTINGS.
        value: as it was given.
        where: the place of the value, for the error.

    Raises:
        RtcError: USAGE: the setting cannot have this value.
    """
    try:
        return SETTINGS[setting].read(value)
    except ValueError:
        raise _invalid(where, SETTINGS[setting].expected) from None


def _read_file(path: Path, name: str) -> str | None:
    """Return the text of a file, or None when it does not exist.

    Args:
        path: the file.
        name: its name for error messages.

    Raises:
        RtcError: USAGE: it cannot be read, or is not a text file of at most FILE_SIZE_MAX.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would wait forever
            raise RtcError(FaultCode.USAGE, f"{name} is not a file. Move it away, or put the settings there.")
        with path.open("rb") as file:
            raw = file.read(FILE_SIZE_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RtcError(FaultCode.USAGE, f"{name} cannot be read ({error.strerror}). Check its permissions.") from None
    if len(raw) > FILE_SIZE_MAX:
        raise RtcError(FaultCode.USAGE, f"{name} is larger than {FILE_SIZE_MAX // 1024} KiB: it is no settings file.")
    try:
        return raw.decode("utf-8-sig")  # some editors write a byte order mark at the start of a file
    except UnicodeDecodeError:
        raise RtcError(FaultCode.USAGE, f"{name} is not UTF-8 text. Save it again as UTF-8.") from None


def _parse_toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise RtcError(FaultCode.USAGE, f"{name} is not valid TOML: {_with_line(str(error), text)}.") from None
    except RecursionError:
        raise RtcError(FaultCode.USAGE, f"{name} is not valid TOML: it is nested too deeply.") from None


def _with_line(message: str, text: str) -> str:
    """Return tomllib's error message with a line number: tomllib gives none for an error at the end of the file."""
    last = max(1, len(text.splitlines()))
    plain = message.replace("at end of document", f"at line {last}, the end of the file")
    return plain if is_printable(plain) else ascii(plain)


def _settings_in(table: object, header: str, name: str) -> _Sourced:
    """Return the checked settings of one table of the file.

    Args:
        table: the parsed table.
        header: its header, for error messages and as the source: `[default]`.
        name: the file's name, for the same.

    Raises:
        RtcError: USAGE: a key is unknown, or a value is wrong.
    """
    if not isinstance(table, dict):
        raise _invalid(f"{header} in {name}", "a table")
    found: _Sourced = {}
    for key, value in table.items():
        if key not in SETTINGS:
            raise RtcError(
                FaultCode.USAGE,
                f"{name} has an unknown key {_printable(key)} in {header}. Known: {', '.join(SETTINGS)}.",
            )
        found[key] = (_read_value(key, value, f"{key} in {header} of {name}"), f"{name} {header}")
    return found


def _settings_of_file(tables: dict[str, Any], environment: str, name: str) -> _Sourced:
    """Return the settings of `[default]`, overridden by those of the chosen environment.

    The tables of the other environments are checked too, so that a mistake in them is found.
    """
    for key in tables.keys() - {"default", "environments"}:
        raise RtcError(
            FaultCode.USAGE,
            f"{name} has an unknown entry {_printable(key)}. Expected [default] or [environments.<name>].",
        )
    environments = tables.get("environments", {})
    if not isinstance(environments, dict):
        raise _invalid(f"environments in {name}", "tables such as [environments.development]")
    for key in environments.keys() - set(ENVIRONMENTS):
        raise RtcError(
            FaultCode.USAGE,
            f"{name} has an unknown environment {_printable(key)}. Known: {', '.join(ENVIRONMENTS)}.",
        )
    found = _settings_in(tables.get("default", {}), "[default]", name)
    each = {key: _settings_in(table, f"[environments.{key}]", name) for key, table in environments.items()}
    return found | each.get(environment, {})


def _environment_of(environ: Mapping[str, str]) -> str:
    environment = environ.get("SLEAP_RTC_ENV") or "production"  # a variable that is set but empty counts as unset
    if environment not in ENVIRONMENTS:
        raise _invalid("SLEAP_RTC_ENV", f"one of {', '.join(ENVIRONMENTS)}")
    return environment


def _settings_of_environ(environ: Mapping[str, str]) -> _Sourced:
    found: _Sourced = {}
    for key, setting in SETTINGS.items():
        if setting.variable is not None and (value := environ.get(setting.variable)):
            found[key] = (_read_value(key, value, setting.variable), setting.variable)
    return found


def _http_url_for(websocket: str) -> str:
    """Return the likely HTTP address of a server with this WebSocket address: the same host.

    The default WebSocket port is replaced by the default HTTP port; another port is kept.
    """
    parts = urlsplit(websocket)
    port = HTTP_PORT if parts.port == WS_PORT else parts.port
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{host}" + (f":{port}" if port else "")


def _with_server(found: _Sourced, server: str) -> _Sourced:
    """Return the settings with the server from the command line.

    An HTTP address that was set elsewhere is kept only when it has the same host.
    """
    overrides: _Sourced = {
        "signaling_websocket": (_read_value("signaling_websocket", server, "--server"), "command line")
    }
    http = found.get("signaling_http")
    if http is None or urlsplit(http[0]).hostname != urlsplit(server).hostname:
        overrides["signaling_http"] = (_http_url_for(server), "command line")
    return found | overrides


def _settings_by_default(environment: str) -> _Sourced:
    websocket, http = DEFAULT_SERVERS.get(environment, (None, None))
    plain = {"connection_timeout": 30.0, "chunk_size": 64 * 1024, "ice_servers": (), "pass_env": (), **KEEP_DEFAULTS}
    servers = {"signaling_websocket": websocket, "signaling_http": http}
    return {key: (value, "default") for key, value in (plain | servers).items() if value is not None}


def _notice(found: _Sourced, name: str) -> str | None:
    """Return a sentence when the file in the working folder sets the server, which the person may not expect."""
    websocket, source = found["signaling_websocket"]
    if not source.startswith(name):
        return None
    return f"The file {name} in this folder sets the server: {websocket}."


def config_files(cwd: Path, settings: Path) -> tuple[tuple[Path, str], ...]:
    """Return the paths where a file is looked for, in this order, each with its name in messages; the first is read."""
    return (cwd / LOCAL_FILE, LOCAL_FILE), (settings / HOME_FILE, f"{name_of_settings(settings)}/{HOME_FILE}")


def load_config(*, server: str | None, environ: Mapping[str, str], cwd: Path, settings: Path) -> Config:
    """Return all settings, each from the source with the highest priority that sets it.

    Args:
        server: WebSocket address from the command line or the session string, already normalised.
        environ: environment variables.
        cwd: the working folder; `sleap-rtc.toml` in it is looked for first.
        settings: the folder of this user's settings; `config.toml` in it is looked for second.

    Raises:
        RtcError: USAGE, with the place of the mistake and what was expected.
    """
    environment = _environment_of(environ)
    found = _settings_by_default(environment)
    file = None
    for path, name in config_files(cwd, settings):
        if (text := _read_file(path, name)) is not None:
            found |= _settings_of_file(_parse_toml(text, name), environment, name)
            file = path
            break
    found |= _settings_of_environ(environ)
    if server is not None:
        found = _with_server(found, server)
    if "signaling_websocket" not in found:
        raise RtcError(
            FaultCode.USAGE,
            f"The environment {environment} has no server of its own. Set SLEAP_RTC_SIGNALING_WS, use --server, or "
            f"write signaling_websocket under [environments.{environment}] in {LOCAL_FILE}.",
        )
    found.setdefault("signaling_http", (_http_url_for(found["signaling_websocket"][0]), "signaling_websocket"))
    return Config(
        environment=environment,
        **{key: value for key, (value, _) in found.items()},
        sources={key: source for key, (_, source) in found.items()},
        file=file,
        notice=_notice(found, LOCAL_FILE),
    )
