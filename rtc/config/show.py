"""Settings as people and scripts see them: each with where it came from, and no secret in any of them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtc.common.text import clean
from rtc.config.ice_servers import IceServer
from rtc.config.load import Config, file_places
from rtc.config.settings import SETTINGS

MASK = "********"
_SECRET = re.compile(r"secret|token|password|credential", re.IGNORECASE)
_SPOKEN = {"command line": "--server"}
"""Sources that are better said otherwise: no other option sets anything that may stand in a file."""


def masked_url(url: str) -> str:
    """An address without the name and password that somebody may have put in front of its host."""
    scheme, _, rest = clean(url).partition(":")
    return f"{scheme}:{MASK}@{rest.rpartition('@')[2]}" if "@" in rest else f"{scheme}:{rest}"


def shown_value(name: str, value: object) -> Any:
    """A value that may be shown and written as JSON."""
    if isinstance(value, tuple | list):
        return [shown_value(name, one) for one in value]
    if isinstance(value, IceServer):
        told = {"urls": masked_url(value.urls), "username": value.username}
        return {key: text for key, text in told.items() if text is not None} | (
            {"credential": MASK} if value.credential else {}
        )
    if _SECRET.search(name) and value:
        return MASK
    return value if isinstance(value, int | float) or value is None else clean(str(value))


def spoken(source: str) -> str:
    """Where a setting came from, in the words that a person would use to change it."""
    return _SPOKEN.get(source, source)


def settings_rows(config: Config, environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    """Every setting by its name, with its value as it may be shown, and its source in words."""
    picked = "SLEAP_RTC_ENV" if environ.get("SLEAP_RTC_ENV") else "default"
    rows: dict[str, tuple[Any, str]] = {"environment": (config.environment, picked)}
    for name in SETTINGS:
        rows[name] = (shown_value(name, getattr(config, name)), spoken(config.sources.get(name, "default")))
    return rows


def settings_text(config: Config, environ: Mapping[str, str]) -> str:
    """One line for each setting: name, value, source."""
    told = {name: (_brief(value), source) for name, (value, source) in settings_rows(config, environ).items()}
    names = max(map(len, told))
    values = min(60, max(len(value) for value, _ in told.values()))
    return "\n".join(f"{name:{names}}  {value:{values}}  ({source})" for name, (value, source) in told.items())


def _brief(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_brief, value)) or "none"
    if isinstance(value, dict):
        return " ".join(str(part) for part in value.values())
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_json(config: Config, environ: Mapping[str, str], cwd: Path, home: Path) -> str:
    """The same for scripts: `file` and `settings`, each of them with `value` and `source`."""
    rows = settings_rows(config, environ)
    file = next((name for path, name in file_places(cwd, home) if path == config.file), None)
    settings = {name: {"value": value, "source": source} for name, (value, source) in rows.items()}
    return json.dumps({"file": file, "settings": settings}, indent=2, ensure_ascii=False)


def places_text(cwd: Path, home: Path) -> str:
    """The file that is used, alone on its line, or where one is looked for."""
    places = file_places(cwd, home)
    used = next((path for path, _ in places if path.exists()), None)
    if used is not None:
        return str(used)
    looked = "\n".join(f"  {path}" for path, _ in places)
    first = "No configuration file is used. These are looked for, in this order:"
    return f"{first}\n{looked}\nMake one: sleap-rtc config init"
