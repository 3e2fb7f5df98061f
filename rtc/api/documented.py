"""Repeats the description of arguments where `help` is asked for them: for the same function in another form."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T", bound=Callable[..., Any])


def with_arguments_of(other: Callable[..., Any]) -> Callable[[T], T]:
    """Return a decorator that adds the section `Args:` of another function's docstring, before `Raises:`."""
    section = "Args:" + inspect.getdoc(other).partition("Args:")[2].partition("\n\nRaises:")[0]  # type: ignore[union-attr]

    def add(function: T) -> T:
        before, raises, after = (inspect.getdoc(function) or "").partition("Raises:")
        function.__doc__ = f"{before}{section}\n\n{raises}{after}"
        return function

    return add
