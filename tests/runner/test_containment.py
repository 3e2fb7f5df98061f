"""No process that a job has started outlives it, however it was started; and none that is not the job's is ended."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from rtc.runner import limits
from rtc.runner.containment import Containment
from rtc.runner.job_cgroup import find_cgroups, make_cgroup, remove_cgroup
from rtc.runner.job_processes import end_processes, find_processes
from rtc.runner.limits import GIB, OPEN_FILES, has_mark
from rtc.runner.pidfd import signal_process
from rtc.testing.limits import HANG_TIME

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

SUPERVISOR = """
import sys
from functools import partial
from pathlib import Path
import trio
from rtc.common.process_group import run_group
from rtc.runner.containment import Containment, open_containment
from rtc.runner.descendants import become_subreaper
from rtc.runner.limits import limit_resources

async def copy(output):
    async for block in output:
        sys.stdout.buffer.write(block)
        sys.stdout.flush()

async def main(folder, cgroup, alive, program):
    limit_resources(folder)
    containment = open_containment(folder) if cgroup else Containment(become_subreaper(), None)
    await run_group(
        [sys.executable, "-c", program], folder=folder, environment={}, read=copy, inherit=(alive,), holder=containment
    )
    containment.close()

trio.run(main, Path(sys.argv[1]), bool(int(sys.argv[2])), int(sys.argv[3]), sys.argv[4])
"""
"""Runs a program as the real supervisor does. Its arguments: the job's folder, whether there is a cgroup, a descriptor
that the program inherits, and the program."""

TWICE = """
import os, signal, sys
ready, begun = os.pipe()
if not os.fork():
    os.setsid()
    if not os.fork():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("stray", os.getpid(), flush=True)
        os.dup2(os.open("/dev/null", os.O_RDWR), 1)
        for number in (0, 2, *range(3, 100)):
            if number != begun:
                try: os.close(number)
                except OSError: pass
        os.execve("/bin/sleep", ["sleep", "600"], {})
    os._exit(0)
os.close(begun)
os.read(ready, 1)
"""
"""Leaves a process in a session of its own that ignores SIGTERM and has no file, no environment and no parent."""
HOPS = """
import os, time
if not os.fork():
    while True:
        if os.fork():
            os._exit(0)
        os.setsid()
time.sleep(0.2)
"""
"""Leaves a process that starts a successor in a new session and ends, again and again."""
TREE = """
import os, signal, time
if not os.fork():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(6):
        if not os.fork():
            os.setsid()
    time.sleep(600)
time.sleep(0.3)
"""
"""Leaves 64 processes that ignore SIGTERM, most of them in sessions of their own, and some still starting others."""
WAIT = "\nprint('waiting', flush=True)\nimport time\ntime.sleep(600)\n"


def may_have_cgroup() -> bool:
    folder = Path("/nowhere/sleap-rtc-test")
    cgroup = make_cgroup(folder)
    if cgroup is not None:
        remove_cgroup(cgroup)
    return cgroup is not None


@pytest.fixture(params=[False, True], ids=["no cgroup", "cgroup"])
def cgroup(request: pytest.FixtureRequest) -> bool:
    if request.param and not may_have_cgroup():
        pytest.skip("this user may not make a cgroup here")
    return bool(request.param)


@contextmanager
def supervised(folder: Path, program: str, *, cgroup: bool = False) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run a program under a supervisor; yield that, and a descriptor that ends when no process of the job is left."""
    alive, inherited = os.pipe()
    command = [sys.executable, "-c", SUPERVISOR, str(folder), str(int(cgroup)), str(inherited), program]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True, pass_fds=(inherited,)) as supervisor:
        os.close(inherited)
        try:
            yield supervisor, alive
        finally:
            supervisor.kill()
            supervisor.wait()
            os.close(alive)
            end_processes(folder, 0, HANG_TIME)


def all_have_ended(alive: int) -> bool:
    """Return whether every process that has inherited the other end has ended; a hanging test would wait for ever."""
    os.set_blocking(alive, False)
    try:
        return os.read(alive, 1) == b""
    except BlockingIOError:
        return False


def run_to_end(folder: Path, program: str, *, cgroup: bool = False) -> str:
    """Run a program under a supervisor, check that no process of it is left, and return what it printed."""
    with supervised(folder, program, cgroup=cgroup) as (supervisor, alive):
        output, _ = supervisor.communicate(timeout=HANG_TIME)
        assert supervisor.returncode == 0
        assert all_have_ended(alive)
    assert find_processes(folder) == []
    assert find_cgroups(folder) == []
    return output


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_process_that_forked_twice_ends_with_its_job(tmp_path: Path, cgroup: bool) -> None:
    word, pid = run_to_end(tmp_path, TWICE, cgroup=cgroup).split()
    assert word == "stray"
    assert not is_running(int(pid))


def test_a_process_that_always_starts_its_successor_ends_with_its_job(tmp_path: Path, cgroup: bool) -> None:
    run_to_end(tmp_path, HOPS, cgroup=cgroup)


def test_a_tree_of_processes_that_ignore_sigterm_ends_with_its_job(tmp_path: Path, cgroup: bool) -> None:
    run_to_end(tmp_path, TREE, cgroup=cgroup)


def test_what_a_killed_supervisor_has_left_is_found_without_files_environment_and_parent(
    tmp_path: Path, cgroup: bool
) -> None:
    with supervised(tmp_path, TWICE + WAIT, cgroup=cgroup) as (supervisor, alive):
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline().split()[1])
        assert supervisor.stdout.readline() == "waiting\n"
        supervisor.kill()
        supervisor.wait()
        assert is_running(pid)
        assert pid in [process.pid for process in find_processes(tmp_path)]
        end_processes(tmp_path, 0, HANG_TIME)
        assert not is_running(pid)
        assert all_have_ended(alive)
    assert find_cgroups(tmp_path) == []


def test_a_process_that_always_starts_its_successor_is_found_when_the_supervisor_was_killed(tmp_path: Path) -> None:
    with supervised(tmp_path, "print('waiting', flush=True)\n" + HOPS + WAIT) as (supervisor, alive):
        assert supervisor.stdout is not None
        supervisor.stdout.readline()
        supervisor.stdout.readline()
        supervisor.kill()
        supervisor.wait()
        assert not all_have_ended(alive)
        end_processes(tmp_path, 0, HANG_TIME)
        assert all_have_ended(alive)


def test_a_process_of_a_killed_supervisor_that_has_lost_the_mark_is_found_in_the_cgroup(tmp_path: Path) -> None:
    if not may_have_cgroup():
        pytest.skip("this user may not make a cgroup here")
    lower = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))\n"
    with supervised(tmp_path, lower + TWICE + WAIT, cgroup=True) as (supervisor, _):
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline().split()[1])
        assert supervisor.stdout.readline() == "waiting\n"
        supervisor.kill()
        supervisor.wait()
        assert pid not in [process.pid for process in find_processes(tmp_path)]
        end_processes(tmp_path, 0, HANG_TIME)
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=HANG_TIME)
        assert not is_running(pid)


def test_processes_that_load_data_work_as_ever(tmp_path: Path) -> None:
    loaders = """
import multiprocessing
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(sum(pool.map(abs, range(-100, 0))))
"""
    assert run_to_end(tmp_path, loaders) == "5050\n"


LOOK = """
import os, resource
for name in ("CORE", "NOFILE", "FSIZE"):
    print(*resource.getrlimit(getattr(resource, "RLIMIT_" + name)))
print(*sorted(int(number) for number in os.listdir("/proc/self/fd"))[:-1])
"""


def test_a_job_has_limits_and_inherits_no_descriptor_but_the_lock(tmp_path: Path) -> None:
    core, files, size, descriptors = run_to_end(tmp_path, LOOK).splitlines()
    assert core == "0 0"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert files == f"{OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)} {hard}"
    soft_size, hard_size = map(int, size.split())
    assert soft_size == hard_size
    assert hard_size >= limits.FILE_SIZE_LOWEST
    assert len(descriptors.split()) == 4
    assert descriptors.startswith("0 1 2 ")


@pytest.mark.parametrize(("free", "largest"), [(100 * GIB, 100 * GIB), (0, 17 * GIB)])
def test_a_file_cannot_take_the_last_gibibyte_of_the_disk(
    free: int, largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free))
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _number: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    [size] = set(limits._file_size_limits(tmp_path))
    assert largest - GIB < size < largest


def test_a_lower_limit_that_is_there_already_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _number: (1000, 2000))
    assert limits._file_size_limits(tmp_path) == (2000, 2000)
    assert limits._open_files_limits() == (2000, 2000)


def test_a_limit_that_cannot_be_set_is_logged_and_the_job_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_number: int, _limits: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(limits.resource, "setrlimit", refuse)
    limits.limit_resources(tmp_path)
    assert [record.getMessage().split()[0] for record in caplog.records] == [
        "RLIMIT_CORE",
        "RLIMIT_NOFILE",
        "RLIMIT_FSIZE",
    ]


def test_jobs_are_told_apart_and_unlimited_processes_are_of_none(tmp_path: Path) -> None:
    assert not has_mark(os.getpid(), tmp_path)
    with supervised(tmp_path, WAIT) as (supervisor, _):
        assert supervisor.stdout is not None
        supervisor.stdout.readline()
        assert has_mark(supervisor.pid, tmp_path)
        assert not has_mark(supervisor.pid, tmp_path / "other")


def test_a_process_that_has_got_the_id_of_another_is_not_signalled() -> None:
    with subprocess.Popen(["sleep", "600"]) as bystander:
        for is_meant in (False, True):
            descriptor = signal_process(bystander.pid, signal.SIGKILL, lambda is_meant=is_meant: is_meant)  # type: ignore[misc]
            if descriptor is not None:
                os.close(descriptor)
            assert (bystander.poll() is None) or is_meant
    assert bystander.returncode == -signal.SIGKILL


def test_a_containment_without_subreaper_and_cgroup_ends_nothing() -> None:
    with subprocess.Popen(["sleep", "600"]) as bystander:
        Containment(subreaper=False, cgroup=None).close()
        assert bystander.poll() is None
        bystander.kill()
