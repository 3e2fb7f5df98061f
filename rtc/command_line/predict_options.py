"""The command-line options for prediction and tracking, made from the table `rtc.packages.predict_options.OPTIONS`.

`--help` imports this module, so it imports nothing that takes long.
"""

from collections.abc import Callable, Mapping
from typing import Any

import click

from rtc.packages.predict_options import OPTIONS, OptionKind, PredictOption, Value, read_options

Command = Callable[..., int]


def add_predict_options(command: Command) -> Command:
    """Add all options of prediction to a command; `chosen_options` reads their values."""
    for option in reversed(OPTIONS):
        command = _option(option)(command)
    return command


def _option(option: PredictOption) -> Callable[[Command], Command]:
    """Return the click option. Only the table checks values, so options, YAML and scripts get the same error texts."""
    if option.kind is OptionKind.FLAG:
        return click.option(option.flag, option.name, is_flag=True, help=option.help)
    if option.kind is OptionKind.SWITCH:
        off = f"--no-{option.flag.removeprefix('--')}"
        return click.option(f"{option.flag}/{off}", option.name, default=None, help=option.help)
    return click.option(option.flag, option.name, metavar=_metavar(option), help=option.help)


def _metavar(option: PredictOption) -> str:
    names = {OptionKind.INTEGER: "N", OptionKind.FLOAT: "X", OptionKind.TEXT: "TEXT", OptionKind.FRAMES: "FRAMES"}
    return names.get(option.kind) or "|".join(option.choices)


def chosen_options(given: Mapping[str, Any]) -> dict[str, Value]:
    """Return the prediction options that were given among a command's arguments, with checked values.

    Raises:
        RtcError: USAGE: a value is wrong; the text names the option.
    """
    return read_options({option.name: given[option.name] for option in OPTIONS if given.get(option.name) is not None})
