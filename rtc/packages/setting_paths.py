"""Reads and changes the parsed content of a configuration by paths of keys, such as `trainer_config.max_epochs`.

No function changes the tree that it is given.
"""

from collections.abc import Mapping
from typing import Any


def get_setting(tree: Any, key: str) -> Any:
    """Return the value at a path of keys; None where there is none."""
    node = tree
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def with_setting(tree: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a copy of the tree with another value at a path of keys; mappings that are missing are made."""
    first, _, rest = key.partition(".")
    inner = tree.get(first)
    return {**tree, first: with_setting(inner if isinstance(inner, Mapping) else {}, rest, value) if rest else value}


def without_setting(tree: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a copy of the tree without the value at a path of keys."""
    first, _, rest = key.partition(".")
    if not rest:
        return {name: value for name, value in tree.items() if name != first}
    inner = tree.get(first)
    return {**tree, first: without_setting(inner, rest)} if isinstance(inner, Mapping) else dict(tree)
