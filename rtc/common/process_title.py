"""Hides tokens and secrets of the command line from other users of this machine, who can list all processes (`ps`).

It is the first thing that the program does. Until then, about a tenth of a second after its start, they can be seen.
"""

import shlex
from collections.abc import Sequence

SECRET_OPTIONS = ("--room-secret", "--token", "--session-string")
"""Options whose value lets its reader into a room. A test compares them with those of all commands."""
JOIN = "join"
"""The command whose arguments let their reader into a room: short codes and session strings."""
JOIN_OPTIONS = ("--name", "--server", "--worker", "--room-id", "--token-file", "--room-secret-file")
"""Its options with a value that may be seen. A test compares them, too."""
MASK = "HIDDEN"
LOOSE_WORDS = "unexpected extra argument"
"""How click's error about such words begins; a test fails when it says it in another way."""


def masked(command: Sequence[str]) -> list[str]:
    """Return a command without the values of `SECRET_OPTIONS`, in both forms: `--token T` and `--token=T`.

    What follows the command `join` and belongs to no option is masked, too.
    """
    shown = [_masked(word, before) for before, word in zip(("", *command), command, strict=False)]
    if JOIN not in command:
        return shown
    end = command.index(JOIN) + 1
    arguments = zip(command[end - 1 :], shown[end:], strict=False)
    return shown[:end] + [_masked_argument(word, before) for before, word in arguments]


def _masked_argument(word: str, before: str) -> str:
    """Return one word after `join`; all of its options but -h have two hyphens, so one alone is part of a code."""
    return word if word.startswith("--") or word == "-h" or before in JOIN_OPTIONS else MASK


def _masked(word: str, before: str) -> str:
    option, equals, _ = word.partition("=")
    if before in SECRET_OPTIONS:
        return MASK
    return f"{option}={MASK}" if equals and option in SECRET_OPTIONS else word


def without_loose_words(text: str, command: Sequence[str]) -> str:
    """Return an error's text without the words that it quotes in parentheses as belonging to no option.

    Only where the command has secrets: then such words are most probably the rest of one that has spaces and no quotes.
    """
    if LOOSE_WORDS not in text or masked(command) == list(command):
        return text
    return f"{text.partition('(')[0].rstrip()}. Put quotes around a text that has spaces."


def hide_secrets_in_title(command: Sequence[str]) -> None:
    """Make the system show this process without the secrets of its command line, if it has any."""
    shown = masked(command)
    if shown != list(command):
        from setproctitle import setproctitle  # only where it is needed: it moves the environment in memory

        setproctitle(shlex.join(shown))
