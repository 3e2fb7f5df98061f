"""The option `--gpus` of the commands that look for a worker.

`--help` imports this module, so it imports nothing that takes long.
"""

from collections.abc import Callable
from typing import Any

import click

GPUS_MAX = 64
"""As in `protocol.status`."""


def gpus_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option, with this text in `--help`."""
    return click.option("--gpus", type=click.IntRange(1, GPUS_MAX), metavar="N", help=text)
