"""Parser of `train-script.sh`, which is never executed. It reads the training lines of every SLEAP version.

SLEAP 1.3 to 1.6 write a training line in six ways, and SLEAP 1.5.0 writes it without some spaces. A line that is
neither a training line nor known to be harmless is an error: to ignore it might change what is trained.
"""

import re
import shlex
from collections import deque

from attrs import frozen

from protocol.jobs import OVERRIDES_MAX
from rtc.common.errors import RtcError
from rtc.packages.foreign_errors import bad_package
from rtc.packages.hydra_overrides import (
    FROM_SCRIPT,
    LABELS_KEY,
    Override,
    is_override,
    left_out_overrides,
    read_overrides,
    split_joined_overrides,
)

LEGACY_FLAGS = frozenset({"--tensorboard", "--save_viz", "--keep_viz", "--zmq", "--cpu", "--first-gpu", "--last-gpu"})
LEGACY_VALUES = frozenset(
    {"--video-paths", "--val_labels", "--test_labels", "--base_checkpoint", "--publish_port", "--controller_port"}
    | {"--run_name", "--prefix", "--suffix", "--gpu"}
)
"""Options of `sleap-train` (SLEAP 1.4 and older) that are ignored: the worker or the configuration decides them."""

_HARMLESS = frozenset(
    {"echo", "printf", "set", "exit", "true", ":", "date", "pwd", "sleep", "wait", "export", "unset", "nvidia-smi"}
    | {"conda", "mamba", "micromamba", "module", "source", "."}
)
"""Commands that are ignored: they cannot change what is trained here, because no command of the script is run."""
_PREDICT_COMMANDS = frozenset({"track", "predict", "infer"})
_MODULES = {
    "sleap.cli": "sleap",
    "sleap_nn.cli": "sleap-nn",
    "sleap.nn.training": "sleap-train",
    "sleap.nn.inference": "sleap-track",
}
LINE_MAX = 2**16
"""Maximum length of a line in characters. SLEAP writes some hundred; `shlex` takes quadratic time for a long word."""
LINES_MAX = 2000
"""Maximum number of lines; SLEAP writes two for each model."""
_OPERATORS = frozenset("();<>|&")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*")


@frozen
class TrainLine:
    """One training line: a configuration, the labels to train on, and overrides."""

    config: str
    labels: tuple[str, ...] = ()
    """Empty when the line names none; then those in the configuration are used."""
    overrides: tuple[Override, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences for people about overrides that are left out."""


def read_train_script(text: str) -> tuple[TrainLine, ...]:
    """Return the training lines of a script, in order.

    Raises:
        RtcError: BAD_PACKAGE: a line is neither a training line nor harmless, or asks for something not allowed.
    """
    joined = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\\\n", " ")
    lines = []
    script_lines = joined.split("\n")
    if len(script_lines) > LINES_MAX:
        raise bad_package(f"The script train-script.sh has more than {LINES_MAX} lines.")
    for line in script_lines:
        for command in _split_commands(line):
            found = _read_command(command)
            if found is not None:
                lines.append(found)
    return tuple(lines)


def _split_commands(line: str) -> list[list[str]]:
    """Return the shell words of each command in a line; `;` and `&&` separate commands."""
    if not line.strip() or line.lstrip().startswith("#") or _enters_script_folder(line):
        return []
    if len(line) > LINE_MAX:
        raise bad_package(f"The script train-script.sh has a line of more than {LINE_MAX} characters.")
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    # shlex would cut names like `fly#1.slp`; in a shell, `#` begins a comment only at the start of a word
    lexer.commenters = ""
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
        raise _refusal(line) from None
    return [command for command in commands if command]


def _enters_script_folder(line: str) -> bool:
    """Return True for `cd "$(dirname "$0")"`, which enters the script's own folder; the job runs there anyway."""
    return re.fullmatch(r"\s*cd\s+(\.|[\"']*\$[({].*(dirname|BASH_SOURCE).*)\s*", line) is not None and ";" not in line


def _refusal(line: str) -> RtcError:
    """Return the error for a line. It shows only the first word, because a whole line may contain a key or a path."""
    first = re.split(r"[/\\]", (line.split() or [""])[0])[-1][:40]
    shown = "".join(char for char in first if char.isprintable())
    return bad_package(
        f"The script train-script.sh has a line that is no plain training line; it begins with {shown!r}."
    )


def _read_command(words: list[str]) -> TrainLine | None:
    """Parse one command: return a training line, or None when the command may be ignored.

    Raises:
        RtcError: BAD_PACKAGE: it is neither.
    """
    whole = " ".join(words)
    first = next((index for index, word in enumerate(words) if not _ASSIGNMENT.fullmatch(word)), len(words))
    words = words[first:]  # without VAR=value before a command
    if not words:
        return None
    program, rest = _split_program(words)
    if program in _HARMLESS or program in ("sleap-track", "sleap-nn-track", "sleap-nn-predict", "sleap-inference"):
        return None
    if program in ("sleap", "sleap-nn") and rest[:1] and rest[0] in _PREDICT_COMMANDS:
        return None
    if any(set(word) <= _OPERATORS for word in rest) or any("$" in word or "`" in word for word in rest):
        raise _refusal(whole)
    if program == "sleap-train":
        return _parse_legacy_arguments(rest)
    if program == "sleap-nn-train":
        return _parse_train_arguments(rest)
    if program in ("sleap", "sleap-nn") and rest[:1] == ["train"]:
        return _parse_train_arguments(rest[1:])
    raise _refusal(whole)


def _split_program(words: list[str]) -> tuple[str, list[str]]:
    """Return the program that a command starts, without its folder, and the words after it.

    `uv run` is skipped, and `python -m MODULE` is replaced by the program of that module.
    """
    start = 0
    while words[start + 1 : start + 2] == ["run"] and start + 2 < len(words) and _program_name(words[start]) == "uv":
        start += 2
    words = words[start:]
    name = _program_name(words[0])
    if re.fullmatch(r"python[\d.]*", name) and words[1:2] == ["-m"] and words[2:3]:
        return _MODULES.get(words[2], words[2]), words[3:]
    return name, words[1:]


def _program_name(word: str) -> str:
    """Return the last part of a program's path, without `.exe`."""
    return re.split(r"[/\\]", word)[-1].removesuffix(".exe")


def _parse_legacy_arguments(words: list[str]) -> TrainLine:
    """Parse the arguments of `sleap-train config.json labels.pkg.slp [options]` (SLEAP 1.4 and older)."""
    positional: list[str] = []
    queue = deque(words)
    while queue:
        word = queue.popleft()
        name, equals, _ = word.partition("=")
        if not word.startswith("-"):
            positional.append(word)
        elif name in LEGACY_VALUES and not equals and queue:
            queue.popleft()
        elif name not in LEGACY_VALUES | LEGACY_FLAGS:
            raise _refusal(f"sleap-train {' '.join(words)}")
    if not 1 <= len(positional) <= 2:
        raise _refusal(f"sleap-train {' '.join(words)}")
    return TrainLine(positional[0], tuple(positional[1:]))


def _parse_train_arguments(words: list[str]) -> TrainLine:
    """Parse the arguments of `train --config-name X --config-dir D [overrides]`, `train --config X` or `train X`."""
    config: str | None = None
    folder = "."
    override_words: list[str] = []
    queue = deque(words)
    while queue:
        word = queue.popleft()
        name, equals, value = word.partition("=")
        if name in ("--config", "--config-name", "-c", "--config-dir", "-d"):
            value = value if equals else queue.popleft() if queue else ""
            if name in ("--config-dir", "-d"):
                if is_override(value):
                    override_words.append(
                        value
                    )  # SLEAP 1.5.0 left the folder empty, so the next word is taken as its value
                else:
                    folder = value or "."
            else:
                config = value
        elif is_override(word):
            override_words.append(word)
        elif config is None and not word.startswith("-"):
            config = word
        else:
            raise _refusal(f"train {' '.join(words)}")
    if not config:
        raise bad_package("A training line of train-script.sh names no configuration.")
    config_path = config if folder == "." else f"{folder.rstrip('/')}/{config}"
    separate_overrides = [piece for word in override_words for piece in split_joined_overrides(word)]
    if len(separate_overrides) > OVERRIDES_MAX:
        raise bad_package(f"A training line of train-script.sh changes more than {OVERRIDES_MAX} settings.")
    overrides = read_overrides(separate_overrides, FROM_SCRIPT)
    labels = tuple(path for override in overrides if override.key == LABELS_KEY for path in override.paths())
    return TrainLine(config_path, labels, overrides, left_out_overrides(separate_overrides, FROM_SCRIPT))
