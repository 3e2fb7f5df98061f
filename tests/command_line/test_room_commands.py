"""The commands about remembered rooms, and the option `--room` of the others, as people call them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import trio
from attrs import evolve

import cli
from protocol.ids import JobId, RoomId
from rtc.client import tickets
from rtc.client.target import NONE_REMEMBERED
from rtc.client.tickets import JobTicket
from rtc.command_line import join_command
from rtc.command_line.room_option import complete_room_name
from rtc.common.errors import ExitCode
from rtc.config.remembered_rooms import RememberedRoom, RememberedRooms
from rtc.testing.lab import Lab, LabWorker
from rtc.testing.limits import HANG_TIME
from rtc.testing.stand_in import install_stand_in, make_package

SERVER, NOWHERE = "ws://lab.example.org:8080", "ws://127.0.0.1:9"  # the discard port: nobody listens
LAB = RememberedRoom("lab", SERVER, RoomId("room-1"), "canary-token", "canary-secret of the lab")
MICE = RememberedRoom("mice", SERVER, RoomId("room-2"), "canary-token-2")
SESSION = "eyJyIjogInJvb21faWQiLCAidCI6ICJ0b2tlbiIsICJwIjogInBlZXJfaWQifQ=="
Run = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RememberedRooms:
    for name in [name for name in os.environ if name.startswith("SLEAP_RTC")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SLEAP_RTC_HOME", str(home / ".sleap-rtc"))
    monkeypatch.chdir(tmp_path)
    return RememberedRooms(home / ".sleap-rtc" / "rooms.json")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `sleap-rtc` in this process; return its exit code, and what it has printed."""

    def begin(*words: str) -> tuple[int, str]:
        code = cli.run(list(words))
        printed = capsys.readouterr()
        assert "canary" not in printed.out + printed.err
        return code, (printed.out + printed.err).replace("\n", " ")

    return begin


# -------- join


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "Say what to join"),
        (["7-tulip-otter-radio", "--room-id", "r", "--token", "t"], "leave out --room-id, --token"),
        (["--room-id", "r"], "go together"),
        (["--token", "t"], "go together"),
        (["hello"], "neither a short code"),
        (["7-tulpi-otter-radio"], "near it"),
        (["7", "tulpi", "otter", "radio"], "near it"),
        (["7-tulip", "-otter", "-radyo"], "'radyo' is no word of a code"),
        (["-7-tulip-otter-radyo"], "'radyo' is no word of a code"),
        (["7", "-", "tulip", "-otter", "--naem", "lab"], "No such option"),
        (["7-tulip", "--token", "-otter-radio"], "leave out --room-id, --token"),
        ([SESSION, "--name", "a b"], "letters without accents"),
        ([SESSION, "--server", "gopher://lab"], "ws://HOST:8080"),
        ([SESSION, "--room-secret", "short"], "at least 16 characters"),
    ],
)
def test_what_cannot_be_joined_is_a_usage_error(run: Run, words: list[str], expected: str) -> None:
    code, text = run("join", *words)
    assert (code, expected in text) == (2, True), text


def test_on_a_terminal_it_is_asked_what_to_join(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(join_command, "_is_terminal", lambda: True)
    prompts: list[str] = []

    def answer(prompt: str) -> str:
        prompts.append(prompt)
        return "hello"

    monkeypatch.setattr("builtins.input", answer)
    assert run("join")[0] == 2
    assert prompts == [join_command.PROMPT]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("7-tulip-otter-radio", ("7-tulip-otter-radio", None)),
        ("7 tulip otter radio", ("7 tulip otter radio", None)),
        ("  sleap-rtc join 7-tulip-otter-radio", ("7-tulip-otter-radio", None)),
        ("$ sleap-rtc join 7 tulip otter radio --server ws://lab:1 ", ("7 tulip otter radio", "ws://lab:1")),
        (f"python -m rtc join {SESSION}", (SESSION, None)),
    ],
)
def test_the_whole_line_of_the_worker_s_console_may_be_pasted(
    monkeypatch: pytest.MonkeyPatch, line: str, meant: tuple[str, str | None]
) -> None:
    monkeypatch.setattr(join_command, "_is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _prompt: line)
    assert join_command.ask_what() == meant


@pytest.mark.parametrize("answer", [" ", EOFError])
def test_an_empty_answer_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, run: Run, answer: Any) -> None:
    def give(_prompt: str) -> str:
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr(join_command, "_is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", give)
    code, text = run("join")
    assert (code, "Say what to join" in text) == (2, True)


def completions(command: click.Command, parameter: str, typed: str) -> list[str]:
    [found] = [param for param in command.params if param.name == parameter]
    return [item.value for item in found.shell_complete(click.Context(command), typed)]


def test_tab_completes_the_words_of_a_code_and_the_names_of_rooms(rooms: RememberedRooms) -> None:
    join = cli.main.commands["join"]
    assert completions(join, "what", "7-tul") == ["7-tulip"]
    assert completions(cli.main.commands["leave"], "room_name", "") == []
    for room in (LAB, MICE):
        rooms.remember(room)
    assert completions(cli.main.commands["leave"], "room_name", "M") == ["mice"]
    assert completions(cli.train, "room_name", "") == ["lab", "mice"]
    rooms.path.write_text("{")
    assert complete_room_name(click.Context(join), join.params[0], "") == []


def test_every_command_that_takes_a_room_takes_a_remembered_one() -> None:
    def commands(group: click.Group) -> list[click.Command]:
        inner = list(group.commands.values())
        return inner + [one for each in inner if isinstance(each, click.Group) for one in commands(each)]

    takes_id = [command for command in commands(cli.main) if any("--room-id" in one.opts for one in command.params)]
    without = {command.name for command in takes_id if not any("--room" in one.opts for one in command.params)}
    assert without == {"join"}, "which names a room that is not remembered yet"
    assert {"train", "track", "client-train", "attach", "jobs", "fetch", "workers", "worker"} <= {
        command.name for command in takes_id
    } | {"client-train"}


# -------- rooms, default, leave


def test_without_rooms_the_list_says_how_to_join_one(run: Run) -> None:
    assert run("rooms") == (0, "No room is remembered here. Join one: sleap-rtc join ")
    assert run("rooms", "--json") == (0, "[] ")


def test_the_default_is_chosen_shown_and_taken_back(run: Run, rooms: RememberedRooms) -> None:
    for room in (LAB, MICE):
        rooms.remember(room)
    assert run("rooms", "default") == (0, "No room is the default. ")
    assert run("rooms", "default", "room-2") == (0, "mice is the default room now. ")
    assert run("rooms", "default") == (0, "mice ")
    assert run("rooms", "default", "--none")[0] == 0
    assert rooms.read().default is None
    assert run("rooms", "default", "lab", "--none")[0] == 2
    code, text = run("rooms", "default", "canary-typed")
    assert (code, "Remembered: lab, mice." in text) == (2, True)


def test_a_room_is_left_by_name_or_id_and_only_forgotten(run: Run, rooms: RememberedRooms) -> None:
    for room in (LAB, MICE):
        rooms.remember(room)
    code, text = run("leave", "ROOM-1")
    assert code == 2, "ids have a case"
    code, text = run("leave", "LAB")
    assert (code, "Left: lab" in text) == (0, True)
    assert run("leave", "room-2")[0] == 0
    assert rooms.read().rooms == ()
    code, text = run("leave", "lab")
    assert (code, text) == (2, f"sleap-rtc: {NONE_REMEMBERED} ")


def test_of_a_room_that_is_left_it_is_said_when_a_secret_goes_with_it(run: Run, rooms: RememberedRooms) -> None:
    rooms.remember(LAB)
    rooms.remember(MICE)
    assert "Its room secret is forgotten, too." in run("leave", "lab")[1]
    assert "secret" not in run("leave", "mice")[1]


def test_a_worker_is_told_of_the_ways_that_a_worker_has(run: Run) -> None:
    code, text = run("worker", "--room", "lab")
    assert (code, "No room is remembered here" in text, "leave out --room" in text) == (2, True, True)
    assert "--session-string" not in text


def test_a_setting_that_is_wrong_is_an_error_of_the_list_and_not_of_each_room(
    run: Run, rooms: RememberedRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLEAP_RTC_ENV", "nowhere")
    assert run("rooms")[0] == 0
    rooms.remember(LAB)
    code, text = run("rooms")
    assert (code, "production" in text, "reachable" in text) == (2, True, False)


def test_a_damaged_file_is_one_sentence_for_every_command(run: Run, rooms: RememberedRooms) -> None:
    rooms.remember(LAB)
    rooms.path.write_text("{")
    for words in (["rooms"], ["leave", "lab"], ["rooms", "default", "lab"], ["workers"], ["worker", "--room", "lab"]):
        code, text = run(*words)
        assert (code, "is damaged. Move it away" in text) == (2, True), words


def test_jobs_are_listed_although_the_file_is_damaged(run: Run, rooms: RememberedRooms) -> None:
    rooms.remember(LAB)
    rooms.path.write_text("{")
    code, text = run("jobs")
    assert code == 0
    assert "is damaged" in text
    assert "No job that was started from here" in text


def test_a_file_that_others_can_read_is_said_once(run: Run, rooms: RememberedRooms) -> None:
    rooms.remember(LAB)
    rooms.path.chmod(0o644)
    _, text = run("rooms", "default")
    assert text.count("chmod 600") == 1
    assert text.endswith("chmod 600 " + str(rooms.path) + " ")


# -------- room secrets


def test_a_remembered_secret_is_listed_shown_hidden_and_removed(
    rooms: RememberedRooms, capsys: pytest.CaptureFixture[str]
) -> None:
    def do(*words: str) -> tuple[int, str]:
        code = cli.run(list(words))
        return code, capsys.readouterr().out

    rooms.remember(LAB)
    code, text = do("secrets", "list", "--json")
    [row] = json.loads(text)
    assert (code, row["room"], row["source"], row["where"]) == (0, "room-1", "remembered", "the remembered room lab")
    assert "canary" not in text
    assert do("secrets", "show", "lab") == (0, f"{LAB.secret}\n")
    assert do("room", "create-secret", "--room", "lab")[0] == 2, "a question that cannot be asked"
    code, text = do("room", "create-secret", "--room", "lab", "--force", "--json")
    made = json.loads(text)
    assert (code, made["room"]) == (0, "room-1")
    assert do("secrets", "show", "room-1") == (0, f"{made['secret']}\n")
    code, text = do("secrets", "remove", "LAB")
    assert code == 0
    assert "the remembered room lab" in text
    assert do("secrets", "show", "lab")[0] == 2
    assert rooms.read().rooms == (evolve(LAB, secret=None),)


# -------- what happens when a remembered room is gone, its token changed, its server moved


async def call(folder: Path, *words: str) -> tuple[int, str]:
    """Run `sleap-rtc` in a process of its own; return its exit code and what it has printed."""
    with trio.fail_after(HANG_TIME):
        done = await trio.run_process(
            [sys.executable, "-m", "rtc", *words],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parent)},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    return done.returncode, done.stdout.decode().replace("\n", " ")


def remember_problems(rooms: RememberedRooms, worker: LabWorker, address: str) -> None:
    """Remember the room of a worker, and one for each problem."""
    room, token = worker.ready.room, worker.ready.token
    rooms.remember(RememberedRoom("moved", NOWHERE, room, token))
    rooms.remember(RememberedRoom("gone", address, RoomId("room-that-was"), token))
    rooms.remember(RememberedRoom("changed", address, room, "the token that was"))


PROBLEMS = [
    ("changed", ExitCode.AUTHENTICATION),
    pytest.param("gone", ExitCode.AUTHENTICATION, marks=pytest.mark.long),
    pytest.param("moved", ExitCode.NETWORK, marks=pytest.mark.long),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), PROBLEMS)
async def test_a_room_that_cannot_be_used_ends_each_command_with_the_sentence_that_renews_it(
    lab: Lab, rooms: RememberedRooms, tmp_path: Path, name: str, code: ExitCode
) -> None:
    worker = await lab.start_worker()
    remember_problems(rooms, worker, lab.config.signaling_websocket)
    before = rooms.path.read_bytes()
    package = make_package(tmp_path / "bugs.zip")
    sleap_nn = install_stand_in(tmp_path / "bin")
    found = rooms.find(name)
    assert found is not None
    job = JobTicket(JobId("job-1"), "key", worker.peer, found.room, found.token, found.server, "bugs.zip")
    folder = rooms.path.parent / "jobs"
    tickets.save(folder, job)
    (tmp_path / "sleap-rtc.toml").write_text("[default]\nconnection_timeout = 2\n" if name == "moved" else "")
    commands = [["train", str(package)], ["workers"], ["attach"]]
    if name != "moved":  # a worker waits for a server that is away
        commands.append(["worker", "--sleap-nn", str(sleap_nn)])
    for words in commands:
        done, text = await call(tmp_path, *words, "--room", name)
        assert (done, text.count(f"sleap-rtc join WHAT --name {name}")) == (code, 1), text
        assert "the token that was" not in text
    done, text = await call(tmp_path, "jobs")
    assert (done, f"--name {name}" in text) == (0, True), text
    assert rooms.path.read_bytes() == before, "nothing is forgotten by itself"
    assert tickets.read(folder, "job-1") == job


@pytest.mark.slow
async def test_the_list_of_rooms_shows_each_problem_with_what_to_do(
    lab: Lab, rooms: RememberedRooms, tmp_path: Path
) -> None:
    worker = await lab.start_worker()
    remember_problems(rooms, worker, lab.config.signaling_websocket)
    done, text = await call(tmp_path, "rooms", "--json")
    rows = {row["name"]: row for row in json.loads(text)}
    assert done == 0
    assert [(name, row["reachable"]) for name, row in rows.items()] == [
        ("moved", False),
        ("gone", False),
        ("changed", False),
    ]
    assert all(f"sleap-rtc join WHAT --name {name}" in row["problem"] for name, row in rows.items())


@pytest.mark.slow
async def test_after_joining_once_a_job_needs_no_word_and_is_found_after_the_room_was_renewed(
    lab: Lab, rooms: RememberedRooms, tmp_path: Path
) -> None:
    worker = await lab.start_worker()
    make_package(tmp_path / "bugs.zip")
    done, text = await call(tmp_path, "join", worker.ready.session.write(), "--name", "flies")
    assert (done, "sleap-rtc train FILE" in text) == (0, True), text
    assert worker.ready.token not in text
    done, text = await call(tmp_path, "train", "bugs.zip")
    assert done == 0, text
    assert "bench-1 (CPU, 0 MB) is the only worker that can take the job now" in text
    assert (await call(tmp_path, "train", "bugs.zip", "--worker-id", "BENCH-1", "-o", "again"))[0] == 0
    second = await lab.start_worker(like=worker)
    done, text = await call(tmp_path, "train", "bugs.zip", "-o", "third")
    assert (done, "--auto-select" in text, "--worker-id" in text) == (2, True, True), text
    second.drain.set()
    await second.ended.wait()
    stale = JobTicket(JobId("job-1"), "key", worker.peer, worker.ready.room, "the token that was", NOWHERE, "bugs.zip")
    folder = rooms.path.parent / "jobs"
    tickets.save(folder, stale)
    os.utime(folder / "job-1.json", (0, 0))
    done, text = await call(tmp_path, "attach", "job-1")
    assert done == ExitCode.NOT_AVAILABLE, "the worker was reached, and knows no such job"
    assert "join WHAT" not in text


@pytest.mark.slow
def test_the_shell_s_tab_completes_the_words_of_a_code() -> None:
    """As docs/rooms.md says: the variable is what click's scripts for the shells set."""
    found = subprocess.run(
        [sys.executable, "-m", "rtc"],
        env=os.environ
        | {"_SLEAP_RTC_COMPLETE": "bash_complete", "COMP_WORDS": "sleap-rtc join 7-tulip-ot", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_TIME,
    )
    assert found.stdout == "plain,7-tulip-otter\n"


@pytest.mark.parametrize("words", [("leave", "lab"), ("rooms", "default", "lab")])
def test_options_that_a_command_does_not_have_are_not_advised(run: Run, words: tuple[str, ...]) -> None:
    code, text = run(*words)
    assert (code, "No room is remembered here" in text, "--session-string" in text) == (2, True, False)
