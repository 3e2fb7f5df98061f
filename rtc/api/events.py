"""The events of a job, as `job.events()` gives them: the very ones that the command line writes with `--json`.

docs/json-events.md says what each of them and each field means, and promises that they stay.
"""

from rtc.terminal.json_events import (
    AcceptedEvent,
    BatchEvent,
    ConfigurationStartedEvent,
    DownloadEvent,
    EndedEvent,
    EpochEvent,
    FramesEvent,
    GpuEvent,
    JsonEvent,
    LogEvent,
    ModelResult,
    ModelStartedEvent,
    ModelTrainedEvent,
    NoteEvent,
    PredictionStartedEvent,
    StartedEvent,
    StepEvent,
    UploadEvent,
    WarningEvent,
)

Event = JsonEvent
"""What every event has: `event`, its name, and `time`, in seconds since 1970 by this machine's clock."""

__all__ = [
    "AcceptedEvent",
    "BatchEvent",
    "ConfigurationStartedEvent",
    "DownloadEvent",
    "EndedEvent",
    "EpochEvent",
    "Event",
    "FramesEvent",
    "GpuEvent",
    "LogEvent",
    "ModelResult",
    "ModelStartedEvent",
    "ModelTrainedEvent",
    "NoteEvent",
    "PredictionStartedEvent",
    "StartedEvent",
    "StepEvent",
    "UploadEvent",
    "WarningEvent",
]
