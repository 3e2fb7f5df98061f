"""The Python API: runs jobs on workers from a program, as the command line does. docs/api.md shows how.

`connect` is for programs under trio; `rtc.api.blocking.connect` is the same in plain calls, for scripts and notebooks.
"""

from protocol.jobs import JobKind, JobStage, Outcome
from protocol.signaling import WorkerPresent
from rtc.api import events
from rtc.api.errors import (
    AuthenticationError,
    Detached,
    JobCancelled,
    JobFailed,
    JobInterrupted,
    NetworkError,
    NotAvailable,
    UsageError,
    VersionError,
)
from rtc.api.events import Event
from rtc.api.job import Job
from rtc.api.job_info import JobInfo
from rtc.api.result import Result
from rtc.api.room import Room, connect
from rtc.api.settings import read_settings
from rtc.common.errors import RtcError

__all__ = [
    "AuthenticationError",
    "Detached",
    "Event",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobInfo",
    "JobInterrupted",
    "JobKind",
    "JobStage",
    "NetworkError",
    "NotAvailable",
    "Outcome",
    "Result",
    "Room",
    "RtcError",
    "UsageError",
    "VersionError",
    "WorkerPresent",
    "connect",
    "events",
    "read_settings",
]
