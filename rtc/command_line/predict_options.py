"""The words for predicting and tracking that commands take, made from the one table of them. Imports nothing heavy."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from rtc.packages.predict_options import OPTIONS, OptionKind, PredictOption, Value, read_options

Command = Callable[..., int]


def track_options(command: Command) -> Command:
    """Give a command all options of prediction; what was given is read with `chosen_options`."""
    for option in reversed(OPTIONS):
        command = _option(option)(command)
    return command


def _option(option: PredictOption) -> Callable[[Command], Command]:
    """Values are checked by the table alone, so that flags, YAML and scripts hear the same sentences."""
    if option.kind is OptionKind.FLAG:
        return click.option(option.flag, option.name, is_flag=True, help=option.help)
    if option.kind is OptionKind.SWITCH:
        off = f"--no-{option.flag.removeprefix('--')}"
        return click.option(f"{option.flag}/{off}", option.name, default=None, help=option.help)
    return click.option(option.flag, option.name, metavar=_metavar(option), help=option.help)


def _metavar(option: PredictOption) -> str:
    names = {OptionKind.WHOLE: "N", OptionKind.REAL: "X", OptionKind.TEXT: "TEXT", OptionKind.FRAMES: "FRAMES"}
    return names.get(option.kind) or "|".join(option.choices)


def chosen_options(given: Mapping[str, Any]) -> dict[str, Value]:
    """The options among a command's arguments that somebody gave, checked.

    Raises:
        RtcError: USAGE: a value is wrong; the sentence names the option.
    """
    return read_options({option.name: given[option.name] for option in OPTIONS if given.get(option.name) is not None})
