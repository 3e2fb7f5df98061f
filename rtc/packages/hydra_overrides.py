"""Hydra overrides: which ones may be asked for, and how a value is written so that Hydra reads it as it is."""

import re
from collections.abc import Iterable

from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError

_SHAPE = re.compile(r"\+{0,2}((?:trainer_config|data_config|model_config)(?:\.[A-Za-z_]\w*)+)=(.*)", re.DOTALL)
_NEXT = re.compile(r"(?=\+{0,2}(?:trainer_config|data_config|model_config)\.[a-z_])")
_OURS = re.compile(r"trainer_config\.(zmq(\..*)?|ckpt_dir|run_name|save_ckpt|trainer_devices|trainer_accelerator)")
"""Settings the worker chooses for itself."""
_PLAIN = re.compile(r"[A-Za-z0-9_.+/-]*")
"""Values Hydra reads as they are: numbers, words, null."""
_LIST = re.compile(r"\[[A-Za-z0-9_.,+/ '\"=-]*\]")
LABELS_KEY = "data_config.train_labels_path"
EPOCHS_KEY = "trainer_config.max_epochs"


@frozen
class Origin:
    """Who asks for a setting: how a sentence about it begins, and what kind of mistake it is."""

    who: str
    code: FaultCode = FaultCode.BAD_PACKAGE
    lenient: bool = True
    """Settings that the worker chooses itself are passed over; a person who typed one is told."""

    def refusal(self, text: str) -> RtcError:
        """The refusal of one setting."""
        return RtcError(self.code, text)


PACKAGE = Origin("The package")
SCRIPT = Origin("The script train-script.sh")
JOBS = Origin("The package's jobs.yaml")
TYPED = Origin("The override", FaultCode.USAGE, lenient=False)


@frozen
class Override:
    """One setting changed for this run."""

    key: str
    value: str
    """In Hydra's own writing."""

    def texts(self) -> tuple[str, ...]:
        """The value as a list of texts, for settings that are paths."""
        bare = self.value.removeprefix("[").removesuffix("]")
        return tuple(text for part in bare.split(",") if (text := part.strip().strip("'\"")) and text != "null")

    def __str__(self) -> str:
        return f"++{self.key}={self.value}"  # `++` adds or replaces; without it Hydra refuses keys the file lacks


def is_override(word: str) -> bool:
    """True for `key.key=value` with one to no pluses before it."""
    return _SHAPE.fullmatch(word) is not None


def split_run_together(word: str) -> list[str]:
    """SLEAP 1.5.0 forgot the spaces: `trainer_config.a=1trainer_config.b=2` are two."""
    return [piece for piece in _NEXT.split(word) if piece.strip("+")]


def read_override(word: str, origin: Origin = SCRIPT) -> Override | None:
    """One override; None when it is a setting the worker chooses itself.

    Raises:
        RtcError: with the origin's code: it is no override, reads the worker's environment, or leaves the package.
    """
    found = _SHAPE.fullmatch(word)
    if found is None:
        raise origin.refusal(_not_understood(word, origin))
    key, value = found[1], found[2]
    if "${" in value:
        raise origin.refusal(f"{origin.who} fills in {key} from the worker's surroundings, which is not allowed.")
    if _OURS.fullmatch(key):
        if origin.lenient:
            return None
        raise origin.refusal(f"{key} is chosen by the worker. Leave it out.")
    bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    if any(leaves(part) for part in re.split(r"[\s,'\"\[\]{}=]+", bare)):
        raise origin.refusal(f"{origin.who} sets {key} to a place outside the package. Use relative paths.")
    if _LIST.fullmatch(value) or (_PLAIN.fullmatch(value) and bare == value):
        return Override(key, value)
    return Override(key, quote(bare, origin))


def _not_understood(word: str, origin: Origin) -> str:
    if origin.lenient:
        return f"{origin.who} changes a setting in a way that is not understood."
    shown = "".join(char for char in word.partition("=")[0] if char.isprintable())[:60]  # a value may be a secret
    return (
        f"The override {shown!r} is not understood. Write it as trainer_config.max_epochs=5; "
        "overrides begin with trainer_config, data_config or model_config."
    )


def read_overrides(words: Iterable[str], origin: Origin) -> tuple[Override, ...]:
    """All overrides that are not the worker's own choice. Raises as `read_override` does."""
    read = (read_override(word, origin) for word in words)
    return tuple(override for override in read if override is not None)


def newest(overrides: Iterable[Override]) -> tuple[Override, ...]:
    """Each setting once, as it was said last."""
    by_key: dict[str, Override] = {}
    for override in overrides:
        by_key.pop(override.key, None)
        by_key[override.key] = override
    return tuple(by_key.values())


def quote(text: str, origin: Origin = PACKAGE) -> str:
    """A text in Hydra's double quotes, where `=`, `,` and spaces mean nothing.

    Only backslashes that stand before a quote need doubling (Hydra's override grammar, "Quoted values").

    Raises:
        RtcError: with the origin's code: the text cannot be quoted.
    """
    if "${" in text or not text.isprintable():
        raise origin.refusal(
            f"{origin.who} holds a name or value that sleap-nn would not read as it stands. Change it."
        )
    safe = re.sub(r'(\\*)"', r'\1\1\\"', text)
    return '"' + re.sub(r"(\\+)$", r"\1\1", safe) + '"'


def leaves(path: str) -> bool:
    """True when a path could lead out of the folder it is read in, on any system."""
    parts = path.replace("\\", "/").split("/")
    return (parts[0] == "" and len(parts) > 1) or ".." in parts or path[1:2] == ":" or path.startswith("~")
