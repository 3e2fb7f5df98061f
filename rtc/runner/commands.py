"""The commands that a worker sends to the supervisor of a job through its FIFO: one line of JSON each."""

from attrs import frozen

from protocol.converter import from_json, register_union, to_json
from protocol.jobs import StopScope

COMMAND_MAX = 4096
"""Bytes of the longest line that is read, and PIPE_BUF of Linux: a line of that length is written in one piece."""


@frozen
class StopRun:
    """Worker to supervisor: stop the job early and keep its results."""

    scope: StopScope


@frozen
class CancelRun:
    """Worker to supervisor: end the job now."""


Command = StopRun | CancelRun
register_union(Command)


def to_line(command: Command) -> bytes:
    """Return a command as the bytes to write into the FIFO."""
    return to_json(command, tagged=True).encode() + b"\n"


def from_line(line: bytes) -> Command:
    """Return the command in a line.

    Raises:
        WireError: it holds no command.
    """
    command: Command = from_json(line, Command, limit=COMMAND_MAX)
    return command
