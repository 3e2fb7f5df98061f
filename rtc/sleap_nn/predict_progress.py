"""sleap-nn's `predict --gui` says how far it is in lines of JSON; here they become `FramesDone`, thinned."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

from attrs import define, evolve

from protocol.ids import JobId
from protocol.jobs import FramesDone
from rtc.sleap_nn.output import clean_line, hide_paths

EVENTS_PER_SECOND = 4
PASS_INDEX_MAX = 1
"""Predicting is lap 0, tracking lap 1; there is no third."""
_WHOLE_MAX = 2**53
_PROGRESS_LINE = re.compile(rb'\{"(?:n_processed|error)".*\}\s*')


@define
class FrameCounter:
    """Takes the lines of one prediction."""

    job: JobId
    prediction: int
    tracking: bool
    """The frames are gone through twice, and the counter falls back between."""
    emit: Callable[[FramesDone], None]
    predicted: int | None = None
    """Frames of the first lap; None until sleap-nn tells."""
    failure: str = ""
    """What sleap-nn says went wrong."""
    _last: FramesDone | None = None
    _held_back: bool = False
    _next_emit: float = -math.inf

    def handle_line(self, raw: bytes, now: float) -> bool:
        """Take one printed line; False when it is none of these and belongs into the log. `now` in seconds."""
        found = _PROGRESS_LINE.fullmatch(raw)
        message = _parse(raw) if found else {}
        if message.get("error") is True:
            self.failure = _failure(message)
            return True
        done = _whole_number(message.get("n_processed"))
        if done is None:
            return False
        self._add(FramesDone(self.job, self.prediction, done, *_estimates(message)), now)
        return True

    def finish(self) -> None:
        """Tell what was held back: a lap's last count is never left out."""
        if self._last is not None and self._held_back:
            self._held_back = False
            self.emit(self._last)

    def _add(self, update: FramesDone, now: float) -> None:
        previous = self._last
        pass_index = previous.pass_index if previous is not None else 0
        if self.tracking and previous is not None and _is_new_pass(previous, update):
            self.finish()
            pass_index = min(pass_index + 1, PASS_INDEX_MAX)
            self._next_emit = -math.inf
        self._last = evolve(update, pass_index=pass_index)
        self.predicted = update.done if pass_index == 0 else self.predicted
        self._held_back = now < self._next_emit and update.done != update.total
        if not self._held_back:
            self._next_emit = now + 1 / EVENTS_PER_SECOND
            self.emit(self._last)


def _is_new_pass(previous: FramesDone, now: FramesDone) -> bool:
    """A new lap: it counts from the start again, which for a single frame looks like standing still."""
    return now.done < previous.done or (now.done == previous.done == previous.total)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _estimates(message: dict[str, Any]) -> tuple[int | None, float | None, float | None]:
    """Frames in all, frames a second, seconds left; each None when it is not told."""
    return _whole_number(message.get("n_total")), _number(message.get("rate")), _number(message.get("eta"))


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _WHOLE_MAX else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) and value >= 0 else None
    except OverflowError:  # a whole number beyond all floats
        return None


def _failure(message: dict[str, Any]) -> str:
    kind, text = message.get("type"), message.get("message")
    text_parts = ": ".join(part for part in (kind, text) if isinstance(part, str) and part)
    return hide_paths(clean_line(" ".join(text_parts.split()).encode()))
