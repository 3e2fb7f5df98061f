"""Settings as people and scripts see them: each with its source, and without secrets."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from protocol.converter import OPTIONAL, to_json
from rtc.common.text import clean
from rtc.config.ice_servers import IceServer
from rtc.config.load import Config, config_files
from rtc.config.settings import SETTINGS

MASK = "********"
"""Shown in place of a secret."""
_SECRET = re.compile(r"secret|token|password|credential", re.IGNORECASE)
_SOURCE_NAMES = {"command line": "--server"}
"""Clearer names for sources: `--server` is the only option that sets anything that may also be in a file."""


@frozen
class ShownIceServer:
    """A STUN or TURN server without its secret."""

    urls: str
    username: str | None = field(default=None, metadata=OPTIONAL)
    credential: str | None = field(default=None, metadata=OPTIONAL)
    """`MASK`; None without one."""


@frozen
class ShownSetting:
    """One setting as `sleap-rtc config show --json` shows it."""

    value: Any
    """A number, a text, null, or a list of them or of `ShownIceServer`."""
    source: str


@frozen
class ShownSettings:
    """What `sleap-rtc config show --json` writes. Scripts read it, so the names of the fields must not change."""

    file: str | None
    """The configuration file that is used, as a person would name it."""
    settings: dict[str, ShownSetting]


def masked_url(url: str) -> str:
    """Return the address with MASK in place of the user name and password in front of its host."""
    scheme, _, rest = clean(url).partition(":")
    return f"{scheme}:{MASK}@{rest.rpartition('@')[2]}" if "@" in rest else f"{scheme}:{rest}"


def shown_value(name: str, value: object) -> Any:
    """Return the value of the setting `name` without secrets, as it is shown and written as JSON."""
    if isinstance(value, tuple | list):
        return [shown_value(name, one) for one in value]
    if isinstance(value, IceServer):
        return ShownIceServer(masked_url(value.urls), value.username, MASK if value.credential else None)
    if _SECRET.search(name) and value:
        return MASK
    return value if isinstance(value, int | float) or value is None else clean(str(value))


def describe_source(source: str) -> str:
    """Return the source of a setting as a person would name it to change the setting."""
    return _SOURCE_NAMES.get(source, source)


def settings_rows(config: Config, environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    """Return for every setting its value without secrets, and its source in words."""
    source = "SLEAP_RTC_ENV" if environ.get("SLEAP_RTC_ENV") else "default"
    rows: dict[str, tuple[Any, str]] = {"environment": (config.environment, source)}
    for name in SETTINGS:
        rows[name] = (shown_value(name, getattr(config, name)), describe_source(config.sources.get(name, "default")))
    return rows


def settings_text(config: Config, environ: Mapping[str, str]) -> str:
    """Return one line for each setting: name, value, source."""
    rows = {name: (_brief(value), source) for name, (value, source) in settings_rows(config, environ).items()}
    name_width = max(map(len, rows))
    value_width = min(60, max(len(value) for value, _ in rows.values()))
    return "\n".join(
        f"{name:{name_width}}  {value:{value_width}}  ({source})" for name, (value, source) in rows.items()
    )


def _brief(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_brief, value)) or "none"
    if isinstance(value, ShownIceServer):
        return " ".join(part for part in (value.urls, value.username, value.credential) if part is not None)
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_json(config: Config, environ: Mapping[str, str], cwd: Path, settings_folder: Path) -> str:
    """Return `ShownSettings` as JSON."""
    rows = settings_rows(config, environ)
    file = next((name for path, name in config_files(cwd, settings_folder) if path == config.file), None)
    settings = {name: ShownSetting(value, source) for name, (value, source) in rows.items()}
    return to_json(ShownSettings(file, settings), indent=2)


def places_text(cwd: Path, settings_folder: Path) -> str:
    """Return the path of the configuration file that is used, and nothing else; or, without one, a text with the paths
    where one is looked for."""
    files = config_files(cwd, settings_folder)
    used = next((path for path, _ in files if path.exists()), None)
    if used is not None:
        return str(used)
    paths = "\n".join(f"  {path}" for path, _ in files)
    first = "No configuration file is used. These are looked for, in this order:"
    return f"{first}\n{paths}\nMake one: sleap-rtc config init"
