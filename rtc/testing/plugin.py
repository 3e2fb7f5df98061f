"""Fixtures for pytest-trio: `pytest_plugins = ["rtc.testing.plugin"]` in a conftest.py makes them yours.

`worker`, `visit`, `client`, `errand`, `discovery`, `guard` and `prover` are actors in the test's own nursery, made for
`autojump_clock`.
`bridge` and `lab` do real I/O on loopback and need the real clock.
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
from actors.client_events import ClientData
from actors.discovery import DISCOVERY, DiscoveryData
from actors.job_query import JOB_QUERY, QueryData
from actors.job_session import JOB_SESSION, JobSessionData
from actors.worker import WORKER
from actors.worker_events import WorkerData
from protocol.ids import LinkId
from protocol.trust import Secret
from rtc.testing.embedding import Embedded, embed
from rtc.testing.lab import Lab, open_lab
from rtc.testing.stand_in import make_package
from rtc.transport.webrtc import AsyncioLoop, open_asyncio_loop

THE_SECRET = Secret(b"a secret that both ends know of")


@trio_fixture
async def worker(nursery: trio.Nursery) -> Embedded[WorkerData]:
    """A worker that nobody holds."""
    return await embed(nursery, WORKER, WorkerData())


@trio_fixture
async def visit(nursery: trio.Nursery) -> Embedded[JobSessionData]:
    """The worker's window at link 1, to which nobody has come yet."""
    return await embed(nursery, JOB_SESSION, JobSessionData(LinkId(1)))


@trio_fixture
async def client(nursery: trio.Nursery) -> Embedded[ClientData]:
    """A client that wants nothing yet."""
    return await embed(nursery, CLIENT, ClientData())


@trio_fixture
async def errand(nursery: trio.Nursery) -> Embedded[QueryData]:
    """An errand on which nobody was sent yet."""
    return await embed(nursery, JOB_QUERY, QueryData())


@trio_fixture
async def discovery(nursery: trio.Nursery) -> Embedded[DiscoveryData]:
    """A Discovery in no room."""
    return await embed(nursery, DISCOVERY, DiscoveryData())


@trio_fixture
async def guard(nursery: trio.Nursery) -> Embedded[AuthData]:
    """The worker's end of Auth, with a secret."""
    return await embed(nursery, WORKER_AUTH, AuthData(THE_SECRET))


@trio_fixture
async def prover(nursery: trio.Nursery) -> Embedded[AuthData]:
    """The client's end of Auth, with the same secret."""
    return await embed(nursery, CLIENT_AUTH, AuthData(THE_SECRET))


@trio_fixture
async def embedded(nursery: trio.Nursery) -> Callable[..., Awaitable[Embedded[Any]]]:
    """Any other table: `await embedded(TABLE, data)`."""
    return partial(embed, nursery)


@trio_fixture
async def bridge() -> AsyncIterator[AsyncioLoop]:
    """The asyncio room."""
    async with open_asyncio_loop() as bridge:
        yield bridge


@trio_fixture
async def lab(bridge: AsyncioLoop, tmp_path: Path) -> AsyncIterator[Lab]:
    """A server, and whatever workers and clients the test starts."""
    async with open_lab(bridge, tmp_path) as lab:
        yield lab


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """Makes a training package for the stand-in: `package("name.zip", models=(…), **knobs)`."""

    def make(name: str = "toy.zip", **knobs: Any) -> Path:
        return make_package(tmp_path / name, **knobs)

    return make
