"""The only reader of YAML and JSON from packages, and the only writer of what is handed to sleap-nn instead of it.

Scalars are read as sleap-nn reads them, with OmegaConf 2.3 (`omegaconf/_utils.py`, `get_yaml_loader`); but there are no
sexagesimal numbers (`1:30`), tags, merge keys and duplicate keys. What is checked is the tree that is returned here.
What sleap-nn gets is the text that is written here from that tree, with every text in quotes, so that sleap-nn reads
the same tree, whatever the rules of its reader are.
"""

import json
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import yaml

from rtc.packages.foreign_errors import bad_package, foreign_errors
from rtc.packages.setting_tree import DEPTH_MAX, JSON_NODES_MAX, NODES_MAX, check_integer, check_tree, too_large

_TAG = "tag:yaml.org,2002:"
_PATH_TAGS = frozenset(f"{_TAG}python/object/apply:pathlib.{kind}" for kind in ("Path", "PosixPath", "WindowsPath"))
"""The tags with which OmegaConf writes paths into `training_config.yaml`; each is read as a text."""
_SCALARS = (
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    (
        "float",
        r"[-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)"
        r"|\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("int", r"[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+", "-+0123456789"),
    ("merge", r"<<", "<"),
    ("null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
)
"""Kinds of plain scalars that are not texts: the tag, the pattern, and the first characters."""


class _Loader(yaml.SafeLoader):
    """A SafeLoader that counts nodes while it composes them, an alias as often as it is used.

    Twelve lines of aliases, each of which names the line before ten times, would otherwise fill the memory.
    """

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - declared so by PyYAML; filled below

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self._name = name
        self._composed = 0
        self._depth = 0
        self._sizes: dict[int, tuple[int, int]] = {}
        """Of each complete node, by its `id`: its nodes and its depth, both with all aliases expanded."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Compose a node, unless the text holds too many, or too deep ones, or one that is inside itself."""
        self._composed += 1
        self._depth += 1
        is_alias = self.check_event(yaml.AliasEvent)
        if self._composed > NODES_MAX or self._depth > DEPTH_MAX:
            raise too_large(self._name)
        node = super().compose_node(parent, index)
        assert node is not None, "PyYAML composes a node for every event that it has checked"
        self._depth -= 1
        if not is_alias:
            self._check_tag(node)
            self._sizes[id(node)] = self._size(node)
        elif id(node) not in self._sizes:  # it is not complete, so it contains itself
            raise too_large(self._name)
        return node

    def _check_tag(self, node: yaml.Node) -> None:
        """Refuse a tag that somebody wrote, except those of paths; PyYAML's own reading gives the same to others."""
        kind = "seq" if isinstance(node, yaml.SequenceNode) else "map"
        implied = f"{_TAG}{kind}" if isinstance(node, yaml.CollectionNode) else None
        if isinstance(node, yaml.SequenceNode) and node.tag in _PATH_TAGS:
            return
        if node.tag != (implied or self._implied_tag(node)):
            raise bad_package(f"{self._name} uses tags of YAML (a '!' before a value), which are not taken.")

    def _implied_tag(self, node: yaml.Node) -> str:
        """Return the tag that a scalar has without a tag of its own."""
        is_plain = node.style is None  # type: ignore[attr-defined]
        tag: str = self.resolve(yaml.ScalarNode, node.value, (is_plain, not is_plain))  # type: ignore[no-untyped-call]
        return tag

    def _size(self, node: yaml.Node) -> tuple[int, int]:
        children = node.value if isinstance(node, yaml.CollectionNode) else ()
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        sizes = [self._sizes[id(child)] for child in children]
        size, depth = 1 + sum(nodes for nodes, _ in sizes), 1 + max((deep for _, deep in sizes), default=0)
        if size > NODES_MAX or depth > DEPTH_MAX:
            raise too_large(self._name)
        return size, depth

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Construct a whole number that is not too large; twenty thousand larger ones as keys may share one hash."""
        number: int = super().construct_yaml_int(node)
        check_integer(self._name, number)
        return number

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse merge keys (`<<`), which the base class would expand here; no package of SLEAP has one."""
        if any(key.tag == f"{_TAG}merge" for key, _ in node.value):
            raise bad_package(f"{self._name} uses merge keys of YAML ('<<'), which are not taken.")

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping, unless two of its keys are equal."""
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise bad_package(f"{self._name} sets something twice, and which one counts is not clear. Export it again.")
        return mapping


def _construct_path(loader: _Loader, node: yaml.SequenceNode) -> str:
    return str(PurePosixPath(*(str(part) for part in loader.construct_sequence(node))))


for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(f"{_TAG}{_tag}", re.compile(f"(?:{_pattern})\\Z"), list(_first))
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_yaml_int)
for _tag in _PATH_TAGS:
    _Loader.add_constructor(_tag, _construct_path)


class _Dumper(yaml.SafeDumper):
    """A SafeDumper that quotes every text and writes no alias."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Return True: a part that occurs twice is written twice."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(f"{_TAG}str", text, style='"')


_Dumper.add_representer(str, _represent_text)


def safe_yaml(name: str, text: str, prepare: Callable[[Any], Any] = lambda tree: tree) -> Any:
    """Parse and check a YAML text of a package.

    Args:
        name: names the text in the error.
        text: the text.
        prepare: takes out of the parsed tree what is not read, before the rest is checked.

    Raises:
        RtcError: BAD_PACKAGE: the text is no valid YAML, uses tags or merge keys, or fails `check_tree`.
    """
    with foreign_errors(f"{name} cannot be read: it is no valid YAML. Export it again.", yaml.YAMLError):
        loader = _Loader(name, text)
        try:
            tree = loader.get_single_data()
        finally:
            loader.dispose()
    tree = prepare(tree)
    check_tree(name, tree)
    return tree


def safe_json(name: str, text: str, prepare: Callable[[Any], Any] = lambda tree: tree) -> Any:
    """Parse and check a JSON text of a package; the arguments are those of `safe_yaml`.

    Raises:
        RtcError: BAD_PACKAGE: the text is no valid JSON, or fails `check_tree`.
    """
    with foreign_errors(f"{name} cannot be read: it is no valid JSON. Export it again."):
        tree = json.loads(text)
    tree = prepare(tree)
    check_tree(name, tree, JSON_NODES_MAX)
    return tree


def yaml_text(tree: Any) -> str:
    """Return a checked tree as YAML. OmegaConf and PyYAML read the same tree from it again."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=float("inf"))
    return text


def readable_yaml(tree: Any) -> str:
    """Return a checked tree as YAML for people, with quotes only where they are needed, unless readers could differ."""
    text: str = yaml.dump(tree, Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text if safe_yaml("a text of ours", text) == tree else yaml_text(tree)


def json_text(tree: Any) -> str:
    """Return a checked tree as JSON, in ASCII."""
    return json.dumps(tree, indent=1)
