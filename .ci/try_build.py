"""Tries what `make build` has made, as somebody gets it: the wheel in an empty environment, started in an empty folder.

    python .ci/try_build.py FOLDER UV       FOLDER has one source archive and one wheel; UV is the program uv

It checks that the archive has the files of the repository and no others, that the wheel has every file of our packages,
that no PyTorch comes with it, and that the commands, the configuration file and the server work without the checkout.
It ends with the first thing that is wrong. Only the standard library is used, and nothing of this project imported.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("actors", "protocol", "rtc")
TRIAL_TIME = 120
"""Seconds for one command; each needs a few."""
WORKER_ONLY = ("torch", "torchvision", "sleap-nn", "sleap-io", "numpy")
"""Distributions that only the extras bring: the wheel alone must stay small."""


def main(folder: Path, uv: str) -> None:
    """Check the archive and the wheel in `folder`."""
    [archive], [wheel] = sorted(folder.glob("*.tar.gz")), sorted(folder.glob("*.whl"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    files = repository_files()
    check_archive(archive, version, files)
    check_wheel(wheel, version, files)
    with tempfile.TemporaryDirectory(prefix="sleap-rtc-build-") as name:
        Trial(Path(name), uv).run(wheel.resolve(), version)
    for path in (archive, wheel):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


def expect(holds: object, text: str) -> None:
    """End the program with this sentence unless `holds` is true."""
    if not holds:
        sys.exit(f"make build: {text}")


def repository_files() -> set[str]:
    """Return the names of all files that git knows here; outside a checkout, those that are there."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        return {name for name in listed.split("\0") if name}
    return {str(path.relative_to(ROOT)) for name in (*PACKAGES, "tests", "docs") for path in (ROOT / name).rglob("*")}


# -------- what is in them


def check_archive(archive: Path, version: str, files: set[str]) -> None:
    """Check that the source archive has every file of the repository, and only PKG-INFO besides."""
    with tarfile.open(archive) as tar:
        names = {member.name.removeprefix(f"sleap_rtc-{version}/") for member in tar.getmembers() if member.isfile()}
    if (ROOT / ".git").exists():
        stray, lost = sorted(names - files - {"PKG-INFO"}), sorted(files - names)
        expect(
            not stray,
            f"the source archive has files that are not in git; add or remove them: {', '.join(stray)}",
        )
        expect(not lost, f"the source archive lacks {', '.join(lost)}")
    for name in ("README.md", "LICENSE", "Makefile", "docs/index.md", "tests/conftest.py"):
        expect(name in names, f"the source archive lacks {name}")


def check_wheel(wheel: Path, version: str, files: set[str]) -> None:
    """Check that the wheel has every file of our packages, data files too, and that its description is complete."""
    with zipfile.ZipFile(wheel) as archive:
        info = f"sleap_rtc-{version}.dist-info/"
        names = {name for name in archive.namelist() if not name.startswith(info)}
        described = message_from_bytes(archive.read(f"{info}METADATA"))
    if (ROOT / ".git").exists():
        expected = {name for name in files if name.split("/")[0] in PACKAGES} | {"cli.py", "rtc/config.example.toml"}
        expect(
            names == expected, f"in the wheel or in the packages, not in both: {', '.join(sorted(names ^ expected))}"
        )
    expect({name.split("/")[0] for name in names} == {*PACKAGES, "cli.py"}, "the wheel brings names that are not ours")
    check_description(described, version)


def check_description(described: Message, version: str) -> None:
    """Check the wheel's metadata (https://packaging.python.org/specifications/core-metadata/)."""
    expect(described["Version"] == version, f"the wheel says version {described['Version']}")
    expect(described["Description-Content-Type"] == "text/markdown", "the wheel has no README")
    for field in ("Summary", "Author", "License-Expression", "License-File", "Keywords", "Classifier"):
        expect(described[field], f"the wheel's metadata lacks {field}")
    needed = [line for line in described.get_all("Requires-Dist") or [] if "extra ==" not in line]
    needed_names = {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower() for line in needed}
    expect(needed, "the wheel requires nothing")
    expect(not needed_names & set(WORKER_ONLY), "the wheel requires what only a worker needs")


# -------- what it does


class Trial:
    """An empty environment with the wheel, an empty home folder, and an empty working folder."""

    def __init__(self, base: Path, uv: str) -> None:
        self.uv = str(Path(uv).resolve()) if os.sep in uv else str(shutil.which(uv))
        self.environment, self.home, self.folder = base / "environment", base / "home", base / "folder"
        self.home.mkdir()
        self.folder.mkdir()
        self.bin = self.environment / "bin"

    def run(self, wheel: Path, version: str) -> None:
        """Install the wheel and try what it brings."""
        self.install(wheel)
        expect(self.call("--version").strip() == f"sleap-rtc, version {version}", "--version says another version")
        overview = self.call("--help")
        for command in ("train", "track", "attach", "jobs", "worker", "server", "doctor", "config"):
            expect(f"\n  {command} " in overview, f"--help does not list {command}")
            expect("Usage:" in self.call(command, "--help"), f"{command} --help does not work")
        self.call("config", "init", "--here", python_m=True)
        written, example = self.folder / "sleap-rtc.toml", ROOT / "config.example.toml"
        expect(written.read_bytes() == example.read_bytes(), "config init writes another file than config.example.toml")
        written.unlink()  # a server named in the working folder is a warning of the doctor's
        expect("signaling_websocket" in self.call("config", "show"), "config show does not work")
        self.try_server()

    def install(self, wheel: Path) -> None:
        """Install the wheel into a new environment, and check that nothing heavy comes with it."""
        uv_environment = {**os.environ, "VIRTUAL_ENV": str(self.environment)}
        subprocess.run([self.uv, "venv", "--quiet", "--python", sys.executable, self.environment], check=True)
        subprocess.run([self.uv, "pip", "install", "--quiet", wheel], check=True, env=uv_environment)
        names = "import importlib.metadata as m; print(*(d.name.lower() for d in m.distributions()))"
        listed = subprocess.run([self.bin / "python", "-c", names], check=True, capture_output=True, text=True).stdout
        installed = set(listed.split())
        expect("sleap-rtc" in installed, "the wheel was not installed")
        expect(not installed & set(WORKER_ONLY), f"with the wheel come {', '.join(installed & set(WORKER_ONLY))}")

    def command(self, *words: str, python_m: bool = False) -> list[str]:
        return [str(self.bin / "python"), "-m", "rtc", *words] if python_m else [str(self.bin / "sleap-rtc"), *words]

    def variables(self, **more: str) -> dict[str, str]:
        """Return the environment variables: nothing of ours, and no folder of the checkout on Python's path."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLEAP_RTC", "PYTHON", "VIRTUAL"))
        }
        return {**kept, "HOME": str(self.home), "COLUMNS": "100", **more}

    def call(self, *words: str, python_m: bool = False, **more: str) -> str:
        """Run a command that has to end with 0; return its output."""
        command = self.command(*words, python_m=python_m)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.variables(**more),
            capture_output=True,
            text=True,
            timeout=TRIAL_TIME,
            check=False,
        )
        shown = f"sleap-rtc {' '.join(words)}"
        expect(done.returncode == 0, f"`{shown}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def try_server(self) -> None:
        """Start a server, let the doctor look at it, and stop it."""
        words = ("server", "--host", "127.0.0.1", "--ws-port", "0", "--http-port", "0")
        with subprocess.Popen(
            self.command(*words), cwd=self.folder, env=self.variables(), stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                line = server.stdout.readline()
                addresses = re.findall(r"(?:ws|http)://[\d.]+:\d+", line)
                expect(len(addresses) == 2, f"the server does not say where it is: {line}")
                where = dict(zip(("SLEAP_RTC_SIGNALING_WS", "SLEAP_RTC_SIGNALING_HTTP"), addresses, strict=True))
                report = json.loads(self.call("doctor", "--as", "client", "--json", **where))
                server.send_signal(signal.SIGINT)
                status = server.wait(timeout=TRIAL_TIME)
            finally:
                server.kill()
        expect(status == 0, f"the server ended with {status}")
        levels = {check["name"]: check["level"] for check in report}
        for name in ("python", "packages", "server-websocket", "server-http"):
            expect(levels[name] == "ok", f"the doctor says {levels[name]} to {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
