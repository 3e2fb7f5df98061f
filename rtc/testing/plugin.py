"""Fixtures for pytest-trio; a conftest.py enables them with `pytest_plugins = ["rtc.testing.plugin"]`.

`worker`, `job_session`, `client`, `job_query`, `discovery`, `worker_auth` and `client_auth` are actors that run in the
test's own nursery; they can be used with `autojump_clock`.
`asyncio_loop` and `lab` do real I/O on loopback and need the real clock.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from pytest_trio import trio_fixture

from actors.auth import CLIENT_AUTH, WORKER_AUTH, AuthData
from actors.client import CLIENT
from actors.client_data import ClientData
from actors.discovery import DISCOVERY
from actors.discovery_data import DiscoveryData
from actors.job_query import JOB_QUERY, QueryData
from actors.job_session import JOB_SESSION, JobSessionData
from actors.worker import WORKER, WorkerData
from protocol.ids import JobId, LinkId
from protocol.trust import RoomKeys
from rtc.testing.embedding import Embedded, embed
from rtc.testing.lab import Lab, open_lab
from rtc.testing.stand_in import TrainingPause, make_package
from rtc.transport.webrtc import AsyncioLoop, open_asyncio_loop

THE_KEYS = RoomKeys(b"a key of proofs for the tests....", b"a key of tags for the tests......")


@trio_fixture
async def worker(nursery: trio.Nursery) -> Embedded[WorkerData]:
    """A Worker actor that is available."""
    return await embed(nursery, WORKER, WorkerData())


@trio_fixture
async def job_session(nursery: trio.Nursery) -> Embedded[JobSessionData]:
    """A worker's JobSession actor for link 1, which is not open yet, about job-1."""
    return await embed(nursery, JOB_SESSION, JobSessionData(LinkId(1), JobId("job-1")))


@trio_fixture
async def client(nursery: trio.Nursery) -> Embedded[ClientData]:
    """A Client actor that has no job yet."""
    return await embed(nursery, CLIENT, ClientData())


@trio_fixture
async def job_query(nursery: trio.Nursery) -> Embedded[QueryData]:
    """A JobQuery actor that has no query yet."""
    return await embed(nursery, JOB_QUERY, QueryData())


@trio_fixture
async def discovery(nursery: trio.Nursery) -> Embedded[DiscoveryData]:
    """A Discovery actor that is in no room."""
    return await embed(nursery, DISCOVERY, DiscoveryData())


@trio_fixture
async def worker_auth(nursery: trio.Nursery) -> Embedded[AuthData]:
    """The worker's side of the Auth actor, with the keys of a room."""
    return await embed(nursery, WORKER_AUTH, AuthData(THE_KEYS))


@trio_fixture
async def client_auth(nursery: trio.Nursery) -> Embedded[AuthData]:
    """The client's side of the Auth actor, with the same keys."""
    return await embed(nursery, CLIENT_AUTH, AuthData(THE_KEYS))


@trio_fixture
async def embedded(nursery: trio.Nursery) -> Callable[..., Awaitable[Embedded[Any]]]:
    """A function that starts an actor of any other table: `await embedded(TABLE, data)`."""
    return partial(embed, nursery)


@trio_fixture
async def asyncio_loop() -> AsyncIterator[AsyncioLoop]:
    """The asyncio loop that aiortc runs on."""
    async with open_asyncio_loop() as loop:
        yield loop


@trio_fixture
async def lab(asyncio_loop: AsyncioLoop, tmp_path: Path) -> AsyncIterator[Lab]:
    """A running signalling server, on which the test can start workers and clients."""
    async with open_lab(asyncio_loop, tmp_path) as lab:
        yield lab


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """A function that makes a training package for the stand-in: `package("name.zip", models=(…), **knobs)`."""

    def make(name: str = "toy.zip", **knobs: Any) -> Path:
        return make_package(tmp_path / name, **knobs)

    return make


@pytest.fixture
def pause(tmp_path: Path) -> TrainingPause:
    """Holds trainings until the test ends the pause: `package(wait_for=pause.file)`, then `pause.end()`."""
    return TrainingPause(str(tmp_path / "pause-ended"))
