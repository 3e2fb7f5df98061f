"""Checks the types of what a program hands to the API, before anything is done with it.

Rule: an argument of a wrong type is a `UsageError` that names it. It must not get as far as the tasks of a room, where
it would end the room and everything that is followed there.
"""

import numbers
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rtc.api.errors import usage_error


def check_texts(**arguments: object) -> None:
    """Check that each argument is a text, or None.

    Raises:
        UsageError: one is something else.
    """
    for name, value in arguments.items():
        if value is not None and not isinstance(value, str):
            raise _wrong(name, "a text", value)


def path_of(name: str, value: object) -> Path | None:
    """Return a path that was given as text or as a path; None stays None.

    Raises:
        UsageError: it is something else.
    """
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise _wrong(name, "a path", value)
    return Path(path)


def paths_of(name: str, value: object) -> tuple[Path, ...]:
    """Return the paths of a list.

    Raises:
        UsageError: it is no list, or something in it is no path.
    """
    if isinstance(value, str | os.PathLike):
        raise usage_error(f"{name}=… takes a list of paths, also for a single one: {name}=[…].")
    found = tuple(path_of(name, each) for each in _items(name, "a list of paths", value))
    return tuple(path for path in found if path is not None)


def texts_of(name: str, value: object) -> tuple[str, ...]:
    """Return the texts of a list; a single text may be given without a list.

    Raises:
        UsageError: it is no list, or something in it is no text.
    """
    if isinstance(value, str):
        return (value,)
    found = _items(name, "a list of texts", value)
    if any(not isinstance(each, str) for each in found):
        raise usage_error(f"{name}=… is a list of texts, and something else is in it.")
    return found


def whole_number_of(name: str, value: object) -> int:
    """Return a number of 0 or more without a fraction; one of NumPy is one, too.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise _wrong(name, "a whole number", value)
    number = operator.index(value)
    if number < 0:
        raise usage_error(f"{name}=… is a whole number of 0 or more, and not {number}.")
    return number


def seconds_of(name: str, value: object) -> float | None:
    """Return a number of seconds of 0 or more; None stays None.

    Raises:
        UsageError: it is none.
    """
    if value is None:
        return None
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise _wrong(name, "a number of seconds", value)
    seconds = float(value)
    if not seconds >= 0:  # NaN is not, either
        raise usage_error(f"{name}=… is a number of seconds of 0 or more, and not {seconds:g}.")
    return seconds


def _items(name: str, what: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, Iterable) or isinstance(value, bytes | dict):
        raise _wrong(name, what, value)
    return tuple(value)


def _wrong(name: str, what: str, value: object) -> Exception:
    return usage_error(f"{name}=… is {what}, and not of the type {type(value).__name__}.")
