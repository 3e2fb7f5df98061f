"""What is written about a background worker, and what it and its starter tell each other."""

from attrs import field, frozen

from protocol.fields import FreeText, SingleLine
from protocol.ids import JobId

TEXT_MAX = 60_000
"""Characters of one text; a FIFO has room for 65 536 bytes."""


@frozen
class RecordedWorker:
    """One worker of the process; with `--all-gpus` there are several."""

    name: str = field(validator=SingleLine())
    status: str = field(validator=SingleLine())
    """What it last announced."""
    since: float = 0.0
    """When it announced that, in seconds since 1970 (UTC)."""
    jobs: tuple[JobId, ...] = ()
    """The jobs that run."""


@frozen
class RecordedEnd:
    """How a background worker has ended."""

    at: float
    """Seconds since 1970 (UTC)."""
    code: int
    """The exit code."""


@frozen
class BackgroundRecord:
    """A background worker, as it wrote about itself. There are no secrets in it."""

    name: str = field(validator=SingleLine())
    pid: int
    hostname: str = field(validator=SingleLine())
    started: float
    """Seconds since 1970 (UTC)."""
    birth: str = ""
    """When the process was started, in the words of the kernel; tells it from a later one with the same id."""
    log: str = field(default="", validator=FreeText(TEXT_MAX))
    """The path of the log file."""
    unit: str = ""
    """The systemd user unit that runs it; empty without one."""
    command: tuple[str, ...] = ()
    """The options with which it was started, without secrets."""
    room: str = ""
    """The room that it has joined; empty until then."""
    server: str = ""
    has_secret: bool = False
    """Clients must prove that they know the room secret."""
    workers: tuple[RecordedWorker, ...] = ()
    ended: RecordedEnd | None = None


@frozen
class ConsoleReport:
    """One thing that a starting worker tells its starter."""

    output: str = ""
    """What a worker in a terminal would print."""
    error: str = ""
    """What it would print on standard error."""
    joined: bool = False
    """It has joined its room, and needs the starter no more."""
    code: int | None = None
    """It ends, with this exit code."""


@frozen
class HandOver:
    """What the starter hands over to the worker because it must not stand on a command line or in a file."""

    token: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    variables: dict[str, str] = field(factory=dict, repr=False)
    """Environment variables with room secrets."""
