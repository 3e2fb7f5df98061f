"""A short path for a folder, so that Unix sockets can be made in it."""

import socket
from pathlib import Path

import pytest

from rtc.common import scratch_dirs
from rtc.common.scratch_dirs import SOCKET_NAME_MAX, short_alias
from rtc.testing.homes import STATE

SOCKET = "pymp-abcdefgh/listener-abcdefgh"
"""As Python's multiprocessing names them."""


@pytest.fixture
def system_temp(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of `/tmp`."""
    made = tmp_path_factory.mktemp("t")
    monkeypatch.setattr(scratch_dirs, "SYSTEM_TEMP", made)
    return made


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    made = tmp_path / ("d" * 100) / "tmp"
    made.mkdir(parents=True)
    return made


def test_a_short_path_is_used_as_it_is(system_temp: Path) -> None:
    with short_alias(Path("/var/job-1/tmp")) as short:
        assert short == Path("/var/job-1/tmp")
    assert list(system_temp.iterdir()) == []


def test_in_a_folder_with_a_long_path_sockets_can_be_made_too(deep: Path) -> None:
    with short_alias(deep) as short:
        (short / SOCKET).parent.mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(short / SOCKET))
        assert (deep / SOCKET).exists()
        assert short.resolve() == deep.resolve()
    assert not short.is_symlink()


def test_a_link_that_a_killed_program_has_left_is_removed_when_its_folder_is_gone(
    system_temp: Path, deep: Path
) -> None:
    dead, living = system_temp / ".sleap-rtc-tmp-dead", system_temp / ".sleap-rtc-tmp-living"
    dead.symlink_to(deep / "gone")
    living.symlink_to(deep)
    with short_alias(deep) as short:
        assert set(system_temp.iterdir()) == {living, short}


def test_where_no_link_can_be_made_the_long_path_is_used(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch_dirs, "SYSTEM_TEMP", deep / "nowhere")
    with short_alias(deep) as short:
        assert short == deep


def test_in_the_folder_of_a_job_in_the_usual_place_sockets_can_be_made(tmp_path: Path) -> None:
    job = tmp_path / STATE / "work" / "job-261124-212030-5dc30c4c" / "tmp"
    job.mkdir(parents=True)
    with short_alias(job) as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short / ("s" * SOCKET_NAME_MAX)))
