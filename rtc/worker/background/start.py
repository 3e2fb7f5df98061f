"""Starts a background worker, shows what it says until it has joined its room or has failed, and leaves it alone."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio
from attrs import evolve, field, frozen

from protocol.converter import to_json
from protocol.faults import FaultCode
from rtc.common.errors import ExitCode, RtcError
from rtc.common.line_writer import LineWriter
from rtc.runtime.root import print_error
from rtc.worker.background.folder import BackgroundFolder, file_name, folder_of, wait_for_lock
from rtc.worker.background.process import start_detached
from rtc.worker.background.record import BackgroundRecord, HandOver
from rtc.worker.background.show import started_text
from rtc.worker.background.start_console import StartConsole
from rtc.worker.background.systemd import (
    UserUnit,
    carried_by_cron,
    has_user_manager,
    lingers,
    start_unit,
    stop_unit,
    unit_name,
    write_unit,
)

PROGRAM = (sys.executable, "-P", "-m", "rtc")
"""Our program. `-P`: without it, Python would import modules from the working folder (Python's documentation)."""
REQUIRE_SECRET = "--require-secret"  # noqa: S105 (an option)
"""An option that a worker gets which has a secret: it must never run without one because a file is gone."""
OTHER_OPTIONS = (
    "The background worker {name} runs already, with other options. To change them, stop it first: "
    "sleap-rtc worker --stop --name {name}"
)
LINGER = "When you log out, systemd ends this worker. To let it stay, once:\n\n  loginctl enable-linger"
HANDED_ONCE = (
    "The token or the secret was given to this start only. When the machine starts, the\n"
    "worker must find them by itself: use --token-file and --room-secret-file, or a\n"
    "remembered room."
)
CRON_MAX = 990
"""Bytes of a line; cron refuses a command of 1000 (MAX_COMMAND in its cron.h). PATH is the longest part of it."""
CLEAN_TIME = 5.0
"""Seconds to tell a worker that is not wanted any more to end."""


@frozen
class StartRequest:
    """What is to be started."""

    state: Path
    """The folder of our state."""
    name: str
    """The worker's name."""
    options: tuple[str, ...]
    """The options of the worker, without secrets."""
    handed: HandOver
    environment: Mapping[str, str]
    unit_suffix: str = ""
    """Tells units of one user apart whose state lies in different folders."""
    working: Path = field(factory=Path.cwd)
    """The working folder."""

    @property
    def folder(self) -> BackgroundFolder:
        """The worker's private folder."""
        return folder_of(self.state, self.name)

    @property
    def unit(self) -> str:
        """The name of the worker's unit."""
        return unit_name(file_name(self.name) + self.unit_suffix)

    @property
    def user_unit(self) -> UserUnit:
        """The worker's unit."""
        return UserUnit(self.unit, self.name, self.command(), self.environment, self.working, self.folder.output)

    def command(self) -> list[str]:
        """Return the command of the worker."""
        return [*PROGRAM, "worker", *self.options, "--in-background"]


async def start(request: StartRequest) -> int:
    """Start a background worker, and return the exit code.

    It is DONE when the worker has joined its room, or runs already with these options; otherwise the worker's own.

    Raises:
        RtcError: USAGE: it runs already, with other options; or it cannot be started.
    """
    folder = request.folder
    folder.make()
    try:  # another command that starts it just now is waited for
        lock = await trio.to_thread.run_sync(wait_for_lock, folder.starting, abandon_on_cancel=True)
    except OSError as error:
        text = f"The folder {folder.path} cannot be used ({error.strerror})."
        raise RtcError(FaultCode.USAGE, text) from None
    try:
        if folder.is_running():
            return _runs_already(request, folder.read())
        return await _start(request)
    finally:
        os.close(lock)


def _runs_already(request: StartRequest, record: BackgroundRecord | None) -> int:
    if record is None or _without_requirement(record.command) != _without_requirement(request.options):
        raise RtcError(FaultCode.USAGE, OTHER_OPTIONS.format(name=request.name))
    LineWriter(sys.stdout).say(f"It runs already.\n\n{started_text(record)}")
    return ExitCode.DONE


def _without_requirement(options: Sequence[str]) -> list[str]:
    return [option for option in options if option != REQUIRE_SECRET]


async def _start(request: StartRequest) -> int:
    folder = request.folder
    for earlier in (folder.record_file, folder.output):
        with suppress(OSError):
            earlier.unlink()
    reader = _open_fifos(folder)
    try:
        holder = _hand_over(folder, request.handed)
        try:
            by_systemd = await has_user_manager()
            launched = await _launch(request, by_systemd=by_systemd)
            code = None
            try:
                unit = request.unit if by_systemd else None
                code = await StartConsole(folder.output, launched, unit).follow(reader)
            finally:
                if code is None:
                    await _give_up(request, launched, by_systemd=by_systemd)
        finally:
            os.close(holder)
    finally:
        os.close(reader)
        for fifo in (folder.report, folder.hand_over):
            with suppress(OSError):
                fifo.unlink()
    if by_systemd:
        launched.terminate()  # it is only the systemctl that waits for the unit
    if code != ExitCode.DONE:
        if by_systemd:
            await stop_unit(request.unit)  # or else it would be started again and again
        await trio.to_thread.run_sync(_wait_gone, folder, abandon_on_cancel=True)
        return code
    await _say_started(request, by_systemd=by_systemd)
    return code


def _wait_gone(folder: BackgroundFolder) -> None:
    """Block the calling thread until the worker has ended, so that it can be started again at once."""
    with suppress(OSError):
        os.close(wait_for_lock(folder.lock))


def _open_fifos(folder: BackgroundFolder) -> int:
    """Make both FIFOs, and return the descriptor from which reports are read."""
    try:
        for fifo in (folder.report, folder.hand_over):
            fifo.unlink(missing_ok=True)
            os.mkfifo(fifo, 0o600)
        return os.open(folder.report, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        advice = "Choose another place, on a local disk, with SLEAP_RTC_HOME."
        raise RtcError(
            FaultCode.USAGE, f"The folder {folder.path} cannot be used ({error.strerror}). {advice}"
        ) from None


def _hand_over(folder: BackgroundFolder, handed: HandOver) -> int:
    """Put what is handed over into its FIFO, and return the descriptor that keeps it there.

    Raises:
        RtcError: USAGE: it is more than a FIFO takes.
    """
    descriptor = os.open(folder.hand_over, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    data = to_json(handed).encode()
    try:
        whole = os.write(descriptor, data) == len(data)
    except BlockingIOError:
        whole = False
    if not whole:
        os.close(descriptor)
        raise RtcError(FaultCode.USAGE, "The secrets are too large to be handed over to a background worker.")
    return descriptor


async def _launch(request: StartRequest, *, by_systemd: bool) -> trio.Process:
    """Start the worker; return a process that ends when the worker has ended.

    Raises:
        RtcError: USAGE: it cannot be started.
    """
    if by_systemd:
        return await start_unit(request.user_unit)
    try:
        return await start_detached(request.command(), request.environment, request.folder.output)
    except OSError as error:
        raise RtcError(FaultCode.USAGE, f"The worker cannot be started ({error.strerror}).") from None


async def _give_up(request: StartRequest, launched: trio.Process, *, by_systemd: bool) -> None:
    """Ask a worker to end whose starter was interrupted before it had joined its room."""
    if by_systemd:
        with trio.move_on_after(CLEAN_TIME, shield=True):
            await stop_unit(request.unit)
    launched.terminate()
    print_error("Stopped before the worker had joined its room; it ends.")


async def _say_started(request: StartRequest, *, by_systemd: bool) -> None:
    """Print where the worker runs now, how it is stopped, and how it is started with the machine."""
    record = await trio.to_thread.run_sync(request.folder.read)
    if record is not None and record.has_secret and REQUIRE_SECRET not in request.options:
        request = evolve(request, options=(*request.options, REQUIRE_SECRET))
        if by_systemd:
            await write_unit(request.user_unit)
    paragraphs = [] if record is None else [started_text(record)]
    paragraphs += [_boot_by_systemd(request) if by_systemd else _boot_by_cron(request)]
    if by_systemd and not await lingers():
        paragraphs += [LINGER]
    if request.handed != HandOver():
        paragraphs += [HANDED_ONCE]
    LineWriter(sys.stdout).write("".join(f"\n{text}\n" for text in paragraphs))


def _boot_by_systemd(request: StartRequest) -> str:
    return f"To start it whenever the machine starts:\n\n  systemctl --user enable {request.unit}"


def _boot_by_cron(request: StartRequest) -> str:
    line = _crontab_line(request, variables := carried_by_cron(request.environment))
    if len(line.encode()) > CRON_MAX:
        line = _crontab_line(request, {name: variables[name] for name in variables if name != "PATH"})
    return f"To start it whenever the machine starts, put this line into your crontab\n(crontab -e):\n\n  {line}"


def _crontab_line(request: StartRequest, variables: Mapping[str, str]) -> str:
    settings = [f"{name}={variables[name]}" for name in sorted(variables)]
    command = shlex.join(["env", *settings, *PROGRAM, "worker", *request.options, "--background"])
    return f"@reboot cd {shlex.quote(str(request.working))} && {command} >/dev/null".replace("%", "\\%")  # crontab(5)
