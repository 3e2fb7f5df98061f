"""The examples run as they stand: of docs/api.md, of the docstrings, and the notebook in a real Jupyter kernel.

Each is a program of a person with a fresh home folder, in which one room is remembered.
"""

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from protocol.session_string import read_session_string
from rtc.config.folders import find_folders
from rtc.config.remembered_rooms import RememberedRoom, RememberedRooms
from rtc.testing.limits import HANG_TIME
from rtc.testing.terminals import Scene

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"
NOTEBOOKS = sorted((ROOT / "docs" / "examples").glob("*.ipynb"))
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
MODULES = ("rtc.api.blocking", "rtc.api.room", "rtc.api.job")
DOCTESTS = """
import doctest, importlib, sys
found = [doctest.testmod(importlib.import_module(name)) for name in sys.argv[1:]]
print(sum(each.attempted for each in found), "examples")
sys.exit(any(each.failed for each in found))
"""


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what docs/api.md says is there: a package, labels with a configuration, a video."""
    pytest.importorskip("sleap_io")
    folder = tmp_path_factory.mktemp("drawn")
    subprocess.run([sys.executable, "-m", "rtc.demo_data", str(folder / "bugs.zip")], check=True, cwd=ROOT)
    with zipfile.ZipFile(folder / "bugs.zip") as archive:
        names = archive.namelist()
        (folder / "bugs.pkg.slp").write_bytes(archive.read("demo.pkg.slp"))
        [config] = [name for name in names if name.endswith(".yaml") and name != "jobs.yaml"]
        (folder / "bugs.yaml").write_bytes(archive.read(config))
    (folder / "bug.mp4").write_bytes(b"a video")
    return folder


@pytest.fixture(scope="module")
def person(server_url: str, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A scene with a worker in a room that the person's machine remembers, and the files of the examples."""
    scene = Scene(tmp_path_factory.mktemp("examples"), server_url)
    scene.start_worker()
    session = read_session_string(scene.session)
    assert session.server is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", scene._environment("person")["HOME"])
        patch.delenv("XDG_STATE_HOME", raising=False)
        remembered = RememberedRooms(find_folders().rooms_file)
    remembered.remember(RememberedRoom("lab", session.server, session.room, session.token))
    for path in drawn.iterdir():
        (scene.person_folder / path.name).write_bytes(path.read_bytes())
    yield scene
    scene.close()


def run(scene: Scene, *words: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, *words],
        env=dict(scene._environment("person")),
        cwd=scene.person_folder,
        capture_output=True,
        text=True,
        timeout=HANG_TIME,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_every_example_of_the_page_runs_as_it_stands(person: Scene, subtests: pytest.Subtests) -> None:
    for number, block in enumerate(BLOCKS):
        with subtests.test(number=number):
            script = person.person_folder / "example.py"
            script.write_text(block, encoding="utf-8")
            done = run(person, "-X", "dev", "-W", "error::ResourceWarning", str(script))
            assert "Traceback" not in done.stderr
            person_folders = {path.name for path in person.person_folder.iterdir() if path.is_dir()}
            assert set(re.findall(r'output="([\w-]+)"', block)) <= person_folders


def test_the_page_has_examples_of_everything() -> None:
    assert len(BLOCKS) > 6
    for name in ("submit", "attach", "jobs", "events", "wait", "result", "stop", "show"):
        assert any(f".{name}(" in block for block in BLOCKS), name


def test_the_examples_of_the_docstrings_say_what_happens(person: Scene) -> None:
    script = person.person_folder / "doctests.py"
    script.write_text(DOCTESTS)
    done = run(person, str(script), *MODULES)
    assert int(done.stdout.splitlines()[-1].split()[0]) > 8


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.name for path in NOTEBOOKS])
def test_a_notebook_runs_as_it_stands_in_jupyter(person: Scene, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_second_worker(person)
    book: Any = nbformat.read(path, as_version=4)
    for name, value in person._environment("person").items():
        monkeypatch.setenv(name, value)
    where = {"metadata": {"path": str(person.person_folder)}}
    executed = NotebookClient(book, timeout=HANG_TIME, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    assert [output for output in outputs if output.output_type == "error"] == []
    rows = re.findall(r"^split-(\d) +(worker-\S+)", "\n".join(map(text_of, outputs)), re.MULTILINE)
    assert [number for number, _ in rows] == list("01234")
    assert len({worker for _, worker in rows}) == 2
    drawn_last = [output for output in outputs if "text/html" in output.get("data", {}) and "job-" in text_of(output)]
    assert any("Results are in" in text_of(output) for output in drawn_last), "progress is drawn"
    assert person.tickets == [], "everything is fetched"


def start_second_worker(scene: Scene) -> None:
    """Start one more worker in the room of the scene."""
    session = read_session_string(scene.session)
    wrapper = str(scene.folder / "bin" / "wrapper")
    there = ("--server", scene.server, "--room-id", session.room, "--token", session.token)
    worker = scene.start("bench-2", "worker", *there, "--sleap-nn", wrapper, where=scene.folder / "bench")
    worker.until_printed(r"^(eyJ\S+)$")


def text_of(output: Any) -> str:
    return str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
