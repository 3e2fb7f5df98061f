"""A job's temporary folder has a short path, wherever its own folder is, and whoever else uses the machine."""

import os
import socket
from pathlib import Path

import pytest
import trio

from rtc.common import short_paths
from rtc.common.short_paths import KEEP_PERIOD, ShortPath, open_short_path_to, remove_dead_links

SOCKET = "pymp-abcdefgh/listener-abcdefgh"
"""As Python's multiprocessing names them."""
SHORT = len("/tmp/srtc-4294967295-abcd/abcdef")
"""Bytes of the longest usual path."""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of `/tmp`, the only one."""
    made = tmp_path_factory.mktemp("t")
    made.chmod(0o1777)
    monkeypatch.setattr(short_paths, "PLACES", (str(made),))
    return made


@pytest.fixture(params=["d" * 120, "ü" * 60, "a b/" * 30, "b\udcff" * 30], ids=["long", "umlauts", "blanks", "bytes"])
def deep(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    made = tmp_path / str(request.param) / "tmp"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def near(tmp_path: Path) -> Path:
    made = tmp_path / "tmp"
    made.mkdir()
    return made


def own(place: Path) -> Path:
    return place / f"srtc-{os.geteuid()}"


def test_the_path_is_short_and_leads_to_the_folder_on_the_jobs_disk(deep: Path) -> None:
    with open_short_path_to(deep) as short:
        assert len(os.fsencode(short.path)) <= SHORT
        (short.path / SOCKET).parent.mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(short.path / SOCKET))
        assert (deep / SOCKET).exists()
        assert short.path.resolve() == deep.resolve()
        assert short.path.parent.stat().st_mode & 0o777 == 0o700
    assert not os.path.lexists(short.path)


def test_a_folder_that_is_near_gets_a_short_path_too(place: Path, near: Path) -> None:
    with open_short_path_to(near) as short:
        assert short.path.parent == own(place)
        assert short.path.resolve() == near
    assert list(place.iterdir()) == []


def test_two_jobs_at_a_time_have_two_paths(place: Path, near: Path) -> None:
    with open_short_path_to(near) as one:
        with open_short_path_to(near) as other:
            assert one.path != other.path
        assert one.path.exists()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("taken_by", ["a file", "a link", "somebody else"])
def test_a_name_that_somebody_has_taken_is_left_alone(
    place: Path, near: Path, tmp_path: Path, taken_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    match taken_by:
        case "a file":
            own(place).write_text("mine")
        case "a link":
            own(place).symlink_to(elsewhere)
        case _:
            own(place).mkdir(mode=0o700)
            real, theirs = short_paths._is_own_private, own(place)
            monkeypatch.setattr(short_paths, "_is_own_private", lambda path: path != theirs and real(path))
    with open_short_path_to(near) as short:
        assert short.path.parent.name.startswith(f"{own(place).name}-")
        assert short.path.resolve() == near
        with open_short_path_to(near) as second:
            assert second.path.parent == short.path.parent
    assert list(place.iterdir()) == [own(place)]
    assert list(elsewhere.iterdir()) == []


def test_others_cannot_enter_the_folder_that_the_path_is_in(place: Path, near: Path) -> None:
    own(place).mkdir()
    own(place).chmod(0o777)
    with open_short_path_to(near):
        assert own(place).stat().st_mode & 0o777 == 0o700


def test_a_place_in_which_others_can_rename_what_is_ours_is_not_used(
    place: Path, near: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.chmod(0o777)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(short_paths, "PLACES", (str(tmp_path / "nowhere"), str(place), str(other)))
    with open_short_path_to(near) as short:
        assert short.path.is_relative_to(other)


def test_without_any_place_the_path_is_still_short(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_paths, "PLACES", ())
    with open_short_path_to(deep) as short:
        assert len(os.fsencode(short.path)) <= SHORT
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(short.path / "s"))
        assert (deep / "s").exists()
    assert not short.path.exists()


def test_for_a_disk_without_sockets_there_is_another_folder(
    place: Path, near: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(short_paths, "_takes_sockets", lambda _folder: False)
    with open_short_path_to(near) as short:
        assert short.path.resolve() != near
        assert short.path.stat().st_mode & 0o777 == 0o700
        (short.path / "file").write_text("x")
        remove_dead_links()
        assert (short.path / "file").exists()
    assert list(place.iterdir()) == []


def test_what_a_killed_program_has_left_is_removed_when_the_jobs_folder_is_gone(
    place: Path, near: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_short_path_to(near) as living:
        (own(place) / "dead01").symlink_to(near / "gone")
        dead = own(place) / "dead02"
        dead.mkdir()
        (dead / ".job").symlink_to(near / "gone")
        (dead / "listener").write_text("")
        remove_dead_links()
        assert list(own(place).iterdir()) == [living.path]


@pytest.mark.parametrize("removed", ["the link", "all"])
async def test_a_link_that_a_cleaner_removes_during_the_job_is_made_again(
    place: Path, near: Path, removed: str, autojump_clock: trio.testing.MockClock
) -> None:
    with open_short_path_to(near) as short:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(short.keep)
            short.path.unlink()
            if removed == "all":
                short.path.parent.rmdir()
            await trio.sleep(KEEP_PERIOD + 1)
            assert short.path.resolve() == near
            assert short.path.parent.stat().st_mode & 0o777 == 0o700
            os.utime(short.path, (0, 0), follow_symlinks=False)
            await trio.sleep(KEEP_PERIOD + 1)
            assert short.path.lstat().st_mtime > 0
            nursery.cancel_scope.cancel()


def test_a_path_that_cannot_be_made_again_is_reported_once(
    place: Path, near: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = ShortPath(place / "gone" / "more" / "abcdef", near)
    short.restore()
    short.restore()
    assert len(caplog.records) == 1
