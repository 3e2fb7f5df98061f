"""Wrong arguments, and what else ends a command at its beginning: one clear sentence and the right exit code."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import run
from protocol.faults import FaultCode
from rtc.client.options import ClientOptions
from rtc.command_line.client_program import ClientProgram
from rtc.command_line.options import Size
from rtc.common.errors import RtcError
from rtc.testing.stand_in import make_package
from rtc.worker.program import WorkerOptions

SESSION = "eyJyIjogInJvb21faWQiLCAidCI6ICJ0b2tlbiIsICJwIjogInBlZXJfaWQifQ=="
NOWHERE = "ws://127.0.0.1:9"  # the discard port: nobody listens
RunHere = Callable[..., str]


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunHere:
    """Run `sleap-rtc` in this process, in a new folder; check its exit code, and return what it prints."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SLEAP_RTC")]:
        monkeypatch.delenv(name)

    def begin(code: int, *words: str) -> str:
        assert run(list(words)) == code
        printed = capsys.readouterr()
        return printed.out + printed.err

    return begin


@pytest.mark.parametrize("option", ["--room-secret", "--token"])
def test_a_secret_with_spaces_and_without_quotes_is_not_quoted_in_the_error(run_here: RunHere, option: str) -> None:
    text = run_here(2, "worker", option, "correct", "canary-word")
    assert "quotes" in text
    assert "canary-word" not in text
    assert "canary-word" in run_here(2, "worker", "canary-word")


def test_a_pipeline_goes_with_labels_and_without_a_configuration_and_is_one_that_there_is(run_here: RunHere) -> None:
    room = ("--room-id", "r", "--token", "t", "--auto-select")
    for command in (("train", *room), ("package", "train")):
        text = run_here(2, *command, "flies.slp", "--pipeline", "topdown", "--config", "c.yaml")
        assert "--config brings one that is written already" in text
        text = run_here(2, *command, "flies.slp", "--pipeline", "top-down")
        assert "'top-down'" in text
        assert "single_instance, centroid, bottomup, topdown, multi_class_bottomup" in text
    text = run_here(2, "package", "train", "flies.slp", "--", "trainer_config.max_epoch=2")
    assert "trainer_config.max_epoch is no setting of sleap-nn" in text
    assert "to predict: sleap-rtc track" in run_here(2, "train", *room, "flies.mp4")
    assert "--pipeline is for labels" in run_here(2, "train", *room, "package.zip", "--pipeline", "topdown")
    assert "Did you mean topdown?" in run_here(2, "package", "config", "flies.slp", "--pipeline", "Top-down")
    assert "Did you mean bottomup?" in run_here(2, "package", "config", "flies.slp", "--pipeline", "botomup")
    assert "is not a file of labels" in run_here(2, "package", "config", "flies.mp4")


def test_a_word_that_is_no_override_is_not_quoted(run_here: RunHere, tmp_path: Path) -> None:
    package = str(make_package(tmp_path / "package.zip"))
    words = ("train", package, "--session-string", SESSION, "--server", NOWHERE, "--room-secret", "0123456789 abcdef")
    text = run_here(2, *words, "canary-word")
    assert "is not understood" in text
    assert "canary-word" not in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--session-string", SESSION, "--room-id", "r", "--token", "t"], "leave out --room-id, --token"),
        (["--session-string", SESSION, "--auto-select"], "leave out --auto-select"),
        (["--room-id", "r"], "--room-id R --token T"),
        ([], "sleap-rtc join"),
        ([], "--session-string S, or --room-id R --token T"),
        (["--auto-select"], "--room-id R --token T"),
        (["--room", "lab"], "sleap-rtc join"),
        (["--room", "lab", "--room-id", "r", "--token", "t"], "leave out --room-id and --token"),
        (["--session-string", SESSION, "--room", "lab"], "leave out --room."),
        (["--room-id", "r", "--token", "t", "--worker-id", "w", "--auto-select"], "give one of them"),
        (["--room-id", "r", "--token", "t"], "--auto-select, or --worker-id P"),
        (["--session-string", "gibberish!"], "not a session string"),
        (["--session-string", SESSION[:30]], "damaged"),
        (["--room-id", "../r", "--token", "t", "--auto-select"], "not a room id"),
        (["--room-id", "r", "--token", "t", "--worker-id", "a\tb"], "not a worker's id or name"),
        (["--room-id", "r", "--token", "t", "--worker-id", "w" * 101], "not a worker's id or name"),
        (["--room-id", "r", "--token", "t" * 201, "--auto-select"], "not a room's token"),
        (["--room-id", "r", "--token", "a\nb", "--auto-select"], "not a room's token"),
        (["--room-id", "r", "--token", "t", "--auto-select", "--min-gpu-memory", "1" + "0" * 12], "min-gpu-memory"),
        (["--session-string", SESSION, "--room-secret", "short"], "at least 16 characters"),
        (["--session-string", SESSION, "--server", "gopher://lab"], "ws://HOST:8080"),
        (["--session-string", SESSION, "--detach", "--on-interrupt", "stop"], "--on-interrupt would have no effect"),
        (["--session-string", SESSION, "--detach", "--stop", "all"], "--stop would have no effect"),
        (["--session-string", SESSION, "--detach", "--controller-port", "9000"], "--controller-port would have"),
        (["--session-string", SESSION, "--detach", "--publish-port", "9001"], "--publish-port would have no effect"),
        (["--session-string", SESSION, "--detach", "--max-result", "2GB"], "give it to sleap-rtc attach"),
        (["--session-string", SESSION, "--give-up-after", "0"], "at least 1s"),
        (["--session-string", SESSION, "--give-up-after", "soon"], "write 90s, 30m or 2h"),
    ],
)
def test_options_that_contradict_each_other_are_answered_with_the_right_ones(
    run_here: RunHere, tmp_path: Path, words: list[str], expected: str
) -> None:
    package = make_package(tmp_path / "toy.zip")
    assert expected in run_here(2, "client-train", *words, "--pkg-path", str(package)).replace("\n", " ")


@pytest.mark.parametrize("spelling", [["client-train"], ["client", "train"]])
def test_both_spellings_are_one_command(run_here: RunHere, spelling: list[str]) -> None:
    assert "--pkg-path" in run_here(0, *spelling, "--help")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer_config.a=" + "x" * 4000, "more than 4000 characters"),
        ("trainer_config.a=x\ny", "not read as it stands"),
    ],
)
def test_an_override_that_no_message_can_have_is_a_usage_error(
    run_here: RunHere, tmp_path: Path, override: str, expected: str
) -> None:
    package = make_package(tmp_path / "toy.zip")
    words = ("--session-string", SESSION, "--server", NOWHERE, "--pkg-path", str(package), "--", override)
    assert expected in run_here(2, "client-train", *words)


def test_overrides_that_fit_into_no_frame_together_are_a_usage_error(run_here: RunHere, tmp_path: Path) -> None:
    package = make_package(tmp_path / "toy.zip")
    overrides = [f"trainer_config.wandb.name={number}" + "x" * 3900 for number in range(20)]
    words = ("--session-string", SESSION, "--server", NOWHERE, "--pkg-path", str(package), "--", *overrides)
    assert "too long together" in run_here(2, "client-train", *words)


def test_a_package_that_is_larger_than_any_file_is_refused_before_anything_is_sent(
    run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.client.program.FILE_MAX", 100)
    package = make_package(tmp_path / "toy.zip")
    words = ("--session-string", SESSION, "--server", NOWHERE, "--pkg-path", str(package))
    assert "toy.zip is too large" in run_here(1, "client-train", *words)


def test_a_token_that_no_message_can_have_is_a_usage_error_for_workers_too(run_here: RunHere) -> None:
    assert "not a room's token" in run_here(2, "worker", "--room-id", "r", "--token", "\x1b", "--server", NOWHERE)


def test_a_room_without_its_token_is_a_usage_error_for_workers_too(run_here: RunHere) -> None:
    assert "go together" in run_here(2, "worker", "--room-id", "r")


@pytest.mark.parametrize(
    ("content", "expected"), [(b"not a zip", "zip"), (None, "toy.zip"), (b"PK\x05\x06" + b"\0" * 18, "jobs.yaml")]
)
def test_a_zip_that_is_no_package_is_said_before_anything_is_sent(
    run_here: RunHere, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / "toy.zip").write_bytes(content)
    text = run_here(2, "client-train", "--session-string", SESSION, "--server", NOWHERE, "--pkg-path", "toy.zip")
    assert expected in text
    assert len(text.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_server_out_of_reach_is_said_with_what_to_do(run_here: RunHere, tmp_path: Path) -> None:
    package = make_package(tmp_path / "toy.zip")
    text = run_here(5, "client-train", "--session-string", SESSION, "--server", NOWHERE, "--pkg-path", str(package))
    assert "127.0.0.1:9" in text
    assert "sleap-rtc server" in text


def test_an_unknown_environment_lists_the_three(run_here: RunHere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEAP_RTC_ENV", "moon")
    text = run_here(2, "worker")
    assert all(name in text for name in ("development", "staging", "production"))


def test_a_missing_sleap_nn_is_said(run_here: RunHere) -> None:
    assert "sleap-nn" in run_here(2, "worker", "--sleap-nn", "/nowhere/sleap-nn", "--server", NOWHERE)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--gpu", "0,1", "--all-gpus"], "--gpu names the GPUs"),
        (["--serve", "--server", "ws://lab:8080"], "give one of them"),
        (["--ws-port", "8080"], "add --serve"),
        (["--serve-host", "lab", "--http-port", "1"], "--serve-host, --http-port"),
        (["--nearby", "--server", NOWHERE], "there is none. Use a short code: sleap-rtc room invite"),
        (["--gpu", "GPU-that-is-nowhere", "--server", NOWHERE], "GPU"),
    ],
)
def test_worker_options_that_contradict_each_other_are_answered_with_the_right_ones(
    run_here: RunHere, words: list[str], expected: str
) -> None:
    assert expected in run_here(2, "worker", *words).replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["7-tulip-otter-radio", "--nearby"], "leave out the code"),
        (["--room-id", "r", "--token", "t", "--nearby"], "leave out the code"),
        (["--worker", "lab"], "add --nearby"),
        (["--nearby"], "needs a terminal"),
    ],
)
def test_joining_nearby_excludes_the_other_ways(run_here: RunHere, words: list[str], expected: str) -> None:
    assert expected in run_here(2, "join", *words).replace("\n", " ")


@pytest.mark.parametrize("words", [[], ["--room-id", "r"], ["--session-string", SESSION, "--token", "t"]])
def test_listing_workers_needs_one_room(run_here: RunHere, words: list[str]) -> None:
    text = run_here(2, "workers", *words)
    assert "--room-id" in text or "leave out --token" in text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GB", 20 * 10**9),
        ("1.5 tb", 15 * 10**11),
        ("500m", 500 * 10**6),
        ("3", 3 * 10**9),
        ("7kB", 7000),
        ("0.001", 10**6),
    ],
)
def test_a_size_is_given_with_its_unit_or_in_gigabytes(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "20XB", "many", "1e9", "9" * 5000, "nan", "20 GB 30"])
def test_another_size_is_refused_with_the_way_to_write_one(run_here: RunHere, tmp_path: Path, text: str) -> None:
    assert "20GB or 500MB" in run_here(2, "worker", "--max-package", text)
    package = make_package(tmp_path / "toy.zip")
    words = ("--session-string", SESSION, "--pkg-path", str(package))
    assert "20GB or 500MB" in run_here(2, "client-train", *words, "--max-result", text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LAB_KEY=canary", "give the name alone"),
        ("SLEAP_RTC_ROOM_SECRET_LAB", "a setting of sleap-rtc itself"),
        ("TMPDIR", "chosen by the worker"),
        ("two words", "no name"),
    ],
)
def test_only_the_name_of_a_variable_can_be_passed_to_jobs(run_here: RunHere, name: str, expected: str) -> None:
    said = run_here(2, "worker", "--pass-env", name)
    assert expected in said
    assert "canary" not in said


OptionsSeen = list[WorkerOptions | ClientOptions]


@pytest.fixture
def options_seen(monkeypatch: pytest.MonkeyPatch) -> OptionsSeen:
    """The options with which workers and clients would have been run; each run ends with a usage error."""
    seen: OptionsSeen = []

    def see(options: WorkerOptions | ClientOptions, *_: object, **_more: object) -> None:
        seen.append(options)
        raise RtcError(FaultCode.USAGE, "seen")

    monkeypatch.setattr("rtc.worker.fleet.serve", see)
    monkeypatch.setattr(ClientProgram, "run", lambda self, *_: see(self.options))
    return seen


def test_what_jobs_see_and_when_they_are_given_up_reaches_worker_and_client(
    run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options_seen: OptionsSeen
) -> None:
    (tmp_path / "sleap-rtc.toml").write_text('[default]\npass_env = ["LAB_A", "LAB_B"]\n')
    monkeypatch.chdir(tmp_path)
    run_here(2, "worker", "--pass-env", "LAB_C", "--pass-env", "LAB_A")
    client = ("train", str(make_package(tmp_path / "toy.zip")), "--session-string", SESSION)
    for words in ([], ["--give-up-after", "2h"], ["--give-up-after", "inf"]):
        run_here(2, *client, *words)
    seen = [each.all_passed if isinstance(each, WorkerOptions) else each.give_up_after for each in options_seen]
    assert seen == [("LAB_A", "LAB_B", "LAB_C"), None, 7200.0, None]


def test_the_limits_reach_worker_and_client(run_here: RunHere, tmp_path: Path, options_seen: OptionsSeen) -> None:
    package = make_package(tmp_path / "toy.zip")
    client = ("client-train", "--session-string", SESSION, "--pkg-path", str(package))
    for words in (("worker",), client):
        run_here(2, *words)
        run_here(2, *words, {"worker": "--max-package", "client-train": "--max-result"}[words[0]], "3GB")
    seen = [each.package_max if isinstance(each, WorkerOptions) else each.result_max for each in options_seen]
    assert seen == [20 * 10**9, 3 * 10**9, 50 * 10**9, 3 * 10**9]
