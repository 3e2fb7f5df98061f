"""The exceptions of the Python API: one class for each exit code of the command line, each with one sentence.

All of them are `RtcError`s, with `fault` (its `code` is one fixed word) and `exit_code`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from protocol.faults import Fault, FaultCode
from rtc.common.errors import ExitCode, RtcError

ROOM_CLOSED = "The room is closed. Open it again with connect(…)."
OTHER_PROCESS = (
    "This room was opened by another process, of which this one is a copy (fork). Open the room here, in the new "
    "process; to come back to a job, send its id and attach."
)


class JobFailed(RtcError):
    """The job has failed, or its result could not be taken."""


class UsageError(RtcError):
    """An argument or a setting is wrong, or a file of the job cannot be used."""


class NotAvailable(RtcError):
    """There is no such worker or job, or the worker refused, as a busy one does."""


class AuthenticationError(RtcError):
    """The room, its token or the room secret is wrong; which of them is not told apart."""


class NetworkError(RtcError):
    """The server or the worker cannot be reached, or the link to it is lost."""


class JobCancelled(RtcError):
    """The job was cancelled."""


class Detached(RtcError):
    """The job is not followed any more; it runs on, and its result is kept on the worker."""


class VersionError(RtcError):
    """The two programs speak no common version of the protocol."""


class JobInterrupted(RtcError):
    """The job was given up before it began."""


_CLASSES: dict[ExitCode, type[RtcError]] = {
    ExitCode.JOB_FAILED: JobFailed,
    ExitCode.USAGE: UsageError,
    ExitCode.NOT_AVAILABLE: NotAvailable,
    ExitCode.AUTHENTICATION: AuthenticationError,
    ExitCode.NETWORK: NetworkError,
    ExitCode.CANCELLED: JobCancelled,
    ExitCode.DETACHED: Detached,
    ExitCode.VERSION: VersionError,
    ExitCode.INTERRUPTED: JobInterrupted,
}


def api_error(error: RtcError) -> RtcError:
    """Return the error as the class that belongs to its exit code."""
    return _CLASSES[error.exit_code].of(error.fault)


def usage_error(text: str) -> RtcError:
    """Return the error for an argument that is wrong."""
    return UsageError.of(Fault(FaultCode.USAGE, text))


@contextmanager
def api_errors() -> Iterator[None]:
    """Raise an `RtcError` of this block as the class that belongs to its exit code.

    Raises:
        RtcError: see `api_error`.
    """
    try:
        yield
    except RtcError as error:
        raise api_error(error) from None
