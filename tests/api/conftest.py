"""A server, a worker and a person whose programs use the Python API: each a process, with a fresh home folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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
