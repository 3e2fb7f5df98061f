"""Hydra overrides (`key=value`): which keys are allowed, and how to quote a value so that Hydra reads it literally."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import frozen

from protocol.faults import FaultCode
from protocol.fields import is_printable
from rtc.common.errors import RtcError
from rtc.packages.hydra_values import NoHydraValue, leaves, parse_value
from rtc.packages.setting_tree import INTERPOLATION
from rtc.packages.worker_settings import asks_for_much, find_worker_setting, left_out

_KEY = r"((?:trainer_config|data_config|model_config)(?:\.[A-Za-z_]\w*)+)"
_OVERRIDE = re.compile(rf"\+{{0,2}}{_KEY}=(.*)", re.DOTALL)
_REMOVAL = re.compile(rf"~{_KEY}")
_OVERRIDE_START = re.compile(r"(?=\+{0,2}(?:trainer_config|data_config|model_config)\.[a-z_])")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.+/-]*")
"""Values that Hydra reads without quotes: numbers, plain words, null."""
_LIST_VALUE = re.compile(r"\[[A-Za-z0-9_.,+/ '\"-]*\]")
"""Lists that are passed to Hydra as they are written."""
SETTING_MAX = 2**16
"""Maximum length of one override in a package, in characters; a list of labels may be long."""
LABELS_KEY = "data_config.train_labels_path"
EPOCHS_KEY = "trainer_config.max_epochs"


_SECRET_NAME = re.compile(
    r"(?:^|api|access|secret|private|auth|wandb|hf|_)[_-]?key$|token|secret|passw|credential", re.I
)
"""Names of settings whose values nobody else should read, such as `api_key`."""


def is_secret_name(name: str) -> bool:
    """Return whether the name of a setting is that of a secret."""
    return _SECRET_NAME.search(name) is not None


@frozen
class OverrideOrigin:
    """Where an override was written; decides the wording and the fault code of its error."""

    subject: str
    """The subject of the error sentence, such as "The package"."""
    code: FaultCode = FaultCode.BAD_PACKAGE
    typed: bool = False
    """Whether a person has typed it, and not a program written it into a package: then its error names the setting, and
    the person is told of every setting that is left out."""

    def refusal(self, text: str) -> RtcError:
        """Return the error for one setting, with this origin's fault code."""
        return RtcError(self.code, text)


FROM_PACKAGE = OverrideOrigin("The package")
FROM_SCRIPT = OverrideOrigin("The script train-script.sh")
FROM_JOBS_YAML = OverrideOrigin("The package's jobs.yaml")
FROM_COMMAND_LINE = OverrideOrigin("The override", FaultCode.USAGE, typed=True)


@frozen
class Override:
    """One setting of a training configuration, changed for this run."""

    key: str
    value: str
    """In Hydra's syntax, quoted where necessary."""
    is_removal: bool = False
    """The setting is taken out of the configuration (`~key`), so that sleap-nn uses its default; `value` is empty."""

    @property
    def parsed(self) -> Any:
        """The value as sleap-nn gets it from Hydra: None, a bool, int, float or text, or a list or dict of these."""
        return _parse(self.value)

    def paths(self) -> tuple[str, ...]:
        """Return the paths in the value, for a setting that holds one path or a list of paths; `null` gives none."""
        parsed = self.parsed
        items = parsed if isinstance(parsed, list) else [parsed]
        return tuple(str(item) for item in items if item is not None and item != "")

    @property
    def is_secret(self) -> bool:
        """Whether the value is one that nobody else should read, such as an API key."""
        return is_secret_name(self.key.rpartition(".")[2])

    @property
    def bare(self) -> str:
        """The value without quotes."""
        return self.value.strip("'\"")

    def __str__(self) -> str:
        if self.is_removal:
            return f"~{self.key}"
        return f"++{self.key}={self.value}"  # `++` adds or replaces; without it Hydra refuses keys the file lacks


def is_override(text: str) -> bool:
    """Return True for `section.key=value`, with up to two `+` before it, and for `~section.key`."""
    return _OVERRIDE.fullmatch(text) is not None or _REMOVAL.fullmatch(text) is not None


def split_joined_overrides(text: str) -> list[str]:
    """Split overrides that are joined without spaces, as in `trainer_config.a=1trainer_config.b=2`.

    SLEAP 1.5.0 exported scripts in which the spaces were missing.
    """
    if _REMOVAL.fullmatch(text):
        return [text]
    return [piece for piece in _OVERRIDE_START.split(text) if piece.strip("+")]


def read_override(text: str, origin: OverrideOrigin = FROM_SCRIPT) -> Override | None:
    """Parse and check one override; return None for a setting that the worker chooses itself, whatever its value is.

    Raises:
        RtcError: with the origin's code: the text is no override, its value reads the worker's environment (`${…}`),
            or its value is a path outside the package.
    """
    if len(text) > SETTING_MAX:
        raise origin.refusal(f"{origin.subject} has a setting of more than {SETTING_MAX} characters. Shorten it.")
    removed = _REMOVAL.fullmatch(text)
    found = removed or _OVERRIDE.fullmatch(text)
    if found is None:
        raise origin.refusal(_not_understood(text, origin))
    key, value = found[1], "" if removed else found[2].strip(" \t")
    if find_worker_setting(key, _bare(value)) is not None:
        return None
    if INTERPOLATION in value:
        raise origin.refusal(f"{origin.subject} fills in {key} from the worker's environment, which is not allowed.")
    if removed:
        if key == LABELS_KEY:
            raise origin.refusal(f"{origin.subject} takes {key} out, so there is nothing to train on. Leave that out.")
        return Override(key, "", is_removal=True)
    parsed = _parse(value)
    if any(leaves_folder(part) for text in (value, *_texts_in(parsed)) for part in re.split(r"[\s,'\"\[\]{}=]+", text)):
        raise origin.refusal(f"{origin.subject} sets {key} to a place outside the package. Use relative paths.")
    is_text = isinstance(parsed, str)
    if _LIST_VALUE.fullmatch(value) if isinstance(parsed, list) else not is_text or _PLAIN_VALUE.fullmatch(value):
        return Override(key, value)
    return Override(key, _hydra_text(parsed, origin))


def _parse(value: str) -> Any:
    """Return what a value means to Hydra; a text that Hydra would not read is taken as it is, without its quotes."""
    try:
        return parse_value(value)
    except NoHydraValue:
        return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a parsed value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(item)


def _hydra_text(value: Any, origin: OverrideOrigin) -> str:
    """Return a parsed value in Hydra's syntax.

    Raises:
        RtcError: with the origin's code: under the conditions of `quote_for_hydra`.
    """
    if isinstance(value, list):
        return f"[{','.join(_hydra_text(item, origin) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{_hydra_text(item, origin)}' for name, item in value.items())}}}"
    if isinstance(value, str):
        return quote_for_hydra(value, origin)
    return "null" if value is None else str(value).lower()


def _expand(text: str, origin: OverrideOrigin) -> Iterator[str]:
    """Yield the override, or one for each setting of a mapping (`a.b={c:1}` is `a.b.c=1`), to check each by its key."""
    found = _OVERRIDE.fullmatch(text) if len(text) <= SETTING_MAX and INTERPOLATION not in text else None
    value = _parse(found[2].strip(" \t")) if found is not None else None
    if found is None or not isinstance(value, dict) or not value:
        yield text
        return
    for key, inner in leaves(found[1], value):
        yield f"{key}={_hydra_text(inner, origin)}"


def _bare(value: str) -> str:
    """Return a value without the quotes around it."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def left_out_overrides(texts: Iterable[str], origin: OverrideOrigin) -> tuple[str, ...]:
    """Return a sentence for each override that is left out because the worker chooses the setting itself.

    Programs set some of them in every package, so of those in a package only what asks for certain hardware is named.
    """
    found = (_OVERRIDE.fullmatch(part) for text in texts for part in _expand(text, origin))
    settings = [(match[1], _bare(match[2]).replace(" ", "")) for match in found if match is not None]
    return tuple(
        left_out(key, value)
        for key, value in settings
        if find_worker_setting(key, value) is not None and (origin.typed or asks_for_much(key, value))
    )


def _not_understood(text: str, origin: OverrideOrigin) -> str:
    if not origin.typed:
        return f"{origin.subject} changes a setting in a way that is not understood."
    key, equals, _ = text.partition("=")  # a value may be a secret; a word alone, the rest of one without quotes
    shown = f" {''.join(char for char in key if char.isprintable())[:60]!r}" if equals or "." in key else ""
    return (
        f"The override{shown} is not understood. Write it as trainer_config.max_epochs=5; "
        "overrides begin with trainer_config, data_config or model_config."
    )


def read_overrides(texts: Iterable[str], origin: OverrideOrigin) -> tuple[Override, ...]:
    """Parse and check several overrides; settings that the worker chooses itself are left out.

    Raises:
        RtcError: under the conditions of `read_override`.
    """
    read = (read_override(part, origin) for text in texts for part in _expand(text, origin))
    return tuple(override for override in read if override is not None)


def split_secrets(texts: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the overrides whose values anybody may read, and the keys of all others, such as an API key."""
    shown, hidden = [], []
    for text in (part for whole in texts for part in _expand(whole, FROM_COMMAND_LINE)):
        found = _OVERRIDE.fullmatch(text)
        if found is not None and is_secret_name(found[1].rpartition(".")[2]):
            hidden.append(found[1])
        else:
            shown.append(text)
    return tuple(shown), tuple(hidden)


def last_of_each_key(overrides: Iterable[Override]) -> tuple[Override, ...]:
    """Return one override for each key: the last one, in the order of these last occurrences."""
    by_key: dict[str, Override] = {}
    for override in overrides:
        by_key.pop(override.key, None)
        by_key[override.key] = override
    return tuple(by_key.values())


def quote_for_hydra(text: str, origin: OverrideOrigin = FROM_PACKAGE) -> str:
    """Return a text in Hydra's double quotes, inside which `=`, `,` and spaces have no special meaning.

    Only backslashes directly before a quote are doubled (Hydra's override grammar, "Quoted values").

    Raises:
        RtcError: with the origin's code: the text holds `${` or a character that cannot be printed.
    """
    if INTERPOLATION in text or not is_printable(text):
        raise origin.refusal(
            f"{origin.subject} holds a name or value that sleap-nn would not read as it stands. Change it."
        )
    return '"' + '\\"'.join(map(_double_last_backslashes, text.split('"'))) + '"'


def _double_last_backslashes(text: str) -> str:
    """Return a text with each backslash at its end twice. A regular expression would take quadratic time for this."""
    return text + "\\" * (len(text) - len(text.rstrip("\\")))


def leaves_folder(path: str) -> bool:
    """Return True when a path could lead out of the folder that it is relative to, on Linux, macOS or Windows.

    That is an absolute path, a drive letter, `~`, or any `..`.
    """
    parts = path.replace("\\", "/").split("/")
    return (parts[0] == "" and len(parts) > 1) or ".." in parts or path[1:2] == ":" or path.startswith("~")
