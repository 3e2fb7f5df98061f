"""What a worker finds out about its folders before it joins a room."""

import errno
from pathlib import Path

import pytest

from protocol.faults import FaultCode
from rtc.common import file_system
from rtc.common.errors import RtcError
from rtc.common.file_system import Feature
from rtc.worker.job_database import open_job_database
from rtc.worker.program import _prepare_folder


def refuse(_path: Path) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("feature", Feature)
def test_a_folder_in_which_no_job_could_run_is_refused_with_its_name_and_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, feature: Feature
) -> None:
    folder = tmp_path / "home" / "work"
    _prepare_folder(folder, "--work-dir", Feature)
    monkeypatch.setitem(file_system._TRIALS, feature, refuse)
    with pytest.raises(RtcError) as raised:
        _prepare_folder(folder, "--work-dir", Feature)
    assert raised.value.fault.code is FaultCode.USAGE
    assert raised.value.fault.text == (
        f"The folder {folder} is on a file system without {feature.value}. Choose one on a local disk with --work-dir."
    )


def test_a_folder_whose_disk_is_full_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    with pytest.raises(RtcError, match=r"cannot be used \(No space left on device\)\. Make room there"):
        _prepare_folder(tmp_path, "--results-dir", (Feature.LOCKS,))


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.TemporaryDirectory", forbid)
    with pytest.raises(RtcError, match=r"\(Permission denied\)\. Choose another with --results-dir\."):
        _prepare_folder(tmp_path, "--results-dir", (Feature.LOCKS,))


async def test_records_of_another_user_are_told_from_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "touch", forbid)  # file modes do not stop root
    with pytest.raises(RtcError, match=r"belong to another user.* --results-dir"):
        async with open_job_database(tmp_path):
            pass


def forbid(*_arguments: object, **_options: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")
