"""Hydra overrides (`key=value`): which keys are allowed, and how to quote a value so that Hydra reads it literally."""

import re
from collections.abc import Iterable

from attrs import frozen

from protocol.faults import FaultCode
from protocol.fields import is_printable
from rtc.common.errors import RtcError
from rtc.packages.setting_tree import INTERPOLATION
from rtc.packages.worker_settings import asks_for_much, find_worker_setting, left_out

_OVERRIDE = re.compile(r"\+{0,2}((?:trainer_config|data_config|model_config)(?:\.[A-Za-z_]\w*)+)=(.*)", re.DOTALL)
_OVERRIDE_START = re.compile(r"(?=\+{0,2}(?:trainer_config|data_config|model_config)\.[a-z_])")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.+/-]*")
"""Values that Hydra reads without quotes: numbers, plain words, null."""
_LIST_VALUE = re.compile(r"\[[A-Za-z0-9_.,+/ '\"=-]*\]")
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

    def paths(self) -> tuple[str, ...]:
        """Return the paths in the value, for a setting that holds one path or a list of paths; `null` gives none."""
        bare = self.value.removeprefix("[").removesuffix("]")
        return tuple(text for part in bare.split(",") if (text := part.strip().strip("'\"")) and text != "null")

    @property
    def is_secret(self) -> bool:
        """Whether the value is one that nobody else should read, such as an API key."""
        return is_secret_name(self.key.rpartition(".")[2])

    @property
    def bare(self) -> str:
        """The value without quotes."""
        return self.value.strip("'\"")

    def __str__(self) -> str:
        return f"++{self.key}={self.value}"  # `++` adds or replaces; without it Hydra refuses keys the file lacks


def is_override(text: str) -> bool:
    """Return True for `section.key=value`, with up to two `+` before it."""
    return _OVERRIDE.fullmatch(text) is not None


def split_joined_overrides(text: str) -> list[str]:
    """Split overrides that are joined without spaces, as in `trainer_config.a=1trainer_config.b=2`.

    SLEAP 1.5.0 exported scripts in which the spaces were missing.
    """
    return [piece for piece in _OVERRIDE_START.split(text) if piece.strip("+")]


def read_override(text: str, origin: OverrideOrigin = FROM_SCRIPT) -> Override | None:
    """Parse and check one override; return None for a setting that the worker chooses itself, whatever its value is.

    Raises:
        RtcError: with the origin's code: the text is no override, its value reads the worker's environment (`${…}`),
            or its value is a path outside the package.
    """
    if len(text) > SETTING_MAX:
        raise origin.refusal(f"{origin.subject} has a setting of more than {SETTING_MAX} characters. Shorten it.")
    found = _OVERRIDE.fullmatch(text)
    if found is None:
        raise origin.refusal(_not_understood(text, origin))
    key, value = found[1], found[2]
    if find_worker_setting(key, _bare(value)) is not None:
        return None
    if INTERPOLATION in value:
        raise origin.refusal(f"{origin.subject} fills in {key} from the worker's environment, which is not allowed.")
    bare = _bare(value)
    if any(leaves_folder(part) for part in re.split(r"[\s,'\"\[\]{}=]+", bare)):
        raise origin.refusal(f"{origin.subject} sets {key} to a place outside the package. Use relative paths.")
    if _LIST_VALUE.fullmatch(value) or (_PLAIN_VALUE.fullmatch(value) and bare == value):
        return Override(key, value)
    if re.fullmatch(r"\[[^\[\]{}]*\]", bare):
        return Override(key, f"[{','.join(_quote_item(item, origin) for item in bare[1:-1].split(','))}]")
    return Override(key, quote_for_hydra(bare, origin))


def _quote_item(item: str, origin: OverrideOrigin) -> str:
    """Return one value of a list, in quotes where Hydra would not read it as it stands."""
    text = item.strip()
    return text if _PLAIN_VALUE.fullmatch(text) else quote_for_hydra(text.strip("'\""), origin)


def _bare(value: str) -> str:
    """Return a value without the quotes around it."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def left_out_overrides(texts: Iterable[str], origin: OverrideOrigin) -> tuple[str, ...]:
    """Return a sentence for each override that is left out because the worker chooses the setting itself.

    Programs set some of them in every package, so of those in a package only what asks for certain hardware is named.
    """
    found = (_OVERRIDE.fullmatch(text) for text in texts)
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
    read = (read_override(text, origin) for text in texts)
    return tuple(override for override in read if override is not None)


def split_secrets(texts: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the overrides whose values anybody may read, and the keys of all others, such as an API key."""
    shown, hidden = [], []
    for text in texts:
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
