"""Tokens and secrets of the command line are hidden from those who list the processes of a machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import cli
from rtc.common.process_title import JOIN, JOIN_OPTIONS, MASK, SECRET_OPTIONS, masked

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["worker", "--token", "T", "--gpu", "0"], ["worker", "--token", MASK, "--gpu", "0"]),
        (["worker", "--room-secret=S", "--token=T"], ["worker", f"--room-secret={MASK}", f"--token={MASK}"]),
        (["train", "a.zip", "--session-string", "eyJ"], ["train", "a.zip", "--session-string", MASK]),
        (["train", "--token", "--room-secret", "S"], ["train", "--token", MASK, MASK]),
        (["train", "--token"], ["train", "--token"]),
        (["train", "--token-file", "F", "--name=--token"], ["train", "--token-file", "F", "--name=--token"]),
        (["rtc", "join", "7-tulip-otter-radio", "--name", "lab"], ["rtc", "join", MASK, "--name", "lab"]),
        (["rtc", "join", "--name=lab", "7", "tulip", "otter"], ["rtc", "join", "--name=lab", MASK, MASK, MASK]),
        (["rtc", "join", "7-tulip", "-otter", "-h"], ["rtc", "join", MASK, MASK, "-h"]),
        (["rtc", "join", "--server", "lab", "eyJ"], ["rtc", "join", "--server", "lab", MASK]),
        (["rtc", "join", "--token", "T", "--room-id", "r"], ["rtc", "join", "--token", MASK, "--room-id", "r"]),
    ],
)
def test_values_that_let_somebody_in_are_masked_in_both_forms(command: list[str], shown: list[str]) -> None:
    assert masked(command) == shown


def options_of(command: click.Command) -> Iterator[str]:
    for param in command.params:
        yield from param.opts
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from options_of(inner)


def test_every_option_that_sounds_like_a_secret_is_masked() -> None:
    words = ("secret", "token", "session", "password", "key", "credential")
    found = {name for name in options_of(cli.main) if any(word in name for word in words)}
    files_and_switches = {name for name in found if name.endswith("-file")} | {"--require-secret", "--max-wrong-tokens"}
    assert found - files_and_switches == set(SECRET_OPTIONS)


def test_of_the_command_join_only_the_values_of_harmless_options_are_shown() -> None:
    options = [param for param in cli.main.commands[JOIN].params if isinstance(param, click.Option)]
    with_value = {name for param in options if not param.is_flag for name in param.opts}
    assert with_value == {*JOIN_OPTIONS, "--token", "--room-secret"}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="the system has no /proc")
@pytest.mark.parametrize("form", [["--room-secret", "{}"], ["--room-secret={}"]])
def test_the_list_of_processes_does_not_show_a_secret(tmp_path: Path, form: list[str]) -> None:
    secret = "canary-0123456789"
    words = [word.format(secret) for word in form]
    waits = tmp_path / "waits"
    os.mkfifo(waits)
    program = [sys.executable, "-m", "rtc", "jobs", "cancel", "J", *words, "--token-file", str(waits)]
    environ = os.environ | {"HOME": str(tmp_path)}
    with subprocess.Popen(program, stderr=subprocess.DEVNULL, cwd=ROOT, env=environ) as process:
        with open(waits, "w"):  # it opens when the program does so too, which then waits for the token
            shown = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
        process.kill()
    assert secret not in shown
    assert "jobs cancel J" in shown
    assert MASK in shown
