"""Room secrets: what one may be, the five places and their order, and what is said of a place that cannot be used."""

import json
import logging
import os
import sys
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import define, evolve, field

from protocol.ids import RoomId
from protocol.trust import Secret
from rtc.common.errors import ExitCode, RtcError
from rtc.common.logs import open_log
from rtc.config.room_secrets import credentials_file, files, shared_file
from rtc.config.room_secrets.credentials_file import CredentialsFile
from rtc.config.room_secrets.files import TEXT_MAX
from rtc.config.room_secrets.finder import RoomSecrets
from rtc.config.room_secrets.rules import SECRET_MAX, check_secret, make_secret
from rtc.config.room_secrets.sources import GivenSecret, SecretPlaces, SourceKind
from rtc.config.room_secrets.variables import take_secret_variables, variable_of

ROOM = RoomId("room-1")
OPTION, VARIABLE, IN_FILE, IN_CREDENTIALS, WITH_ROOM = (
    f"the secret of {place}, long enough" for place in ("option", "variable", "file", "credentials", "room")
)
NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")


@define
class Home:
    """The places of one user, in a test's folder."""

    folder: Path
    environ: dict[str, str] = field(factory=dict)
    warnings: list[str] = field(factory=list)
    given: GivenSecret | None = None
    remembered: dict[RoomId, str] = field(factory=dict)

    @property
    def places(self) -> SecretPlaces:
        return SecretPlaces(self.given, self.environ, self.folder, remembered_secret=self.remembered.get)

    @property
    def finder(self) -> RoomSecrets:
        return RoomSecrets(self.places, self.warnings.append)

    @property
    def credentials(self) -> Path:
        return self.folder / "credentials.json"

    def room_file(self, room: str = ROOM) -> Path:
        folder = self.folder / "secrets"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / room

    def write(self, path: Path, content: str | bytes) -> None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o600)

    def fill(self, kind: SourceKind, text: str) -> None:
        """Put a text into one of the places."""
        match kind:
            case SourceKind.OPTION:
                self.given = GivenSecret(text, "--room-secret")
            case SourceKind.ENVIRONMENT:
                self.environ[variable_of(ROOM)] = text
            case SourceKind.FILE:
                self.write(self.room_file(), text)
            case SourceKind.CREDENTIALS:
                self.write(self.credentials, json.dumps({"room_secrets": {ROOM: text}}))
            case SourceKind.REMEMBERED:
                self.remembered[ROOM] = text

    def error(self, room: RoomId = ROOM) -> str:
        """Return the text of the error when the room is looked up."""
        with pytest.raises(RtcError) as caught:
            self.finder(room)
        assert caught.value.exit_code is ExitCode.USAGE
        return caught.value.fault.text


@pytest.fixture
def home(tmp_path: Path) -> Home:
    folder = tmp_path / ".sleap-rtc"
    folder.mkdir(mode=0o700)
    return Home(folder)


# -------- what a secret is


@pytest.mark.parametrize(
    "text",
    [
        "correct horse battery staple",
        "0123456789abcdef",
        "8f3a9c1d7e2b4f60",
        "3141592653589793",
        "пароль для комнаты",
        "x" * 1000 + "0123456789abcdef",
    ],
)
def test_what_cannot_be_guessed_at_once_is_a_secret(text: str) -> None:
    assert check_secret(f" \t{text}\r\n", "here").text == text


def test_a_secret_that_we_make_is_one_and_begins_no_option() -> None:
    made = [make_secret() for _ in range(200)]
    assert [check_secret(text, "here").text for text in made] == made
    assert not any(text.startswith("-") for text in made)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0123456789abcde", "at least 16 characters"),
        ("           short          ", "at least 16 characters"),
        ("0123456789abcdef" * 64 + "x", f"at most {SECRET_MAX}"),
        ("0123456789\nabcdef", "one line"),
        ("0123456789\x1babcdef", "one line"),
        ("0123456789\udcffabcdef", "one line"),
        ("0123456789\u202eabcdef", "one line"),
        ("0123456789\0abcdef", "one line"),
        ("aaaaaaaaaaaaaaaa", "repeats"),
        ("aaaaaaaaaaaaaaab", "repeats"),
        ("abababababababab", "repeats"),
        ("aaaaaaaabbbbbbbb", "repeats"),
        ("1234123412341234", "repeats"),
        ("1234567812345678", "repeats"),
        ("1234567890" * 10, "repeats"),
        ("aabbccddaabbccdd", "repeats"),
        ("aaaabbbbccccddddeeee", "repeats"),
        ("abcdefg abcdefg abcdefg", "repeats"),
        ("abc" * 300, "repeats"),
        ("aabacadbbcbdccdda", "repeats"),
    ],
)
def test_what_can_be_guessed_or_is_no_line_is_refused_and_never_shown(text: str, problem: str) -> None:
    with pytest.raises(RtcError) as caught:
        check_secret(text, "the file F")
    assert problem in caught.value.fault.text
    assert "the file F" in caught.value.fault.text
    assert text.strip() not in caught.value.fault.text


def test_a_secret_is_the_same_however_a_system_spells_its_accents() -> None:
    composed = "à la recherche du temps perdu"
    decomposed = unicodedata.normalize("NFD", composed)
    assert decomposed != composed
    assert check_secret(decomposed, "here") == check_secret(composed, "here") == Secret(composed)


# -------- the order of the places

KINDS = list(SourceKind)
TEXTS = dict(zip(KINDS, (OPTION, VARIABLE, IN_FILE, IN_CREDENTIALS, WITH_ROOM), strict=True))


@pytest.mark.parametrize("first", KINDS)
def test_the_first_place_that_has_a_secret_counts(home: Home, first: SourceKind) -> None:
    for kind in KINDS[KINDS.index(first) :]:
        home.fill(kind, f"  {TEXTS[kind]}\n")
    assert home.finder(ROOM) == Secret(TEXTS[first])
    assert home.warnings == []


@pytest.mark.parametrize("empty", KINDS)
@pytest.mark.parametrize("nothing", ["", " \t\r\n "])
def test_an_empty_place_is_left_out_with_a_warning(home: Home, empty: SourceKind, nothing: str) -> None:
    home.fill(empty, nothing)
    assert home.finder(ROOM) is None
    [warning] = home.warnings
    assert [source.place for source in home.places.of_room(ROOM) if source.place in warning]
    after = SourceKind.CREDENTIALS if empty is not SourceKind.CREDENTIALS else SourceKind.FILE
    home.fill(after, TEXTS[after])
    assert home.finder(ROOM) == Secret(TEXTS[after])


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_with_what_is_no_secret_is_an_error_that_names_it_also_if_a_later_one_has_one(
    home: Home, kind: SourceKind
) -> None:
    home.fill(SourceKind.REMEMBERED, WITH_ROOM)
    home.fill(kind, "too short")
    place = next(source.place for source in home.places.of_room(ROOM) if source.kind is kind)
    assert place in home.error()


def test_without_any_place_there_is_no_secret_and_nothing_is_said(home: Home) -> None:
    assert home.finder(ROOM) is None
    assert RoomSecrets(SecretPlaces(), home.warnings.append)(ROOM) is None
    assert home.warnings == []


def test_a_room_that_is_to_be_made_has_only_the_secret_of_the_command_line(home: Home) -> None:
    for kind in KINDS[1:]:
        home.fill(kind, TEXTS[kind])
    assert home.finder(None) is None
    home.fill(SourceKind.OPTION, OPTION)
    assert home.finder(None) == Secret(OPTION)


def test_a_room_is_looked_up_once(home: Home) -> None:
    home.fill(SourceKind.FILE, IN_FILE)
    finder = home.finder
    finder(ROOM)
    home.fill(SourceKind.FILE, "another secret of this room")
    assert finder(ROOM) == Secret(IN_FILE)


def test_the_variable_of_a_room_has_its_id_in_capitals_and_underscores() -> None:
    assert variable_of(RoomId("Lab-2_b")) == "SLEAP_RTC_ROOM_SECRET_LAB_2_B"


def test_the_variables_are_taken_out_of_the_environment_so_that_no_program_inherits_them() -> None:
    environ = {"SLEAP_RTC_ROOM_SECRET_A": VARIABLE, "SLEAP_RTC_ENV": "staging", "PATH": "/bin"}
    assert take_secret_variables(environ) == {"SLEAP_RTC_ROOM_SECRET_A": VARIABLE}
    assert environ == {"SLEAP_RTC_ENV": "staging", "PATH": "/bin"}


# -------- files that cannot be used


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe0\x001\x002\x003", "UTF-8"),
        (b"two lines\nof a secret file", "one line"),
        (b"x" * (TEXT_MAX + 1), "too large"),
        (b" " * TEXT_MAX + IN_FILE.encode(), "too large"),
    ],
)
def test_a_file_that_is_no_secret_is_an_error(home: Home, content: bytes, problem: str) -> None:
    home.write(home.room_file(), content)
    text = home.error()
    assert "~/.sleap-rtc/secrets/room-1" in text
    assert problem in text


def test_a_byte_order_mark_is_no_part_of_the_secret(home: Home) -> None:
    home.write(home.room_file(), f"\ufeff{IN_FILE}\r\n")
    assert home.finder(ROOM) == Secret(IN_FILE)


def test_a_folder_a_pipe_or_a_broken_link_in_the_place_of_the_file_is_an_error(home: Home) -> None:
    path = home.room_file()
    path.mkdir()
    assert "is a folder" in home.error()
    path.rmdir()
    os.mkfifo(path)
    assert "no ordinary file" in home.error()
    path.unlink()
    path.symlink_to("nowhere")
    assert "cannot be read" in home.error()


def test_a_file_in_the_place_of_the_folder_is_an_error(home: Home) -> None:
    home.write(home.folder / "secrets", IN_FILE)
    assert "~/.sleap-rtc/secrets" in home.error()


@NOT_ROOT
def test_a_file_that_may_not_be_read_is_an_error(home: Home) -> None:
    home.fill(SourceKind.FILE, IN_FILE)
    home.room_file().chmod(0)
    assert "cannot be read" in home.error()


def test_a_link_to_a_file_is_followed(home: Home, tmp_path: Path) -> None:
    home.write(tmp_path / "elsewhere", IN_FILE)
    home.room_file().symlink_to(tmp_path / "elsewhere")
    assert home.finder(ROOM) == Secret(IN_FILE)


def test_a_file_counts_only_for_the_room_whose_id_is_its_exact_name(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems open it under other names too: in other letters, with a dot at the end, or as a device."""
    home.fill(SourceKind.FILE, IN_FILE)
    monkeypatch.setattr("rtc.config.room_secrets.sources.read_file", lambda *_: IN_FILE)
    for room in ("Room-1", "room-1.", "CON"):
        assert home.finder(RoomId(room)) is None


# -------- the credentials file


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("not JSON", "malformed"),
        ("[]", "malformed"),
        ('{"room_secrets": []}', "malformed"),
        ('{"room_secrets": "x"}', "malformed"),
        ('{"room_secrets": {"room-1": 7}}', "room_secrets.room-1"),
        ('{"room_secrets": {"room-1": null}}', "room_secrets.room-1"),
        ('{"room_secrets": {"room-1": ["0123456789abcdef"]}}', "room_secrets.room-1"),
        ('{"room_secrets": {"room-1": "0123456789\\ud800abcdef"}}', "one line"),
        ("[" * 100_000, "malformed"),
        (b"\xff", "UTF-8"),
        (b'{"a": "' + b"x" * credentials_file.FILE_MAX + b'"}', "too large"),
    ],
)
def test_a_malformed_credentials_file_is_an_error_and_is_never_overwritten(
    home: Home, content: str | bytes, problem: str
) -> None:
    home.write(home.credentials, content)
    before = home.credentials.read_bytes()
    text = home.error()
    assert "~/.sleap-rtc/credentials.json" in text
    assert problem in text
    if "room-1" not in problem and problem != "one line":  # another secret for the room mends these
        with pytest.raises(RtcError):
            CredentialsFile(home.credentials, "the file").save(ROOM, make_secret())
        assert home.credentials.read_bytes() == before
    assert sorted(path.name for path in home.folder.iterdir() if ".lock" not in path.name) == ["credentials.json"]


def test_a_wrong_entry_for_one_room_does_not_break_another(home: Home) -> None:
    home.write(home.credentials, json.dumps({"room_secrets": {"other": 7, ROOM: IN_CREDENTIALS}}))
    assert home.finder(ROOM) == Secret(IN_CREDENTIALS)


def test_what_is_not_understood_in_the_credentials_file_is_kept(home: Home) -> None:
    others = {"account": {"name": "Zoë", "big": 2**70, "list": [1.5, None, True]}, "room_secrets": {"other": {"x": 1}}}
    home.write(home.credentials, json.dumps(others))
    file = CredentialsFile(home.credentials, "the file")
    file.save(ROOM, IN_CREDENTIALS)
    expected = others | {"room_secrets": {"other": {"x": 1}, ROOM: IN_CREDENTIALS}}
    assert json.loads(home.credentials.read_text()) == expected
    file.remove(ROOM)
    assert json.loads(home.credentials.read_text()) == others


def test_a_file_with_what_no_json_can_have_is_left_alone(home: Home) -> None:
    home.write(home.credentials, '{"account": NaN}')
    with pytest.raises(RtcError, match="no JSON can have"):
        CredentialsFile(home.credentials, "the file").save(ROOM, IN_CREDENTIALS)
    assert home.credentials.read_text() == '{"account": NaN}'


def test_the_credentials_file_is_private_and_a_link_to_it_stays_a_link(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "new home" / ".sleap-rtc"
    CredentialsFile(folder / "credentials.json", "the file").save(ROOM, IN_CREDENTIALS)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "credentials.json").stat().st_mode & 0o777 == 0o600
    home.credentials.symlink_to(folder / "credentials.json")
    CredentialsFile(home.credentials, "the file").save(RoomId("other"), OPTION)
    assert home.credentials.is_symlink()
    assert evolve(home).finder(ROOM) == Secret(IN_CREDENTIALS)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.fill(SourceKind.CREDENTIALS, IN_CREDENTIALS)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(credentials_file.os, "fsync", full)
    with pytest.raises(RtcError, match="No space left"):
        CredentialsFile(home.credentials, "the file").save(ROOM, OPTION)
    assert home.finder(ROOM) == Secret(IN_CREDENTIALS)
    assert list(home.folder.glob(".sleap-rtc-*")) == []


def test_programs_that_save_at_the_same_time_lose_nothing_of_each_other(home: Home) -> None:
    def save(number: int) -> None:
        CredentialsFile(home.credentials, "the file").save(RoomId(f"room-{number}"), IN_CREDENTIALS)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(CredentialsFile(home.credentials, "the file").rooms()) == 8


def test_a_lock_that_another_program_holds_is_an_error_after_a_while(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    monkeypatch.setattr(shared_file, "LOCK_TIME", 0)
    with FileLock(home.folder / "credentials.json.lock"), pytest.raises(RtcError, match="in use by another program"):
        CredentialsFile(home.credentials, "the file").save(ROOM, IN_CREDENTIALS)


# -------- what others can read


@pytest.mark.skipif(sys.platform == "win32", reason="has no such permissions")
def test_loose_permissions_are_warned_of_and_the_secret_is_used(home: Home) -> None:
    home.fill(SourceKind.FILE, IN_FILE)
    home.room_file().chmod(0o644)
    (home.folder / "secrets").chmod(0o755)
    assert home.finder(ROOM) == Secret(IN_FILE)
    assert [warning.rpartition("Run: ")[2] for warning in home.warnings] == [
        "chmod 600 ~/.sleap-rtc/secrets/room-1",
        "chmod 700 ~/.sleap-rtc/secrets",
    ]


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o440, False), (0o644, True)])
def test_a_file_that_was_named_may_be_read_by_its_group_and_not_by_everybody(
    home: Home, tmp_path: Path, mode: int, warned: bool
) -> None:
    path = tmp_path / "secret"
    home.write(path, OPTION)
    path.chmod(mode)
    home.given = GivenSecret(OPTION, f"the file {path}", path)
    assert home.finder(ROOM) == Secret(OPTION)
    assert home.warnings == [f"Other users of this machine may look into {path}. Run: chmod 600 {path}"] * warned


def test_on_windows_permissions_are_not_looked_at(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.fill(SourceKind.FILE, IN_FILE)
    home.room_file().chmod(0o644)
    monkeypatch.setattr(files.os, "name", "nt")
    assert files.loose_permissions(home.room_file(), "it") is None


def test_a_secret_that_was_found_is_hidden_in_a_log_that_is_open_or_opened_later(home: Home, tmp_path: Path) -> None:
    logger = logging.getLogger("rtc.test")
    home.fill(SourceKind.FILE, IN_FILE)
    with open_log("client", tmp_path / "logs") as log:
        home.finder(ROOM)
        logger.warning("now %s", IN_FILE)
    with open_log("client", tmp_path / "logs"):
        logger.warning("later %r", IN_FILE)
    assert log.file is not None
    text = log.file.read_text()
    assert IN_FILE not in text
    assert "now [hidden]" in text
    assert "later '[hidden]'" in text


# -------- other rooms


def test_secrets_of_other_rooms_only_are_told_in_one_sentence_without_any_secret(home: Home) -> None:
    assert home.finder.about_others(ROOM) is None
    home.environ |= {"SLEAP_RTC_ROOM_SECRET_LAB": VARIABLE, "SLEAP_RTC_ROOM_SECRET_NONE": " "}
    home.write(home.room_file("other"), IN_FILE)
    home.write(home.credentials, json.dumps({"room_secrets": {"x": IN_CREDENTIALS, "y": IN_CREDENTIALS}}))
    text = home.finder.about_others(ROOM)
    assert text is not None
    assert "SLEAP_RTC_ROOM_SECRET_LAB, ~/.sleap-rtc/secrets/other, x in the credentials file and 1 more" in text
    assert "long enough" not in text


def test_an_empty_source_is_told_of_where_the_worker_runs_without_a_secret(home: Home) -> None:
    home.write(home.room_file(ROOM), " \n")
    finder = home.finder
    assert finder(ROOM) is None
    assert finder.about_others(ROOM) == f"No room secret is here for {ROOM}, so clients need none."


@pytest.mark.parametrize("spoil", [lambda home: home.write(home.credentials, "no JSON"), lambda _: None])
def test_a_place_that_cannot_be_read_does_not_hide_the_others(home: Home, spoil: Callable[[Home], None]) -> None:
    spoil(home)
    home.environ["SLEAP_RTC_ROOM_SECRET_LAB"] = VARIABLE
    assert "SLEAP_RTC_ROOM_SECRET_LAB" in (home.finder.about_others(ROOM) or "")
