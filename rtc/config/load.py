"""Where the settings come from: command line, then environment, then one file, then the defaults.

Rule of the room: a mistake in any of them is said at once, with its place and what was expected, and never with the
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
from rtc.config.ice_servers import IceServer
from rtc.config.server_url import HTTP_PORT, WS_PORT
from rtc.config.settings import SETTINGS

FILE_SIZE_MAX = 64 * 1024
"""Bytes; nobody writes more by hand, and whatever is larger is another file."""
HERE = "sleap-rtc.toml"
"""The file's name in the working folder."""
ENVIRONMENTS = ("development", "staging", "production")
KEEP: Mapping[str, float] = {"keep_days": 30.0, "keep_gigabytes": 100.0}
_PRODUCTION = "ec2-54-176-92-10.us-west-1.compute.amazonaws.com"
DEFAULT_SERVERS: Mapping[str, tuple[str, str]] = {
    "development": (f"ws://localhost:{WS_PORT}", f"http://localhost:{HTTP_PORT}"),
    "production": (f"ws://{_PRODUCTION}:{WS_PORT}", f"http://{_PRODUCTION}:{HTTP_PORT}"),
}
"""WebSocket and HTTP address of each environment that has a server of its own; `staging` has none."""


@frozen
class Config:
    """Every setting, from wherever it came."""

    environment: str
    signaling_websocket: str
    signaling_http: str
    connection_timeout: float = 30.0
    """Seconds a link may take to open."""
    chunk_size: int = 64 * 1024
    """Bytes of a file in one message."""
    keep_days: float = KEEP["keep_days"]
    """Days for which a worker keeps a result that nobody has fetched."""
    keep_gigabytes: float = KEEP["keep_gigabytes"]
    """GB that all such results together may have; the oldest go first."""
    ice_servers: tuple[IceServer, ...] = ()
    relay_only: bool = False
    """Reach peers through a TURN server or not at all (`--relay-only`); no file sets this."""
    sources: Mapping[str, str] = field(factory=dict)
    """For each setting the place that decided it, in words."""
    file: Path | None = None
    """The file that was read, if any."""
    notice: str | None = None
    """One sentence for standard error: something the person may not know about these settings."""

    @property
    def credentials(self) -> tuple[str, ...]:
        """What of it must never be logged."""
        return tuple(server.credential for server in self.ice_servers if server.credential)


_Found = dict[str, tuple[Any, str]]
"""Settings with their sources."""


def _wrong(where: str, expected: str) -> RtcError:
    return RtcError(FaultCode.USAGE, f"{where} is not what it should be: expected {expected}.")


def _shown(key: str) -> str:
    """A key as it may be printed, whatever stood in the file."""
    return key if len(key) <= 60 and is_printable(key) else ascii(key[:60])


def _check(setting: str, value: object, where: str) -> Any:
    try:
        return SETTINGS[setting].read(value)
    except ValueError:
        raise _wrong(where, SETTINGS[setting].expected) from None


def _text_of(path: Path, name: str) -> str | None:
    """The file's text, or None when there is no such file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
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
        return raw.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError:
        raise RtcError(FaultCode.USAGE, f"{name} is not UTF-8 text. Save it again as UTF-8.") from None


def _tables_of(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise RtcError(FaultCode.USAGE, f"{name} is not valid TOML: {_with_line(str(error), text)}.") from None
    except RecursionError:
        raise RtcError(FaultCode.USAGE, f"{name} is not valid TOML: it is nested too deeply.") from None


def _with_line(complaint: str, text: str) -> str:
    """tomllib names the line except at the very end of the file."""
    last = max(1, len(text.splitlines()))
    plain = complaint.replace("at end of document", f"at line {last}, the end of the file")
    return plain if is_printable(plain) else ascii(plain)


def _settings_in(table: object, header: str, name: str) -> _Found:
    """Everything one table sets, checked."""
    if not isinstance(table, dict):
        raise _wrong(f"{header} in {name}", "a table")
    found: _Found = {}
    for key, value in table.items():
        if key not in SETTINGS:
            raise RtcError(
                FaultCode.USAGE, f"{name} has an unknown key {_shown(key)} in {header}. Known: {', '.join(SETTINGS)}."
            )
        found[key] = (_check(key, value, f"{key} in {header} of {name}"), f"{name} {header}")
    return found


def _settings_of_file(tables: dict[str, Any], environment: str, name: str) -> _Found:
    """`[default]` with the chosen environment's keys on top; the other environments are checked as well."""
    for key in tables.keys() - {"default", "environments"}:
        raise RtcError(
            FaultCode.USAGE, f"{name} has an unknown entry {_shown(key)}. Expected [default] or [environments.<name>]."
        )
    environments = tables.get("environments", {})
    if not isinstance(environments, dict):
        raise _wrong(f"environments in {name}", "tables such as [environments.development]")
    for key in environments.keys() - set(ENVIRONMENTS):
        raise RtcError(
            FaultCode.USAGE,
            f"{name} has an unknown environment {_shown(key)}. Known: {', '.join(ENVIRONMENTS)}.",
        )
    found = _settings_in(tables.get("default", {}), "[default]", name)
    each = {key: _settings_in(table, f"[environments.{key}]", name) for key, table in environments.items()}
    return found | each.get(environment, {})


def _environment_of(environ: Mapping[str, str]) -> str:
    environment = environ.get("SLEAP_RTC_ENV") or "production"  # set but empty counts as unset
    if environment not in ENVIRONMENTS:
        raise _wrong("SLEAP_RTC_ENV", f"one of {', '.join(ENVIRONMENTS)}")
    return environment


def _settings_of_environ(environ: Mapping[str, str]) -> _Found:
    found: _Found = {}
    for key, setting in SETTINGS.items():
        if setting.variable is not None and (value := environ.get(setting.variable)):
            found[key] = (_check(key, value, setting.variable), setting.variable)
    return found


def _http_beside(websocket: str) -> str:
    """Where the HTTP side of a server is, as far as its WebSocket address tells."""
    parts = urlsplit(websocket)
    port = HTTP_PORT if parts.port == WS_PORT else parts.port
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{host}" + (f":{port}" if port else "")


def _with_server(found: _Found, server: str) -> _Found:
    """The server named on the command line; an HTTP address that belongs to another host would mislead."""
    chosen: _Found = {"signaling_websocket": (_check("signaling_websocket", server, "--server"), "command line")}
    http = found.get("signaling_http")
    if http is None or urlsplit(http[0]).hostname != urlsplit(server).hostname:
        chosen["signaling_http"] = (_http_beside(server), "command line")
    return found | chosen


def _settings_by_default(environment: str) -> _Found:
    websocket, http = DEFAULT_SERVERS.get(environment, (None, None))
    plain = {"connection_timeout": 30.0, "chunk_size": 64 * 1024, "ice_servers": (), **KEEP}
    servers = {"signaling_websocket": websocket, "signaling_http": http}
    return {key: (value, "default") for key, value in (plain | servers).items() if value is not None}


def _notice(found: _Found, name: str) -> str | None:
    websocket, source = found["signaling_websocket"]
    if not source.startswith(name):
        return None
    return f"The file {name} in this folder sets the server: {websocket}."


def file_places(cwd: Path, home: Path) -> tuple[tuple[Path, str], ...]:
    """Where a file is looked for, best first, each with its name as people say it."""
    return (cwd / HERE, HERE), (home / ".sleap-rtc" / "config.toml", "~/.sleap-rtc/config.toml")


def load_config(*, server: str | None, environ: Mapping[str, str], cwd: Path, home: Path) -> Config:
    """All settings, each from the highest place that says anything about it.

    Args:
        server: WebSocket address from the command line or the session string, already normalised.
        environ: environment variables.
        cwd: the working folder, where `sleap-rtc.toml` is looked for first.
        home: the home folder, with `.sleap-rtc/config.toml`.

    Raises:
        RtcError: USAGE, with the place of the mistake and what was expected.
    """
    environment = _environment_of(environ)
    found = _settings_by_default(environment)
    file = None
    for path, name in file_places(cwd, home):
        if (text := _text_of(path, name)) is not None:
            found |= _settings_of_file(_tables_of(text, name), environment, name)
            file = path
            break
    found |= _settings_of_environ(environ)
    if server is not None:
        found = _with_server(found, server)
    if "signaling_websocket" not in found:
        raise RtcError(
            FaultCode.USAGE,
            f"The environment {environment} has no server of its own. Set SLEAP_RTC_SIGNALING_WS, use --server, or "
            f"write signaling_websocket under [environments.{environment}] in {HERE}.",
        )
    found.setdefault("signaling_http", (_http_beside(found["signaling_websocket"][0]), "signaling_websocket"))
    return Config(
        environment=environment,
        **{key: value for key, (value, _) in found.items()},
        sources={key: source for key, (_, source) in found.items()},
        file=file,
        notice=_notice(found, HERE),
    )
