"""The systemd user unit of a background worker (systemd.service(5), systemctl(1), loginctl(1)).

No secret is in a unit: what was given on the command line is handed over by the starter, and at the start of the
machine a worker finds its room secret in the places where it always looks.
"""

import os
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import trio
from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.common.job_variables import has_password, is_passed, looks_secret
from rtc.common.whole_file import write_whole_file
from rtc.config.room_secrets.variables import is_secret_variable
from rtc.worker.background.inside import UNIT_VARIABLE

ASK_TIME = 10.0
"""Seconds that a word to systemd may take."""
FIRST_ASK_TIME = 4.0
"""Seconds that the first question may take: it is answered at once, or this manager is of no use."""
TAKEN_ALONG = ("HOME", "PATH", "LANG", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD")
"""Environment variables that the worker needs as they are here; a user manager has others."""
TAKEN_PREFIXES = ("SLEAP_RTC_", "LC_", "XDG_", "CUDA", "NVIDIA_", "CONDA_", "PYTHON", "OMP_", "MKL_", "NUMEXPR_")
"""Those, and what its jobs get (`rtc.common.job_variables`)."""
LEFT_OUT = ("XDG_RUNTIME_DIR", "XDG_SESSION_ID", "XDG_SESSION_TYPE", "XDG_SESSION_CLASS", "XDG_SEAT", "XDG_VTNR")
"""Those that belong to the present login."""
TAKEN_BY_CRON = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
TAKEN_BY_CRON_PREFIXES = ("SLEAP_RTC_", "XDG_", "CUDA")
"""Those of them without which another worker would be started, or none."""
UNIT = """\
# Written by `sleap-rtc worker --background`, which writes it again at each start.
[Unit]
Description=sleap-rtc worker {name}

[Service]
Type=exec
ExecStart={command}
WorkingDirectory={folder}
{environment}
UMask=0077
KillMode=process
Delegate=yes
TimeoutStopSec=infinity
Restart=on-failure
RestartSec=10
SuccessExitStatus=6
RestartPreventExitStatus=1 2 4 6 8
StandardInput=null
StandardOutput=truncate:{output}
StandardError=inherit

[Install]
WantedBy=default.target
"""
"""As the system-wide unit of docs/deployment.md, which says why. The worker is not started again where that is of no
use: a broken installation (1), usage (2), a wrong token (4), a stop by force (6), a version (8)."""


@frozen
class UserUnit:
    """A unit, and what it is to start."""

    name: str
    """The name of the unit, with `.service`."""
    worker: str
    """The worker's name."""
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    """The working folder."""
    output: Path
    """The file for what Python prints on its own."""

    def text(self) -> str:
        """Return the text of the unit's file."""
        asked_for = [name for option, name in pairwise(self.command) if option == "--pass-env"]
        variables = {**carried(self.environment, asked_for), UNIT_VARIABLE: self.name}
        return UNIT.format(
            name=_plain(self.worker),
            command=" ".join(quoted(word) for word in self.command),
            folder=_plain(str(self.folder)),
            environment="\n".join(
                f"Environment={quoted_variable(name, variables[name])}" for name in sorted(variables)
            ),
            output=_plain(str(self.output)),
        )

    @property
    def file(self) -> Path:
        """The unit's file, where user managers look for it."""
        config = self.environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        return Path(config) / "systemd" / "user" / self.name


def carried(environ: Mapping[str, str], asked_for: Collection[str] = ()) -> dict[str, str]:
    """Return the variables that the worker gets in its unit: those that it and its jobs need, and none that may hold a
    secret, as the address of a proxy may.

    Args:
        asked_for: names of further variables that jobs are to get.
    """
    return {
        name: value
        for name, value in environ.items()
        if (name in TAKEN_ALONG or name in asked_for or name.startswith(TAKEN_PREFIXES) or is_passed(name))
        and name not in LEFT_OUT
        and not is_secret_variable(name)
        and not looks_secret(name)
        and not has_password(value)
        and value.isprintable()
    }


def carried_by_cron(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that stand in a line of a crontab, where almost none of ours is set."""
    return {
        name: value
        for name, value in carried(environ).items()
        if name in TAKEN_BY_CRON or name.startswith(TAKEN_BY_CRON_PREFIXES)
    }


def quoted(word: str) -> str:
    """Return a word of `ExecStart=` (systemd.service(5), "Command lines"): `$` and `%` mean nothing in it."""
    return quoted_text(word.replace("$", "$$"))


def quoted_variable(name: str, value: str) -> str:
    """Return an assignment of `Environment=` (systemd.exec(5)), in which `$` has no meaning."""
    return quoted_text(f"{name}={value}")


def quoted_text(text: str) -> str:
    """Return a text in quotes, as systemd reads it back (systemd.syntax(7))."""
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n").replace("\r", "\\r")
    )
    return f'"{escaped}"'


def _plain(text: str) -> str:
    """Return a text for a setting that takes the rest of its line as it is."""
    return text.replace("%", "%%").replace("\n", " ").replace("\r", " ")


def unit_name(worker_file_name: str) -> str:
    """Return the name of the unit of a background worker."""
    return f"sleap-rtc-worker-{worker_file_name}.service"


async def has_user_manager() -> bool:
    """Return whether a systemd user manager runs that would start our unit."""
    if shutil.which("systemctl") is None or not os.environ.get("XDG_RUNTIME_DIR"):
        return False
    done = None
    with trio.move_on_after(FIRST_ASK_TIME):
        done = await _ask("systemctl", "--user", "show", "--property=Version")
    return done is not None and done.returncode == 0


async def lingers() -> bool:
    """Return whether the user manager goes on when the user has logged out."""
    done = await _ask("loginctl", "show-user", str(os.getuid()), "--property=Linger", "--value")
    return done is not None and done.stdout.strip() == b"yes"


async def _ask(*command: str) -> "subprocess.CompletedProcess[bytes] | None":
    """Run a command that only asks something; None if it cannot be started or does not answer."""
    with trio.move_on_after(ASK_TIME):
        try:
            return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        except OSError:
            pass
    return None


async def write_unit(unit: UserUnit) -> None:
    """Write the file of the unit, which nobody else can read, and let systemd read it.

    Raises:
        RtcError: USAGE: it cannot be written.
    """
    try:
        unit.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole_file(unit.file, unit.text())
    except OSError as error:
        text = f"The unit {unit.file} cannot be written ({error.strerror})."
        raise RtcError(FaultCode.USAGE, text) from None
    await _ask("systemctl", "--user", "daemon-reload")


async def start_unit(unit: UserUnit) -> trio.Process:
    """Write the unit and start it; return a process that ends when the unit has ended.

    Raises:
        RtcError: USAGE: it cannot be written.
    """
    await write_unit(unit)
    await _ask("systemctl", "--user", "reset-failed", unit.name)  # fails where nothing has failed
    return await trio.lowlevel.open_process(
        ["systemctl", "--user", "start", "--wait", unit.name],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is for us: we stop the unit then
    )


async def stop_unit(name: str) -> bool:
    """Have systemd stop a unit, which sends its worker SIGTERM, and do not wait; return whether it has the unit."""
    done = await _ask("systemctl", "--user", "stop", "--no-block", name)
    return done is not None and done.returncode == 0
