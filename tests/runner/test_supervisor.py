"""Each job has its own supervisor; when the worker or the supervisor dies, no process and no result is lost."""

import errno
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
import trio
from attrs import evolve

from protocol.jobs import GpuUse, JobStarted, LogLines, ModelStarted, Outcome, Progress, StopScope
from rtc.common.gpu import GpuLoad
from rtc.common.job_result import JobResult
from rtc.packages.zip_reader import unpack
from rtc.runner import supervisor as supervisor_module
from rtc.runner import supervisor_handle
from rtc.runner.folder_lock import OWNER_LOCK, USERS_LOCK, create_locked_folder, is_locked, take_over_folder
from rtc.runner.job_files import (
    COMMAND_FIFO,
    ENDED_FROM_OUTSIDE,
    OUTCOME,
    OUTCOME_RESERVED,
    PACKAGE,
    SUPERVISOR_LOCK,
    SUPERVISOR_LOG,
    Spec,
    read_outcome,
)
from rtc.runner.job_processes import find_holders, find_processes
from rtc.runner.journal import WAKE_FIFO, JournalWatcher
from rtc.runner.supervisor_handle import (
    adopt_supervisor,
    collect_result,
    start_supervisor,
    sweep_processes,
    was_started,
)
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import install_stand_in, make_package

pytestmark = pytest.mark.slow

JOB = "job-1"
TWO = ("centroid", "centered_instance")
LONG = {"epochs": 3000, "seconds": 0.1}
"""A job of five minutes, which is far longer than any test waits."""


class JobSetup:
    """A job's folder, its locks, and a spec that runs the stand-in for sleap-nn."""

    def __init__(self, tmp_path):
        self.tmp_path = tmp_path
        self.folder = tmp_path / "work" / JOB
        self.spec = Spec(JOB, install_stand_in(tmp_path / "bin"), "cpu")
        self.lock = None

    async def prepare(self, models=("centroid",), **knobs):
        """Create the folder as it is when a package has been unpacked."""
        package = make_package(self.tmp_path / "p.zip", models, **knobs)
        self.lock = create_locked_folder(self.folder)
        await unpack(package, self.folder / PACKAGE)

    async def start(self, models=("centroid",), **knobs):
        """Create the folder (`prepare`) and start the supervisor; return its handle."""
        await self.prepare(models, **knobs)
        return await start_supervisor(self.folder, self.spec, self.lock.users_descriptor)

    def watcher(self):
        return JournalWatcher.of(JOB, self.folder)

    def users(self):
        """Return the processes of the job, except this one."""
        return find_processes(self.folder)


@pytest.fixture
def place(tmp_path):
    made = JobSetup(tmp_path)
    yield made
    left = made.users()
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=5)
    if made.lock is not None:
        made.lock.release()
    assert not left, "a test left processes behind"


async def concluded(supervisor):
    with trio.fail_after(HANG_TIME):
        result = await supervisor.wait_result()
    supervisor.close()
    return result


def is_running(pid):
    """Return whether this process has not ended; one that has, and was not waited for by its parent yet, has ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(reader, kind, **fields):
    """Return the first event of the type `kind`, with these fields, that `reader` returns."""
    with trio.fail_after(HANG_TIME):
        async for event in reader:
            if isinstance(event.news, kind) and all(getattr(event.news, name) == it for name, it in fields.items()):
                return event.news
    raise AssertionError("the job ended first")


# -------- the ordinary case


async def test_a_job_runs_to_its_end_and_every_reader_gets_all_events(place):
    supervisor = await place.start(TWO, epochs=3)
    watcher = place.watcher()
    received = {"early": [], "second": []}

    async def follow(name):
        async for event in watcher.follow():
            received[name].append(event)

    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as nursery:
            for name in received:
                nursery.start_soon(follow, name)
            await supervisor.wake_readers_until_exit(watcher)
    assert await concluded(supervisor) == JobResult(Outcome.DONE, "Trained 2 models: centroid, centered_instance.")
    late = [event async for event in watcher.follow(seen=4)]
    for events in received.values():
        lasting = [event for event in events if event.seq is not None]
        assert [event.seq for event in lasting] == list(range(1, len(lasting) + 1))
        assert isinstance(lasting[0].news, JobStarted)
        assert late == lasting[4:]
        assert len([e for e in lasting if isinstance(e.news, Progress)]) == 6
        assert (
            sum("epoch 2 done" in line for e in lasting if isinstance(e.news, LogLines) for line in e.news.lines) == 2
        )
        assert [e.at for e in lasting] == sorted(e.at for e in lasting)
    assert place.users() == []
    assert (place.folder / SUPERVISOR_LOG).read_text() == ""
    assert (place.folder / PACKAGE / "job.log").is_file()
    assert not is_locked(place.folder / SUPERVISOR_LOCK)


async def test_a_failure_is_reported_as_the_trainer_reported_it(place):
    result = await concluded(await place.start(crash="ValueError: no such head"))
    assert result.outcome is Outcome.FAILED
    assert "ValueError: no such head" in result.text


async def test_a_package_that_cannot_be_read_is_a_failure_with_its_sentence(place):
    await place.prepare()
    (place.folder / PACKAGE / "jobs.yaml").write_text("training: 3")
    (place.folder / PACKAGE / "train-script.sh").unlink()
    result = await concluded(await start_supervisor(place.folder, place.spec, place.lock.users_descriptor))
    assert result.outcome is Outcome.FAILED
    assert "bug" not in result.text


async def test_the_supervisor_holds_nothing_secret(place, monkeypatch):
    monkeypatch.setenv("SLEAP_RTC_ROOM_SECRET_LAB", "swordfish")
    supervisor = await place.start(**LONG)
    environment = psutil.Process(supervisor._process.pid).environ()
    assert "swordfish" not in json.dumps(environment)
    supervisor.cancel()
    await concluded(supervisor)


async def test_a_file_in_the_job_is_never_imported(place):
    await place.prepare()
    for folder in (place.folder, place.folder / PACKAGE):
        (folder / "trio.py").write_text("raise SystemExit(9)")
    result = await concluded(await start_supervisor(place.folder, place.spec, place.lock.users_descriptor))
    assert result.outcome is Outcome.DONE


async def test_a_job_was_started_once_there_is_a_supervisor(place):
    await place.prepare()
    assert not was_started(place.folder)
    supervisor = await start_supervisor(place.folder, place.spec, place.lock.users_descriptor)
    assert was_started(place.folder)
    await concluded(supervisor)
    assert was_started(place.folder)


async def test_a_program_that_cannot_be_started_leaves_nothing_open(place, monkeypatch):
    await place.prepare()
    monkeypatch.setattr(supervisor_handle.sys, "executable", str(place.folder / "nothing"))
    with pytest.raises(OSError, match="No such file"):
        await start_supervisor(place.folder, place.spec, place.lock.users_descriptor)
    opened = {Path(file.path).name for file in psutil.Process().open_files() if file.path.startswith(str(place.folder))}
    assert opened == {OWNER_LOCK, USERS_LOCK}
    assert adopt_supervisor(place.folder) is None


# -------- commands


async def serve(nursery, supervisor, watcher):
    nursery.start_soon(supervisor.wake_readers_until_exit, watcher)
    return watcher.follow()


async def test_stop_this_ends_one_model_and_the_next_begins(place, nursery):
    supervisor = await place.start(TWO, **LONG)
    reader = await serve(nursery, supervisor, place.watcher())
    await until(reader, Progress, model=0)
    supervisor.stop(StopScope.THIS)
    await until(reader, ModelStarted, model=1)
    supervisor.stop(StopScope.THIS)
    result = await concluded(supervisor)
    assert result.outcome is Outcome.DONE
    assert len(list(place.folder.rglob("best.ckpt"))) == 2


async def test_stop_all_keeps_what_was_trained_and_begins_nothing_more(place, nursery):
    supervisor = await place.start(TWO, **LONG)
    reader = await serve(nursery, supervisor, place.watcher())
    await until(reader, Progress, model=0)
    supervisor.stop(StopScope.ALL)
    assert (await concluded(supervisor)).outcome is Outcome.DONE
    assert len(list(place.folder.rglob("best.ckpt"))) == 1


async def test_a_stop_is_not_lost_that_was_sent_before_the_supervisor_was_ready(place):
    supervisor = await place.start(TWO, **LONG)
    supervisor.stop(StopScope.ALL)
    assert (await concluded(supervisor)).outcome is Outcome.DONE
    assert len(list(place.folder.rglob("best.ckpt"))) <= 1


async def test_a_cancelled_job_is_cancelled_whatever_its_trainer_says(place, nursery):
    supervisor = await place.start(**LONG)
    reader = await serve(nursery, supervisor, place.watcher())
    await until(reader, Progress)
    supervisor.cancel()
    assert await concluded(supervisor) == JobResult(Outcome.CANCELLED, supervisor_module.TRAINING_CANCELLED)
    assert place.users() == []


async def test_a_cancel_is_not_lost_that_was_sent_before_the_supervisor_was_ready(place):
    supervisor = await place.start(**LONG)
    supervisor.cancel()
    assert (await concluded(supervisor)).outcome is Outcome.CANCELLED
    supervisor = await start_again(place)
    assert (await concluded(supervisor)).outcome is Outcome.DONE


async def start_again(place):
    """Start another job, of one short model, in the same folder: it must not get old commands."""
    for path in place.folder.rglob("*.yaml"):
        text = path.read_text()
        if path.name != "jobs.yaml":
            assert '"epochs": 3000' in text
            path.write_text(text.replace('"epochs": 3000', '"epochs": 1'))
    return await start_supervisor(place.folder, place.spec, place.lock.users_descriptor)


async def test_sigterm_is_an_end_from_outside_and_a_terminals_signals_are_none(place, nursery):
    supervisor = await place.start(**LONG)
    reader = await serve(nursery, supervisor, place.watcher())
    before = await until(reader, Progress)
    for signal_number in (signal.SIGINT, signal.SIGHUP):
        supervisor._process.send_signal(signal_number)
    await until(reader, Progress, epoch=before.epoch + 3)
    supervisor._process.send_signal(signal.SIGTERM)
    assert await concluded(supervisor) == ENDED_FROM_OUTSIDE
    assert read_outcome(place.folder) == ENDED_FROM_OUTSIDE, "the supervisor itself has written it"


@pytest.fixture
def strays(place):
    """Let every trainer start a program in a session of its own, with no environment of the trainer's.

    Returns a function that lists those running.
    """
    pids, real = place.tmp_path / "strays", place.spec.sleap_nn
    trainer = place.tmp_path / "sleap-nn"
    trainer.write_text(
        f"#!/bin/sh\nsetsid env -i /bin/sh -c 'echo $$ >> {pids}; exec sleep 600' </dev/null >/dev/null 2>&1 &\n"
        f'until [ -s {pids} ]; do sleep 0.01; done\nexec {real} "$@"\n'
    )
    trainer.chmod(0o755)
    place.spec = evolve(place.spec, sleap_nn=trainer)
    return lambda: [pid for pid in map(int, pids.read_text().split()) if is_running(pid)]


async def test_a_cancel_ends_what_the_job_has_started_in_a_session_of_its_own(place, nursery, strays):
    supervisor = await place.start(**LONG)
    reader = await serve(nursery, supervisor, place.watcher())
    await until(reader, Progress)
    assert strays()
    supervisor.cancel()
    assert (await concluded(supervisor)).outcome is Outcome.CANCELLED
    assert strays() == []


async def test_a_job_that_is_done_leaves_nothing_running_either(place, strays):
    assert (await concluded(await place.start(epochs=1))).outcome is Outcome.DONE
    assert strays() == []


async def test_an_unknown_command_is_ignored(place, caplog):
    supervisor = await place.start(epochs=1)
    os.write(supervisor._command_fifo, b"dance\n" + b"x" * 10_000 + b"\n")
    assert (await concluded(supervisor)).outcome is Outcome.DONE
    assert caplog.text.count("unknown command") == 1, "it is said once"


# -------- the disk is full

FULL = OSError(errno.ENOSPC, "No space left on device")


async def test_a_disk_without_space_for_the_outcome_is_reported_before_anything_is_started(place, monkeypatch):
    def full(_folder):
        raise FULL

    await place.prepare()
    monkeypatch.setattr(supervisor_handle, "reserve_outcome", full)
    with pytest.raises(OSError, match="No space"):
        await start_supervisor(place.folder, place.spec, place.lock.users_descriptor)
    assert not was_started(place.folder)


async def test_a_supervisor_on_a_full_disk_can_still_write_the_outcome(place, monkeypatch):
    def no_room(_folder):
        raise FULL

    await place.prepare()
    started = trio.lowlevel.open_process
    part = place.folder / f"{OUTCOME}.part"

    async def see(*arguments, **options):
        assert part.stat().st_size == OUTCOME_RESERVED
        return await started(*arguments, **options)

    monkeypatch.setattr(trio.lowlevel, "open_process", see)
    supervisor = await start_supervisor(place.folder, place.spec, place.lock.users_descriptor)
    supervisor.cancel()
    await concluded(supervisor)
    monkeypatch.setattr(supervisor_module, "Journal", no_room)
    result = await supervisor_module._supervise(place.folder, ())
    assert result == JobResult(Outcome.FAILED, supervisor_module.FILES_NOT_MADE.format("No space left on device"))


# -------- the supervisor dies


async def test_a_killed_supervisor_leaves_no_trainer_and_a_sentence(place, nursery):
    supervisor = await place.start(grandchild=True, **LONG)
    reader = await serve(nursery, supervisor, place.watcher())
    await until(reader, Progress)
    assert len(place.users()) >= 2
    supervisor._process.kill()
    assert await concluded(supervisor) == ENDED_FROM_OUTSIDE
    assert place.users() == []
    (grandchild,) = place.folder.rglob("grandchild.pid")
    assert not is_running(int(grandchild.read_text()))
    assert adopt_supervisor(place.folder) is None


STUBBORN = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which the program that it starts inherits
stubborn = subprocess.Popen(["sleep", "600"])  # without the descriptors of this one, so without the lock
signal.signal(signal.SIGTERM, signal.SIG_DFL)
with open(sys.argv[1], "w") as file:
    file.write(str(stubborn.pid))
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("trainer_gone", [False, True])
async def test_a_program_that_ignores_sigterm_is_killed_though_the_trainer_that_started_it_has_ended(
    trainer_gone, place, nursery, monkeypatch
):
    monkeypatch.setattr(supervisor_handle, "TERM_TIME", 0.3)
    trainer, pid = place.tmp_path / "sleap-nn", place.tmp_path / "pid"
    trainer.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{STUBBORN}' {pid} {place.spec.sleap_nn} \"$@\"\n")
    trainer.chmod(0o755)
    place.spec = evolve(place.spec, sleap_nn=trainer)
    supervisor = await place.start(**LONG)
    reader = await serve(nursery, supervisor, place.watcher())
    await until(reader, Progress)
    assert is_running(int(pid.read_text()))
    supervisor._process.kill()
    while trainer_gone and (holders := find_holders(place.folder / USERS_LOCK)):
        for holder in holders:
            with suppress(psutil.NoSuchProcess):
                holder.kill()
        await trio.sleep(0.01)
    assert await concluded(supervisor) == ENDED_FROM_OUTSIDE
    assert not is_running(int(pid.read_text()))


async def test_a_trainer_that_ignores_sigterm_is_killed(place, nursery, monkeypatch):
    monkeypatch.setattr(supervisor_handle, "TERM_TIME", 0.3)
    supervisor = await place.start(ignore_sigterm=True, **LONG)
    reader = await serve(nursery, supervisor, place.watcher())
    await until(reader, Progress)
    supervisor._process.kill()
    assert await concluded(supervisor) == ENDED_FROM_OUTSIDE


async def test_a_bug_in_the_supervisor_is_a_failure_and_its_traceback_reaches_the_log(place, caplog):
    await place.prepare()
    place.spec = evolve(place.spec, overrides=(3,))
    result = await concluded(await start_supervisor(place.folder, place.spec, place.lock.users_descriptor))
    assert result == supervisor_module.BUG_RESULT
    assert "Traceback" in caplog.text


@pytest.fixture
def no_patience(monkeypatch):
    """Leave a supervisor no time to end by itself; what is killed has as long as ever."""
    monkeypatch.setattr(supervisor_handle, "EXIT_TIME", -supervisor_handle.TERM_TIME - supervisor_handle.KILL_TIME)


async def test_a_supervisor_that_does_not_end_is_killed_with_its_trainer(place, nursery, no_patience):
    supervisor = await place.start(**LONG)
    reader = await serve(nursery, supervisor, place.watcher())
    await until(reader, Progress)
    os.kill(supervisor._process.pid, signal.SIGSTOP)
    with trio.fail_after(HANG_TIME):
        await supervisor.end()
    assert place.users() == []
    assert await concluded(supervisor) == ENDED_FROM_OUTSIDE


async def test_ending_a_job_cancels_it_when_the_supervisor_works(place, nursery):
    supervisor = await place.start(**LONG)
    reader = await serve(nursery, supervisor, place.watcher())
    await until(reader, Progress)
    with trio.fail_after(HANG_TIME):
        await supervisor.end()
    assert (await concluded(supervisor)).outcome is Outcome.CANCELLED


async def test_no_process_is_ended_that_does_not_use_the_folder(place):
    await place.prepare()
    async with trio.open_nursery() as nursery:
        bystander = await nursery.start(
            partial(trio.run_process, ["sleep", "600"], cwd=place.folder, start_new_session=True)
        )
        with trio.fail_after(HANG_TIME):
            await sweep_processes(place.folder)
            await sweep_processes(place.folder / "nowhere")
        assert bystander.poll() is None
        nursery.cancel_scope.cancel()


# -------- the worker dies


WORKER = """
import os
import sys
from pathlib import Path
import trio
from rtc.packages.zip_reader import unpack
from rtc.runner.folder_lock import create_locked_folder
from rtc.runner.supervisor_handle import start_supervisor
from rtc.runner.job_files import PACKAGE, Spec

async def main(folder, package, sleap_nn):
    lock = create_locked_folder(folder)
    await unpack(package, folder / PACKAGE)
    supervisor = await start_supervisor(folder, Spec("job-1", sleap_nn, "cpu"), lock.users_descriptor)
    os.write(1, b"started")
    await trio.sleep_forever()

trio.run(main, *map(Path, sys.argv[1:]))
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture
def dead_worker(place):
    """Start a job whose worker is then killed by SIGKILL while the job runs."""

    async def make(**knobs):
        package = make_package(place.tmp_path / "p.zip", **knobs)
        worker = await trio.lowlevel.open_process(
            [sys.executable, "-c", WORKER, str(place.folder), str(package), str(place.spec.sleap_nn)],
            stdout=subprocess.PIPE,
            cwd=place.tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        async with worker.stdout:
            with trio.fail_after(HANG_TIME):
                assert await worker.stdout.receive_some() == b"started"
            assert take_over_folder(place.folder) is None, "its worker lives"
            worker.kill()
            await worker.wait()

    return make


async def test_a_job_outlives_its_worker_and_is_adopted(place, dead_worker):
    await dead_worker(**LONG)
    lock = take_over_folder(place.folder)
    supervisor, watcher = adopt_supervisor(place.folder), place.watcher()
    received = []

    async def follow():
        async for event in watcher.follow():
            if event.seq is not None:
                received.append(event)
                if isinstance(event.news, Progress) and event.news.epoch == 2:
                    supervisor.stop(StopScope.ALL)

    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await supervisor.wake_readers_until_exit(watcher)
    assert await concluded(supervisor) == JobResult(Outcome.DONE, "Trained 1 model: centroid.")
    epochs = [event.news.epoch for event in received if isinstance(event.news, Progress)]
    assert epochs == list(range(len(epochs)))
    assert [event.seq for event in received] == list(range(1, len(received) + 1))
    lock.remove()
    assert os.listdir(place.folder.parent) == []


async def test_an_adopted_job_can_be_cancelled(place, dead_worker):
    await dead_worker(**LONG)
    lock = take_over_folder(place.folder)
    supervisor = adopt_supervisor(place.folder)
    supervisor.cancel()
    assert (await concluded(supervisor)).outcome is Outcome.CANCELLED
    lock.release()


async def test_an_adopted_supervisor_that_does_not_end_is_killed(place, dead_worker, no_patience):
    await dead_worker(**LONG)
    supervisor = adopt_supervisor(place.folder)
    for process in find_holders(place.folder / SUPERVISOR_LOCK):
        process.suspend()
    with trio.fail_after(HANG_TIME):
        await supervisor.end()
    assert place.users() == []
    assert await concluded(supervisor) == ENDED_FROM_OUTSIDE


async def test_waiting_for_an_adopted_supervisor_can_be_cancelled(place, dead_worker):
    await dead_worker(**LONG)
    supervisor = adopt_supervisor(place.folder)
    with trio.move_on_after(0.05) as scope:
        await supervisor.wait()
    assert scope.cancelled_caught
    supervisor.cancel()
    assert (await concluded(supervisor)).outcome is Outcome.CANCELLED


async def test_a_job_that_ended_while_no_worker_lived_is_found_with_its_outcome(place, dead_worker):
    await dead_worker(epochs=1)
    lock = take_over_folder(place.folder)
    supervisor = adopt_supervisor(place.folder)
    if supervisor is not None:
        await concluded(supervisor)
    assert adopt_supervisor(place.folder) is None
    assert (await collect_result(place.folder)).outcome is Outcome.DONE
    lock.release()


async def test_an_adopted_job_that_spoilt_its_fifos_is_read_to_its_end_all_the_same(
    place, dead_worker, nursery, caplog
):
    go_on = place.tmp_path / "go on"
    await dead_worker(epochs=20, wait_for=str(go_on))
    begun = place.watcher()
    nursery.start_soon(begun.serve)
    await until(begun.follow(), Progress)
    for name in (COMMAND_FIFO, WAKE_FIFO):
        (place.folder / name).unlink()
        (place.folder / name).write_text("")
    supervisor, watcher = adopt_supervisor(place.folder), place.watcher()
    supervisor.stop(StopScope.ALL)  # it is lost, and nothing waits for it
    go_on.touch()
    with trio.fail_after(HANG_TIME):
        await supervisor.wake_readers_until_exit(watcher)
    assert (await concluded(supervisor)).outcome is Outcome.DONE
    assert [event.news.epoch async for event in watcher.follow() if isinstance(event.news, Progress)] == list(range(20))
    assert "cannot be opened" in caplog.text
    nursery.cancel_scope.cancel()


async def test_the_use_of_the_gpu_is_reported_while_the_job_runs(monkeypatch):
    class Listener:
        written: ClassVar = []
        enough = trio.Event()

        def write(self, news):
            self.written.append(news)
            if len(self.written) == 2:
                self.enough.set()

    loads = iter([GpuLoad(1, 2, 3), None, GpuLoad(4, 5, None)])
    monkeypatch.setattr(supervisor_module, "read_use", lambda _gpu: next(loads, None))
    monkeypatch.setattr(supervisor_module, "GPU_PERIOD", 0.001)
    listener = Listener()
    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                supervisor_module._report_gpu_use, Spec(JOB, Path("x"), "auto", ("GPU-1",)), ("GPU-1",), listener
            )
            await listener.enough.wait()
            nursery.cancel_scope.cancel()
    assert listener.written == [GpuUse(JOB, 1, 2, 3), GpuUse(JOB, 4, 5, None)]


def test_the_programs_start_is_light():
    program = (
        "import sys; import rtc.runner.supervisor;"
        "print(sorted({'torch', 'aiortc', 'asyncio', 'sleap_nn', 'numpy', 'rich', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"
