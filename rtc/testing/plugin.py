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

from actors.auth import GUARD, PROVER, Post
from actors.client import CLIENT
from actors.client_events import Quest
from actors.discovery import DISCOVERY, Seat
from actors.job_query import ERRAND, Errands
from actors.job_session import VISIT, Visitor
from actors.worker import WORKER
from actors.worker_events import Hold
from protocol.ids import LinkId
from protocol.trust import Secret
from rtc.testing.embedding import Embedded, embed
from rtc.testing.lab import Lab, open_lab
from rtc.testing.stand_in import make_package
from rtc.transport.webrtc import Bridge, open_bridge

THE_SECRET = Secret(b"a secret that both ends know of")


@trio_fixture
async def worker(nursery: trio.Nursery) -> Embedded[Hold]:
    """A worker that nobody holds."""
    return await embed(nursery, WORKER, Hold())


@trio_fixture
async def visit(nursery: trio.Nursery) -> Embedded[Visitor]:
    """The worker's window at link 1, to which nobody has come yet."""
    return await embed(nursery, VISIT, Visitor(LinkId(1)))


@trio_fixture
async def client(nursery: trio.Nursery) -> Embedded[Quest]:
    """A client that wants nothing yet."""
    return await embed(nursery, CLIENT, Quest())


@trio_fixture
async def errand(nursery: trio.Nursery) -> Embedded[Errands]:
    """An errand on which nobody was sent yet."""
    return await embed(nursery, ERRAND, Errands())


@trio_fixture
async def discovery(nursery: trio.Nursery) -> Embedded[Seat]:
    """A Discovery in no room."""
    return await embed(nursery, DISCOVERY, Seat())


@trio_fixture
async def guard(nursery: trio.Nursery) -> Embedded[Post]:
    """The worker's end of Auth, with a secret."""
    return await embed(nursery, GUARD, Post(THE_SECRET))


@trio_fixture
async def prover(nursery: trio.Nursery) -> Embedded[Post]:
    """The client's end of Auth, with the same secret."""
    return await embed(nursery, PROVER, Post(THE_SECRET))


@trio_fixture
async def embedded(nursery: trio.Nursery) -> Callable[..., Awaitable[Embedded[Any]]]:
    """Any other table: `await embedded(TABLE, data)`."""
    return partial(embed, nursery)


@trio_fixture
async def bridge() -> AsyncIterator[Bridge]:
    """The asyncio room."""
    async with open_bridge() as bridge:
        yield bridge


@trio_fixture
async def lab(bridge: Bridge, tmp_path: Path) -> AsyncIterator[Lab]:
    """A server, and whatever workers and clients the test starts."""
    async with open_lab(bridge, tmp_path) as lab:
        yield lab


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Path]:
    """Makes a training package for the stand-in: `package("name.zip", models=(…), **knobs)`."""

    def make(name: str = "toy.zip", **knobs: Any) -> Path:
        return make_package(tmp_path / name, **knobs)

    return make
