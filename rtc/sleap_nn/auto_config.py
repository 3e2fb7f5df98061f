"""`sleap-nn config --auto`: its command line, what it prints when it fails, and why it chose what it chose."""

import re
from collections.abc import Sequence
from pathlib import Path

from attrs import field, frozen

from protocol.converter import WireError, from_json
from protocol.fields import SENTENCES_MAX, printable
from rtc.sleap_nn.commands import python_of
from rtc.sleap_nn.output import hide_paths

EXPLAINER = Path(__file__).resolve().parent / "explain_config.py"
"""Program that prints why sleap-nn recommends a pipeline; run by sleap-nn's Python."""
TARGET = "sleap-nn.yaml"
"""The name that sleap-nn is told to write to, in a folder of its own."""
REASON_MAX = 1000
"""Characters of a reason that are shown."""
_USAGE_STATUS = 2
"""The exit status of click for a command, an option or a value that it does not know."""
_TOO_OLD = re.compile(r"No such command|No such option:? *['\"]?--auto|invalid choice: ['\"]?config")
"""What a sleap-nn prints that lacks the command, or its option: by click, with and without a box, and by argparse."""


@frozen
class Recommendation:
    """What sleap-nn recommends, as `explain_config.py` prints it."""

    pipeline: str = field(converter=printable)
    reason: str = field(converter=printable)


def config_command(sleap_nn: Path, labels: str, target: str, pipeline: str | None) -> list[str]:
    """Return the command that writes the configurations for labels.

    Args:
        labels: path of the labels.
        target: path of the configuration; for two models sleap-nn adds `_centroid` and the like to its name.
        pipeline: what the person asked for; None: sleap-nn chooses.
    """
    chosen = [f"--pipeline={pipeline}"] if pipeline is not None else []
    return [str(sleap_nn), "config", _plain_argument(labels), "--auto", "-o", target, *chosen]


def explain_command(sleap_nn: Path, labels: str) -> list[str]:
    """Return the command that prints the recommendation for labels.

    Raises:
        RtcError: USAGE: the Python of sleap-nn is not found.
    """
    # -P: without it, our modules beside the program could be imported in place of others of the same name
    return [str(python_of(sleap_nn)), "-P", str(EXPLAINER), _plain_argument(labels)]


def _plain_argument(path: str) -> str:
    """Return a relative path that is not taken for an option."""
    return f"./{path}" if path.startswith("-") else path


def read_recommendation(line: bytes) -> Recommendation | None:
    """Return the recommendation in a printed line; None when the line holds none."""
    try:
        found: Recommendation = from_json(line, Recommendation, limit=SENTENCES_MAX)
    except WireError:
        return None
    return found if found.reason and len(found.reason) <= REASON_MAX else None


def has_no_config_command(status: int, lines: list[str]) -> bool:
    """Return whether sleap-nn failed because it is too old to have the command `config --auto`."""
    return status == _USAGE_STATUS and any(_TOO_OLD.search(line) for line in lines)


def usage_reason(status: int, lines: list[str]) -> str:
    """Return what click says is wrong with a command, without the box that it draws; empty when it says nothing."""
    if status != _USAGE_STATUS:
        return ""
    boxed = (line.strip().strip("│").strip() for line in lines if line.strip().startswith("│"))
    return hide_paths(" ".join(text for text in boxed if text))


def choice_text(pipeline: str | None, heads: Sequence[str], recommendation: Recommendation | None) -> str:
    """Return the sentences about what sleap-nn has chosen, and why.

    Args:
        pipeline: what the person asked for; None: sleap-nn chose.
        heads: the heads of the models, in the order in which they are trained.
        recommendation: what sleap-nn recommends, if it is known.
    """
    models = ", then ".join(heads)
    if pipeline is not None:
        return f"sleap-nn wrote the configuration for {models}, as you asked with --pipeline {pipeline}."
    reason = "" if recommendation is None else f" Its reason: {recommendation.reason.rstrip('.')}."
    return f"sleap-nn looked at the labels and chose {models}.{reason}"
