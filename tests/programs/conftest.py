"""A signalling server for all scenes of a test process, a scene for each test, and a port of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rtc.testing.ports import open_port
from rtc.testing.terminals import Scene, start_server


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a signalling server, which is a process of its own."""
    server, url = start_server(tmp_path_factory.mktemp("server"))
    yield url
    server.kill()


@pytest.fixture
def scene(server_url: str, tmp_path: Path) -> Iterator[Scene]:
    """A worker and a person, whose processes are killed when the test ends."""
    scene = Scene(tmp_path, server_url)
    yield scene
    scene.close()


@pytest.fixture
def own_port() -> Iterator[int]:
    """A port for a server that goes away and comes back."""
    with open_port() as port:
        yield port
