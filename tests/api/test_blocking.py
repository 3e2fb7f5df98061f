"""The Python API in plain calls: threads, Ctrl-C, the end of the program, forks, and the command line beside it."""

import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import rtc.api
from rtc.api import blocking, events
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import TrainingPause, make_package
from rtc.testing.terminals import Scene, Terminal, eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def person(scene: Scene) -> Iterator[Scene]:
    """A scene whose person is this process: with the person's home and working folder."""
    with pytest.MonkeyPatch.context() as patch:  # undone before the scene kills what runs in its folders
        for name in ("HOME", "TMPDIR"):
            patch.setenv(name, scene._environment("person")[name])
        patch.delenv("XDG_STATE_HOME", raising=False)
        patch.chdir(scene.person_folder)
        yield scene


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Check that the threads of rooms have ended when the test has."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "sleap-rtc"] == []


def run_script(scene: Scene, text: str) -> Terminal:
    """Start a script of the person, which gets the session string as its first argument."""
    script = scene.person_folder / "script.py"
    script.write_text(text)
    out, err = scene.folder / "script.out", scene.folder / "script.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, str(script), scene.session],
            env=dict(scene._environment("person")),
            cwd=scene.person_folder,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    terminal = Terminal(process, out, err)
    scene._started.append(terminal)
    return terminal


def test_a_script_submits_follows_and_gets_its_result(person: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    person.start_worker()
    make_package(person.person_folder / "toy.zip", epochs=3)
    with blocking.connect(session_string=person.session) as room:
        [worker] = room.workers()
        job = room.submit("toy.zip")
        assert job.worker == worker.peer
        result = job.result(progress=True, timeout=HANG_TIME)
        assert result.folder == person.person_folder / "toy"
        assert sum(isinstance(event, events.EpochEvent) for event in job.events()) == 3
        assert room.jobs() == ()
    lines = capsys.readouterr().out.splitlines()
    assert f"{worker.peer} has accepted {job.id}" in lines
    assert lines[-1] == f"{result.text} Results are in {result.folder}"
    assert job.wait() == result, "what is known is known after the room was closed, too"
    assert isinstance(list(job.events())[-1], events.EndedEvent)
    with pytest.raises(rtc.api.UsageError, match="closed"):
        room.workers()
    room.close()


@pytest.mark.long
def test_a_room_is_used_from_several_threads(person: Scene) -> None:
    person.start_worker()
    packages = [make_package(person.person_folder / f"split-{number}.zip") for number in range(4)]
    with blocking.connect(session_string=person.session) as room, ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda path: room.submit(path, wait=True).result(), packages))
    assert [result.folder.name for result in results if result.folder] == [f"split-{number}" for number in range(4)]


@pytest.mark.long
def test_two_rooms_may_be_open_at_a_time(person: Scene) -> None:
    person.start_worker()
    package = make_package(person.person_folder / "toy.zip")
    with (
        blocking.connect(session_string=person.session) as first,
        blocking.connect(session_string=person.session) as second,
    ):
        jobs = [room.submit(package, wait=True, output=name) for room, name in ((first, "one"), (second, "two"))]
        assert [job.result().folder for job in jobs] == [Path.cwd() / "one", Path.cwd() / "two"]


def test_time_outs_and_errors_leave_the_job_and_the_room(person: Scene, pause: TrainingPause) -> None:
    person.start_worker()
    package = make_package(person.person_folder / "toy.zip", wait_for=pause.file)
    with blocking.connect(session_string=person.session) as room:
        job = room.submit(package)
        with pytest.raises(TimeoutError):
            job.wait(timeout=0.5, progress=True)
        with pytest.raises(TimeoutError):
            job.wait(timeout=0)
        with pytest.raises(rtc.api.NotAvailable):
            room.submit(package)
        with pytest.raises(rtc.api.UsageError, match="this, all"):
            job.stop("everything")
        pause.end()
        assert job.wait(timeout=HANG_TIME).is_done
        job.stop()
        job.cancel()
        job.detach()
    with pytest.raises(rtc.api.AuthenticationError):
        blocking.connect(room_id=room.id, token="not the token", server=person.server)


def test_who_waits_in_another_thread_hears_when_the_room_is_closed(person: Scene, pause: TrainingPause) -> None:
    person.start_worker()
    package = make_package(person.person_folder / "toy.zip", wait_for=pause.file)
    room = blocking.connect(session_string=person.session)
    job = room.submit(package)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(job.wait)
        reading = pool.submit(lambda: list(job.events()))
        eventually("both wait", lambda: len(room._thread._waiting) == 2)
        room.close()
        with pytest.raises(rtc.api.Detached):
            waiting.result()
        assert isinstance(reading.result()[-1], events.EndedEvent)
    pause.end()
    with blocking.connect(session_string=person.session, on_exit="wait") as room:
        again = room.attach(job.id)
    assert again.wait().is_done


# -------- Ctrl-C, and the end of the program

INTERRUPTED = """
import sys, threading, time
from rtc.api import blocking

def tell(room):
    while not room._thread._waiting:
        time.sleep(0.01)
    print("waiting", flush=True)

with blocking.connect(session_string=sys.argv[1]) as room:
    job = room.submit("toy.zip")
    threading.Thread(target=tell, args=(room,)).start()
    WAIT
"""


@pytest.mark.parametrize(
    ("megabytes", "wait"),
    [
        (0, "job.wait()"),
        pytest.param(30, "job.wait()", marks=pytest.mark.long),
        pytest.param(0, "for _ in job.events(): pass", marks=pytest.mark.long),
    ],
    ids=["of a job that runs", "while its package is sent", "for the next event"],
)
def test_ctrl_c_ends_the_wait_and_leaves_the_job(
    person: Scene, pause: TrainingPause, megabytes: int, wait: str
) -> None:
    person.start_worker()
    package = make_package(person.person_folder / "toy.zip", wait_for=pause.file)
    with zipfile.ZipFile(package, "a") as archive:
        archive.writestr("more.bin", bytes(megabytes * 10**6))
    script = run_script(person, INTERRUPTED.replace("WAIT", wait))
    script.until_printed("waiting")
    script.signal(signal.SIGINT)
    assert script.ended() == -signal.SIGINT, "as every Python program that does not catch it"
    [ticket] = person.tickets
    assert f"sleap-rtc attach {ticket.stem}" in script.text
    pause.end()
    attached = person.person("attach")
    assert attached.ended() == 0
    assert len(person.models()) == 1


SUBMITTING = """
import sys, threading, time
from rtc.api import blocking

def tell(room):
    while not room._thread._waiting:
        time.sleep(0.01)
    print("waiting", flush=True)

with blocking.connect(session_string=sys.argv[1]) as room:
    threading.Thread(target=tell, args=(room,)).start()
    try:
        room.submit("toy.zip", wait=True)
    except KeyboardInterrupt:
        print("given up", [job.package for job in room.jobs()], flush=True)
"""


@pytest.mark.long
def test_ctrl_c_during_a_submission_gives_the_job_up(person: Scene, pause: TrainingPause) -> None:
    person.start_worker()
    make_package(person.person_folder / "toy.zip")
    with blocking.connect(session_string=person.session) as room:
        held = room.submit(make_package(person.folder / "held.zip", wait_for=pause.file))
        script = run_script(person, SUBMITTING)
        script.until_printed("waiting")
        script.signal(signal.SIGINT)
        assert script.until_printed(r"given up (.*)$") == "['held.zip']"
        assert script.ended() == 0
        pause.end()
        held.result()
        assert person.status() == "available"


FORGETFUL = """
import sys
from rtc.api import blocking

room = blocking.connect(session_string=sys.argv[1])
job = room.submit("toy.zip")
print(job.id)
"""


@pytest.mark.long
def test_a_program_that_closes_nothing_ends_and_its_job_runs(person: Scene, pause: TrainingPause) -> None:
    person.start_worker()
    make_package(person.person_folder / "toy.zip", wait_for=pause.file)
    script = run_script(person, FORGETFUL)
    assert script.ended() == 0, script.text
    assert script.err.read_text() == ""
    pause.end()
    assert person.person("attach", script.out.read_text().strip()).ended() == 0


LEFT_OPEN = """
import sys, threading, time
from rtc.api import blocking

rooms = [blocking.connect(session_string=sys.argv[1], on_exit="wait") for _ in range(3)]
jobs = [rooms[0].submit("toy.zip")]

def tell():
    while any(room._thread.is_open for room in rooms):
        time.sleep(0.01)
    print("closing", flush=True)

threading.Thread(target=tell, daemon=True).start()
"""


@pytest.mark.long
def test_ctrl_c_at_the_end_of_a_program_closes_everything_without_a_traceback(
    person: Scene, pause: TrainingPause
) -> None:
    """Regression: Python printed where the Ctrl-C came, and what else was open was not closed."""
    person.start_worker()
    make_package(person.person_folder / "toy.zip", wait_for=pause.file)
    script = run_script(person, LEFT_OPEN)
    script.until_printed("closing")
    script.signal(signal.SIGINT)
    assert script.ended() == 0
    assert script.err.read_text() == ""
    pause.end()
    assert person.person("attach").ended() == 0


def test_a_room_that_nobody_has_any_more_closes_itself(person: Scene) -> None:
    person.start_worker()
    room = blocking.connect(session_string=person.session)
    thread = room._thread._thread
    del room
    thread.join(HANG_TIME)
    assert not thread.is_alive()


def test_the_copy_of_a_program_says_that_the_room_is_not_its_own(person: Scene) -> None:
    person.start_worker()
    with blocking.connect(session_string=person.session) as room:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                room.workers()
            except rtc.api.UsageError as error:
                os.write(write_end, str(error).encode())
            finally:
                os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end) as answer:
            assert "another process" in answer.read()
        os.waitpid(child, 0)
        assert len(room.workers()) == 1


# -------- beside the command line


def test_the_command_line_and_programs_find_each_others_jobs(person: Scene, pause: TrainingPause) -> None:
    person.start_worker()
    package = make_package(person.person_folder / "toy.zip", wait_for=pause.file)
    client = person.client(package, "--on-interrupt", "detach")
    job_id = client.until_event("accepted")["job"]
    client.until_event("started")
    client.signal(signal.SIGINT)
    assert client.ended() == 7
    with blocking.connect(session_string=person.session) as room:
        [known] = room.jobs()
        assert known.id == job_id
        job = room.attach(known.id)
        listed = person.person("jobs")
        assert listed.ended() == 0
        assert job_id in listed.text
        pause.end()
        assert job.result(timeout=HANG_TIME).models


def test_a_log_is_written_only_where_it_is_asked_for_and_names_no_secret(
    person: Scene, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    person.start_worker()
    make_package(person.person_folder / "toy.zip")
    with blocking.connect(session_string=person.session) as room:
        room.submit("toy.zip").result()
    assert not (person.folder / "person" / ".local" / "state" / "sleap-rtc" / "logs").exists()
    with blocking.connect(session_string=person.session, log=tmp_path / "logs") as room:
        import logging

        logging.getLogger("rtc.test").info("the session is %s", person.session)
    log = (tmp_path / "logs" / "python.log").read_text()
    assert "the session is " in log
    assert person.session not in log
    assert [record for record in caplog.records if record.name.startswith("rtc")] == []
