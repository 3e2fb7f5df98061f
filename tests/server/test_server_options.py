"""Each limit of the server is an option of `sleap-rtc server`, with the default that the docs name."""

import re
from ipaddress import ip_network
from pathlib import Path

import attrs
import pytest

import cli
from rtc.common.errors import ExitCode, RtcError
from rtc.server import program
from rtc.server.admin import create_room
from rtc.server.descriptors import RAISED_MAX, fit
from rtc.server.limits import DEFAULT_LIMITS, ServerLimits

NUMBERS = [field.name for field in attrs.fields(ServerLimits) if field.type is int]


@pytest.fixture
def limits_of(monkeypatch, tmp_path):
    """Run `sleap-rtc server` with options, without a server; return the limits that it would have."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*words: str) -> ServerLimits:
        found = []

        async def serve(*arguments):
            found.extend(one for one in arguments if isinstance(one, ServerLimits))

        monkeypatch.setattr(program, "serve", serve)
        assert cli.run(["server", *words]) == ExitCode.DONE
        (limits,) = found
        return limits

    return run


def test_without_options_the_limits_are_the_defaults(limits_of):
    assert limits_of() == DEFAULT_LIMITS


@pytest.mark.parametrize("name", NUMBERS)
def test_each_number_is_set_by_its_option(limits_of, name):
    assert limits_of(f"--{name.replace('_', '-')}", "7") == attrs.evolve(DEFAULT_LIMITS, **{name: 7})


def test_rooms_and_proxies_are_set_by_their_options(limits_of):
    assert not limits_of("--rooms", "closed").rooms_are_open
    words = ("--trusted-proxy", "127.0.0.1", "--trusted-proxy", "10.1.2.3/8", "--trusted-proxy", "fd00::/8")
    networks = ("127.0.0.1/32", "10.0.0.0/8", "fd00::/8")
    assert limits_of(*words).trusted_proxies == tuple(map(ip_network, networks))


@pytest.mark.parametrize("words", [["--max-http", "0"], ["--max-share-percent", "101"], ["--trusted-proxy", "lab"]])
def test_a_wrong_limit_is_a_usage_error(words, capsys):
    assert cli.run(["server", *words]) == ExitCode.USAGE
    assert words[0] in capsys.readouterr().err


def test_the_table_of_the_docs_has_every_option_and_its_default():
    page = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| (\d+)[^|]* \| `--([a-z-]+)` \|", page, re.MULTILINE)
    assert {option: int(number) for number, option in rows} == {
        name.replace("_", "-"): getattr(DEFAULT_LIMITS, name) for name in NUMBERS
    }


# -------- open files


def test_where_the_system_allows_enough_the_limits_are_as_asked_for():
    assert fit(DEFAULT_LIMITS, 1600) == DEFAULT_LIMITS
    assert fit(DEFAULT_LIMITS, RAISED_MAX) == DEFAULT_LIMITS


@pytest.mark.parametrize("free", [200, 500, 940, 1400])
def test_otherwise_they_fit_into_what_the_system_allows(free):
    limits = fit(DEFAULT_LIMITS, free)
    assert limits.max_connections + limits.max_unjoined + limits.max_http < free
    assert limits.max_connections > 4 * limits.max_http > 0


def test_a_system_that_allows_nearly_nothing_is_one_sentence():
    with pytest.raises(RtcError, match=r"ulimit -n"):
        fit(DEFAULT_LIMITS, 50)


# -------- rooms of the administrator


def test_a_room_of_the_administrator_is_printed_with_its_token_and_how_to_join(tmp_path):
    text = create_room(tmp_path / "data", "Lab 3")
    room, token = re.search(r"Room id: +(room-\w+)\nToken: +(\S+)\n", text).groups()
    assert f"sleap-rtc worker --room-id {room} --token {token} --server " in text
    assert "There was no database" in text
    assert "There was no database" not in create_room(tmp_path / "data", "")


@pytest.mark.parametrize("name", ["x" * 65, "a\nb"])
def test_a_name_that_no_room_can_have_is_a_usage_error(name, tmp_path, capsys):
    words = ["server", "admin", "create-room", "--name", name, "--data", str(tmp_path / "data")]
    assert cli.run(words) == ExitCode.USAGE
    assert "--name" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_used_is_a_usage_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.run(["server", "admin", "create-room", "--data", str(tmp_path / "file" / "data")]) == ExitCode.USAGE
    assert "--data" in capsys.readouterr().err
