"""The Python API under trio: jobs are submitted, followed, stopped, left and found again."""

import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from pytest_trio import trio_fixture

import rtc.api
from protocol.ids import JobId
from protocol.jobs import JobStage, Outcome
from rtc.api import events
from rtc.api.access import find_access
from rtc.api.room import OnExit, open_room
from rtc.testing.lab import Lab, LabWorker
from rtc.testing.limits import HANG_TIME
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
