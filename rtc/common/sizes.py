"""Numbers of bytes and of things as people read them. Not in `rtc.common.text`, as programs that start fast use it."""

_MB = 10**6
_UNITS = ((10**10, 10**9, "GB", 2), (10**7, _MB, "MB", 0), (10**5, _MB, "MB", 1), (0, 10**3, "kB", 1))
"""Rows of: from how many bytes on, bytes per unit, its name, decimals. An MB is 10**6 bytes, as in file managers."""


def size(amount: int, whole: int | None = None) -> str:
    """Return bytes in the unit that suits `whole` (by default the amount itself): `1980 MB`."""
    unit, name, decimals = unit_of(amount if whole is None else whole)
    return f"{amount / unit:.{decimals}f} {name}"


def unit_of(amount: int) -> tuple[int, str, int]:
    """Return the unit that suits a number of bytes: its bytes, its name, and the number of decimals."""
    return next((unit, name, decimals) for minimum, unit, name, decimals in _UNITS if amount >= minimum)


def count(number: int, thing: str) -> str:
    """Return a number with its noun: `1 model`, `2 models`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
