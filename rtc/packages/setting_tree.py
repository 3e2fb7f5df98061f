"""Checks of parsed YAML and JSON from packages: the size and the kinds of values, and what OmegaConf would fill in.

The values are checked, not the text: `"\\x24{oc.env:HOME}"` is the same value as `${oc.env:HOME}`.
"""

from collections.abc import Iterator
from typing import Any

from rtc.common.errors import RtcError
from rtc.packages.foreign_errors import bad_package

NODES_MAX = 50_000
"""Maximum number of keys, values and lists in one YAML file, for which PyYAML takes seconds; a configuration of
sleap-nn has 500."""
JSON_NODES_MAX = 500_000
"""The same of JSON, which is read faster: SLEAP 1.4 and older list every labelled frame in it."""
DEPTH_MAX = 64
"""Maximum depth of lists in lists; a configuration of sleap-nn has 7 levels."""
CHARACTERS_MAX = 2 * 2**20
"""Maximum number of characters in all texts of one file, those that are used several times counted so often."""
INTEGER_MAX = 2**64
"""Absolute values of whole numbers are less than this; longer ones take long to write."""
INTERPOLATION = "${"
"""The beginning of an OmegaConf interpolation, such as `${oc.env:HOME}`, which reads the worker's environment."""
_INSTRUCTIONS = frozenset({"_target_", "_args_", "_partial_", "_recursive_", "_convert_", "_call_", "_mode_"})
"""Keys with which Hydra (`hydra.utils.instantiate`) calls any function; sleap-nn has no settings of these names."""


def too_large(name: str) -> RtcError:
    """Return the error for a file with too many values, or more than `DEPTH_MAX` lists in lists."""
    return bad_package(f"{name} holds too many values, or too many lists in lists. Export it again.")


def check_integer(name: str, number: int) -> None:
    """Check the size of a whole number; `name` names the file in the error.

    Raises:
        RtcError: BAD_PACKAGE: it is too large.
    """
    if abs(number) >= INTEGER_MAX:
        raise bad_package(f"{name} holds a number that is too large. Export it again.")


def check_tree(name: str, tree: Any, max_nodes: int = NODES_MAX) -> None:
    """Check every key and every value of a parsed file; `name` names the file in the error.

    Raises:
        RtcError: BAD_PACKAGE: it is too large or too deep, or holds an interpolation, a value of another kind than YAML
            and JSON have in common, or a text that cannot be written to a file.
    """
    characters = 0
    for count, (depth, value) in enumerate(_walk(tree), 1):
        characters += len(value) if isinstance(value, str) else 0
        if count > max_nodes or depth > DEPTH_MAX or characters > CHARACTERS_MAX:
            raise too_large(name)
        if isinstance(value, str):
            _check_text(name, value)
        elif isinstance(value, int):
            check_integer(name, value)
        elif isinstance(value, dict):
            _check_keys(name, value)
        elif not (value is None or isinstance(value, int | float | list)):
            raise bad_package(f"{name} holds a kind of value that is not taken. Export it again.")


def holds_interpolation(tree: Any) -> bool:
    """Return whether a key or value in a tree holds an interpolation."""
    return any(isinstance(value, str) and INTERPOLATION in value for _, value in _walk(tree))


def _walk(tree: Any) -> Iterator[tuple[int, Any]]:
    """Yield every value and key of a tree with its depth, without recursion; a part that is used twice comes twice."""
    waiting = [(1, tree)]
    while waiting:
        depth, value = waiting.pop()
        yield depth, value
        if isinstance(value, dict):
            waiting += [(depth + 1, part) for pair in value.items() for part in pair]
        elif isinstance(value, list):
            waiting += [(depth + 1, item) for item in value]


def _check_text(name: str, text: str) -> None:
    if INTERPOLATION in text:
        raise bad_package(
            f"{name} fills in values from the worker's environment (it holds '${{'), which is not allowed."
        )
    if "\0" in text or not _is_unicode(text):
        raise bad_package(f"{name} holds a text with characters that no file can have. Export it again.")


def _is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8, which half a surrogate pair (`\\ud800`) cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_keys(name: str, mapping: dict[Any, Any]) -> None:
    for key in mapping:
        if key is None or isinstance(key, tuple | bytes):
            raise bad_package(f"{name} holds a setting without a name. Export it again.")
        if key in _INSTRUCTIONS:
            raise bad_package(f"{name} holds {key}, which would run other code than a training. Take it out.")
