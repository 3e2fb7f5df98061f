"""One worker per GPU: names, one room, one banner, jobs that see only their own GPU; and the embedded server."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import define, evolve, field

from actors.events import BestWorker, FreeMemoryChanged
from protocol.faults import FaultCode
from protocol.jobs import JobNote, LogLines
from protocol.session_string import read_session_string
from protocol.status import Status, WorkerFacts
from rtc.client.list_workers import list_workers
from rtc.common.errors import ExitCode, RtcError
from rtc.common.gpu import GpuFacts
from rtc.config.load import Config
from rtc.server import open_server
from rtc.testing.lab import ClientRun, Lab, LabWorker, RecordedLog, RecordingView
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import install_stand_in
from rtc.worker import embedded_server, gpu_monitor
from rtc.worker.banner import fleet_banner
from rtc.worker.embedded_server import ServerOptions, open_embedded_server
from rtc.worker.fleet import FleetReady, options_per_gpu, run_fleet
from rtc.worker.gpu_monitor import GpuMonitor
from rtc.worker.program import WorkerOptions, _facts, _runner_config

MB = 2**20
NOWHERE = "ws://127.0.0.1:9"
H200 = GpuFacts("NVIDIA H200", 143771, 143000, "13.0", "GPU-aaaa")
RTX = GpuFacts("NVIDIA GeForce RTX 4090", 24564, 24000, "13.0", "GPU-bbbb")

MakePackage = Callable[..., Path]


class FakeNvml(ModuleType):
    """A driver with the two GPUs `H200` and `RTX`; tests set their free memory."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.free = {"GPU-aaaa": 143000, "GPU-bbbb": 24000}
        self.nvmlInit = self.nvmlShutdown = lambda: None
        self.nvmlSystemGetCudaDriverVersion_v2 = lambda: 13000
        self.nvmlDeviceGetHandleByUUID = lambda uuid: {gpu.uuid: gpu for gpu in (H200, RTX)}[uuid]
        self.nvmlDeviceGetName = lambda gpu: gpu.name
        self.nvmlDeviceGetUUID = lambda gpu: gpu.uuid
        self.nvmlDeviceGetMemoryInfo = lambda gpu: SimpleNamespace(
            total=gpu.memory_mb * MB, free=self.free[gpu.uuid] * MB
        )


@pytest.fixture(autouse=True)
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(gpu_monitor, "PERIOD", math.inf)  # the memory is read when a test or a job is the reason for it
    return fake


@define
class Fleet:
    """A fleet that runs in the lab."""

    lab: Lab
    fleet_options: tuple[WorkerOptions, ...]
    log: RecordedLog = field(factory=RecordedLog)
    drain: trio.Event = field(factory=trio.Event)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    ended: trio.Event = field(factory=trio.Event)
    ready: FleetReady = ()
    failed: RtcError | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async def joined(ready: FleetReady) -> None:
            self.ready = ready
            task_status.started()

        with self.scope:
            try:
                await run_fleet(
                    self.fleet_options,
                    asyncio_loop=self.lab.asyncio_loop,
                    drain=self.drain,
                    say=self.log.add,
                    joined=joined,
                )
            except RtcError as error:
                self.failed = error
        self.ended.set()

    def member(self, number: int) -> LabWorker:
        """Return one of the workers, as the lab's clients use it."""
        return LabWorker(
            self.ready[number], self.log, self.drain, self.scope, self.ended, self.fleet_options[number], self.failed
        )

    async def facts(self) -> list[WorkerFacts]:
        """Return the facts of all workers in the room, as a client sees them."""
        shown = await list_workers(self.lab.config, self.ready[0].room, self.ready[0].token)
        return [one.facts for one in shown]


def install_reporting_sleap_nn(folder: Path) -> Path:
    """Install a sleap-nn that prints which GPUs it sees and then acts as the stand-in; return its path."""
    real = install_stand_in(folder)
    program = folder / "reporting-sleap-nn"
    program.write_text(f'#!/bin/sh\necho "sees <$CUDA_VISIBLE_DEVICES>"\nexec {real} "$@"\n')
    program.chmod(0o755)
    return program


def make_options(lab: Lab, tmp_path: Path, **more: Any) -> WorkerOptions:
    base = tmp_path / "fleet"
    sleap_nn = str(install_reporting_sleap_nn(tmp_path / "bin"))
    return evolve(
        WorkerOptions(
            lab.config,
            name="box",
            work=base / "work",
            results=base / "results",
            sleap_nn=sleap_nn,
            stop_jobs_on_exit=True,
        ),
        **more,
    )


@pytest.fixture
async def fleet(lab: Lab, tmp_path: Path) -> Fleet:
    started = Fleet(lab, options_per_gpu(make_options(lab, tmp_path), (H200, RTX)))
    await lab.nursery.start(started.run)
    return started


def test_names_are_numbered_and_fit_and_one_gpu_needs_none() -> None:
    options = WorkerOptions(config=None, name="n" * 64)  # type: ignore[arg-type]
    several = options_per_gpu(options, [evolve(H200, uuid=f"GPU-{number}") for number in range(12)])
    assert [each.name for each in several][::11] == ["n" * 60 + "…-0", "n" * 60 + "…-11"]
    assert all(len(each.name or "") <= 64 for each in several)
    assert several[3].prefix == f"[{'n' * 60}…-3] "
    [alone] = options_per_gpu(options, [RTX])
    assert (alone.name, alone.gpus, alone.prefix) == (options.name, (RTX,), "")
    [cpu] = options_per_gpu(options, [])
    assert (cpu.name, cpu.gpus) == (options.name, ())


async def test_all_are_in_one_room_each_under_its_own_name_and_gpu(fleet: Fleet) -> None:
    assert len({each.room for each in fleet.ready}) == 1
    assert len({each.session.peer for each in fleet.ready}) == 2
    facts = await fleet.facts()
    assert [(one.name, one.gpu, one.memory_mb, one.free_mb) for one in facts] == [
        ("box-0", "NVIDIA H200", 143771, 143000),
        ("box-1", "NVIDIA GeForce RTX 4090", 24564, 24000),
    ]


@pytest.mark.slow
async def test_two_jobs_run_at_the_same_time_and_each_sees_its_own_gpu(
    fleet: Fleet, package: MakePackage, tmp_path: Path
) -> None:
    runs: list[ClientRun] = []
    views, go_on = (RecordingView(), RecordingView()), tmp_path / "go on"

    async def run_one(number: int) -> None:
        job = package(f"{number}.zip", wait_for=str(go_on))
        runs.append(await fleet.lab.run_client(fleet.member(0), job, choice=BestWorker(), view=views[number]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_one, 0)
        nursery.start_soon(run_one, 1)
        for view in views:
            await view.training.wait()
        go_on.touch()
    assert [run.fault for run in runs] == [None, None]
    lines = [
        line
        for run in runs
        for news in run.view.job_events
        if isinstance(news, LogLines)
        for line in news.lines
        if line.startswith("sees")
    ]
    assert sorted(lines) == ["sees <GPU-aaaa>", "sees <GPU-bbbb>"]
    for name in ("box-0", "box-1"):
        await fleet.log.until(f"[{name}] Result of")


@pytest.mark.slow
async def test_a_worker_of_two_gpus_gives_both_to_one_job(lab: Lab, tmp_path: Path, package: MakePackage) -> None:
    options = make_options(lab, tmp_path, gpus=(RTX, evolve(RTX, uuid="GPU-aaaa", free_mb=20000)))
    worker = await lab.start_worker(gpus=options.gpus, sleap_nn=options.sleap_nn)
    facts = worker.ready.facts
    assert (facts.gpu, facts.gpus) == ("2 × NVIDIA GeForce RTX 4090", 2)
    assert (facts.memory_mb, facts.free_mb) == (24564, 20000)
    too_many = await lab.run_client(worker, package(), min_gpus=3)
    assert too_many.fault is not None
    assert "gives a job 2 GPUs, and --gpus asks for 3" in too_many.fault.text
    run = await lab.run_client(worker, package(), choice=BestWorker(), min_gpus=2)
    lines = [line for news in run.view.job_events if isinstance(news, LogLines) for line in news.lines]
    assert "sees <GPU-bbbb,GPU-aaaa>" in lines
    assert [news.text for news in run.view.job_events if isinstance(news, JobNote)] == [
        "The job runs on NVIDIA GeForce RTX 4090 and NVIDIA H200, at least 23.4 GB free on each. The batch size is "
        "that of each GPU."
    ]
    assert any("++trainer_config.trainer_devices=2" in line for line in lines)


@pytest.mark.slow
async def test_draining_lets_the_running_job_end_and_then_all_are_gone(
    fleet: Fleet, package: MakePackage, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    runs: list[ClientRun] = []

    async def run_one() -> None:
        runs.append(await fleet.lab.run_client(fleet.member(1), package(wait_for=str(go_on))))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_one)
        await fleet.log.until("[box-1] Status: busy.")
        fleet.drain.set()
        go_on.touch()
    await fleet.ended.wait()
    assert [run.fault for run in runs] == [None]
    assert fleet.failed is None


@pytest.mark.slow
async def test_cancelling_stops_every_job_and_leaves_nothing(fleet: Fleet, package: MakePackage) -> None:
    runs: list[ClientRun] = []
    views = RecordingView(), RecordingView()

    async def run_one(number: int) -> None:
        long = package(f"{number}.zip", epochs=5000, seconds=0.05)
        runs.append(await fleet.lab.run_client(fleet.member(number), long, view=views[number]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_one, 0)
        nursery.start_soon(run_one, 1)
        for view in views:
            await view.training.wait()
        fleet.scope.cancel()
    await fleet.ended.wait()
    assert [run.fault.code for run in runs if run.fault is not None] == [FaultCode.CANCELLED] * 2
    assert list(fleet.fleet_options[0].work.iterdir()) == []
    assert len(list(fleet.fleet_options[0].results.glob("*.zip"))) == 2


async def test_a_fleet_joins_the_room_it_is_given_and_a_wrong_token_ends_it(lab: Lab, tmp_path: Path) -> None:
    first = await lab.start_worker(gpus=())
    options = make_options(lab, tmp_path, room=first.ready.room, token=first.ready.token)
    joined = Fleet(lab, options_per_gpu(options, (H200, RTX)))
    await lab.nursery.start(joined.run)
    assert {each.room for each in joined.ready} == {first.ready.room}
    assert len(await joined.facts()) == 3
    with pytest.raises(RtcError) as caught:
        await run_fleet(
            options_per_gpu(evolve(options, token="wrong"), (H200, RTX)),
            asyncio_loop=lab.asyncio_loop,
            drain=trio.Event(),
            say=RecordedLog().add,
            joined=pytest.fail,
        )
    assert caught.value.fault.code is FaultCode.ROOM_DENIED


async def test_a_fleet_drained_before_it_has_joined_ends_silently(lab: Lab, tmp_path: Path) -> None:
    drain = trio.Event()
    drain.set()
    nowhere = evolve(lab.config, signaling_websocket="ws://127.0.0.1:9")
    fleet_options = options_per_gpu(make_options(lab, tmp_path, config=nowhere), (H200, RTX))
    with trio.fail_after(HANG_TIME):
        await run_fleet(
            fleet_options, asyncio_loop=lab.asyncio_loop, drain=drain, say=RecordedLog().add, joined=pytest.fail
        )


async def test_the_banner_has_every_session_string_on_a_line_of_its_own(fleet: Fleet) -> None:
    workers = [(each.facts, each.session.write()) for each in fleet.ready]
    lines = fleet_banner(
        workers, fleet.ready[0].room, fleet.ready[0].token, "ws://lab:8080", has_secret=False
    ).splitlines()
    sessions = [read_session_string(line) for line in lines if line.startswith("ey")]
    assert sessions == [each.session for each in fleet.ready]
    assert "  box-0: NVIDIA H200, 143771 MB, CUDA 13.0" in lines
    assert "  box-1: NVIDIA GeForce RTX 4090, 24564 MB, CUDA 13.0" in lines
    assert sum("sleap-rtc worker --room-id" in line for line in lines) == 1


# -------- free memory


async def test_noticeable_changes_of_free_memory_are_reported_and_small_ones_are_not() -> None:
    readings = [900, 500, 500, 2000]
    facts = WorkerFacts(Status.AVAILABLE, "bench", "lab", "GPU", 24000, "0.3.5", "12.4", "0.1", free_mb=1000)
    reported: list[FreeMemoryChanged] = []
    was_read, last = trio.Event(), trio.Event()

    def read() -> int:
        free = readings.pop(0)
        trio.from_thread.run_sync(was_read.set)  # the test asks for the next reading only after this one was taken
        return free

    def report(news: FreeMemoryChanged) -> None:
        nonlocal facts
        reported.append(news)
        facts = evolve(facts, free_mb=news.free_mb)
        if not readings:
            last.set()

    monitor = GpuMonitor(read, report, lambda: facts)
    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as nursery:
            await nursery.start(monitor.run)
            for _ in range(len(readings)):
                was_read = trio.Event()
                monitor.check_now()
                await was_read.wait()
            await last.wait()
            nursery.cancel_scope.cancel()
    assert reported == [FreeMemoryChanged(500), FreeMemoryChanged(2000)]


@pytest.mark.slow
async def test_a_job_makes_the_worker_read_the_free_memory_again(
    fleet: Fleet, nvml: FakeNvml, package: MakePackage
) -> None:
    nvml.free["GPU-aaaa"] = 100
    assert (await fleet.lab.run_client(fleet.member(0), package())).fault is None
    with trio.fail_after(HANG_TIME):
        while [one.free_mb for one in await fleet.facts()] != [100, 24000]:
            await trio.testing.wait_all_tasks_blocked(0.01)


# -------- an embedded server


@pytest.fixture
def here(tmp_path: Path) -> ServerOptions:
    return ServerOptions("0.0.0.0", 0, 0, tmp_path / "own-server")


async def test_others_get_the_lan_address_and_this_process_uses_loopback(
    lab: Lab, here: ServerOptions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(embedded_server, "lan_address", lambda: "192.0.2.7")
    async with open_embedded_server(here, lab.config) as server:
        assert server.address.startswith("ws://192.0.2.7:")
        assert server.config.signaling_websocket == server.address.replace("192.0.2.7", "127.0.0.1")
        assert server.config.signaling_http.startswith("http://127.0.0.1:")
        assert not server.loopback_only
        options = make_options(lab, tmp_path, config=server.config, address=server.address)
        fleet = Fleet(lab, options_per_gpu(options, (H200, RTX)))
        await lab.nursery.start(fleet.run)
        assert {each.session.server for each in fleet.ready} == {server.address}
        fleet.drain.set()
        await fleet.ended.wait()


@pytest.mark.parametrize(("host", "outside"), [("0.0.0.0", None), ("127.0.0.1", "192.0.2.7"), ("localhost", None)])
async def test_a_server_that_only_this_machine_can_reach_is_known_as_such(
    lab: Lab, here: ServerOptions, monkeypatch: pytest.MonkeyPatch, host: str, outside: str | None
) -> None:
    monkeypatch.setattr(embedded_server, "lan_address", lambda: outside)
    async with open_embedded_server(evolve(here, host=host), lab.config) as server:
        assert server.loopback_only


async def test_a_port_that_is_taken_is_the_usual_sentence(lab: Lab, here: ServerOptions, tmp_path: Path) -> None:
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path / "other") as other:
        with pytest.raises(RtcError, match=rf"Port {other.ws_port} is taken .*--ws-port") as caught:
            async with open_embedded_server(evolve(here, host="127.0.0.1", ws_port=other.ws_port), lab.config):
                pytest.fail("nothing can listen here")
        assert caught.value.exit_code is ExitCode.USAGE


async def test_an_error_inside_the_context_of_the_server_is_raised_unchanged(lab: Lab, here: ServerOptions) -> None:
    async def fail() -> None:
        async with open_embedded_server(here, lab.config):
            raise RtcError(FaultCode.USAGE, "No.")

    with pytest.raises(RtcError, match=r"No\."):
        await fail()


def test_any_name_of_the_host_fits_into_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "h\udcff\n" + "o" * 300)
    options = WorkerOptions(Config("development", NOWHERE, NOWHERE))
    for each in (options, *options_per_gpu(options, (H200, RTX))):
        facts, name = _facts(each, (H200,), tmp_path), _runner_config(each, (H200,), tmp_path).name
        assert facts.name == name
        assert facts.hostname.startswith("h\ufffd ooo")
