"""Turn the JSON lines that `sleap-nn predict --gui` prints into `FramesDone` events, at most a few per second.

sleap-nn 0.3.5 (`_gui_progress_callback` and `_emit_gui_error` in its `cli.py`) prints two kinds of lines on stdout:

    {"n_processed": 16, "n_total": 1100, "rate": 15.6, "eta": 69.7}
    {"error": true, "type": "FileNotFoundError", "message": "…"}

The first contains frames done, frames in all (null if unknown), frames per second, and seconds left; sleap-nn prints it
at most four times per second, and always at the end. It prints the second before it exits with status 1.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, frozen

from protocol.ids import JobId
from protocol.jobs import RATE, SPAN, FramesDone
from rtc.sleap_nn.json_values import number_within, parse_object, whole_number
from rtc.sleap_nn.output import clean_line, hide_paths

EVENTS_PER_SECOND = 4
"""Maximum number of `FramesDone` events per second, not counting the first and the last of each pass."""
PASS_INDEX_MAX = 1
"""With `--tracking`, sleap-nn's counter runs twice: pass 0 predicts, pass 1 tracks. There is no third pass."""
_PROGRESS_LINE = re.compile(rb'\{"(?:n_processed|error)".*\}\s*')
"""The two kinds of lines, recognised by their first key. Any other line is a log line."""


@frozen
class PredictProgressLine:
    """One line of progress or of an error, as far as we read it. What is missing or invalid is None."""

    done: int | None = None
    """Frames done in this pass."""
    total: int | None = None
    rate: float | None = None
    left: float | None = None
    failure: str | None = None
    """Of an error line: its exception type and message, without paths."""


def read_line(raw: bytes) -> PredictProgressLine | None:
    """Return what a printed line says; None when it is a log line."""
    message = parse_object(raw) if _PROGRESS_LINE.fullmatch(raw) else {}
    if message.get("error") is True:
        return PredictProgressLine(failure=_failure_text(message))
    done = whole_number(message.get("n_processed"))
    return None if done is None else PredictProgressLine(done, *_estimates(message))


@define
class FrameCounter:
    """Counts the frames of one prediction from the lines that sleap-nn prints, and emits `FramesDone` events."""

    job: JobId
    prediction: int
    tracking: bool
    """sleap-nn goes through the frames in two passes, and its counter starts again for the second."""
    emit: Callable[[FramesDone], None]
    predicted: int | None = None
    """Frames done in pass 0; None until sleap-nn has reported it."""
    failure: str = ""
    """The reason in sleap-nn's error line, without paths; empty when there was none."""
    _last: FramesDone | None = None
    """The newest count."""
    _held_back: bool = False
    """Whether the newest count was not emitted."""
    _next_emit: float = -math.inf
    """Time in seconds from which the next count is emitted."""

    def handle_line(self, raw: bytes, now: float) -> bool:
        """Handle one printed line; return False when it is a log line. `now` is a time in seconds."""
        line = read_line(raw)
        if line is None:
            return False
        if line.failure is not None:
            self.failure = line.failure
        if line.done is not None:
            self._record(FramesDone(self.job, self.prediction, line.done, line.total, line.rate, line.left), now)
        return True

    def finish(self) -> None:
        """Emit the newest count if it was held back, so that the last count of a pass is always emitted."""
        if self._last is not None and self._held_back:
            self._held_back = False
            self.emit(self._last)

    def _record(self, update: FramesDone, now: float) -> None:
        """Set the index of the pass in a new count, and emit the count or hold it back."""
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
    """Return whether a new pass has begun: the counter fell, or it has reported the end of the pass twice.

    The second condition is for a file with a single frame.
    """
    return now.done < previous.done or (now.done == previous.done == previous.total)


def _estimates(message: dict[str, Any]) -> tuple[int | None, float | None, float | None]:
    """Return frames in all, frames per second, and seconds left; None for each that is missing or no valid number."""
    rate, left = number_within(RATE, message.get("rate")), number_within(SPAN, message.get("eta"))
    return whole_number(message.get("n_total")), rate, left


def _failure_text(message: dict[str, Any]) -> str:
    """Return an error line's exception type and message as one line without paths."""
    kind, text = message.get("type"), message.get("message")
    text_parts = ": ".join(part for part in (kind, text) if isinstance(part, str) and part)
    return hide_paths(clean_line(" ".join(text_parts.split()).encode()))
