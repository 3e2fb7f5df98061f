"""Another program may move `~/.sleap-rtc` away: that is noticed, told once, and survived."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import define, field

import cli
from protocol.ids import RoomId
from rtc.common.birth_time import birth_time
from rtc.config.folders import Folders
from rtc.config.settings_watch import SettingsWatch
from rtc.doctor.finding import Level
from rtc.doctor.settings import old_folders_finding, settings_folder_finding
from rtc.testing.homes import STATE
from rtc.testing.limits import HANG_TIME

ROOM = RoomId("room-1")
SECRET = "a secret of sixteen or more"


@define
class Home:
    """A home folder with settings and secrets, and what its person was told."""

    path: Path
    told: list[str] = field(factory=list)

    @property
    def settings(self) -> Path:
        return self.path / ".sleap-rtc"

    @property
    def watch(self) -> SettingsWatch:
        return SettingsWatch(Folders(self.settings, self.path / STATE))

    def start(self) -> None:
        """Start a program."""
        self.watch.check(self.told.append)

    def fill(self, *names: str) -> None:
        self.settings.mkdir(mode=0o700, exist_ok=True)
        for name in names:
            path = self.settings / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.write_text(json.dumps({"room_secrets": {"room-2": SECRET}}) if name == "credentials.json" else SECRET)
            path.chmod(0o600)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Home(tmp_path)


@pytest.fixture
def filled(home: Home) -> Home:
    home.fill("config.toml", "credentials.json", "secrets/room-1")
    home.start()
    return home


def test_where_nothing_was_nothing_is_said_and_nothing_written(home: Home) -> None:
    home.start()
    home.start()
    assert (home.told, list(home.path.iterdir())) == ([], [])


def test_a_folder_that_was_moved_is_told_once_with_its_new_place(filled: Home) -> None:
    filled.settings.rename(filled.path / ".sleap-connect")
    for _ in range(3):
        filled.start()
    [text] = filled.told
    assert "~/.sleap-rtc was moved or removed, with config.toml, credentials.json and 2 room secrets" in text
    assert f"safe in ~/{STATE}" in text
    assert "It is in ~/.sleap-connect now" in text
    assert "copy what is missing back to ~/.sleap-rtc" in text


@pytest.mark.parametrize("place", [".config/other", ".sleap-connect/old", "backup"])
def test_a_moved_folder_is_found_by_what_it_is_whatever_its_name(place: str, filled: Home) -> None:
    (filled.path / place).parent.mkdir(exist_ok=True)
    filled.settings.rename(filled.path / place)
    filled.start()
    assert f"It is in ~/{place} now" in filled.told[0]


def test_a_copy_in_a_folder_of_sleap_is_found_by_its_files(filled: Home) -> None:
    shutil.copytree(filled.settings, filled.path / ".sleap-connect")
    shutil.rmtree(filled.settings)
    (filled.path / "other").mkdir()
    filled.start()
    assert "It is in ~/.sleap-connect now" in filled.told[0]


def test_a_removed_folder_is_told_without_a_place(filled: Home) -> None:
    shutil.rmtree(filled.settings)
    filled.start()
    assert "If another program has moved the folder" in filled.told[0]


def test_it_is_told_again_at_the_next_change_only(filled: Home) -> None:
    moved = filled.path / ".sleap-connect"
    for _ in range(2):
        filled.settings.rename(moved)
        filled.start()
        moved.rename(filled.settings)
        filled.start()
    assert len(filled.told) == 2


def test_a_folder_that_another_program_makes_anew_is_no_return(filled: Home) -> None:
    filled.settings.rename(filled.path / ".sleap-connect")
    filled.settings.mkdir()
    filled.start()
    assert (len(filled.told), settings_folder_finding(filled.watch.folders).level) == (1, Level.WARN)
    filled.fill("config.toml")
    filled.start()
    assert "2 room secrets" in filled.told[-1]


@pytest.mark.skipif(os.name == "nt", reason="inodes are given again on Unix file systems")
def test_a_folder_that_is_made_anew_with_the_number_of_the_removed_one_is_no_return(
    filled: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(filled.settings, filled.path / ".sleap-connect")
    number = filled.settings.stat().st_ino
    shutil.rmtree(filled.settings)
    filled.settings.mkdir()
    memory = filled.watch.folders.remembered_settings_file  # as if the new folder had that number, on all file systems
    memory.write_text(memory.read_text().replace(str(number), str(filled.settings.stat().st_ino)))
    if birth_time(filled.settings) is None:  # this file system does not know
        monkeypatch.setattr("rtc.config.settings_watch.birth_time", lambda _path: 1)
        memory.write_text(json.dumps(json.loads(memory.read_text()) | {"born": 0}))
    filled.start()
    assert "2 room secrets" in filled.told[-1]
    assert filled.watch.about_lost_secret(ROOM) is not None


def test_where_it_is_not_known_when_a_folder_was_made_its_number_counts(
    filled: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.config.settings_watch.birth_time", lambda _path: None)
    (filled.settings / "secrets" / "room-1").unlink()
    filled.start()
    assert (filled.told, filled.watch.find_lost()) == ([], None)


def test_the_time_of_birth_stays_when_a_folder_is_moved_or_changed(tmp_path: Path) -> None:
    first, moved = tmp_path / "first", tmp_path / "moved"
    first.mkdir()
    born = birth_time(first)
    first.rename(moved)
    (moved / "file").touch()
    assert birth_time(moved) == born
    assert born is None or abs(born / 10**6 - moved.stat().st_mtime) < HANG_TIME
    assert birth_time(first) is None


def test_what_was_copied_back_is_not_missed(filled: Home) -> None:
    filled.settings.rename(filled.path / ".sleap-connect")
    filled.start()
    shutil.copytree(filled.path / ".sleap-connect", filled.settings)
    assert filled.watch.find_lost() is None
    filled.start()
    assert len(filled.told) == 1


def test_what_a_person_removes_from_the_folder_is_not_missed(filled: Home) -> None:
    for path in (filled.settings / "config.toml", filled.settings / "secrets" / "room-1"):
        path.unlink()
        filled.start()
    shutil.rmtree(filled.settings / "secrets")
    (filled.settings / "credentials.json").unlink()
    filled.start()
    assert (filled.told, filled.watch.about_lost_secret(ROOM)) == ([], None)


def test_settings_that_a_person_has_begun_anew_without_secrets_are_enough(home: Home) -> None:
    home.fill("config.toml")
    home.start()
    home.settings.rename(home.path / ".sleap-connect")
    home.fill("config.toml")
    home.start()
    assert home.told == []


def test_with_one_folder_for_everything_nothing_is_remembered(filled: Home) -> None:
    folders = Folders(filled.settings, filled.settings)
    SettingsWatch(folders).check(filled.told.append)
    assert not folders.remembered_settings_file.exists()


@pytest.mark.parametrize("content", ["", "{}", '{"inode": "x"}', "\0", '{"inode": 1, "files": ["\\ud800"]}'])
def test_a_memory_that_is_damaged_is_begun_anew(content: str, filled: Home) -> None:
    filled.watch.folders.remembered_settings_file.write_text(content)
    filled.start()
    shutil.rmtree(filled.settings)
    filled.start()
    assert len(filled.told) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFOs in folders")
@pytest.mark.parametrize("name", ["notices.json", "settings-seen.json"])
def test_a_fifo_in_the_place_of_a_memory_keeps_no_program_waiting(name: str, filled: Home) -> None:
    place = filled.path / STATE / name
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    filled.start()
    filled.settings.rename(filled.path / ".sleap-connect")
    filled.start()


def test_secrets_that_cannot_be_read_end_no_program(home: Home) -> None:
    home.fill("config.toml")
    (home.settings / "credentials.json").write_text("{")
    (home.settings / "secrets").write_text("a file")
    home.start()
    assert home.told == []


def test_no_secret_is_remembered(filled: Home) -> None:
    files = [path for path in (filled.path / STATE).rglob("*") if path.is_file()]
    assert files
    assert all(SECRET not in path.read_text() and path.stat().st_mode & 0o077 == 0 for path in files)


def test_a_state_folder_that_cannot_be_written_ends_no_program(home: Home) -> None:
    home.fill("config.toml")
    (home.path / STATE).parent.parent.mkdir(exist_ok=True)
    (home.path / STATE).parent.write_text("a file is in the way")
    home.start()
    assert home.told == []


# -------- what goes on


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    return lambda *words: (cli.run(list(words)), *capsys.readouterr())


def test_commands_that_need_none_of_it_go_on_and_tell_it_once(
    filled: Home, run: Callable[..., tuple[int, str, str]]
) -> None:
    assert run("jobs")[0] == 0
    filled.settings.rename(filled.path / ".sleap-connect")
    code, _, errors = run("config", "show")
    assert (code, errors.count("was moved or removed"), errors.count("\n")) == (0, 1, 1)
    for words in (("jobs",), ("config", "path"), ("secrets", "list")):
        assert run(*words)[0::2] == (0, ""), words


def test_a_worker_does_not_serve_a_room_whose_secret_has_vanished(
    filled: Home, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.worker.program.find_sleap_nn", lambda _name: Path("/bin/true"))
    filled.settings.rename(filled.path / ".sleap-connect")
    for room in ("room-1", "room-2"):
        code, _, errors = run("worker", "--room-id", room, "--token", "t", "--server", "ws://127.0.0.1:9")
        assert (code, f"secrets remove {room}" in errors) == (2, True)
    assert run("secrets", "remove", "room-1")[0] == 0
    assert filled.watch.about_lost_secret(ROOM) is None
    assert filled.watch.about_lost_secret(RoomId("room-2")) is not None
    code, _, errors = run("secrets", "remove", "room-1")
    assert (code, "There is no secret of room-1 here" in errors) == (2, True)


# -------- the doctor


def test_the_doctor_tells_it_each_time_and_changes_nothing(filled: Home) -> None:
    filled.settings.rename(filled.path / ".sleap-connect")
    before = {path: path.stat().st_mtime_ns for path in filled.path.rglob("*")}
    for _ in range(2):
        finding = settings_folder_finding(filled.watch.folders)
        assert (finding.level, "copy what is missing back" in (finding.advice or "")) == (Level.WARN, True)
    assert {path: path.stat().st_mtime_ns for path in filled.path.rglob("*")} == before


def test_the_doctor_finds_a_folder_that_is_there_and_one_that_never_was(home: Home) -> None:
    assert settings_folder_finding(home.watch.folders).level is Level.SKIP
    home.fill("config.toml")
    assert settings_folder_finding(home.watch.folders).level is Level.OK


def test_the_doctor_lists_what_is_still_in_the_old_places(home: Home, tmp_path: Path) -> None:
    folders = home.watch.folders
    assert old_folders_finding(folders).level is Level.OK
    (home.settings / "results").mkdir(parents=True)
    assert (old_folders_finding(folders).level, "results of an earlier" in old_folders_finding(folders).detail) == (
        Level.WARN,
        True,
    )
    assert old_folders_finding(Folders(tmp_path, tmp_path)).level is Level.SKIP
    os.symlink(home.settings, tmp_path / "same")
    assert old_folders_finding(Folders(home.settings, tmp_path / "same")).level is Level.OK
