"""What can go wrong that the other side should know: a code for programs and a sentence for people."""

from enum import Enum

from attrs import field, frozen

from protocol.fields import FreeText


class FaultCode(Enum):
    """Why something was refused or ended. `rtc/common/errors.py` maps each to an exit code, in one table."""

    BAD_MESSAGE = "bad_message"
    VERSION = "version"
    ROOM_DENIED = "room_denied"
    ROOM_FULL = "room_full"
    NO_WORKER = "no_worker"
    WORKER_BUSY = "worker_busy"
    WORKER_LEAVING = "worker_leaving"
    AUTH_INVALID = "auth_invalid"
    AUTH_MISSING = "auth_missing"
    AUTH_TIMEOUT = "auth_timeout"
    AUTH_UNPROVEN_WORKER = "auth_unproven_worker"
    LINK_FAILED = "link_failed"
    LINK_LOST = "link_lost"
    SERVER_LOST = "server_lost"
    BAD_PACKAGE = "bad_package"
    TOO_LARGE = "too_large"
    DISK_FULL = "disk_full"
    DAMAGED = "damaged"
    STALLED = "stalled"
    NO_SUCH_JOB = "no_such_job"
    JOB_FAILED = "job_failed"
    CANCELLED = "cancelled"
    DETACHED = "detached"
    INTERRUPTED = "interrupted"
    USAGE = "usage"


@frozen
class Fault:
    """Either side: this cannot be done, and why."""

    code: FaultCode
    text: str = field(validator=FreeText(2000))
    """What happened and what to try; never a secret, a token or a full path."""
