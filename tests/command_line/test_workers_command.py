"""`sleap-rtc workers`: the list that the server sends, as a table and as JSON."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from attrs import evolve

from actors.events import JoinedRoom, JoinFailed, JoinRoom, RoomCredentials, WorkersChanged
from actors.router import Router
from protocol.faults import FaultCode
from protocol.ids import PeerId, RoomId
from protocol.signaling import IceServers, WorkerPresent
from protocol.status import Role, Status, WorkerFacts
from rtc.client import list_workers as list_module
from rtc.client.list_workers import TOO_FEW_GPUS, ListOptions, list_workers
from rtc.common.errors import ExitCode, RtcError
from rtc.config.load import Config
from rtc.runtime.signaling_runtime import SignalingRuntime
from rtc.terminal.worker_table import age, as_table, json_text
from rtc.testing.lab import Lab, RecordingView
from rtc.testing.stand_in import TrainingPause

FACTS = WorkerFacts(Status.AVAILABLE, "ada", "box-1", "NVIDIA H200", 143771, "0.3.5", "12.4", "0.1", 143000, gpus=1)
H200 = WorkerPresent(PeerId("worker-0123456789"), FACTS, 45)
BUSY = WorkerPresent(
    PeerId("worker-9876543210"), evolve(FACTS, status=Status.BUSY, gpu="CPU", memory_mb=0, free_mb=0, cuda="none"), 7300
)


# -------- the list from the server


@pytest.mark.slow
async def test_the_list_contains_what_each_worker_announced_last(
    lab: Lab, package: Callable[..., Path], nursery: trio.Nursery, pause: TrainingPause
) -> None:
    first = await lab.start_worker()
    second = await lab.start_worker(like=first)
    view = RecordingView()
    nursery.start_soon(lambda: lab.run_client(second, package(wait_for=pause.file), view=view))
    await view.training.wait()
    listed = await list_workers(lab.config, first.ready.room, first.ready.token)
    assert {shown.peer: shown.facts.status for shown in listed} == {
        first.peer: Status.AVAILABLE,
        second.peer: Status.BUSY,
    }
    assert {shown.facts.name for shown in listed} == {"bench-1", "bench-2"}
    second.scope.cancel()
    await second.ended.wait()
    assert [shown.peer for shown in await list_workers(lab.config, first.ready.room, first.ready.token)] == [first.peer]


async def test_an_empty_room_has_an_empty_list(lab: Lab) -> None:
    worker = await lab.start_worker()
    worker.drain.set()
    await worker.ended.wait()
    assert await list_workers(lab.config, worker.ready.room, worker.ready.token) == ()


@pytest.mark.slow
async def test_a_wrong_token_and_an_absent_server_have_different_exit_codes(lab: Lab) -> None:
    worker = await lab.start_worker()
    with pytest.raises(RtcError) as denied:
        await list_workers(lab.config, worker.ready.room, "not the token")
    assert denied.value.exit_code is ExitCode.AUTHENTICATION
    nowhere = evolve(lab.config, signaling_websocket="ws://127.0.0.1:9")
    with pytest.raises(RtcError, match=r"127\.0\.0\.1:9") as away:
        await list_workers(nowhere, worker.ready.room, worker.ready.token)
    assert away.value.exit_code is ExitCode.NETWORK


async def test_a_server_that_does_not_answer_times_out(lab: Lab) -> None:
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        silent = evolve(
            lab.config,
            signaling_websocket=f"ws://127.0.0.1:{listener.socket.getsockname()[1]}",
            connection_timeout=0.2,
        )
        with pytest.raises(RtcError) as caught:
            await list_workers(silent, RoomId("room-1"), "token")
    assert caught.value.fault.code is FaultCode.SERVER_LOST


async def join_as_worker(lab: Lab, room: RoomId, token: str, facts: WorkerFacts, nursery: trio.Nursery) -> None:
    """Join the room with these facts as a worker that does nothing else."""
    router, joined = Router({}), trio.Event()
    signaling = SignalingRuntime(lab.config, router, facts)
    router.routes = signaling.routes() | {
        JoinedRoom: (lambda _: joined.set(),),
        JoinFailed: (lambda event: pytest.fail(event.fault.text),),
        WorkersChanged: (),
        IceServers: (),
    }
    await nursery.start(router.run)
    await signaling.open(nursery, nursery)
    router.outbox.put(JoinRoom(RoomCredentials(Role.WORKER, room, token), 10))
    await joined.wait()


@pytest.mark.slow
async def test_a_list_longer_than_a_frame_is_read_completely(lab: Lab, nursery: trio.Nursery) -> None:
    first = await lab.start_worker()
    wide = evolve(FACTS, name="\U00020000" * 64, hostname="\U00020000" * 200, gpu="\U00020000" * 200)
    for _ in range(20):
        await join_as_worker(lab, first.ready.room, first.ready.token, wide, nursery)
    listed = await list_workers(lab.config, first.ready.room, first.ready.token)
    assert len(listed) == 21
    nursery.cancel_scope.cancel()


@pytest.mark.slow
def test_listing_workers_imports_no_asyncio_library() -> None:
    program = (
        "import sys, rtc.client.list_workers; sys.exit(bool({'aiortc', 'trio_asyncio', 'torch'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


# -------- the table


def test_the_table_has_all_columns() -> None:
    head, first, second, empty, total = as_table((H200, BUSY), None).splitlines()
    assert head.split() == [
        *("status", "for", "GPU", "memory", "free", "hostname", "name", "sleap-nn", "CUDA", "sleap-rtc", "worker"),
    ]
    assert first.split() == [
        *("available", "45", "s", "NVIDIA", "H200", "143771", "MB", "143000", "MB"),
        *("box-1", "ada", "0.3.5", "12.4", "0.1", "worker-0123456789"),
    ]
    assert second.split()[:5] == ["busy", "2", "h", "CPU", "0"]
    assert (empty, total) == ("", "2 workers: 1 available, 1 busy")


LEAVING = evolve(BUSY, peer=PeerId("worker-5555555555"), facts=evolve(BUSY.facts, leaving=True))


def test_a_leaving_worker_is_shown_as_leaving_beside_its_status() -> None:
    _, first, second, _, total = as_table((H200, LEAVING), None).splitlines()
    assert first.startswith("available      45 s")
    assert second.startswith("busy, leaving  2 h")
    assert total == "2 workers: 1 available, 1 leaving"
    assert [(one["status"], one["leaving"]) for one in json.loads(json_text((H200, LEAVING)))] == [
        ("available", False),
        ("busy", True),
    ]


@pytest.mark.parametrize("status", Status)
def test_a_table_with_a_leaving_worker_fits_a_terminal(status: Status) -> None:
    facts = evolve(FACTS, gpu="NVIDIA GeForce RTX 4090 Laptop", hostname="h" * 99, status=status, leaving=True)
    text = as_table((evolve(H200, facts=facts), BUSY), 80)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "143771 MB" in text


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_table_fits_a_terminal_and_never_cuts_what_is_copied(width: int) -> None:
    wide = evolve(H200, facts=evolve(FACTS, gpu="NVIDIA GeForce RTX 4090 Laptop", hostname="h" * 99, name="n" * 64))
    text = as_table((wide, BUSY), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "worker-0123456789" in text
    assert ("--json" in text) == (width < 120)
    assert "NVIDIA GeForce RT" in text


def test_an_empty_room_is_reported_with_what_to_do() -> None:
    assert "sleap-rtc worker" in as_table((), 80)
    assert json_text(()) == "[]\n"


def test_what_others_call_themselves_cannot_move_the_cursor() -> None:
    facts = evolve(FACTS)
    object.__setattr__(
        facts, "name", "\x1b[2Jada\u202eevil\n"
    )  # no message may contain this, and yet the table must be safe
    hostile = evolve(H200)
    object.__setattr__(hostile, "facts", facts)
    for text in (as_table((hostile,), None), json_text((hostile,))):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "ada" in text
    assert len(as_table((hostile,), None).splitlines()) == 4


@pytest.mark.parametrize(
    ("min_gpus", "as_json", "part"), [(1, False, "1 worker: 1 available"), (2, False, TOO_FEW_GPUS), (2, True, "[]")]
)
async def test_only_workers_with_as_many_gpus_are_listed(
    min_gpus: int, as_json: bool, part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def list_both(*_arguments: object) -> tuple[WorkerPresent, ...]:
        return (H200, evolve(BUSY, facts=evolve(BUSY.facts, gpus=0)))

    monkeypatch.setattr(list_module, "list_workers", list_both)
    config = Config("development", "ws://127.0.0.1:9", "http://127.0.0.1:9")
    options = ListOptions(config, RoomId("room-1"), "token", as_json, min_gpus)
    assert await list_module._list_and_print(options) == ExitCode.DONE
    assert part in capsys.readouterr().out


def test_a_worker_of_two_gpus_says_that_each_has_this_memory() -> None:
    facts = evolve(FACTS, gpu="2 × NVIDIA H200", gpus=2)
    [row, _, _] = as_table((evolve(H200, facts=facts),), None).splitlines()[1:]
    assert "2 × NVIDIA H200  143771 MB each" in row


def test_the_json_has_its_documented_fields() -> None:
    first, second = json.loads(json_text((H200, BUSY)))
    assert first == {
        "worker_id": "worker-0123456789",
        "name": "ada",
        "hostname": "box-1",
        "status": "available",
        "leaving": False,
        "status_seconds": 45,
        "gpu": "NVIDIA H200",
        "memory_mb": 143771,
        "free_mb": 143000,
        "sleap_nn": "0.3.5",
        "cuda": "12.4",
        "sleap_rtc": "0.1",
        "gpus": 1,
    }
    assert (second["status"], second["status_seconds"], second["memory_mb"]) == ("busy", 7300, 0)
    deployment = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
    for name in first:
        assert f"`{name}`" in deployment


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7300, "2 h"), (90000, "1 d")]
)
def test_ages_are_as_exact_as_needed(seconds: int, text: str) -> None:
    assert age(seconds) == text
