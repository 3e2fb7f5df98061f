"""The Python API under trio: jobs are submitted, followed, stopped, left and found again."""

import pickle
import re
import zipfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import rtc.api
from protocol.jobs import JobStage, Outcome
from rtc.api import events
from rtc.api.access import find_access
from rtc.api.room import OnExit, open_room
from rtc.client.package_builder import slp_files
from rtc.testing.lab import Lab, LabWorker
from rtc.testing.stand_in import TrainingPause

MakePackage = Callable[..., Path]
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh home folder, and a working folder of its own."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")


def enter(
    lab: Lab, worker: LabWorker, on_exit: str = "detach", **more: Any
) -> AbstractAsyncContextManager[rtc.api.Room]:
    """Open the worker's room with the lab's own loop."""
    access = find_access(room_id=worker.ready.room, token=worker.ready.token, config=lab.config, **more)
    return open_room(access, lab.asyncio_loop, OnExit(on_exit))


async def read(job: rtc.api.Job) -> list[rtc.api.Event]:
    return [event async for event in job.events()]


async def until(job: rtc.api.Job, kind: type[Any]) -> Any:
    async for event in job.events():
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the job ended without a {kind}")


async def test_a_job_is_submitted_followed_and_its_result_fetched(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        job = await room.submit(package(epochs=3))
        assert (job.worker, job.has_ended) == (worker.peer, False)
        result = await job.result()
        assert result.outcome is Outcome.DONE
        assert result.folder == Path.cwd() / "toy"
        assert [model.name for model in result.models] == ["260101_120000.centroid.n=12"]
        assert result.models[0].val_loss is not None
        assert (result.folder / "training.html") in result.files
        assert await room.jobs() == ()
        told = await read(job)
    kinds = [type(event) for event in told]
    assert kinds.count(events.EpochEvent) == 3
    assert kinds.index(events.AcceptedEvent) < kinds.index(events.StartedEvent) < kinds.index(events.ModelStartedEvent)
    assert kinds[-1] is events.EndedEvent
    assert await read(job) == told, "every reader begins with the first event"


def write_files() -> None:
    """Write labels, a training configuration and a video into the working folder."""
    Path("flies.pkg.slp").write_bytes(b"\x89HDF\r\n\x1a\n images inside")
    Path("centroid.yaml").write_text(
        "data_config: {train_labels_path: []}\nmodel_config: {head_configs: {centroid: {confmaps: {sigma: 2.5}}}}\n"
        "trainer_config: {max_epochs: 2}\n"
    )
    Path("fly.mp4").write_bytes(b"a video")


async def test_labels_and_data_become_packages_on_the_way(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slp_files, "python_with", lambda _module: None)  # these are no real labels
    worker = await lab.start_worker()
    write_files()
    async with enter(lab, worker) as room:
        job = await room.submit(labels="flies.pkg.slp", configs=["centroid.yaml"], overrides=["trainer_config.seed=1"])
        trained = await job.result()
        assert trained.folder == Path.cwd() / "flies"
        model = trained.folder / "models" / trained.models[0].name
        predicting = await room.submit(data="fly.mp4", models=[model], tracking=True, max_tracks=2)
        predicted = await predicting.result()
    assert [path.name for path in predicted.predictions] == ["fly.mp4.predictions.slp"]
    steps = [event.text for event in await read(job) if isinstance(event, events.StepEvent)]
    assert "Packing flies.pkg.slp" in steps


async def test_labels_without_a_configuration_bring_home_what_sleap_nn_wrote(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slp_files, "python_with", lambda _module: None)  # these are no real labels
    worker = await lab.start_worker()
    write_files()
    async with enter(lab, worker) as room:
        job = await room.submit(labels="flies.pkg.slp", pipeline="topdown", overrides=["trainer_config.max_epochs=1"])
        result = await job.result()
        told = await read(job)
        for wrong in ({"configs": []}, {"configs": ["centroid.yaml"], "pipeline": "topdown"}, {"pipeline": "top-down"}):
            with pytest.raises(rtc.api.UsageError):
                await room.submit(labels="flies.pkg.slp", **wrong)  # type: ignore[arg-type]
    assert result.folder is not None
    assert [path.name for path in result.configs] == ["centroid.yaml", "centered_instance.yaml"]
    assert [re.sub(r"^[0-9_]+", "", model.name) for model in result.models] == [".centered_instance", ".centroid"]
    assert "- flies.pkg.slp\n" in result.configs[0].read_text()
    kinds = [type(event) for event in told]
    assert (
        kinds.index(events.ConfigurationStartedEvent) < kinds.index(events.NoteEvent) < kinds.index(events.StartedEvent)
    )
    assert {event.epochs for event in told if isinstance(event, events.ModelStartedEvent)} == {1}


async def test_several_jobs_share_the_workers_of_a_room(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    await lab.start_worker(like=worker)
    jobs: list[rtc.api.Job] = []
    async with enter(lab, worker) as room, trio.open_nursery() as nursery:

        async def submit(path: Path) -> None:
            jobs.append(await room.submit(path, wait=True))

        for number in range(5):
            nursery.start_soon(submit, package(f"split-{number}.zip"))
    async with enter(lab, worker) as room:
        # those that had ended when the first room was left are fetched, and the others wait to be fetched
        for waiting in await room.jobs():
            await (await room.attach(waiting.id)).result()
        assert await room.jobs() == ()
    assert sorted(path.name for path in Path.cwd().iterdir()) == [f"split-{number}" for number in range(5)]
    assert {job.worker for job in jobs} == {each.peer for each in await list_of(lab, worker)}


async def list_of(lab: Lab, worker: LabWorker) -> tuple[rtc.api.WorkerPresent, ...]:
    async with enter(lab, worker) as room:
        return await room.workers()


# -------- leaving


async def test_a_job_goes_on_when_its_room_is_left_and_nothing_of_it_is_lost(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        job = await room.submit(heavy(package("toy.zip", epochs=2)))
    with pytest.raises(rtc.api.Detached) as caught:
        await job.wait()
    assert caught.value.exit_code == 7
    async with enter(lab, worker) as room:
        [known] = await room.jobs()
        assert (known.id, known.package, known.worker) == (job.id, "toy.zip", worker.peer)
        assert known.stage in (JobStage.RUNNING, JobStage.ENDED), "the package was sent before the room was left"
        again = await room.attach(job.id)
        assert (await again.result()).models
        assert any(isinstance(event, events.EpochEvent) for event in await read(again)), "from the beginning"


def heavy(path: Path) -> Path:
    """Make a package so large that its upload takes longer than what follows."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.bin", bytes(20_000_000))
    return path


@pytest.mark.parametrize(("on_exit", "outcome"), [("wait", Outcome.DONE), ("cancel", Outcome.CANCELLED)])
async def test_a_room_may_wait_for_its_jobs_or_cancel_them(
    lab: Lab, package: MakePackage, pause: TrainingPause, on_exit: str, outcome: Outcome
) -> None:
    worker = await lab.start_worker()
    async with enter(lab, worker, on_exit) as room:
        job = await room.submit(package(wait_for=pause.file))
        await until(job, events.EpochEvent)
        if outcome is Outcome.DONE:
            pause.end()
    assert (await job.wait()).outcome is outcome


async def test_an_error_of_the_program_leaves_jobs_that_run(
    lab: Lab, package: MakePackage, pause: TrainingPause
) -> None:
    worker = await lab.start_worker()
    found: list[str] = []

    async def program() -> None:
        async with enter(lab, worker, "wait") as room:
            job = await room.submit(package(wait_for=pause.file))
            found.append(job.id)
            await until(job, events.EpochEvent)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await program()
    pause.end()
    async with enter(lab, worker) as room:
        assert (await (await room.attach()).result()).job == found[0]


async def test_detaching_from_one_job_keeps_the_others(lab: Lab, package: MakePackage, pause: TrainingPause) -> None:
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        job = await room.submit(package(wait_for=pause.file))
        await job.detach()
        with pytest.raises(rtc.api.Detached):
            await job.wait()
        again = await room.attach(job.id[-6:])
        pause.end()
        assert (await again.wait()).outcome is Outcome.DONE


# -------- stop and cancel


async def test_a_job_that_is_followed_here_is_followed_once(
    lab: Lab, package: MakePackage, pause: TrainingPause, tmp_path: Path
) -> None:
    """Regression: who came back to it as a Ctrl-C advises fetched the result a second time, and it was a failed job."""
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        job = await room.submit(package(wait_for=pause.file), output=tmp_path / "once")
        again = await room.attach(job.id)
        newest = await room.attach(output=tmp_path / "once")
        with pytest.raises(rtc.api.UsageError, match="followed by this program already"):
            await room.attach(job.id, output=tmp_path / "twice")
        pause.end()
        assert await again.result() == await newest.result() == await job.result()
        assert await (await room.attach(job.id)).result() == await job.result()


@pytest.mark.long
async def test_a_stop_that_comes_during_the_upload_is_not_lost(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        job = await room.submit(heavy(package(models=("a", "b"), epochs=100_000, seconds=0.05)))
        await job.stop("all")
        result = await job.result()  # otherwise both models would train for hours
    # none, if the stop has come before the first model began
    assert [model.name for model in result.models] in ([], ["260101_120000.a.n=12"])


async def test_a_cancelled_job_returns_what_was_made_until_then(
    lab: Lab, package: MakePackage, pause: TrainingPause
) -> None:
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        job = await room.submit(package(wait_for=pause.file))
        await until(job, events.EpochEvent)
        await job.cancel()
        result = await job.wait()
        assert result.outcome is Outcome.CANCELLED
        assert result.folder is not None
        assert (result.folder / "job.log").is_file()
        with pytest.raises(rtc.api.JobCancelled) as caught:
            await job.result()
        assert caught.value.exit_code == 6
        await job.cancel()
        await job.stop()


async def test_a_job_that_is_cancelled_during_its_upload_leaves_nothing(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        job = await room.submit(heavy(package()))
        await job.cancel()
        assert (await job.wait()).outcome is Outcome.CANCELLED
        assert await room.jobs() == ()


async def test_a_failed_job_is_a_result_and_an_exception_for_those_who_want_one(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        job = await room.submit(package(crash="ValueError: no such skeleton"))
        result = await job.wait()
        assert result.outcome is Outcome.FAILED
        assert not result.is_done
        assert "no such skeleton" in result.text
        with pytest.raises(rtc.api.JobFailed, match="no such skeleton") as caught:
            await job.result()
    assert caught.value.exit_code == 1


# -------- what goes wrong


async def test_what_cannot_be_submitted_is_an_exception_with_one_sentence(
    lab: Lab, package: MakePackage, pause: TrainingPause
) -> None:
    wrong_types: dict[str, Any] = {"worker": 5, "min_gpu_memory": "16000", "max_result": "1", "output": 5}
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        for refused, part in (
            (partial(room.submit), "one of three"),
            (partial(room.submit, package(), data="fly.mp4"), "one of three"),
            (partial(room.submit, labels="flies.slp"), "flies.slp cannot be opened"),
            (partial(room.submit, labels="flies.slp", configs="one.yaml"), "a list"),
            (partial(room.submit, package(), models=["x"]), "models="),
            (partial(room.submit, data="fly.mp4", models=["x"], shiny=True), "shiny"),
            (partial(room.submit, "nowhere.zip"), "nowhere.zip"),
            (partial(room.submit, package(), wait=float("nan")), "seconds"),
            (partial(room.submit, package(), overrides=["not an override"]), "override"),
            *((partial(room.submit, package(), **{name: value}), f"{name}=…") for name, value in wrong_types.items()),
        ):
            with pytest.raises(rtc.api.UsageError, match=part) as caught:
                await refused()
            assert caught.value.exit_code == 2
        for absent in (partial(room.submit, package(), worker="nobody"), partial(room.attach, "job-nothing")):
            with pytest.raises(rtc.api.NotAvailable) as missing:
                await absent()
            assert missing.value.exit_code == 3
        job = await room.submit(package("held.zip", wait_for=pause.file))
        with pytest.raises(rtc.api.NotAvailable, match="taken"):
            await room.submit(package())
        with pytest.raises(rtc.api.NotAvailable, match="can take the job now"):
            await room.submit(package(), auto_select=False)
        with pytest.raises(rtc.api.UsageError, match="this, all"):
            await job.stop("everything")
        pause.end()
        await job.result()
        assert room._is_open
        [present] = await room.workers()
        await (await room.submit(package(), worker=present)).result()
    with pytest.raises(rtc.api.UsageError, match="closed"):
        await room.submit(package())


async def test_without_auto_select_a_worker_is_taken_only_where_there_is_no_choice(
    lab: Lab, package: MakePackage
) -> None:
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        await (await room.submit(package(), auto_select=False)).result()
        second = await lab.start_worker(like=worker)
        with pytest.raises(rtc.api.UsageError, match="worker="):
            await room.submit(package(), auto_select=False)
        job = await room.submit(package(), worker=second.options.name)
        assert job.worker == second.peer
        await job.result()


async def test_a_submission_that_is_cancelled_leaves_nothing(
    lab: Lab, package: MakePackage, pause: TrainingPause
) -> None:
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        job = await room.submit(package(wait_for=pause.file))
        waits = trio.CancelScope()
        async with trio.open_nursery() as nursery:

            async def stand_in_line() -> None:
                with waits:
                    await room.submit(package("second.zip"), wait=True)

            nursery.start_soon(stand_in_line)
            while len(room._runs) < 2 or not any("In line" in getattr(event, "text", "") for event in queued(room)):
                await trio.testing.wait_all_tasks_blocked(0.05)
            waits.cancel()
        pause.end()
        await job.result()
        assert await room.jobs() == ()


def queued(room: rtc.api.Room) -> list[rtc.api.Event]:
    return [event for run in room._runs for event in run.history.take(0)[0]]


async def test_a_room_that_cannot_be_joined_is_not_opened(lab: Lab) -> None:
    worker = await lab.start_worker()
    with pytest.raises(rtc.api.AuthenticationError) as caught:
        async with rtc.api.connect(room_id=worker.ready.room, token="not the token", config=lab.config):
            pass
    assert caught.value.exit_code == 4
    with pytest.raises(rtc.api.UsageError, match="on_exit"):
        async with rtc.api.connect(room_id=worker.ready.room, token="t", on_exit="stay"):
            pass
    with pytest.raises(rtc.api.UsageError, match="join"):
        async with rtc.api.connect(config=lab.config):
            pass


async def test_a_room_secret_is_proven(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker(secret="a secret of sixteen or more")
    async with enter(lab, worker, room_secret="a secret of sixteen or more") as room:
        await (await room.submit(package())).result()
    async with enter(lab, worker) as room:
        with pytest.raises(rtc.api.AuthenticationError):
            await room.submit(package(), worker=worker.peer)


async def test_rooms_and_jobs_stay_in_their_program(lab: Lab, package: MakePackage) -> None:
    worker = await lab.start_worker()
    async with enter(lab, worker) as room:
        job = await room.submit(package())
        await job.result()
        for thing in (room, job):
            with pytest.raises(TypeError, match=r"Send job\.id"):
                pickle.dumps(thing)
        room._process += 1
        with pytest.raises(rtc.api.UsageError, match="another process"):
            await room.submit(package())
