"""What an earlier version kept in `~/.sleap-rtc` is taken over: tickets and logs, links, locks, and what is told."""

import errno
import os
import threading
from pathlib import Path

import pytest
from attrs import define, field
from filelock import FileLock

from rtc.config.folders import Folders
from rtc.config.take_over import LOCK_PREFIX, folders_left, take_over_logs, take_over_tickets

HANG_TIME = 60.0


@define
class Home:
    """A home folder, and what its person was told."""

    folders: Folders
    told: list[str] = field(factory=list)

    @property
    def old(self) -> Path:
        """The old folder of the tickets."""
        return self.folders.settings / "jobs"

    @property
    def new(self) -> Path:
        """The new one."""
        return self.folders.tickets

    def ticket(self, folder: Path, job: str, text: str = "{}") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{job}.json").write_text(text)

    def take(self) -> Path:
        return take_over_tickets(self.folders, self.told.append)

    def tickets(self, folder: Path) -> dict[str, str]:
        return {path.stem: path.read_text() for path in sorted(folder.glob("*.json"))}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(Folders(tmp_path / ".sleap-rtc", tmp_path / "state" / "sleap-rtc"))


def test_where_nothing_was_nothing_is_made(home: Home, tmp_path: Path) -> None:
    assert (home.take(), list(tmp_path.iterdir())) == (home.new, [])


def test_tickets_are_moved_without_a_word(home: Home) -> None:
    home.ticket(home.old, "job-1", "one")
    home.ticket(home.old, "job-2", "two")
    assert (home.take(), home.told) == (home.new, [])
    assert home.tickets(home.new) == {"job-1": "one", "job-2": "two"}
    assert (home.old.exists(), home.new.stat().st_mode & 0o777) == (False, 0o700)


def test_what_people_keep_in_the_folder_stays(home: Home) -> None:
    home.ticket(home.old, "job-1")
    secrets = home.folders.settings / "secrets"
    secrets.mkdir()
    home.take()
    assert list(home.folders.settings.iterdir()) == [secrets]


def test_tickets_of_both_places_become_one_set(home: Home) -> None:
    home.ticket(home.old, "job-1", "old")
    home.ticket(home.new, "job-2", "new")
    home.ticket(home.old, "job-3", "same")
    home.ticket(home.new, "job-3", "same")
    home.take()
    assert home.tickets(home.new) == {"job-1": "old", "job-2": "new", "job-3": "same"}
    assert (home.old.exists(), home.told) == (False, [])


def test_a_ticket_whose_name_is_taken_stays_and_that_is_told_once(home: Home) -> None:
    home.ticket(home.old, "job-1", "old")
    home.ticket(home.new, "job-1", "new")
    home.ticket(home.old, "job-2", "two")
    for _ in range(3):
        assert home.take() == home.new
    assert (home.tickets(home.old), home.tickets(home.new)) == ({"job-1": "old"}, {"job-1": "new", "job-2": "two"})
    [text] = home.told
    assert str(home.old) in text
    assert "has another job-1.json" in text


def test_it_is_told_again_when_it_was_well_in_between(home: Home) -> None:
    home.ticket(home.old, "job-1", "old")
    home.ticket(home.new, "job-1", "new")
    home.take()
    home.ticket(home.old, "job-1", "new")
    home.take()
    assert not home.old.exists()
    home.ticket(home.old, "job-1", "old")
    home.take()
    assert len(home.told) == 2


def test_what_an_old_client_is_writing_at_this_moment_stays(home: Home) -> None:
    home.ticket(home.old, "job-1")
    (home.old / "job-2.part").write_text("half")
    home.take()
    assert [path.name for path in home.old.iterdir()] == ["job-2.part"]


def test_what_another_program_keeps_in_folders_of_these_names_stays(home: Home) -> None:
    home.ticket(home.old, "job-1", "ours")
    theirs = {home.old / "queue.json", home.folders.settings / "logs" / "rtc.log", home.folders.settings / "server"}
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("theirs")
    for _ in range(2):
        home.take()
        take_over_logs(home.folders, home.told.append)
    assert {path for path in home.folders.settings.rglob("*") if path.is_file()} == theirs
    assert (home.told, folders_left(home.folders), home.folders.logs.exists()) == ([], [], False)


def test_an_empty_old_folder_is_removed(home: Home) -> None:
    home.old.mkdir(parents=True)
    assert folders_left(home.folders) == ["jobs"]
    home.take()
    assert (home.old.exists(), home.told) == (False, [])


def test_links_and_folders_among_the_tickets_stay(home: Home, tmp_path: Path) -> None:
    home.ticket(tmp_path, "mine", "mine")
    home.old.mkdir(parents=True)
    (home.old / "job-1.json").symlink_to(tmp_path / "mine.json")
    (home.old / "folder.json").mkdir()
    home.take()
    assert {path.name for path in home.old.iterdir()} == {"job-1.json", "folder.json"}
    assert (home.tickets(tmp_path), list(home.new.iterdir())) == ({"mine": "mine"}, [])


def test_a_place_that_is_a_link_is_still_where_the_link_leads(home: Home, tmp_path: Path) -> None:
    home.ticket(tmp_path / "disk", "job-1")
    home.folders.settings.mkdir()
    home.old.symlink_to("../disk")
    assert home.take() == home.new
    assert (os.path.lexists(home.old), home.new.resolve(), home.told) == (False, tmp_path / "disk", [])
    assert list(home.tickets(home.new)) == ["job-1"]
    assert home.take() == home.new


@pytest.mark.parametrize("what", ["dangling", "taken"])
def test_a_link_that_cannot_be_taken_stays(what: str, home: Home, tmp_path: Path) -> None:
    home.folders.settings.mkdir()
    home.old.symlink_to(tmp_path / "disk")
    if what == "taken":
        home.ticket(home.new, "job-1")
        (tmp_path / "disk").mkdir()
    home.take()
    assert (home.old.is_symlink(), len(home.told)) == (True, 1)


def test_an_old_place_that_is_the_new_one_is_left_alone(home: Home, tmp_path: Path) -> None:
    home.ticket(home.old, "job-1")
    home.folders.state.parent.mkdir()
    home.folders.state.symlink_to(home.folders.settings)
    assert (home.take(), list(home.tickets(home.old)), home.told) == (home.new, ["job-1"], [])


def test_with_one_folder_for_everything_nothing_is_taken(home: Home, tmp_path: Path) -> None:
    home.ticket(home.old, "job-1")
    told: list[str] = []
    for folder in (tmp_path / "all", home.folders.settings):
        assert take_over_tickets(Folders(folder, folder), told.append) == folder / "jobs"
    assert (list(home.tickets(home.old)), told) == (["job-1"], [])


def test_a_home_that_cannot_be_written_is_read_where_it_is(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.ticket(home.old, "job-1")
    home.folders.state.parent.write_text("a file is in the way")
    for _ in range(2):
        assert home.take() == home.old
    assert list(home.tickets(home.old)) == ["job-1"]
    assert "cannot be written" in home.told[0]


def test_tickets_are_copied_to_another_disk(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.ticket(home.old, "job-1", "one")
    rename = os.rename

    def rename_on_one_disk(source: Path, target: Path) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_on_one_disk)
    home.take()
    assert (home.tickets(home.new), home.old.exists()) == ({"job-1": "one"}, False)


def test_of_two_programs_that_start_at_the_same_moment_the_second_waits(home: Home) -> None:
    home.ticket(home.old, "job-1")
    home.folders.state.mkdir(parents=True)
    waits, used = threading.Event(), []

    def say(_text: str) -> None:
        waits.set()

    second = threading.Thread(target=lambda: used.append(take_over_tickets(home.folders, say)))
    with FileLock(home.folders.state / f"{LOCK_PREFIX}jobs.lock"):
        second.start()
        assert waits.wait(HANG_TIME)
        assert list(home.tickets(home.old)) == ["job-1"]
    second.join(HANG_TIME)
    assert (used, list(home.tickets(home.new))) == ([home.new], ["job-1"])


def test_old_logs_stay_beside_new_ones(home: Home) -> None:
    for folder, text in ((home.folders.settings / "logs", "old"), (home.folders.logs, "new")):
        folder.mkdir(parents=True)
        (folder / "worker.log").write_text(text)
    (home.folders.settings / "logs" / "worker.log.1").write_text("older")
    assert take_over_logs(home.folders, home.told.append) == home.folders.logs
    assert {path.name: path.read_text() for path in home.folders.logs.iterdir()} == {
        "worker.log": "new",
        "worker.log.old-1": "old",
        "worker.log.1": "older",
    }
    assert (home.told, (home.folders.settings / "logs").exists()) == ([], False)
