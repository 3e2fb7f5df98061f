"""Server, worker and client together: real sockets and real aiortc, with a stand-in for sleap-nn."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio_websocket import open_websocket_url

from actors.events import AskPerson, BestWorker, NamedWorker
from protocol.faults import FaultCode
from protocol.ids import PeerId
from protocol.jobs import JobNote, JobStarted, LogLines, ModelStarted, ModelTrained, Progress
from protocol.signaling import Join, Offer
from protocol.status import Role, Status
from protocol.wire import encode
from rtc.common.errors import EXIT_CODES, ExitCode
from rtc.server import open_server
from rtc.testing.lab import ClientRun, Lab, LabWorker, RecordingView
from rtc.testing.stand_in import TrainingPause
from rtc.transport.links.manager import WITHDRAWN

pytestmark = pytest.mark.slow

MakePackage = Callable[..., Path]
SECRET = "a secret of sixteen or more"


def left_behind(worker: LabWorker) -> list[str]:
    """Return the names of job folders and results on the worker; its database and journals do not count, they stay."""
    return [path.name for path in (*worker.options.work.iterdir(), *worker.options.results.glob("*.zip"))]


async def test_a_package_goes_there_and_its_models_come_back(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    run = await lab.run_client(worker, package(models=("centroid", "centered_instance")))
    assert run.output is not None
    checkpoints = sorted(path.parent.name for path in run.output.rglob("best.ckpt"))
    assert len(checkpoints) == 2
    assert (run.output / "job.log").read_text()
    await worker.log.until("was received and unpacked by its owner")
    assert left_behind(worker) == []
    kinds = {type(news) for news in run.view.job_events}
    assert kinds == {JobStarted, ModelStarted, Progress, ModelTrained, LogLines, JobNote}


async def test_a_worker_takes_one_job_after_another(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    for _ in range(2):
        assert (await lab.run_client(worker, package())).fault is None
    await worker.log.until("Status: available.", times=2)


async def test_both_ends_prove_the_room_secret(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker(secret=SECRET)
    run = await lab.run_client(worker, package(), secret=SECRET)
    assert run.fault is None
    assert any("proven on both sides" in line for line in run.view.texts)
    await worker.log.until("proved the room secret")


async def test_without_the_right_secret_nothing_is_sent(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker(secret=SECRET)
    wrong = await lab.run_client(worker, package(), secret="another secret of that length")
    missing = await lab.run_client(worker, package())
    assert wrong.fault is not None
    assert missing.fault is not None
    assert (wrong.fault.code, missing.fault.code) == (FaultCode.AUTH_INVALID, FaultCode.AUTH_MISSING)
    assert wrong.view.uploaded == missing.view.uploaded == 0
    await worker.log.until("Rejection sent", times=2)
    assert (await lab.run_client(worker, package(), secret=SECRET)).fault is None


async def test_a_second_client_is_refused_at_once_while_the_first_trains(
    lab: Lab, package: MakePackage, nursery: trio.Nursery
) -> None:
    worker = await lab.start_worker()
    first = RecordingView()
    nursery.start_soon(lambda: lab.run_client(worker, package(epochs=3000, seconds=0.1), view=first))
    await first.training.wait()
    second = await lab.run_client(worker, package("other.zip"))
    assert not any(isinstance(news, ModelTrained) for news in first.job_events), "it has waited for the first job"
    assert second.fault is not None
    assert EXIT_CODES[second.fault.code] is ExitCode.NOT_AVAILABLE
    assert "room discovery" in second.fault.text
    await worker.log.until("rejected (worker_busy): The worker is held by someone else.")
    await worker.log.until("Rejection sent to client-")
    nursery.cancel_scope.cancel()


async def test_clients_of_one_room_each_get_a_worker_of_their_own(
    lab: Lab, package: MakePackage, pause: TrainingPause
) -> None:
    first = await lab.start_worker()
    second = await lab.start_worker(like=first)
    runs: list[ClientRun] = []
    views = {"ada": RecordingView(), "bob": RecordingView()}

    async def run_client(name: str) -> None:
        sent = package(f"{name}.zip", wait_for=pause.file)
        runs.append(await lab.run_client(first, sent, choice=BestWorker(), view=views[name]))

    async with trio.open_nursery() as nursery:
        for name in views:
            nursery.start_soon(run_client, name)
        for view in views.values():
            await view.training.wait()
        pause.end()
    assert [run.fault for run in runs] == [None, None]
    for worker in (first, second):
        await worker.log.until("Result of")


async def test_waiting_clients_are_served_in_the_order_they_came(
    lab: Lab, package: MakePackage, pause: TrainingPause
) -> None:
    worker = await lab.start_worker()
    first, done = RecordingView(), []

    async def run_client(name: str, view: RecordingView) -> None:
        run = await lab.run_client(
            worker, package(f"{name}.zip", wait_for=pause.file), choice=BestWorker(), view=view, wait=math.inf
        )
        assert run.fault is None
        done.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_client, "ada", first)
        await first.training.wait()
        for position, name in enumerate(("bob", "cyd", "dee"), start=1):
            view = RecordingView()
            nursery.start_soon(run_client, name, view)
            await view.until(f"place {position} of {position}")
        pause.end()
    assert done == ["ada", "bob", "cyd", "dee"]


@pytest.mark.parametrize(("step", "callers"), [("answer", 1), ("wait_open", 2)])
async def test_a_client_that_is_interrupted_while_it_connects_frees_the_worker_at_once(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch, step: str, callers: int
) -> None:
    drain, called = trio.Event(), []

    async def wait_in_vain(*arguments: object) -> None:
        called.append(arguments)
        if len(called) == callers:  # the worker, then the client as well
            drain.set()
        await trio.sleep_forever()

    # no link opens, and no time-out ends the wait for it
    monkeypatch.setattr(f"rtc.transport.webrtc.peer_connection.PeerConnection.{step}", wait_in_vain)
    monkeypatch.setattr("actors.worker.LINK_TIME", math.inf)
    monkeypatch.setattr("rtc.transport.links.manager.ANSWER_TIME", math.inf)
    worker = await lab.start_worker()
    run = await lab.run_client(worker, package(), drain=drain)
    assert run.fault is not None
    assert run.fault.code is FaultCode.INTERRUPTED
    await worker.log.until(WITHDRAWN.text)
    assert await worker.log.until("Status: ", times=2) == "Status: available."


async def test_a_person_chooses_from_the_list(lab: Lab, package: MakePackage) -> None:
    first = await lab.start_worker()
    second = await lab.start_worker(like=first)
    view = RecordingView(picks=[second.peer])
    run = await lab.run_client(first, package(), choice=AskPerson(), view=view)
    assert run.fault is None
    assert {shown.peer for shown in view.offered[0]} == {first.peer, second.peer}
    assert all(shown.facts.status is Status.AVAILABLE for shown in view.offered[0])
    await second.log.until("Result of")


async def test_an_unknown_worker_is_reported(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    run = await lab.run_client(worker, package(), choice=NamedWorker(PeerId("worker-nobody")))
    assert run.fault is not None
    assert run.fault.code is FaultCode.NO_WORKER


async def test_a_wrong_token_is_reported(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    run = await lab.run_client(worker, package(), token="not the token")
    assert run.fault is not None
    assert run.fault.code is FaultCode.ROOM_DENIED


async def test_a_job_that_fails_says_why_and_brings_its_log(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    run = await lab.run_client(worker, package(crash="ValueError: no such skeleton"))
    assert run.fault is not None
    assert run.fault.code is FaultCode.JOB_FAILED
    assert "no such skeleton" in run.fault.text
    logs = list((lab.folder).glob("client-*/out/job.log"))
    assert len(logs) == 1
    await worker.log.until("Status: available.")


async def test_a_client_that_vanishes_leaves_the_job_running_and_its_result_kept(
    lab: Lab, package: MakePackage, pause: TrainingPause
) -> None:
    worker = await lab.start_worker()
    view = RecordingView()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: lab.run_client(worker, package(wait_for=pause.file), view=view))
        await view.training.wait()
        nursery.cancel_scope.cancel()
    pause.end()
    await worker.log.until(" done: ")
    await worker.log.until("Status: available.")
    assert len(list(worker.options.results.glob("*.zip"))) == 1
    assert list(worker.options.work.iterdir()) == []


async def test_an_interrupted_client_detaches_from_a_running_job(
    lab: Lab, package: MakePackage, pause: TrainingPause
) -> None:
    worker = await lab.start_worker()
    drain, view = trio.Event(), RecordingView()

    async def interrupt() -> None:
        await view.training.wait()
        drain.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(interrupt)
        run = await lab.run_client(worker, package(wait_for=pause.file), view=view, drain=drain)
    assert run.fault is not None
    assert EXIT_CODES[run.fault.code] is ExitCode.DETACHED
    pause.end()
    await worker.log.until(" done: ")


async def test_a_job_survives_the_server_and_the_worker_returns_to_its_room(
    lab: Lab, package: MakePackage, tmp_path: Path, own_port: int, pause: TrainingPause
) -> None:
    data = tmp_path / "own-server"
    open_own_server = partial(open_server, host="127.0.0.1", ws_port=own_port, http_port=0, data=data)
    async with open_own_server() as server:
        own_config = evolve(lab.config, signaling_websocket=server.ws_url)  # not the lab's server, which goes on
        worker = await lab.start_worker(config=own_config)
        view = RecordingView()
        runs: list[ClientRun] = []
        client_ended = trio.Event()

        async def run_client() -> None:
            runs.append(await lab.run_client(worker, package(wait_for=pause.file), view=view, config=own_config))
            client_ended.set()

        lab.nursery.start_soon(run_client)
        await view.training.wait()
    pause.end()
    await worker.log.until("Result of", times=1)
    await worker.log.until("Status: available.")
    async with open_own_server():
        again = await worker.log.until("In room", times=2)
        assert worker.peer in again
    await client_ended.wait()  # it unpacks its result while the worker is already back in its room
    assert [run.fault for run in runs] == [None]


async def test_a_drained_worker_finishes_its_job_first(lab: Lab, package: MakePackage, pause: TrainingPause) -> None:
    worker = await lab.start_worker()
    view = RecordingView()

    async def drain_worker() -> None:
        await view.training.wait()
        worker.drain.set()
        await worker.log.until("Stopping: a running job is finished first.")
        pause.end()

    lab.nursery.start_soon(drain_worker)
    run = await lab.run_client(worker, package(wait_for=pause.file), view=view)
    assert run.fault is None
    await worker.ended.wait()


async def test_a_stopped_worker_ends_its_job_and_says_so(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    view = RecordingView()

    async def stop_worker() -> None:
        await view.training.wait()
        worker.scope.cancel()

    lab.nursery.start_soon(stop_worker)
    run = await lab.run_client(worker, package(epochs=600, seconds=0.1, grandchild=True), view=view)
    assert run.fault is not None
    assert run.fault.code is FaultCode.CANCELLED
    assert not any("its job goes on" in line for line in run.view.texts)
    await worker.ended.wait()
    assert list(worker.options.work.iterdir()) == []
    assert len(list(worker.options.results.glob("*.zip"))) == 1


async def test_a_package_too_large_is_refused_before_its_first_byte(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker(package_max=100)
    run = await lab.run_client(worker, package())
    assert run.fault is not None
    assert run.fault.code is FaultCode.TOO_LARGE
    assert run.view.uploaded == 0
    assert left_behind(worker) == []
    await worker.log.until("Status: available.")


async def test_the_server_never_holds_a_token_or_secret_in_the_clear(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker(secret=SECRET)
    await lab.run_client(worker, package(), secret=SECRET)
    stored = b"".join(path.read_bytes() for path in (lab.folder / "server").iterdir() if path.is_file())
    assert worker.ready.token.encode() not in stored
    assert SECRET.encode() not in stored


async def test_a_flood_of_offers_does_not_end_a_worker(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtc.worker.event_log.OFFER_LINES", math.inf)
    worker = await lab.start_worker()
    join = Join(worker.ready.room, worker.ready.token, Role.CLIENT)

    async def flood() -> None:
        async with open_websocket_url(lab.server.ws_url) as websocket:
            await websocket.send_message(encode(join))
            await websocket.get_message()
            for _ in range(90):
                await websocket.send_message(encode(Offer(worker.peer, "no sdp at all")))
            await worker.log.until("Rejection sent", times=400)

    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(flood)
    assert worker.failed is None
    assert not worker.ended.is_set()


async def test_a_job_sees_what_the_owner_passes_has_a_short_folder_and_is_given_up(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_DATA", "/data/lab")
    monkeypatch.setenv("LAB_KEY", "canary-key")
    monkeypatch.setenv("HF_HOME", "/data/hf")
    worker = await lab.start_worker(pass_env=("LAB_DATA", "LAB_KEY"))
    names = ["LAB_DATA", "LAB_KEY", "HF_HOME", "TMPDIR"]
    toy = package(models=("centroid",), say_variables=names, evaluation=3600)
    run = await lab.run_client(worker, toy, give_up_after=1.0)
    said = [line for news in run.view.job_events if isinstance(news, LogLines) for line in news.lines]
    assert {"LAB_DATA=/data/lab", "HF_HOME=/data/hf"} <= {*said}
    assert "LAB_KEY=" in "".join(said)
    assert "canary" not in "".join(said)
    [temporary] = [line.partition("=")[2] for line in said if line.startswith("TMPDIR=")]
    assert len(temporary) < 40
    assert not await trio.Path(temporary).exists(), "the link goes with the job"
    assert run.fault is not None
    assert "--give-up-after" in run.fault.text
