"""Read values from the JSON that sleap-nn prints and publishes, without trusting it."""

import json
from typing import Any

from protocol.fields import COUNT_MAX, Number


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return a JSON object, or an empty one if `raw` is anything else."""
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def whole_number(value: object) -> int | None:
    """Return a whole number from 0 to `COUNT_MAX`, that one excluded, or None if `value` is anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < COUNT_MAX else None


def number_within(limits: Number, value: object) -> float | None:
    """Return a number that a message's field with these limits can have, or None if `value` is anything else.

    sleap-nn also sends `Infinity` and `NaN`, which JSON does not have (RFC 8259 section 6).
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if limits.holds(value) else None
