"""The commands about room secrets, and the ways in which tokens and secrets are given to the other commands."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import cli
from protocol.trust import Secret
from rtc.command_line import client_commands, credential_options, manage_secrets
from rtc.common.errors import ExitCode
from rtc.config.room_secrets.rules import check_secret
from rtc.testing.stand_in import make_package

SESSION = "eyJyIjogInJvb21faWQiLCAidCI6ICJ0b2tlbiIsICJwIjogInBlZXJfaWQifQ=="
ROOM = "room_id"
"""The room of that session string."""
NOWHERE = "ws://127.0.0.1:9"  # the discard port: nobody listens
NO_HOME = (
    "sleap-rtc: No home folder is known for this user. Set the variable HOME; or SLEAP_RTC_HOME, to keep everything in "
    "another folder.\n"
)
SECRET, OTHER = "a secret of sixteen or more", "another secret that is long"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLEAP_RTC")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `sleap-rtc` in this process; return its exit code, and what it has printed to the two standard streams."""

    def begin(*words: str) -> tuple[int, str, str]:
        return cli.run(list(words)), *capsys.readouterr()

    return begin


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], None]:
    """Put a text into standard input, which is no terminal."""

    def put(text: str | bytes) -> None:
        content = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


def write_file(room: str, text: str) -> Path:
    path = Path.home() / ".sleap-rtc" / "secrets" / room
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def credentials() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path.home() / ".sleap-rtc" / "credentials.json").read_text())
    return found


# -------- room create-secret


def test_a_new_secret_is_printed_once_alone_on_its_line_and_saved(run: Run) -> None:
    code, text, errors = run("room", "create-secret", "--room", "room-1")
    secret = credentials()["room_secrets"]["room-1"]
    assert (code, errors) == (0, "")
    assert text.splitlines().count(secret) == text.count(secret) == 1
    assert check_secret(secret, "here") == Secret(secret)
    for way in (
        "~/.sleap-rtc/secrets/room-1",
        "SLEAP_RTC_ROOM_SECRET_ROOM_1",
        "~/.sleap-rtc/credentials.json",
        "sleap-rtc worker … --room-secret-file FILE",
        "sleap-rtc client-train … --room-secret-file FILE",
        "--room-secret -",
    ):
        assert way in text


def test_a_secret_that_is_not_to_be_saved_is_only_printed(run: Run) -> None:
    code, text, _ = run("room", "create-secret", "--room", "room-1", "--no-save", "--json")
    made = json.loads(text)
    assert (code, made["room"], made["saved"]) == (0, "room-1", None)
    assert check_secret(made["secret"], "here")
    assert not (Path.home() / ".sleap-rtc" / "credentials.json").exists()


@pytest.mark.parametrize("room", ["..", ".", "../x", "a/b", "", "a" * 101, "-x"])
def test_a_room_id_that_is_none_never_becomes_a_path(run: Run, room: str) -> None:
    for words in (
        ("room", "create-secret", "--room", room),
        ("secrets", "show", "--room", room),
        ("secrets", "remove", "--room", room),
    ):
        code, _, errors = run(*words)
        assert (code, "not a room id" in errors) == (2, True)


def fill(place: str, monkeypatch: pytest.MonkeyPatch, run: Run) -> str:
    """Put a secret for room-1 into one of the places, and return what people call it."""
    match place:
        case "variable":
            monkeypatch.setenv("SLEAP_RTC_ROOM_SECRET_ROOM_1", SECRET)
            return "SLEAP_RTC_ROOM_SECRET_ROOM_1"
        case "file":
            write_file("room-1", SECRET)
            return "~/.sleap-rtc/secrets/room-1"
        case _:
            run("room", "create-secret", "--room", "room-1")
            return "~/.sleap-rtc/credentials.json"


PLACES = ("variable", "file", "credentials")


@pytest.mark.parametrize("place", PLACES)
def test_without_a_terminal_a_secret_that_is_there_is_neither_replaced_nor_hidden(
    run: Run, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    name = fill(place, monkeypatch, run)
    before = credentials() if place == "credentials" else None
    code, text, errors = run("room", "create-secret", "--room", "room-1")
    assert (code, text) == (2, "")
    assert name in errors
    assert "--force" in errors
    assert len(errors.splitlines()) == 1
    if before is not None:
        assert credentials() == before
    else:
        assert not (Path.home() / ".sleap-rtc" / "credentials.json").exists()


@pytest.mark.parametrize("answer", ["y\n", "n\n"])
def test_in_a_terminal_the_person_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    run("room", "create-secret", "--room", "room-1")
    before = credentials()
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(manage_secrets.sys.stderr, "isatty", lambda: True)
    code, text, errors = run("room", "create-secret", "--room", "room-1")
    assert "has a secret of room-1, which would be lost" in errors
    agreed = answer == "y\n"
    assert (code, credentials() != before, text != "") == (0 if agreed else ExitCode.INTERRUPTED, agreed, agreed)


@pytest.mark.parametrize("option", ["--force", "--yes"])
def test_it_is_replaced_without_a_question_if_the_person_says_so(run: Run, option: str) -> None:
    run("room", "create-secret", "--room", "room-1")
    before = credentials()
    assert run("room", "create-secret", "--room", "room-1", option)[0] == 0
    assert credentials() != before


def test_a_new_secret_that_another_place_hides_is_not_said_to_be_found(run: Run) -> None:
    path = Path.home() / ".sleap-rtc" / "secrets" / "room-1"
    path.parent.mkdir(mode=0o700, parents=True)
    path.write_text(SECRET)
    text = run("room", "create-secret", "--room", "room-1", "--force")[1]
    assert "use the secret of ~/.sleap-rtc/secrets/room-1 until that is removed" in text
    assert "find it by themselves" not in text


def test_the_text_about_a_new_secret_fits_into_a_terminal_of_80_columns(run: Run) -> None:
    text = run("room", "create-secret", "--room", "room-7uh4wievpdigqpx3rok3sbmvxu")[1]
    assert [line for line in text.splitlines() if len(line) > 79] == []


def test_a_malformed_file_is_reported_and_left_as_it_is(run: Run) -> None:
    file = Path.home() / ".sleap-rtc" / "credentials.json"
    file.parent.mkdir(mode=0o700)
    file.write_text("{")
    for words in (
        ("room", "create-secret", "--room", "room-1", "--force"),
        ("secrets", "list"),
        ("secrets", "show", "room-1"),
        ("secrets", "remove", "room-1"),
    ):
        code, _, errors = run(*words)
        assert (code, "~/.sleap-rtc/credentials.json is malformed" in errors) == (2, True), words
        assert len(errors.splitlines()) == 1
    assert file.read_text() == "{"


# -------- secrets list, show, remove


def test_the_list_has_every_place_and_no_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in PLACES:
        fill(place, monkeypatch, run)
    run("room", "create-secret", "--room", "room-1", "--force")
    write_file("room-2", OTHER)
    monkeypatch.setenv("SLEAP_RTC_ROOM_SECRET_ROOM_1", SECRET)
    code, table, _ = run("secrets", "list")
    assert code == 0
    monkeypatch.setenv("SLEAP_RTC_ROOM_SECRET_ROOM_1", SECRET)
    listed = json.loads(run("secrets", "list", "--json")[1])
    assert [(row["room"], row["source"], row["where"]) for row in listed] == [
        ("room-1", "credentials", "~/.sleap-rtc/credentials.json"),
        ("room-1", "file", "~/.sleap-rtc/secrets/room-1"),
        ("room-2", "file", "~/.sleap-rtc/secrets/room-2"),
        (None, "environment", "SLEAP_RTC_ROOM_SECRET_ROOM_1"),
    ]
    for row in listed:
        assert row["where"] in table
        assert set(row) == {"room", "source", "where", "changed"}
        assert (row["changed"] is None) == (row["source"] == "environment")
    for secret in (SECRET, OTHER, credentials()["room_secrets"]["room-1"]):
        assert secret not in table + json.dumps(listed)


def test_an_empty_list_says_how_to_make_one(run: Run) -> None:
    assert "sleap-rtc room create-secret" in run("secrets", "list")[1]
    assert json.loads(run("secrets", "list", "--json")[1]) == []


def test_show_prints_the_secret_that_counts_and_nothing_else_to_standard_output(run: Run) -> None:
    run("room", "create-secret", "--room", "room-1")
    write_file("room-1", f"{SECRET}\n")
    for words in (("room-1",), ("--room", "room-1")):
        code, text, errors = run("secrets", "show", *words)
        assert (code, text) == (0, f"{SECRET}\n")
        assert "~/.sleap-rtc/secrets/room-1" in errors
    shown = json.loads(run("secrets", "show", "room-1", "--json")[1])
    assert shown == {"room": "room-1", "source": "file", "where": "~/.sleap-rtc/secrets/room-1", "secret": SECRET}


def test_remove_takes_the_secret_out_of_the_files_and_tells_of_a_variable(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("room", "create-secret", "--room", "room-1")
    run("room", "create-secret", "--room", "room-2")
    path = write_file("room-1", SECRET)
    monkeypatch.setenv("SLEAP_RTC_ROOM_SECRET_ROOM_1", SECRET)
    code, text, errors = run("secrets", "remove", "room-1")
    assert (code, path.exists()) == (0, False)
    assert len(text.splitlines()) == 2
    assert "SLEAP_RTC_ROOM_SECRET_ROOM_1" in errors
    assert list(credentials()["room_secrets"]) == ["room-2"]


@pytest.mark.parametrize("command", ["show", "remove"])
def test_a_room_without_a_secret_is_a_usage_error(run: Run, command: str) -> None:
    code, _, errors = run("secrets", command, "room-1")
    assert (code, "There is no secret of room-1 here" in errors) == (2, True)
    assert "Say which room" in run("secrets", command)[2]
    assert "Say which room" in run("secrets", command, "room-1", "--room", "room-1")[2]


# -------- how other commands are given tokens and secrets


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the options of clients instead of running them."""
    found: list[Any] = []

    def collect(options: Any, *_: object) -> int:
        found.append(options)
        return 0

    monkeypatch.setattr(client_commands, "run_client_program", collect)
    make_package(Path("toy.zip"))
    return found


TRAIN = ("train", "toy.zip", "--server", NOWHERE)
WITH_ROOM = (*TRAIN, "--room-id", "room-1", "--auto-select")


@pytest.mark.parametrize("way", ["option", "file", "file of -", "input", "variable", "room file", "credentials"])
def test_a_client_finds_the_secret_in_each_way(
    run: Run, started: list[Any], type_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    words: tuple[str, ...] = ()
    match way:
        case "option":
            words = ("--room-secret", f" {SECRET} ")
        case "file":
            Path("my secret").write_text(f"{SECRET}\r\n")
            Path("my secret").chmod(0o600)
            words = ("--room-secret-file", "my secret")
        case "file of -":
            type_in(f"{SECRET}\n")
            words = ("--room-secret-file", "-")
        case "input":
            type_in(f"{SECRET}\n")
            words = ("--room-secret", "-")
        case "variable":
            monkeypatch.setenv("SLEAP_RTC_ROOM_SECRET_ROOM_ID", SECRET)
        case "room file":
            write_file(ROOM, SECRET)
        case "credentials":
            path = write_file("unused", SECRET).parents[1] / "credentials.json"
            path.write_text(json.dumps({"room_secrets": {ROOM: SECRET}}))
            path.chmod(0o600)
    assert run(*TRAIN, "--session-string", SESSION, *words) == (0, "", "")
    assert started[0].find_secret(ROOM) == Secret(SECRET)


@pytest.mark.parametrize("way", ["option", "file", "input"])
def test_a_client_is_given_the_token_in_each_way(
    run: Run, started: list[Any], type_in: Callable[[str], None], way: str
) -> None:
    Path("the token").write_text("the-token\n")
    type_in("the-token\n")
    words = {"option": ("--token", "the-token"), "file": ("--token-file", "the token"), "input": ("--token", "-")}[way]
    assert run(*WITH_ROOM, *words) == (0, "", "")
    assert started[0].token == "the-token"


@pytest.mark.parametrize("command", ["workers", "jobs", "jobs fetch J", "attach", "worker"])
def test_every_command_with_a_token_reads_it_from_a_file(run: Run, command: str) -> None:
    code, _, errors = run(*command.split(), "--room-id", "room-1", "--token-file", "nowhere")
    assert (code, errors) == (
        2,
        "sleap-rtc: The file nowhere of --token-file cannot be read (No such file or directory).\n",
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--token", "-", "--room-secret", "-"), "Only one of --token and --room-secret"),
        (("--token-file", "-", "--room-secret", "-"), "Only one of --token and --room-secret"),
        (("--token", "t", "--token-file", "f"), "--token and --token-file say the same"),
        (("--token", "t", "--room-secret", SECRET, "--room-secret-file", "f"), "--room-secret and --room-secret-file"),
    ],
)
def test_two_of_one_kind_are_a_usage_error(run: Run, words: tuple[str, ...], expected: str) -> None:
    for command in (("train", "toy.zip"), ("worker",), ("attach",), ("jobs",)):
        code, _, errors = run(*command, "--server", NOWHERE, "--room-id", "room-1", *words)
        assert (code, expected in errors) == (2, True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--token", "t", "--room-secret-file", "nowhere"), "The file nowhere of --room-secret-file cannot be read"),
        (("--token", "t", "--room-secret-file", "."), "The file . of --room-secret-file is a folder"),
        (("--token", "t", "--room-secret-file", "large"), "is too large"),
        (("--token", "t", "--room-secret-file", "binary"), "is not UTF-8"),
        (("--token", "t", "--room-secret-file", "weak"), "The room secret of the file weak"),
        (("--token", "t", "--room-secret", "1234123412341234"), "The room secret of --room-secret"),
        (("--token", "t", "--room-secret", "-"), "The room secret of standard input cannot be used"),
    ],
)
@pytest.mark.parametrize("command", ["train", "worker", "attach", "jobs"])
def test_what_cannot_be_read_or_used_is_one_sentence_that_names_it(
    run: Run, type_in: Callable[[str], None], started: list[Any], words: tuple[str, ...], expected: str, command: str
) -> None:
    type_in("short")
    Path("large").write_bytes(b"x" * 10**6)
    Path("binary").write_bytes(b"\xff" * 20)
    Path("weak").write_text("ab" * 20)
    path = ("toy.zip", "--auto-select") if command == "train" else ()
    code, _, errors = run(command, *path, "--server", NOWHERE, "--room-id", "room-1", *words)
    assert code == 2
    assert expected in errors
    assert len(errors.splitlines()) == 1
    assert not started


def test_an_error_about_a_file_ends_the_events_of_json(run: Run, started: list[Any]) -> None:
    code, text, _ = run(*TRAIN, "--session-string", SESSION, "--json", "--room-secret-file", "nowhere")
    assert (code, json.loads(text)["event"]) == (2, "ended")


def test_an_empty_option_is_left_out_with_a_warning(run: Run, started: list[Any]) -> None:
    write_file(ROOM, SECRET)
    code, _, errors = run(*TRAIN, "--session-string", SESSION, "--room-secret", "")
    assert (code, errors) == (0, "sleap-rtc: The room secret of --room-secret is empty, so it is left out.\n")
    assert started[0].find_secret(ROOM) == Secret(SECRET)


def test_a_remembered_secret_that_cannot_be_used_is_said_before_a_package_is_built(
    run: Run, started: list[Any]
) -> None:
    write_file(ROOM, "short")
    code, _, errors = run(*TRAIN, "--session-string", SESSION)
    assert (code, f"~/.sleap-rtc/secrets/{ROOM}" in errors, started) == (2, True, [])


def test_in_a_terminal_the_secret_is_asked_for_and_not_shown(
    run: Run, started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    asked: list[tuple[str, dict[str, bool]]] = []

    def prompt(text: str, **how: bool) -> str:
        asked.append((text, how))
        return SECRET

    monkeypatch.setattr(click, "prompt", prompt)
    assert run(*TRAIN, "--session-string", SESSION, "--room-secret", "-")[0] == 0
    assert asked == [("Room secret", {"hide_input": True, "err": True})]
    assert started[0].find_secret(ROOM) == Secret(SECRET)


def test_nothing_is_read_for_a_command_that_has_options_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_options, "_from_standard_input", lambda _: pytest.fail("it was read"))
    code, _, errors = run("jobs", "--room-secret", "-", "cancel", "J")
    assert (code, "sleap-rtc jobs cancel … --room-secret" in errors) == (2, True)


def test_the_environment_of_programs_that_we_start_has_no_secret(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEAP_RTC_ROOM_SECRET_ROOM_1", SECRET)
    run("config", "path")
    assert "SLEAP_RTC_ROOM_SECRET_ROOM_1" not in os.environ


# -------- workers


def test_a_worker_that_must_have_a_secret_does_not_start_without_one(run: Run, tmp_path: Path) -> None:
    words = ("worker", "--server", NOWHERE, "--sleap-nn", sys.executable, "--require-secret")
    code, _, errors = run(*words)
    assert (code, "no room secret is given for the room that would be made" in errors) == (2, True)
    write_file("other", SECRET)
    code, _, errors = run(*words, "--room-id", "room-1", "--token", "t")
    assert (code, "no room secret was found for room-1" in errors) == (2, True)
    assert len(errors.splitlines()) == 1


def test_a_user_without_a_home_folder_is_a_usage_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    for words in (("secrets", "list"), ("worker",), ("jobs",)):
        code, _, errors = run(*words)
        assert (code, errors) == (
            2,
            NO_HOME,
        )


@pytest.mark.parametrize("home", ["", "here"])
def test_an_empty_or_relative_home_is_not_the_working_folder(
    run: Run, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("HOME", home)
    code, _, errors = run("room", "create-secret", "--room", "room-1")
    assert (code, errors) == (
        2,
        NO_HOME,
    )


def test_an_empty_option_is_no_secret_for_a_worker_that_must_have_one(run: Run) -> None:
    code, _, errors = run(
        "worker", "--server", NOWHERE, "--sleap-nn", sys.executable, "--require-secret", "--room-secret", " "
    )
    assert (code, "is empty" in errors, "--require-secret: no room secret" in errors) == (2, True, True)


def test_a_worker_with_a_secret_that_cannot_be_used_does_not_start(run: Run) -> None:
    write_file("room-1", "short")
    words = ("worker", "--server", NOWHERE, "--sleap-nn", sys.executable, "--room-id", "room-1", "--token", "t")
    code, _, errors = run(*words)
    assert (code, "~/.sleap-rtc/secrets/room-1" in errors) == (2, True)
