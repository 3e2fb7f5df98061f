"""Read values from the JSON that sleap-nn prints and publishes, without trusting it."""

import json
import math
from typing import Any

WHOLE_MAX = 2**53
"""Whole numbers from here on are invalid: every JSON reader must keep an event's numbers exact (RFC 8259 section 6)."""


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return a JSON object, or an empty one if `raw` is anything else."""
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def whole_number(value: object) -> int | None:
    """Return a whole number from 0 to `WHOLE_MAX`, that one excluded, or None if `value` is anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < WHOLE_MAX else None


def finite_number(value: object) -> float | None:
    """Return a finite number, or None if `value` is anything else.

    sleap-nn also sends `Infinity` and `NaN`, which JSON does not have (RFC 8259 section 6).
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number larger than every float
        return None
