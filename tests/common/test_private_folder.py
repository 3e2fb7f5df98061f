"""Folders that only this user can look into."""

from pathlib import Path

import pytest

from rtc.common.private_folder import make_private_folder


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_folder_and_the_parents_that_are_missing_are_private_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    (tmp_path / "there").chmod(0o755)
    folder = tmp_path / "there" / "state" / "jobs"
    for _ in range(2):
        make_private_folder(folder)
    assert [mode(path) for path in (folder, folder.parent, folder.parent.parent)] == [0o700, 0o700, 0o755]


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "jobs"):
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            make_private_folder(folder)
