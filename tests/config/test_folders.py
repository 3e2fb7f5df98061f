"""Where this user's files are."""

import sys
from pathlib import Path

import pytest

from rtc.common.errors import ExitCode, RtcError
from rtc.config.folders import Folders, find_folders, known_home, name_of_settings
from rtc.testing.homes import STATE


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    return tmp_path


def refused() -> str:
    with pytest.raises(RtcError) as caught:
        find_folders()
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value.fault.text


def test_what_people_write_is_in_the_home_folder_and_what_programs_write_where_the_platform_keeps_it(
    home: Path,
) -> None:
    assert find_folders() == Folders(home / ".sleap-rtc", home / STATE)
    assert find_folders().settings_name == "~/.sleap-rtc"


def test_nothing_that_programs_write_is_in_the_folder_that_another_program_moves_away() -> None:
    folders = find_folders()
    written = (folders.tickets, folders.work, folders.results, folders.server, folders.logs, folders.rooms_file)
    assert len(set(written)) == len(written)
    assert not any(path.is_relative_to(folders.settings) for path in written)


def test_one_variable_puts_everything_under_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = tmp_path / "all"
    monkeypatch.setenv("SLEAP_RTC_HOME", str(chosen))
    folders = find_folders()
    assert folders == Folders(chosen, chosen)
    assert (folders.settings_name, name_of_settings(folders.settings)) == (str(chosen), str(chosen))


def test_the_one_folder_may_be_the_one_in_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEAP_RTC_HOME", str(home / ".sleap-rtc"))
    assert find_folders().results == home / ".sleap-rtc" / "results"


def test_an_empty_variable_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEAP_RTC_HOME", "")
    assert find_folders().settings == home / ".sleap-rtc"


@pytest.mark.parametrize("path", ["all", "./all", "~/all"])
def test_the_one_folder_must_not_depend_on_where_a_program_is_started(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLEAP_RTC_HOME", path)
    assert "SLEAP_RTC_HOME must be the whole path of a folder" in refused()


@pytest.mark.skipif(sys.platform == "win32", reason="XDG_STATE_HOME is for the others")
def test_the_state_of_programs_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    assert find_folders().state == tmp_path / "elsewhere" / "sleap-rtc"


@pytest.mark.parametrize("path", ["", "elsewhere", "./elsewhere"])
def test_a_relative_place_for_the_state_of_programs_is_ignored(
    path: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", path)
    assert find_folders().state == home / STATE


@pytest.mark.skipif(sys.platform == "win32", reason="HOME is for the others")
@pytest.mark.parametrize("home_variable", ["", "home"])
def test_without_a_home_folder_the_one_folder_suffices(
    home_variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home_variable)
    assert (known_home(), "Set the variable HOME; or SLEAP_RTC_HOME" in refused()) == (None, True)
    monkeypatch.setenv("SLEAP_RTC_HOME", str(tmp_path))
    assert find_folders() == Folders(tmp_path, tmp_path)
