"""A worker that was given a room secret in any way never runs without one, whichever room it gets."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from attrs import evolve

from protocol.faults import Fault, FaultCode
from protocol.ids import PeerId, RoomId
from protocol.session_string import SessionString
from protocol.status import Status, WorkerFacts
from protocol.trust import Secret
from rtc.common.errors import ExitCode, RtcError
from rtc.common.gpu import GpuFacts
from rtc.common.line_writer import LineWriter
from rtc.runtime.room_keys import LastingSecret, find_keys
from rtc.testing.lab import Lab, RecordedLog
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import install_stand_in
from rtc.worker.fleet import FleetReady, _show_ready, options_per_gpu, run_fleet
from rtc.worker.job_database import JobDatabase
from rtc.worker.membership_file import SavedMembership, open_membership_file
from rtc.worker.program import WorkerOptions, run_worker
from rtc.worker.room_membership import WorkerReady

OLD, NEW = RoomId("room-old"), RoomId("room-new")
OF_OLD, OF_NEW = Secret("the secret of the old room"), Secret("the secret of the new room")
GPUS = (GpuFacts("RTX A", 24000, 24000, "13.0", "GPU-aaaa"), GpuFacts("RTX B", 24000, 24000, "13.0", "GPU-bbbb"))


def of_old(room: RoomId | None) -> Secret | None:
    return OF_OLD if room == OLD else None


def nothing(_room: RoomId | None) -> Secret | None:
    return None


# -------- which secret counts


def test_a_room_without_a_secret_of_its_own_gets_the_one_that_was_found_before() -> None:
    find = LastingSecret(of_old)
    assert [find(room) for room in (NEW, OLD, NEW, None)] == [None, OF_OLD, OF_OLD, OF_OLD]


def test_a_room_with_a_secret_of_its_own_gets_that() -> None:
    find = LastingSecret({OLD: OF_OLD, NEW: OF_NEW}.get)
    assert [find(room) for room in (OLD, NEW, OLD)] == [OF_OLD, OF_NEW, OF_OLD]


@pytest.mark.parametrize("room", [None, NEW])
async def test_a_secret_that_is_required_and_missing_is_a_usage_error(room: RoomId | None) -> None:
    with pytest.raises(RtcError, match="--require-secret") as caught:
        LastingSecret(nothing, required=True)(room)
    assert caught.value.exit_code is ExitCode.USAGE
    with pytest.raises(RtcError, match="--require-secret"):
        await find_keys(LastingSecret(nothing, required=True), NEW)
    assert LastingSecret(of_old, required=True)(OLD) == OF_OLD


# -------- workers


def make_options(lab: Lab, tmp_path: Path) -> WorkerOptions:
    return WorkerOptions(
        lab.config,
        name="box",
        work=tmp_path / "work",
        results=tmp_path / "results",
        sleap_nn=str(install_stand_in(tmp_path / "bin")),
        stop_jobs_on_exit=True,
    )


def save_membership_of_a_room_that_is_gone(
    options: WorkerOptions, name: str, monkeypatch: pytest.MonkeyPatch, *, has_secret: bool = True
) -> None:
    """Let the worker of this name return to `OLD`, as if its earlier jobs had owners; the server does not know it."""

    async def yes(_database: JobDatabase) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    monkeypatch.setattr(JobDatabase, "has_open_jobs", yes)
    options.results.mkdir(mode=0o700)
    saved = SavedMembership(options.config.signaling_websocket, OLD, "token", PeerId("worker-1"), "resume", has_secret)
    with open_membership_file(options.results, name, GPUS[0].uuid) as file:
        file.write(saved)


@pytest.mark.slow
async def test_all_workers_of_a_machine_keep_the_secret_when_the_room_of_the_first_is_gone(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second worker has never been in the old room, and there is no secret of the new one."""
    options = evolve(make_options(lab, tmp_path), find_secret=of_old)
    save_membership_of_a_room_that_is_gone(options, "box-0", monkeypatch)
    joined: list[FleetReady] = []

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        async def note(ready: FleetReady) -> None:
            joined.append(ready)
            task_status.started()

        await run_fleet(
            options_per_gpu(options, GPUS),
            asyncio_loop=lab.asyncio_loop,
            drain=trio.Event(),
            say=RecordedLog().add,
            joined=note,
        )

    with trio.fail_after(HANG_TIME):
        await lab.nursery.start(run)
    [ready] = joined
    assert [(each.room == OLD, each.has_secret) for each in ready] == [(False, True), (False, True)]


@pytest.mark.parametrize(
    ("find_secret", "has_one"), [(nothing, False), pytest.param(lambda _room: OF_NEW, True, marks=pytest.mark.slow)]
)
async def test_a_worker_that_needs_a_secret_makes_a_room_only_if_it_has_one(
    lab: Lab, tmp_path: Path, find_secret: object, has_one: bool
) -> None:
    options = evolve(make_options(lab, tmp_path), find_secret=find_secret, require_secret=True)
    ready, fault = await run_until_joined(lab, options)
    assert [one.has_secret for one in ready] == [True] * has_one
    assert (fault is None) == has_one
    assert fault is None or fault.code is FaultCode.USAGE
    assert count_rooms(lab) == has_one


@pytest.mark.parametrize("had_secret", [False, True])
async def test_a_worker_returns_to_a_room_where_it_asked_for_a_secret_only_with_one(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, had_secret: bool
) -> None:
    options = evolve(make_options(lab, tmp_path), gpus=GPUS[:1])
    save_membership_of_a_room_that_is_gone(options, "box", monkeypatch, has_secret=had_secret)
    ready, fault = await run_until_joined(lab, options)
    assert (len(ready), fault is None) == ((0, False) if had_secret else (1, True))
    assert fault is None or (fault.code, "none is here now" in fault.text) == (FaultCode.USAGE, True)
    assert count_rooms(lab) == len(ready), "the old room is gone, so the other worker gets a new one"


async def run_until_joined(lab: Lab, options: WorkerOptions) -> tuple[list[WorkerReady], Fault | None]:
    """Run a worker until it has joined its room, or has failed; return what it reports."""
    ready: list[WorkerReady] = []
    drain = trio.Event()
    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as nursery:

            def joined(one: WorkerReady) -> None:
                ready.append(one)
                nursery.cancel_scope.cancel()

            try:
                await run_worker(
                    options, asyncio_loop=lab.asyncio_loop, drain=drain, say=RecordedLog().add, joined=joined
                )
            except RtcError as error:
                return ready, error.fault
    return ready, None


def count_rooms(lab: Lab) -> int:
    """Return how many rooms the server has, from its database."""
    with closing(sqlite3.connect(lab.folder / "server" / "server.sqlite3")) as database:
        return int(database.execute("SELECT count(*) FROM rooms").fetchone()[0])


# -------- what is said at the start


@pytest.mark.parametrize("has_secret", [False, True])
async def test_a_worker_that_runs_open_says_that_there_are_secrets_of_other_rooms(
    capsys: pytest.CaptureFixture[str], has_secret: bool
) -> None:
    facts = WorkerFacts(Status.AVAILABLE, "lab", "host", "CPU", 0, "0.3.5", "none", "0.1")
    session = SessionString(NEW, "token", PeerId("worker-1"), "ws://lab:8080")
    options = SimpleNamespace(about_other_secrets=lambda room: f"Nothing is here for {room}.")
    await _show_ready(LineWriter(sys.stdout), options, (WorkerReady(NEW, "token", session, facts, has_secret),))
    printed = capsys.readouterr()
    assert printed.err == ("" if has_secret else f"sleap-rtc: Nothing is here for {NEW}.\n")
    assert ("--room-secret-file FILE" in printed.out) == has_secret
