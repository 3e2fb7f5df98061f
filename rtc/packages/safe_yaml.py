"""The only reader of YAML from packages: it returns the parsed content or raises an RtcError, nothing else."""

from typing import Any

import yaml

from rtc.packages.zip_reader import bad_package

_PYYAML_ERRORS = (
    yaml.YAMLError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    TypeError,
    RecursionError,
    OverflowError,
)
"""What PyYAML raises on hostile texts. Its constructors trust a tag, so `!!bool maybe` is a KeyError, `!!int ''` an
IndexError, and `!!timestamp foo` an AttributeError."""
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """A SafeLoader without merge keys (`<<`).

    Twelve lines of merge keys, each of which merges the one before ten times, expand until the memory is full.
    """

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse merge keys, which the base class would expand here; no package of SLEAP has one."""
        if any(key.tag == _MERGE for key, _ in node.value):
            raise yaml.constructor.ConstructorError(problem="merge keys are not taken", problem_mark=node.start_mark)


def safe_yaml(name: str, text: str) -> Any:
    """Parse a YAML text of a package; `name` names the text in the error.

    Raises:
        RtcError: BAD_PACKAGE: the text is no valid YAML, or uses merge keys.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a subclass of SafeLoader that does less
    except _PYYAML_ERRORS:
        raise bad_package(f"{name} cannot be read: it is no valid YAML. Export it again.") from None
