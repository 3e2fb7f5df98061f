"""The events that a client writes with `--json`: one class each. docs/json-events.md promises their fields.

The fields are in the order in which they are written. A number that is Infinity or NaN becomes None, as JSON has no
such numbers (RFC 8259, section 6).
"""

import math
import time

from attrs import Factory, field, frozen

from protocol.converter import from_json, tag_of, to_json

LINE_MAX = 256 * 1024
"""Bytes of the longest line that `from_line` reads. An event with 20 lines of log has about 100 kB at most."""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@frozen(kw_only=True)
class JsonEvent:
    """What every event has."""

    event: str = field(default=Factory(lambda self: name_of(type(self)), takes_self=True))
    """Which event it is."""
    time: float = field(factory=lambda: round(time.time(), 3))
    """When the event was written, by the client's clock: seconds since 1970."""


def name_of(kind: type[JsonEvent]) -> str:
    """Return the name of a class of events, as `event` has it (`ModelStartedEvent`: `model_started`)."""
    return tag_of(kind).lower().removesuffix("_event")


@frozen(kw_only=True)
class _TimedEvent(JsonEvent):
    at: float | None = field(converter=_finite)
    """When it happened, by the worker's clock: seconds since 1970."""


@frozen(kw_only=True)
class StepEvent(JsonEvent):
    """A step before the job is done."""

    text: str


@frozen(kw_only=True)
class WarningEvent(JsonEvent):
    """Something that people should know; the client continues."""

    text: str


@frozen(kw_only=True)
class UploadEvent(JsonEvent):
    """Progress of the upload, in bytes."""

    done: int
    total: int


@frozen(kw_only=True)
class AcceptedEvent(JsonEvent):
    """A worker has accepted the job."""

    job: str
    worker: str


@frozen(kw_only=True)
class ConfigurationStartedEvent(_TimedEvent):
    """sleap-nn begins to write the training configurations, as the labels were sent without one."""

    job: str


@frozen(kw_only=True)
class StartedEvent(_TimedEvent):
    """The package is unpacked, and sleap-nn starts."""

    job: str
    models: tuple[str, ...]
    predictions: tuple[str, ...]


@frozen(kw_only=True)
class ModelStartedEvent(_TimedEvent):
    """The training of one model begins."""

    model: int
    name: str
    epochs: int | None


@frozen(kw_only=True)
class BatchEvent(_TimedEvent):
    """Progress within an epoch."""

    model: int
    name: str
    epoch: int
    batch: int
    loss: float | None = field(converter=_finite)


@frozen(kw_only=True)
class EpochEvent(_TimedEvent):
    """An epoch has ended."""

    model: int
    name: str
    epoch: int
    of: int | None
    train_loss: float | None = field(converter=_finite)
    val_loss: float | None = field(converter=_finite)


@frozen(kw_only=True)
class ModelTrainedEvent(_TimedEvent):
    """The last epoch of a model has ended."""

    model: int
    name: str
    epochs: int


@frozen(kw_only=True)
class PredictionStartedEvent(_TimedEvent):
    """The prediction on one file begins."""

    prediction: int
    name: str
    tracking: bool


@frozen(kw_only=True)
class FramesEvent(_TimedEvent):
    """Progress of a prediction."""

    prediction: int
    name: str
    lap: str
    done: int
    total: int | None
    rate: float | None = field(converter=_finite)
    left: float | None = field(converter=_finite)


@frozen(kw_only=True)
class GpuEvent(_TimedEvent):
    """Use of the worker's GPU."""

    used_mb: int
    total_mb: int
    percent: int | None


@frozen(kw_only=True)
class LogEvent(_TimedEvent):
    """Lines that sleap-nn printed."""

    lines: tuple[str, ...]


@frozen(kw_only=True)
class NoteEvent(_TimedEvent):
    """A sentence from the worker about the job."""

    kind: str
    text: str


@frozen(kw_only=True)
class DownloadEvent(JsonEvent):
    """Progress of the download, in bytes."""

    done: int
    total: int


@frozen
class ModelResult:
    """One trained model, in `EndedEvent`."""

    name: str
    train_loss: float | None = field(converter=_finite)
    val_loss: float | None = field(converter=_finite)


@frozen(kw_only=True)
class EndedEvent(JsonEvent):
    """The last event."""

    outcome: str
    text: str
    fault: str | None
    exit_code: int
    folder: str | None
    models: tuple[ModelResult, ...]
    files: tuple[str, ...]


EVENTS: dict[str, type[JsonEvent]] = {
    name_of(kind): kind
    for kind in (
        *(StepEvent, WarningEvent, UploadEvent, AcceptedEvent),
        *(
            ConfigurationStartedEvent,
            StartedEvent,
            ModelStartedEvent,
            BatchEvent,
            EpochEvent,
            ModelTrainedEvent,
            PredictionStartedEvent,
            FramesEvent,
            GpuEvent,
            LogEvent,
            NoteEvent,
        ),
        *(DownloadEvent, EndedEvent),
    )
}
"""The class of each event, by its name."""


def to_line(event: JsonEvent) -> str:
    """Return an event as one line of ASCII, with its line break."""
    return to_json(event, spaced=True) + "\n"


def from_line(line: str) -> JsonEvent:
    """Return the event in a line; of an event that is not known, what every event has.

    Raises:
        WireError: it is no event.
    """
    event: JsonEvent = from_json(line, JsonEvent, limit=LINE_MAX)
    whole: JsonEvent = from_json(line, EVENTS.get(event.event, JsonEvent), limit=LINE_MAX)
    return whole
