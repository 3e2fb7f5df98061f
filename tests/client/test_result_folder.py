"""Predictions are saved under the name that the person chose, all of them or none, and overwrite nothing."""

import zipfile
from pathlib import Path

import pytest
from attrs import evolve

from actors.events import BestWorker
from protocol.faults import FaultCode
from protocol.ids import RoomId
from protocol.jobs import JobKind
from rtc.client import result_folder as result_folder_module
from rtc.client.options import ClientOptions
from rtc.client.result_folder import ResultFolder, choose_result_folder
from rtc.common.errors import RtcError
from rtc.config.load import Config

TWO = ("a.mp4.predictions.slp", "b.mp4.predictions.slp", "job.log")


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def folder_for(output: Path | None = None, package: str = "inf.zip") -> ResultFolder:
    options = ClientOptions(
        Config("test", "ws://s", "http://s"),
        Path(package),
        RoomId("r"),
        "t",
        BestWorker(),
        kind=JobKind.TRACK,
        output=output,
    )
    return choose_result_folder(options)


def result(folder: Path, *names: str) -> Path:
    """Make the archive of a result, in which each file contains its own name."""
    path = folder.parent / "result.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def contents(folder: Path) -> dict[str, str]:
    """Return the text of each file in the folder by its name, hidden files included."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


async def test_a_second_result_of_several_predictions_gets_names_of_its_own(cwd: Path) -> None:
    for _ in range(2):
        await folder_for().unpack(result(cwd, *TWO))
    assert list(contents(cwd)) == [
        "inf-2.predictions.a.mp4.predictions.slp",
        "inf-2.predictions.b.mp4.predictions.slp",
        "inf-2.predictions.log",
        "inf.predictions.a.mp4.predictions.slp",
        "inf.predictions.b.mp4.predictions.slp",
        "inf.predictions.log",
    ]


async def test_predictions_of_one_name_keep_that_of_their_folder(cwd: Path) -> None:
    result_folder = folder_for(Path("mine.slp"))
    await result_folder.unpack(result(cwd, "a/pred.slp", "b/Pred.slp", "other.slp"))
    assert contents(cwd) == {
        "mine.a-pred.slp": "a/pred.slp",
        "mine.b-Pred.slp": "b/Pred.slp",
        "mine.other.slp": "other.slp",
    }
    assert sorted(path.name for path in result_folder.files) == sorted(contents(cwd))


async def test_names_that_are_equal_even_with_their_folders_are_numbered(cwd: Path) -> None:
    names = ("a/b/p.slp", "a-b/p.slp", "a/p.slp")
    await folder_for(Path("mine.slp")).unpack(result(cwd, *names))
    assert sorted(contents(cwd).values()) == sorted(names)


async def test_predictions_that_cannot_all_be_saved_are_not_saved_at_all(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name.startswith("b.mp4"):
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    result_folder = folder_for()
    with pytest.raises(PermissionError):
        await result_folder.unpack(result(cwd, *TWO))
    assert (contents(cwd), result_folder.files, result_folder.unpacked) == ({}, [], False)


async def test_the_log_of_a_job_that_failed_is_all_there_is(cwd: Path) -> None:
    result_folder = folder_for()
    await result_folder.unpack(result(cwd, "job.log"))
    assert (list(contents(cwd)), result_folder.path.name) == (["inf.predictions.log"], "inf.predictions.log")


@pytest.mark.parametrize("name", ["res", "out/", "res.csv", "n" * 252 + ".slp"])
def test_a_file_for_predictions_is_called_slp(cwd: Path, name: str) -> None:
    with pytest.raises(RtcError) as caught:
        folder_for(Path(name))
    assert caught.value.fault.code is FaultCode.USAGE
    assert "--output" in caught.value.fault.text


def test_predictions_go_into_a_folder_that_is_there(cwd: Path) -> None:
    assert folder_for(Path(".")).path == cwd / "inf.predictions.slp"


def test_a_package_whose_name_is_too_long_for_predictions_asks_for_another(cwd: Path) -> None:
    with pytest.raises(RtcError) as caught:
        folder_for(package="n" * 249 + ".zip")
    assert caught.value.fault.code is FaultCode.USAGE
    assert "--output" in caught.value.fault.text
    assert folder_for(Path("short.slp"), "n" * 249 + ".zip").path == cwd / "short.slp"


async def test_a_result_of_more_predictions_than_a_job_has_is_not_spread_over_the_folder(cwd: Path) -> None:
    with pytest.raises(RtcError, match="101 files"):
        await folder_for().unpack(result(cwd, *(f"{number}.slp" for number in range(101))))
    assert contents(cwd) == {}


def test_a_result_whose_logs_cannot_be_read_is_a_result(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(result_folder_module, "final_losses", unreadable)
    found = ResultFolder(evolve(folder_for().options, kind=JobKind.TRAIN), cwd, unpacked=True)
    assert found.summarize("Done.", "title").folder == cwd
    assert "Permission denied" in found.warning
