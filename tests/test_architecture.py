"""The rules of the house that a program can check."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.faults import Fault, FaultCode
from rtc.command_line.generated_docs import PAGES
from rtc.common.errors import EXIT_CODES, ExitCode, RtcError

ROOT = Path(__file__).parents[1]
STAIRS = ("protocol", "actors", "rtc", "cli")
OURS = {name: index for index, name in enumerate(STAIRS)}
ASYNCIO_ROOM = {"asyncio", "aiortc", "aioice", "trio_asyncio"}
ACTORS_MAY = {"trio", "attrs", "attr"}
PROTOCOL_MAY = {"attrs", "cattrs"}


def sources() -> list[Path]:
    return [*(path for name in STAIRS[:3] for path in sorted((ROOT / name).rglob("*.py"))), ROOT / "cli.py"]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_imports_upwards(path: Path) -> None:
    upwards = {name for name in imported(path) if OURS.get(name, -1) > OURS[room(path)]}
    allowed = {"cli"} if path == ROOT / "rtc" / "__main__.py" else set()
    assert upwards <= allowed


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_asyncio_stays_in_its_room(path: Path) -> None:
    if path.parent != ROOT / "rtc" / "transport" / "webrtc":
        assert not ASYNCIO_ROOM & set(imported(path))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_lower_floors_use_little(path: Path) -> None:
    foreign = {name for name in imported(path) if name not in sys.stdlib_module_names and name not in OURS}
    if room(path) == "protocol":
        assert foreign <= PROTOCOL_MAY
    if room(path) == "actors":
        assert foreign <= ACTORS_MAY


def test_actors_meet_only_in_their_events() -> None:
    shared = {"events", "table", "actor", "mailbox", "router", "waiting"}
    for path in (ROOT / "actors").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("actors."):
                own = {f"{path.stem}_events"}
                assert (node.module or "").removeprefix("actors.") in shared | own


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_generated_pages_are_fresh(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


def test_every_fault_has_an_exit_code() -> None:
    assert set(EXIT_CODES) == set(FaultCode)


def test_a_fault_survives_being_an_error() -> None:
    for code in FaultCode:
        fault = Fault(code, "A sentence.")
        assert RtcError.of(fault).fault == fault


def test_our_top_level_names_are_ours_alone() -> None:
    owners = importlib.metadata.packages_distributions()
    for name in STAIRS:
        assert set(owners.get(name, ["sleap-rtc"])) == {"sleap-rtc"}


@pytest.mark.parametrize("words", [["--help"], ["client", "--help"], ["client-train", "--help"], ["worker", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    program = (
        "import sys, resource; import cli; code = cli.run(sys.argv[1:]);"
        "heavy = {'torch', 'aiortc', 'trio', 'sleap_nn', 'numpy', 'rich'} & set(sys.modules);"
        "print('heavy:', sorted(heavy)); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "Usage:" in done.stdout
    assert done.stdout.rstrip().endswith("heavy: []")


def test_a_strangers_cli_in_the_working_folder_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "cli.py").write_text("raise SystemExit('the wrong cli')")
    done = subprocess.run(
        [sys.executable, "-m", "rtc", "--version"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == ExitCode.DONE, done.stderr
    assert re.match(r"sleap-rtc, version \d", done.stdout)
