"""Expected failures: one exception that carries a `Fault`, and the one table from faults to exit codes."""

from enum import IntEnum
from typing import Any

from protocol.faults import Fault, FaultCode


class ExitCode(IntEnum):
    """The exit status of our programs."""

    DONE = 0
    JOB_FAILED = 1
    USAGE = 2
    NOT_AVAILABLE = 3
    AUTHENTICATION = 4
    NETWORK = 5
    CANCELLED = 6
    DETACHED = 7
    VERSION = 8
    BUG = 70
    INTERRUPTED = 130


EXIT_CODES: dict[FaultCode, ExitCode] = {
    FaultCode.BAD_MESSAGE: ExitCode.VERSION,
    FaultCode.UNKNOWN_MESSAGE: ExitCode.VERSION,
    FaultCode.VERSION: ExitCode.VERSION,
    FaultCode.ROOM_DENIED: ExitCode.AUTHENTICATION,
    FaultCode.ROOM_FULL: ExitCode.NOT_AVAILABLE,
    FaultCode.NO_WORKER: ExitCode.NOT_AVAILABLE,
    FaultCode.WORKER_BUSY: ExitCode.NOT_AVAILABLE,
    FaultCode.WORKER_LEAVING: ExitCode.NOT_AVAILABLE,
    FaultCode.AUTH_INVALID: ExitCode.AUTHENTICATION,
    FaultCode.AUTH_MISSING: ExitCode.AUTHENTICATION,
    FaultCode.AUTH_TIMEOUT: ExitCode.AUTHENTICATION,
    FaultCode.AUTH_UNPROVEN_WORKER: ExitCode.AUTHENTICATION,
    FaultCode.LINK_FAILED: ExitCode.NETWORK,
    FaultCode.LINK_LOST: ExitCode.NETWORK,
    FaultCode.SERVER_LOST: ExitCode.NETWORK,
    FaultCode.BAD_PACKAGE: ExitCode.USAGE,
    FaultCode.TOO_LARGE: ExitCode.JOB_FAILED,
    FaultCode.DISK_FULL: ExitCode.JOB_FAILED,
    FaultCode.DAMAGED: ExitCode.JOB_FAILED,
    FaultCode.STALLED: ExitCode.NETWORK,
    FaultCode.NO_SUCH_JOB: ExitCode.NOT_AVAILABLE,
    FaultCode.JOB_FAILED: ExitCode.JOB_FAILED,
    FaultCode.CANCELLED: ExitCode.CANCELLED,
    FaultCode.DETACHED: ExitCode.DETACHED,
    FaultCode.INTERRUPTED: ExitCode.INTERRUPTED,
    FaultCode.USAGE: ExitCode.USAGE,
    FaultCode.OTHER: ExitCode.NOT_AVAILABLE,
}
"""The exit status for each fault; a test checks that no code is missing."""


class RtcError(Exception):
    """An expected failure, with a `Fault`. The adapter that calls the failing code catches it once and sends an event;
    without such an adapter it ends the program, which prints `fault.text`."""

    def __init__(self, code: FaultCode, text: str) -> None:
        self.fault = Fault(code, text)
        super().__init__(self.fault.text)

    @classmethod
    def of(cls, fault: Fault) -> "RtcError":
        """Return the exception that carries this fault: `RtcError.of(fault).fault == fault`."""
        return cls(fault.code, fault.text)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the exception be pickled, as when a process of a pool raises it."""
        return type(self), (self.fault.code, self.fault.text)

    @property
    def exit_code(self) -> ExitCode:
        """The exit status with which the process should end."""
        return EXIT_CODES[self.fault.code]
