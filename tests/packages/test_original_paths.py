"""The original paths of a package stay with the client: the package is sent without them, and is whole all the same."""

import io
import random
import zipfile
from pathlib import Path

import pytest

from rtc.common.file_edit import FileEdit
from rtc.packages.original_paths import (
    MEMBER,
    OriginalPath,
    OriginalPaths,
    PathRecord,
    edit_for_sending,
    read_original_paths,
    sent_size,
)

HERE = "/home/ada/flies/cam0/video.mp4"


def record() -> PathRecord:
    paths = PathRecord()
    paths.add("video.mp4", HERE)
    return paths


def make(target: Path, names: tuple[str, ...], **options: object) -> Path:
    """Write a package with these members; each has random bytes, except the one with the original paths."""
    source = random.Random(1)
    with zipfile.ZipFile(target, "w", **options) as archive:  # type: ignore[arg-type]
        for name in names:
            archive.writestr(name, record().text() if name.endswith(MEMBER) else source.randbytes(5000))
    return target


def as_sent(package: Path, block: int = 777) -> bytes:
    with package.open("rb") as file:
        edit = edit_for_sending(file)
        assert edit is not None
        sent = b""
        while piece := edit.read(file, len(sent), block):
            sent += piece
    assert len(sent) == edit.size == sent_size(package)
    return sent


@pytest.mark.parametrize(
    "names",
    [("jobs.yaml", "video.mp4", MEMBER), (MEMBER, "jobs.yaml"), ("jobs.yaml", MEMBER, "video.mp4"), (MEMBER,)],
    ids=["last", "first", "between", "alone"],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_package_is_sent_whole_but_for_its_original_paths(
    tmp_path: Path, names: tuple[str, ...], compression: int
) -> None:
    package = make(tmp_path / "p.zip", names, compression=compression)
    sent = as_sent(package)
    assert b"ada" not in sent
    assert MEMBER.encode() not in sent
    with zipfile.ZipFile(io.BytesIO(sent)) as archive, zipfile.ZipFile(package) as whole:
        assert archive.testzip() is None
        assert archive.namelist() == [name for name in names if name != MEMBER]
        assert all(archive.read(name) == whole.read(name) for name in archive.namelist())


def test_a_package_that_was_zipped_again_with_its_folder_is_sent_without_them_too(tmp_path: Path) -> None:
    package = make(tmp_path / "p.zip", ("inf/jobs.yaml", f"inf/{MEMBER}"))
    assert read_original_paths(package).files == (OriginalPath("video.mp4", HERE),)
    assert b"ada" not in as_sent(package)


def test_the_end_record_of_a_package_with_very_many_files_counts_them_right(tmp_path: Path) -> None:
    """From 65 536 files on the numbers are in the ZIP64 end record; a comment at the end stays."""
    package = tmp_path / "p.zip"
    with zipfile.ZipFile(package, "w") as archive:
        for number in range(65_536):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
        archive.writestr(zipfile.ZipInfo(MEMBER), record().text())
        archive.comment = b"mine"
    sent = as_sent(package, 100_000)
    with zipfile.ZipFile(io.BytesIO(sent)) as archive:
        assert len(archive.infolist()) == 65_536
        assert archive.comment == b"mine"


def test_a_package_that_was_not_made_here_is_sent_as_it_is(tmp_path: Path) -> None:
    package = make(tmp_path / "p.zip", ("jobs.yaml",))
    assert sent_size(package) == package.stat().st_size
    assert read_original_paths(package) == OriginalPaths()


@pytest.mark.parametrize("text", ["", "no JSON", '{"files": 3}', '{"files": [{"name": 1}]}'])
def test_damaged_original_paths_are_none_and_are_not_sent(tmp_path: Path, text: str) -> None:
    package = tmp_path / "p.zip"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(MEMBER, text)
    assert read_original_paths(package) == OriginalPaths()
    assert MEMBER.encode() not in as_sent(package)


@pytest.mark.parametrize("block", [1, 3, 100])
def test_an_edited_file_is_read_from_any_offset(block: int) -> None:
    edit = FileEdit(((2, 5), (7, 8)), 9, b"end")
    wanted = b"ab\0\0\0fg\0iend"
    assert [edit.read(io.BytesIO(b"abcdefghijkl"), offset, block) for offset in range(len(wanted) + 1)] == [
        wanted[offset : offset + block] if offset + block <= 9 or offset >= 9 else wanted[offset:9]
        for offset in range(len(wanted) + 1)
    ]
