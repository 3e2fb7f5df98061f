"""Reads `inference-script.sh` without ever running it: jobs.yaml loses what only stands there.

SLEAP writes its lines without any quotes, so a path with spaces is in pieces: whatever is not an option is passed over.
"""

import shlex
from collections.abc import Iterator

from attrs import field, frozen

from rtc.packages.predict_options import BY_NAME, OptionKind

_PROGRAMS = frozenset({"sleap-track", "sleap-nn-track", "sleap-nn-predict", "sleap-inference"})
_VERBS = frozenset({"track", "predict", "infer"})
_SHORT = {"-i": "data_path", "-m": "model_paths", "-o": "output_path", "-b": "batch_size", "-n": "max_instances"}
_LONG = {"model": "model_paths", "models": "model_paths", "output": "output_path"}
_LINES_MAX = 1000


@frozen
class PredictLine:
    """One line that predicts."""

    data: str = ""
    models: tuple[str, ...] = ()
    output: str = ""
    options: dict[str, object] = field(factory=dict)
    """By sleap-nn's names, unchecked."""
    tracking: dict[str, object] = field(factory=dict)
    """SLEAP ≤ 1.4's `--tracking.…`, by its own names."""


def read_predict_script(text: str) -> tuple[PredictLine, ...]:
    """Its predicting lines, in order; whatever else stands there is of no account."""
    joined = text.replace("\r\n", "\n").replace("\\\n", " ")
    commands = (_words(line) for line in joined.split("\n")[:_LINES_MAX])
    return tuple(_line(words) for command in commands if (words := _arguments(command)) is not None)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=line.lstrip().startswith("#"))
    except ValueError:  # a lone quote, as in `it's.mp4`
        return line.split()


def _arguments(words: list[str]) -> list[str] | None:
    """The words after a program that predicts; None for another one."""
    while words and ("=" in words[0] or words[0] in ("uv", "run", "-m") or words[0].startswith("python")):
        words = words[1:]
    if not words:
        return None
    program = words[0].replace("\\", "/").split("/")[-1].removesuffix(".exe")
    if program in _PROGRAMS or program == "sleap.nn.inference":
        return words[1:]
    if program in ("sleap", "sleap-nn", "sleap.cli", "sleap_nn.cli") and words[1:2] and words[1] in _VERBS:
        return words[2:]
    return None


def _line(words: list[str]) -> PredictLine:
    models: list[str] = []
    paths: dict[str, str] = {}
    options: dict[str, object] = {}
    tracking: dict[str, object] = {}
    for name, value in _pairs(words):
        if name == "model_paths":
            models.append(value)
        elif name in ("data_path", "output_path"):
            paths.setdefault(name, value)
        elif name.startswith("tracking."):
            tracking[name] = _number(value)
        elif name in BY_NAME:
            options[name] = value
    return PredictLine(paths.get("data_path", ""), tuple(models), paths.get("output_path", ""), options, tracking)


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    """Each option and its value; a word that belongs to none is the data, as `sleap-track` takes it."""
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("-"):
            yield "data_path", word
            continue
        given, equals, value = word.partition("=")
        name = _name(given)
        option = BY_NAME.get(name)
        if option is not None and option.kind in (OptionKind.FLAG, OptionKind.SWITCH):
            yield name, "true"
        elif name.startswith("no_") and name.removeprefix("no_") in BY_NAME:
            yield name.removeprefix("no_"), "false"
        elif name != "gui":
            follows = bool(queue) and (not queue[0].startswith("-") or queue[0][1:2].isdigit())
            yield name, value if equals else queue.pop(0) if follows else ""


def _name(given: str) -> str:
    if given == "-t":
        return "tracking"
    if given in _SHORT:
        return _SHORT[given]
    name = given.lstrip("-").replace("-", "_")
    name = name if name.startswith("tracking.") else name.replace(".", "_")
    return _LONG.get(name, name)


def _number(text: str) -> object:
    """SLEAP ≤ 1.4 writes its settings as Python shows them."""
    if text in ("None", "True", "False"):
        return {"None": None, "True": True, "False": False}[text]
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text
