"""The one way YAML from elsewhere is read: what it holds, or a refusal, and nothing else."""

from typing import Any

import yaml

from rtc.packages.zip_reader import bad

_FOREIGN = (
    yaml.YAMLError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    RecursionError,
    OverflowError,
)
"""What PyYAML raises on hostile texts: its constructors trust a tag, so `!!bool maybe` is a KeyError, `!!int ''` an
IndexError, `!!timestamp foo` an AttributeError."""
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Without merge keys (`<<`): twelve lines of them, each ten times the one before, unfold to a full memory."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge keys would be unfolded here; no package of SLEAP holds one."""
        if any(key.tag == _MERGE for key, _ in node.value):
            raise yaml.constructor.ConstructorError(problem="merge keys are not taken", problem_mark=node.start_mark)


def safe_yaml(name: str, text: str) -> Any:
    """What a YAML text of a package holds; `name` is how people know it.

    Raises:
        RtcError: BAD_PACKAGE: it cannot be read.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader, and one that does less
    except _FOREIGN:
        raise bad(f"{name} cannot be read: it is no valid YAML. Export it again.") from None
