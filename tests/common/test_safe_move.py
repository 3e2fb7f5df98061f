"""Moving files and folders without losing one, also to another file system."""

import errno
import os
from pathlib import Path

import pytest

from rtc.common import safe_move
from rtc.common.safe_move import copy_checked, is_same, move, remove_dead_copies, remove_tree, rename_new, size_of


@pytest.fixture
def two_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders between which nothing can be renamed."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    rename = os.rename

    def rename_on_one_disk(source: Path, target: Path) -> None:
        if Path(source).is_relative_to(one) != Path(target).is_relative_to(one):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_on_one_disk)
    return one, other


def fill(folder: Path) -> Path:
    """Make a folder with everything that a job may leave, and return it."""
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "model").write_bytes(b"\0" * 3_000_000)
    (folder / "inner" / "model").chmod(0o640)
    os.utime(folder / "inner" / "model", ns=(10**18, 10**18))
    os.mkfifo(folder / "wake", 0o600)
    (folder / "link").symlink_to("/nowhere")
    (folder / "inner").chmod(0o500)
    return folder


def test_what_can_be_renamed_is_renamed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    inode = file.stat().st_ino
    move(file, tmp_path / "moved")
    assert ((tmp_path / "moved").stat().st_ino, file.exists()) == (inode, False)


def test_nothing_is_overwritten(tmp_path: Path, two_disks: tuple[Path, Path]) -> None:
    one, other = two_disks
    for source in (other / "from", one / "from"):
        source.write_text("new")
        (other / "to").write_text("old")
        with pytest.raises(FileExistsError):
            move(source, other / "to")
        assert ((other / "to").read_text(), source.read_text()) == ("old", "new")
    (tmp_path / "dangling").symlink_to("/nowhere")
    with pytest.raises(FileExistsError):
        rename_new(one / "from", tmp_path / "dangling")


def test_on_another_disk_a_folder_is_copied_whole_with_modes_times_and_links(two_disks: tuple[Path, Path]) -> None:
    one, other = two_disks
    move(fill(one / "job"), other / "job")
    model = (other / "job" / "inner" / "model").stat()
    assert (model.st_size, model.st_mode & 0o777, model.st_mtime_ns) == (3_000_000, 0o640, 10**18)
    assert (other / "job" / "inner").stat().st_mode & 0o777 == 0o500
    assert ((other / "job" / "link").readlink(), (other / "job" / "wake").is_fifo()) == (Path("/nowhere"), True)
    assert (list(one.iterdir()), [path.name for path in other.iterdir()]) == ([], ["job"])


def test_what_a_link_names_is_neither_copied_nor_removed(two_disks: tuple[Path, Path], tmp_path: Path) -> None:
    one, other = two_disks
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data").write_text("mine")
    (one / "job").mkdir()
    (one / "job" / "out").symlink_to(tmp_path / "elsewhere")
    (one / "alone").symlink_to(tmp_path / "elsewhere" / "data")
    move(one / "job", other / "job")
    move(one / "alone", other / "alone")
    remove_tree(other / "job")
    remove_tree(other / "alone")
    assert (tmp_path / "elsewhere" / "data").read_text() == "mine"


def test_when_the_disk_becomes_full_the_original_is_whole_and_no_copy_is_left(
    two_disks: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two_disks
    fill(one / "job")

    def full(source: object, copy: object, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(safe_move.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        move(one / "job", other / "job")
    assert ((one / "job" / "inner" / "model").stat().st_size, list(other.iterdir())) == (3_000_000, [])


def test_a_copy_that_differs_is_no_copy(two_disks: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = two_disks
    (one / "file").write_text("whole")
    monkeypatch.setattr(safe_move.shutil, "copyfileobj", lambda _source, copy, _length: copy.write(b"half"))
    with pytest.raises(OSError, match="changes while it is copied"):
        move(one / "file", other / "file")
    assert ((one / "file").read_text(), list(other.iterdir())) == ("whole", [])


def test_an_interrupted_copy_leaves_nothing(two_disks: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = two_disks
    (one / "file").write_text("whole")

    def interrupt(_path: Path, _other: Path) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(safe_move, "is_same", interrupt)
    with pytest.raises(KeyboardInterrupt):
        move(one / "file", other / "file")
    assert ((one / "file").read_text(), list(other.iterdir())) == ("whole", [])


def test_copies_of_killed_programs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (safe_move.new_copy_path(tmp_path)).mkdir()
    (tmp_path / "results").mkdir()
    remove_dead_copies(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


@pytest.mark.parametrize("change", ["content", "name", "kind", "link"])
def test_two_folders_are_the_same_only_if_everything_in_them_is(change: str, tmp_path: Path) -> None:
    one, other = fill(tmp_path / "one"), tmp_path / "other"
    copy_checked(one, other)
    assert is_same(one, other)
    (other / "inner").chmod(0o700)
    match change:
        case "content":
            (other / "inner" / "model").write_bytes(b"\0" * 2_999_999 + b"1")
        case "name":
            (other / "more").touch()
        case "kind":
            (other / "wake").unlink()
            (other / "wake").touch()
        case _:
            (other / "link").unlink()
            (other / "link").symlink_to("/elsewhere")
    assert not is_same(one, other)


def test_the_size_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    fill(tmp_path / "job")
    (tmp_path / "job" / "out").symlink_to("/usr")
    assert size_of(tmp_path / "job") == 3_000_000
    assert size_of(tmp_path / "nothing") == 0
