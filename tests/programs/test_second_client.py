"""Our server and worker with a client that is not ours: `second_client.py`, written from docs/protocol.md alone."""

import ast
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rtc.sleap_nn.commands import find_sleap_nn
from rtc.testing.stand_in import TrainingPause, install_stand_in, make_package
from rtc.testing.terminals import Scene, Terminal, stopped

PROGRAM = Path(__file__).with_name("second_client.py")
LONGEST = 350
"""Lines that the second client may have; docs/protocol.md names this number."""
ELSEWHERE = {"aiortc", "cryptography", "websockets"}
SECRET = "a secret of sixteen or more: ключ"
MEGABYTES = 24
"""Size of a package or a result that is on its way long enough to be cut off."""


def start_worker(scene: Scene, *arguments: str, sleap_nn: Path | None = None) -> None:
    """Start the scene's worker, by default with the stand-in for sleap-nn."""
    program = sleap_nn or install_stand_in(scene.folder / "bin")
    home = scene.folder / "bench"
    home.mkdir()
    command = ("worker", "--server", scene.server, "--sleap-nn", str(program))
    scene.worker = scene.start("bench", *command, *arguments, where=home)
    scene.session = scene.worker.until_printed(r"^(eyJ\S+)$")


def start_client(scene: Scene, package: Path, *arguments: str) -> Terminal:
    """Start the second client, which puts the result into `result.zip` of the person's folder."""
    out, err = scene.folder / "second.out", scene.folder / "second.err"
    command = [sys.executable, "-I", str(PROGRAM), scene.session, str(package), "result.zip", *arguments]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=scene.person_folder, stdout=stdout, stderr=stderr)
    return Terminal(process, out, err)


def models(scene: Scene) -> list[bytes]:
    """Return the models in the result."""
    with zipfile.ZipFile(scene.person_folder / "result.zip") as archive:
        return [archive.read(name) for name in archive.namelist() if name.endswith("best.ckpt")]


def cut_off(scene: Scene, client: Terminal) -> None:
    """Stop the client until the worker has given up the link to it."""
    with stopped(psutil.Process(client.process.pid)):
        scene.worker.until_printed("Link closed: ")


def check_taken(scene: Scene, client: Terminal) -> None:
    """Check that the client has ended well, and that the worker knows that the result is safe."""
    assert client.ended() == 0, client.text
    assert client.err.read_text() == ""
    scene.worker.until_printed("was received and unpacked by its owner")


@pytest.mark.slow
def test_the_second_client_has_a_package_trained(scene: Scene, tmp_path: Path) -> None:
    start_worker(scene, "--room-secret", SECRET)
    package = make_package(tmp_path / "toy.zip", models=("centroid", "centered_instance"), megabytes=5)
    with zipfile.ZipFile(package, "a") as archive:
        archive.writestr("video.bin", os.urandom(5 * 2**20))  # more than the first credit, as the result is
    client = start_client(scene, package, "--secret", f" {SECRET}\n")
    check_taken(scene, client)
    kinds = [event["type"] for event in client.events]
    assert kinds[:4] == ["JOB_ACCEPTED", "FILE_ACCEPT", "FILE_VERIFIED", "JOB_STARTED"]
    assert {"PROGRESS", "MODEL_TRAINED", "LOG_LINES"} < set(kinds)
    assert kinds[-4:] == ["JOB_ENDED", "FILE_OFFER", "FILE_END", "JOB_STATE"]
    assert len(models(scene)) == 2
    assert "proved the room secret" in scene.worker.text
    assert sorted(path.name for path in scene.person_folder.iterdir()) == ["result.zip"]


@pytest.mark.slow
def test_the_second_client_without_the_right_secret_sends_nothing(scene: Scene, tmp_path: Path) -> None:
    start_worker(scene, "--room-secret", SECRET)
    client = start_client(scene, make_package(tmp_path / "toy.zip"), "--secret", "another secret of that length")
    assert client.ended() == 1, client.text
    assert client.events == []
    [sentence] = client.err.read_text().splitlines()
    assert sentence.startswith("The room secret is not the worker's.")
    scene.worker.until_printed("it was made with another room secret")


@pytest.mark.slow
@pytest.mark.long
def test_the_second_client_wants_a_proof_of_the_worker_too(scene: Scene, tmp_path: Path) -> None:
    start_worker(scene)
    client = start_client(scene, make_package(tmp_path / "toy.zip"), "--secret", SECRET)
    assert client.ended() == 1, client.text
    assert client.events == []
    assert client.err.read_text() == "The worker has not proven that it knows the room secret.\n"


@pytest.mark.slow
@pytest.mark.long
def test_a_job_goes_on_when_the_second_client_is_interrupted(
    scene: Scene, tmp_path: Path, pause: TrainingPause
) -> None:
    start_worker(scene)
    client = start_client(scene, make_package(tmp_path / "toy.zip", wait_for=pause.file))
    client.until_printed('"PROGRESS"')
    client.signal(signal.SIGINT)
    assert client.ended() == 1, client.text
    assert client.err.read_text() == "Left; a job that has begun goes on.\n"
    pause.end()
    scene.worker.until_printed("Job .* done: Trained 1 model")


def _arrived(scene: Scene) -> bool:
    return any(path.stat().st_size > MEGABYTES * 2**18 for path in scene.work.glob("job-*/arrived/*"))


def _downloaded(scene: Scene) -> bool:
    path = scene.person_folder / "result.zip.part"
    return path.exists() and path.stat().st_size > MEGABYTES * 2**18


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("until", [_arrived, _downloaded], ids=["mid upload", "mid download"])
def test_the_second_client_comes_back_after_a_cut(scene: Scene, tmp_path: Path, until: Callable[[Scene], bool]) -> None:
    start_worker(scene, "--room-secret", SECRET)
    package = make_package(tmp_path / "toy.zip", megabytes=MEGABYTES)
    with zipfile.ZipFile(package, "a") as archive:
        archive.writestr("video.bin", os.urandom(MEGABYTES * 2**20))
    client = start_client(scene, package, "--secret", SECRET)
    client.until("a part of the file", lambda: until(scene))
    cut_off(scene, client)
    check_taken(scene, client)
    states = [event["stage"] for event in client.events if event["type"] == "JOB_STATE"]
    accepted = [event["offset"] for event in client.events if event["type"] == "FILE_ACCEPT"]
    if until is _arrived:
        assert states == ["preparing", "ended"]
        assert accepted[1] > 0, "the rest alone is sent"
    else:
        assert states == ["ended", "ended"]
    assert len(models(scene)) == 1


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.real_sleap_nn
def test_the_second_client_has_a_real_training_done(scene: Scene, tmp_path: Path) -> None:
    package = tmp_path / "bugs.zip"
    make_data = [sys.executable, "-P", str(Path(sys.modules["rtc"].__path__[0]) / "demo" / "data.py"), str(package)]
    subprocess.run(make_data, check=True, capture_output=True)
    start_worker(scene, "--room-secret", SECRET, sleap_nn=Path(find_sleap_nn()))
    client = start_client(scene, package, "--secret", SECRET)
    check_taken(scene, client)
    [model] = models(scene)
    assert len(model) > 10_000
    assert any(event["type"] == "PROGRESS" and event["val_loss"] for event in client.events)


def test_the_second_client_is_short_and_stands_alone() -> None:
    source = PROGRAM.read_text()
    assert len(source.splitlines()) <= LONGEST
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(str(node.module).partition(".")[0])
    assert imported <= sys.stdlib_module_names | ELSEWHERE
