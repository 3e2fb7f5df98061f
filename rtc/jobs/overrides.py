"""Hydra overrides: which ones a package may ask for, and how a value is written so that Hydra reads it as it is."""

import re

from attrs import frozen

from rtc.jobs.archive import bad

_SHAPE = re.compile(r"\+{0,2}((?:trainer_config|data_config|model_config)(?:\.[A-Za-z_]\w*)+)=(.*)", re.DOTALL)
_NEXT = re.compile(r"(?=\+{0,2}(?:trainer_config|data_config|model_config)\.[a-z_])")
_OURS = re.compile(r"trainer_config\.(zmq(\..*)?|ckpt_dir|run_name|save_ckpt|trainer_devices|trainer_accelerator)")
"""Settings the worker chooses for itself."""
_PLAIN = re.compile(r"[A-Za-z0-9_.+/-]*")
"""Values Hydra reads as they are: numbers, words, null."""
_LIST = re.compile(r"\[[A-Za-z0-9_.,+/ '\"=-]*\]")


@frozen
class Override:
    """One setting changed for this run."""

    key: str
    value: str
    """In Hydra's own writing."""

    def texts(self) -> tuple[str, ...]:
        """The value as a list of texts, for settings that are paths."""
        bare = self.value.removeprefix("[").removesuffix("]")
        return tuple(text for part in bare.split(",") if (text := part.strip().strip("'\"")))

    def __str__(self) -> str:
        return f"++{self.key}={self.value}"  # `++` adds or replaces; without it Hydra refuses keys the file lacks


def is_override(word: str) -> bool:
    """True for `key.key=value` with one to no pluses before it."""
    return _SHAPE.fullmatch(word) is not None


def split_run_together(word: str) -> list[str]:
    """SLEAP 1.5.0 forgot the spaces: `trainer_config.a=1trainer_config.b=2` are two."""
    return [piece for piece in _NEXT.split(word) if piece.strip("+")]


def read_override(word: str) -> Override | None:
    """One override; None when it is a setting the worker chooses itself.

    Raises:
        RtcError: BAD_PACKAGE: it is no override, reads the worker's environment, or leaves the package.
    """
    found = _SHAPE.fullmatch(word)
    if found is None:
        raise bad("The script train-script.sh changes a setting in a way that is not understood.")
    key, value = found[1], found[2]
    if "${" in value:
        raise bad(f"The script train-script.sh fills in {key} from the worker's surroundings, which is not allowed.")
    if _OURS.fullmatch(key):
        return None
    bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    if any(leaves(part) for part in re.split(r"[\s,'\"\[\]{}=]+", bare)):
        raise bad(f"The script train-script.sh sets {key} to a place outside the package. Use relative paths.")
    if _LIST.fullmatch(value) or (_PLAIN.fullmatch(value) and bare == value):
        return Override(key, value)
    return Override(key, quote(bare))


def quote(text: str) -> str:
    """A text in Hydra's double quotes, where `=`, `,` and spaces mean nothing.

    Only backslashes that stand before a quote need doubling (Hydra's override grammar, "Quoted values").

    Raises:
        RtcError: BAD_PACKAGE: the text cannot be quoted.
    """
    if "${" in text or not text.isprintable():
        raise bad("The package holds a name that sleap-nn would not read as it stands. Rename it.")
    safe = re.sub(r'(\\*)"', r'\1\1\\"', text)
    return '"' + re.sub(r"(\\+)$", r"\1\1", safe) + '"'


def leaves(path: str) -> bool:
    """True when a path could lead out of the folder it is read in, on any system."""
    parts = path.replace("\\", "/").split("/")
    return (parts[0] == "" and len(parts) > 1) or ".." in parts or path[1:2] == ":" or path.startswith("~")
