"""Plays `systemctl --user` and `loginctl` for tests: records each call, and runs units as systemd would.

Written into a folder of PATH by `install`. What it cannot show is how the real systemd reads a unit; the syntax of the
unit is checked by `systemd-analyze verify` elsewhere.
"""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """#!/bin/sh
exec {python} {me} {name} "$@"
"""


def install(folder: Path, *, linger: bool) -> Path:
    """Write `systemctl` and `loginctl` into a folder, and return the file that records their calls."""
    folder.mkdir()
    for name in ("systemctl", "loginctl"):
        program = folder / name
        program.write_text(PROGRAM.format(python=shlex.quote(sys.executable), me=shlex.quote(__file__), name=name))
        program.chmod(0o755)
    (folder / "linger").write_text("yes" if linger else "no")
    return folder / "calls.txt"


def unquoted(text: str) -> str:
    """Return a quoted text as systemd reads it."""
    assert text[0] == text[-1] == '"', text
    return text[1:-1].replace("%%", "%").replace('\\"', '"').replace("\\\\", "\\")


def words_of(text: str) -> list[str]:
    """Return the words of a command line in which each is quoted."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(text)]


def run_unit(folder: Path, file: Path) -> int:
    """Run the unit until its process has ended, in an environment that has only what the unit says."""
    settings: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        name, _, value = line.partition("=")
        settings.setdefault(name, []).append(value)
    [command] = settings["ExecStart"]
    assignments = [unquoted(text).partition("=") for text in settings["Environment"]]
    kind, _, output = settings["StandardOutput"][0].partition(":")
    assert kind == "truncate"
    with open(output, "wb") as out:
        process = subprocess.Popen(
            words_of(command),
            env={name: value for name, _, value in assignments},
            cwd=settings["WorkingDirectory"][0],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    (folder / "main-pid").write_text(str(process.pid))
    code = process.wait()
    (folder / "main-pid").unlink()
    return code


def main(name: str, arguments: list[str]) -> int:
    """Do what one call asks for; return its exit code."""
    folder = Path(os.environ["SYSTEMD_STAND_IN"])
    with (folder / "calls.txt").open("a") as calls:
        calls.write(f"{shlex.join([name, *arguments])}\n")
    if name == "loginctl":
        print((folder / "linger").read_text())
        return 0
    assert arguments[0] == "--user"
    match arguments[1:]:
        case ["start", "--wait", unit]:
            # the manager runs the unit, so the end of this command must not end it
            config = os.environ.get("XDG_CONFIG_HOME") or f"{os.environ['HOME']}/.config"
            if os.fork() == 0:
                os.setsid()
                null = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(null, stream)  # who reads what this command prints must not wait for the unit
                os._exit(run_unit(folder, Path(config) / "systemd" / "user" / unit))
            _, status = os.wait()
            return os.waitstatus_to_exitcode(status)
        case ["stop", "--no-block", _]:
            if (folder / "main-pid").exists():
                os.kill(int((folder / "main-pid").read_text()), signal.SIGTERM)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
