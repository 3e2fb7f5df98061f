"""Faults: errors that one program sends to another, each with a code for programs and a sentence for people."""

from enum import Enum

from attrs import field, frozen

from protocol.fields import SENTENCES_MAX, SingleLine, sentences


class FaultCode(Enum):
    """Why something was refused or ended. Each code has an exit code of the command line (`rtc/common/errors.py`)."""

    BAD_MESSAGE = "bad_message"
    """A message is malformed, or must not be sent at this point."""
    UNKNOWN_MESSAGE = "unknown_message"
    """The receiver does not know a message of this name, and has ignored it. The link goes on."""
    VERSION = "version"
    """There is no version of the protocol that both sides speak."""
    ROOM_DENIED = "room_denied"
    """The server does not let the peer in: unknown room, wrong token, or too many attempts from its address."""
    ROOM_FULL = "room_full"
    """The room has as many workers, or clients, as it can take."""
    NO_WORKER = "no_worker"
    """No worker of this id, or none that fits, is in the room."""
    WORKER_BUSY = "worker_busy"
    """The worker serves another client, or is kept for one."""
    WORKER_LEAVING = "worker_leaving"
    """The worker is stopping, or has no free place for one more session about a job."""
    AUTH_INVALID = "auth_invalid"
    """The client's proof of the room secret is wrong."""
    AUTH_MISSING = "auth_missing"
    """The worker requires the room secret, and the client has none."""
    AUTH_TIMEOUT = "auth_timeout"
    """The client gave no proof in time."""
    AUTH_UNPROVEN_WORKER = "auth_unproven_worker"
    """The client has the room secret, and the worker did not prove that it knows the secret too."""
    LINK_FAILED = "link_failed"
    """No link could be opened."""
    LINK_LOST = "link_lost"
    """An open link broke."""
    SERVER_LOST = "server_lost"
    """The signalling server cannot be reached, or has closed the connection; or it says that another connection of the
    same peer has taken the place of this one."""
    BAD_PACKAGE = "bad_package"
    """The job package cannot be used. Never sent: a program says it to its own person."""
    TOO_LARGE = "too_large"
    """A file is larger than the receiver accepts."""
    DISK_FULL = "disk_full"
    """The receiver's disk has not enough space."""
    DAMAGED = "damaged"
    """A file could not be read, changed during its transfer, or does not have the hash that was sent with it."""
    STALLED = "stalled"
    """The peer or the server did not send the expected message or data in time."""
    NO_SUCH_JOB = "no_such_job"
    """The worker has no such job or result, or the key does not belong to the job."""
    JOB_FAILED = "job_failed"
    """The job ran, and failed. Never sent: a program says it to its own person."""
    CANCELLED = "cancelled"
    """Somebody has cancelled it."""
    DETACHED = "detached"
    """The client left; the job continues without it. Never sent: a program says it to its own person."""
    INTERRUPTED = "interrupted"
    """The client was stopped before a job began. Never sent: a program says it to its own person."""
    USAGE = "usage"
    """The command, its options or its configuration cannot be used. Never sent: a program says it to its own person."""
    OTHER = "other"
    """A reason that this version of the protocol has no code for; never sent, but read for every unknown code."""


@frozen
class Fault:
    """A peer or the server to another: this cannot be done, for this reason."""

    code: FaultCode
    text: str = field(converter=sentences, validator=SingleLine(SENTENCES_MAX))
    """What happened and what to try, for people. Never contains a secret, a token or a full path."""
