"""Parser of `inference-script.sh`, which is never executed. SLEAP writes some options only there, not in jobs.yaml.

SLEAP writes the lines without quotes, so a path with spaces becomes several words. A word that belongs to no option is
taken as the data; only the first such word counts.
"""

import shlex
from collections import deque
from collections.abc import Iterator

from attrs import field, frozen

from rtc.packages.predict_options import BY_NAME, OptionKind
from rtc.packages.worker_settings import WORKER_FLAGS, WORKER_OPTIONS

_PROGRAMS = frozenset({"sleap-track", "sleap-nn-track", "sleap-nn-predict", "sleap-inference"})
_SUBCOMMANDS = frozenset({"track", "predict", "infer"})
_SHORT_OPTIONS = {
    "-i": "data_path",
    "-m": "model_paths",
    "-o": "output_path",
    "-b": "batch_size",
    "-n": "max_instances",
    "-d": "device",
}
_LONG_ALIASES = {"model": "model_paths", "models": "model_paths", "output": "output_path"}
_LINES_MAX = 1000
_LINE_MAX = 2**16
"""Characters of the longest line that is read; `shlex` takes quadratic time for a long word."""


@frozen
class PredictLine:
    """One line of the script that runs a prediction."""

    data: str = ""
    models: tuple[str, ...] = ()
    output: str = ""
    options: dict[str, object] = field(factory=dict)
    """Values as written, by sleap-nn's option names; not checked."""
    tracking: dict[str, object] = field(factory=dict)
    """The `--tracking.…` options of SLEAP 1.4 and older, by SLEAP's names."""
    left_out: dict[str, str] = field(factory=dict)
    """Options that the worker chooses itself, with their values."""


def read_inference_script(text: str) -> tuple[PredictLine, ...]:
    """Return the lines of a script that run a prediction, in order; all other lines are ignored."""
    joined = text.replace("\r\n", "\n").replace("\\\n", " ")
    commands = (_split_words(line) for line in joined.split("\n")[:_LINES_MAX])
    return tuple(_parse_arguments(words) for command in commands if (words := _predict_arguments(command)) is not None)


def _split_words(line: str) -> list[str]:
    if len(line) > _LINE_MAX:
        return []
    try:
        return shlex.split(line, comments=line.lstrip().startswith("#"))
    except ValueError:  # a lone quote, as in `it's.mp4`
        return line.split()


def _predict_arguments(words: list[str]) -> list[str] | None:
    """Return the arguments of a command that runs a prediction; None for any other command."""
    first = next((index for index, word in enumerate(words) if not _comes_before_program(word)), len(words))
    words = words[first:]
    if not words:
        return None
    program = words[0].replace("\\", "/").split("/")[-1].removesuffix(".exe")
    if program in _PROGRAMS or program == "sleap.nn.inference":
        return words[1:]
    if program in ("sleap", "sleap-nn", "sleap.cli", "sleap_nn.cli") and words[1:2] and words[1] in _SUBCOMMANDS:
        return words[2:]
    return None


def _comes_before_program(word: str) -> bool:
    return "=" in word or word in ("uv", "run", "-m") or word.startswith("python")


def _parse_arguments(words: list[str]) -> PredictLine:
    """Parse the arguments of a command that runs a prediction; unknown options are ignored."""
    models: list[str] = []
    paths: dict[str, str] = {}
    options: dict[str, object] = {}
    tracking: dict[str, object] = {}
    left_out: dict[str, str] = {}
    for name, value in _split_options(words):
        if name == "model_paths":
            models.append(value)
        elif name in ("data_path", "output_path"):
            paths.setdefault(name, value)
        elif name.startswith("tracking."):
            tracking[name] = _parse_repr(value)
        elif name in BY_NAME:
            options[name] = value
        elif name in WORKER_OPTIONS:
            left_out[name] = value
    data, output = paths.get("data_path", ""), paths.get("output_path", "")
    return PredictLine(data, tuple(models), output, options, tracking, left_out)


def _split_options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each option with its value. A word that belongs to no option is the data, as in `sleap-track DATA`."""
    queue = deque(words)
    while queue:
        word = queue.popleft()
        if not word.startswith("-"):
            yield "data_path", word
            continue
        given, equals, value = word.partition("=")
        name = _option_name(given)
        option = BY_NAME.get(name)
        if name in WORKER_FLAGS or (option is not None and option.kind in (OptionKind.FLAG, OptionKind.SWITCH)):
            yield name, "true"
        elif name.startswith("no_") and name.removeprefix("no_") in BY_NAME:
            yield name.removeprefix("no_"), "false"
        elif name != "gui":
            follows = bool(queue) and (not queue[0].startswith("-") or queue[0][1:2].isdigit())
            yield name, value if equals else queue.popleft() if follows else ""


def _option_name(given: str) -> str:
    """Return sleap-nn's name, with underscores, of an option as it is written: `--max-tracks`, `-o`."""
    if given == "-t":
        return "tracking"
    if given in _SHORT_OPTIONS:
        return _SHORT_OPTIONS[given]
    name = given.lstrip("-").replace("-", "_")
    name = name if name.startswith("tracking.") else name.replace(".", "_")
    return _LONG_ALIASES.get(name, name)


def _parse_repr(text: str) -> object:
    """Return the value of a tracking setting: SLEAP 1.4 and older writes them as Python's `repr` does."""
    if text in ("None", "True", "False"):
        return {"None": None, "True": True, "False": False}[text]
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text
