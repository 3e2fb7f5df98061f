"""Reads `train-script.sh` without ever running it: the training lines of every SLEAP version, and nothing else.

SLEAP 1.3 to 1.6 spell the same wish in six ways, 1.5.0 even wrongly. What is certain is kept; a line that is neither a
training line nor known to be harmless refuses the script, since leaving it out might change what is trained.
"""

import re
import shlex

from attrs import frozen

from rtc.common.errors import RtcError
from rtc.packages.hydra_overrides import LABELS_KEY, SCRIPT, Override, is_override, read_overrides, split_run_together
from rtc.packages.zip_reader import bad

LEGACY_FLAGS = frozenset({"--tensorboard", "--save_viz", "--keep_viz", "--zmq", "--cpu", "--first-gpu", "--last-gpu"})
LEGACY_VALUES = frozenset(
    {"--video-paths", "--val_labels", "--test_labels", "--base_checkpoint", "--publish_port", "--controller_port"}
    | {"--run_name", "--prefix", "--suffix", "--gpu"}
)
"""Options of SLEAP ≤ 1.4's `sleap-train`; the worker decides all of these itself, or the configuration does."""

_HARMLESS = frozenset(
    {"echo", "printf", "set", "exit", "true", ":", "date", "pwd", "sleep", "wait", "export", "unset", "nvidia-smi"}
    | {"conda", "mamba", "micromamba", "module", "source", "."}
)
"""Commands that cannot change what is trained here, because we run none of them."""
_PREDICTS = frozenset({"track", "predict", "infer"})
_MODULES = {
    "sleap.cli": "sleap",
    "sleap_nn.cli": "sleap-nn",
    "sleap.nn.training": "sleap-train",
    "sleap.nn.inference": "sleap-track",
}
_OPERATORS = frozenset("();<>|&")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*")


@frozen
class TrainLine:
    """One training line: which configuration, on which labels, changed how."""

    config: str
    labels: tuple[str, ...] = ()
    """Empty when the configuration names them."""
    overrides: tuple[Override, ...] = ()


def read_script(text: str) -> tuple[TrainLine, ...]:
    """The training lines of a script, in order.

    Raises:
        RtcError: BAD_PACKAGE: a line is neither a training line nor harmless, or asks for something not allowed.
    """
    joined = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\\\n", " ")
    lines = []
    for line in joined.split("\n"):
        for command in _commands(line):
            found = _read_command(command)
            if found is not None:
                lines.append(found)
    return tuple(lines)


def _commands(line: str) -> list[list[str]]:
    """The words of each command of a line; `;` and `&&` part them."""
    if not line.strip() or line.lstrip().startswith("#") or _goes_home(line):
        return []
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""  # shlex would cut names like `fly#1.slp`; a shell only cuts at a word's start
    commands: list[list[str]] = [[]]
    try:
        for word in lexer:
            if word.startswith("#"):
                break
            if word in (";", "&&"):
                commands.append([])
            else:
                commands[-1].append(word)
    except ValueError:
        raise _refused(line) from None
    return [command for command in commands if command]


def _goes_home(line: str) -> bool:
    """`cd "$(dirname "$0")"`: into the script's own folder, where the job runs anyway."""
    return re.fullmatch(r"\s*cd\s+(\.|[\"']*\$[({].*(dirname|BASH_SOURCE).*)\s*", line) is not None and ";" not in line


def _refused(line: str) -> RtcError:
    """The refusal; it shows the line's first word only, since a whole line may hold a key or a path."""
    first = re.split(r"[/\\]", (line.split() or [""])[0])[-1][:40]
    shown = "".join(char for char in first if char.isprintable())
    return bad(f"The script train-script.sh has a line that is no plain training line; it begins with {shown!r}.")


def _read_command(words: list[str]) -> TrainLine | None:
    """One command: a training line, or None when it may be left out."""
    whole = " ".join(words)
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]  # VAR=value before a command
    if not words:
        return None
    program, rest = _program(words)
    if program in _HARMLESS or program in ("sleap-track", "sleap-nn-track", "sleap-nn-predict", "sleap-inference"):
        return None
    if program in ("sleap", "sleap-nn") and rest[:1] and rest[0] in _PREDICTS:
        return None
    if any(set(word) <= _OPERATORS for word in rest) or any("$" in word or "`" in word for word in rest):
        raise _refused(whole)
    if program == "sleap-train":
        return _legacy_line(rest)
    if program == "sleap-nn-train":
        return _hydra_line(rest)
    if program in ("sleap", "sleap-nn") and rest[:1] == ["train"]:
        return _hydra_line(rest[1:])
    raise _refused(whole)


def _program(words: list[str]) -> tuple[str, list[str]]:
    """The program a command starts, by its bare name, and the words after it."""
    name = re.split(r"[/\\]", words[0])[-1].removesuffix(".exe")
    if name == "uv" and words[1:2] == ["run"]:
        return _program(words[2:]) if words[2:] else (name, [])
    if re.fullmatch(r"python[\d.]*", name) and words[1:2] == ["-m"] and words[2:3]:
        return _MODULES.get(words[2], words[2]), words[3:]
    return name, words[1:]


def _legacy_line(words: list[str]) -> TrainLine:
    """`sleap-train config.json labels.pkg.slp [options]`, of SLEAP ≤ 1.4."""
    given: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        name, equals, _ = word.partition("=")
        if not word.startswith("-"):
            given.append(word)
        elif name in LEGACY_VALUES and not equals and queue:
            queue.pop(0)
        elif name not in LEGACY_VALUES | LEGACY_FLAGS:
            raise _refused(f"sleap-train {' '.join(words)}")
    if not 1 <= len(given) <= 2:
        raise _refused(f"sleap-train {' '.join(words)}")
    return TrainLine(given[0], tuple(given[1:]))


def _hydra_line(words: list[str]) -> TrainLine:
    """`… train --config-name X --config-dir D [overrides]`, `… train --config X`, or `… train X`."""
    config: str | None = None
    folder = "."
    raw: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--config", "--config-name", "-c", "--config-dir", "-d"):
            value = value if equals else queue.pop(0) if queue else ""
            if name in ("--config-dir", "-d"):
                if is_override(value):
                    raw.append(value)  # SLEAP 1.5.0 left the folder empty, so the next word slipped in
                else:
                    folder = value or "."
            else:
                config = value
        elif is_override(word):
            raw.append(word)
        elif config is None and not word.startswith("-"):
            config = word
        else:
            raise _refused(f"train {' '.join(words)}")
    if not config:
        raise bad("A training line of train-script.sh names no configuration.")
    whole = config if folder == "." else f"{folder.rstrip('/')}/{config}"
    pieces = [piece for word in raw for piece in split_run_together(word)]
    kept = read_overrides(pieces, SCRIPT)
    labels = tuple(path for override in kept if override.key == LABELS_KEY for path in override.texts())
    return TrainLine(whole, labels, kept)
