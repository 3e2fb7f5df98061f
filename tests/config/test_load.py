"""Configuration: which source has priority, and that each error names the place and never the value."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from rtc.common.errors import ExitCode, RtcError
from rtc.config.ice_servers import IceServer
from rtc.config.load import Config, load_config

EC2 = "ec2-54-176-92-10.us-west-1.compute.amazonaws.com"
EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Give a function that loads the settings with a file in the working folder (`here`) or home folder (`at_home`)."""

    def run(
        here: str | bytes | None = None,
        at_home: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        server: str | None = None,
    ) -> Config:
        cwd, home = tmp_path / "work", tmp_path / "home"
        cwd.mkdir(exist_ok=True)
        (home / ".sleap-rtc").mkdir(parents=True, exist_ok=True)
        if here is not None:
            (cwd / "sleap-rtc.toml").write_bytes(here if isinstance(here, bytes) else here.encode())
        if at_home is not None:
            (home / ".sleap-rtc" / "config.toml").write_text(at_home)
        return load_config(server=server, environ=environ or {}, cwd=cwd, settings=home / ".sleap-rtc")

    return run


def refusal(load: Load, *args: object, **kwargs: object) -> str:
    with pytest.raises(RtcError) as caught:
        load(*args, **kwargs)
    assert caught.value.exit_code == ExitCode.USAGE
    return caught.value.fault.text


def test_by_default_it_is_production(load: Load) -> None:
    config = load()
    assert config.environment == "production"
    assert config.signaling_websocket == f"ws://{EC2}:8080"
    assert config.signaling_http == f"http://{EC2}:8001"
    assert (config.connection_timeout, config.chunk_size, config.ice_servers) == (30.0, 65536, ())
    assert set(config.sources.values()) == {"default"}
    assert config.file is None
    assert config.notice is None


def test_development_is_this_machine(load: Load) -> None:
    config = load(environ={"SLEAP_RTC_ENV": "development"})
    assert (config.signaling_websocket, config.signaling_http) == ("ws://localhost:8080", "http://localhost:8001")


def test_staging_needs_a_server_and_says_how_to_name_one(load: Load) -> None:
    text = refusal(load, environ={"SLEAP_RTC_ENV": "staging"})
    assert "SLEAP_RTC_SIGNALING_WS" in text
    assert "[environments.staging]" in text


def test_staging_with_only_a_websocket_finds_http_on_the_same_host(load: Load) -> None:
    here = '[environments.staging]\nsignaling_websocket = "wss://lab.example.org/signal"'
    assert load(here, environ={"SLEAP_RTC_ENV": "staging"}).signaling_http == "https://lab.example.org"


@pytest.mark.parametrize("name", ["prod", "Production", "development ", "\x1b[31m"])
def test_another_environment_is_an_error_that_lists_the_three(load: Load, name: str) -> None:
    text = refusal(load, environ={"SLEAP_RTC_ENV": name})
    assert "development, staging, production" in text
    assert "\x1b" not in text


def test_each_source_has_priority_over_the_next(load: Load) -> None:
    file = '[default]\nsignaling_websocket = "ws://file:1"\nsignaling_http = "http://file:2"\nchunk_size = 2048'
    variable = {"SLEAP_RTC_SIGNALING_WS": "ws://variable:1"}
    assert load(file).signaling_websocket == "ws://file:1"
    config = load(file, environ=variable)
    assert config.signaling_websocket == "ws://variable:1"
    assert config.signaling_http == "http://file:2"
    config = load(file, environ=variable, server="ws://option:8080")
    assert config.signaling_websocket == "ws://option:8080"
    assert config.sources == {
        "signaling_websocket": "command line",
        "signaling_http": "command line",
        "chunk_size": "sleap-rtc.toml [default]",
        "connection_timeout": "default",
        "keep_days": "default",
        "keep_gigabytes": "default",
        "pass_env": "default",
        "ice_servers": "default",
    }


def test_the_http_address_follows_the_servers_option(load: Load) -> None:
    assert load(server="ws://lab:8080").signaling_http == "http://lab:8001"
    assert load(server="wss://lab").signaling_http == "https://lab"
    assert load(server="ws://[::1]:9000").signaling_http == "http://[::1]:9000"
    same_host = {"SLEAP_RTC_SIGNALING_HTTP": "http://lab:1234"}
    assert load(server="ws://lab:9000", environ=same_host).signaling_http == "http://lab:1234"


def test_an_empty_variable_counts_as_unset(load: Load) -> None:
    environ = {"SLEAP_RTC_ENV": "", "SLEAP_RTC_SIGNALING_WS": "", "SLEAP_RTC_SIGNALING_HTTP": ""}
    assert load(environ=environ).signaling_websocket == f"ws://{EC2}:8080"


def test_the_chosen_environment_overrides_default_and_others_do_not(load: Load) -> None:
    here = (
        "[default]\nchunk_size = 2048\nconnection_timeout = 5\n"
        "[environments.development]\nchunk_size = 4096\n[environments.staging]\nconnection_timeout = 9"
    )
    config = load(here, environ={"SLEAP_RTC_ENV": "development"})
    assert (config.chunk_size, config.connection_timeout) == (4096, 5.0)
    assert config.sources["chunk_size"] == "sleap-rtc.toml [environments.development]"


def test_only_the_first_file_is_read(load: Load) -> None:
    config = load("[default]\nchunk_size = 2048", "[default]\nconnection_timeout = 5")
    assert (config.chunk_size, config.connection_timeout) == (2048, 30.0)
    assert config.file is not None
    assert config.file.name == "sleap-rtc.toml"


def test_the_file_at_home_is_read_when_the_folder_has_none(load: Load) -> None:
    config = load(None, '[default]\nsignaling_websocket = "ws://lab:8080"')
    assert config.signaling_websocket == "ws://lab:8080"
    assert config.sources["signaling_websocket"] == "~/.sleap-rtc/config.toml [default]"
    assert config.notice is None


def test_a_folder_that_changes_the_server_is_noticed(load: Load) -> None:
    here = '[default]\nsignaling_websocket = "ws://elsewhere:8080"'
    notice = load(here).notice
    assert notice is not None
    assert "sleap-rtc.toml" in notice
    assert "ws://elsewhere:8080" in notice
    assert load(here, server="ws://option:8080").notice is None


def test_ice_servers_are_read_and_their_credential_is_not_shown(load: Load) -> None:
    config = load(
        '[default]\nice_servers = [{urls = "stun:a:3478"}, {urls = "turn:b", username = "u", credential = "hush"}]'
    )
    assert config.ice_servers == (IceServer("stun:a:3478"), IceServer("turn:b", "u", "hush"))
    assert "hush" not in repr(config)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("chunk_size = true", "whole number of bytes from 1024 to 262132"),
        ("chunk_size = 65536.0", "whole number"),
        ('chunk_size = "65536"', "whole number"),
        ("chunk_size = 1023", "whole number"),
        ("chunk_size = 262133", "whole number"),
        ("connection_timeout = true", "number of seconds from 1 to 600"),
        ("connection_timeout = 0", "number of seconds"),
        ("connection_timeout = inf", "number of seconds"),
        ("connection_timeout = nan", "number of seconds"),
        ("connection_timeout = 600.5", "number of seconds"),
        ("connection_timeout = " + "9" * 400, "number of seconds"),
        ('signaling_websocket = "http://lab"', "ws://"),
        ('signaling_websocket = "ws://"', "ws://"),
        ('signaling_websocket = "ws://lab:99999"', "ws://"),
        ('signaling_websocket = "ws://[::1"', "ws://"),
        ('signaling_websocket = "ws://lab/\\u001b[31m"', "ws://"),
        ("signaling_websocket = 7", "ws://"),
        ('signaling_http = "ws://lab"', "http://"),
        ('ice_servers = "stun:a"', "a list"),
        ("ice_servers = [1]", "a list"),
        ('ice_servers = [{username = "u"}]', "a list"),
        ('ice_servers = [{urls = ["stun:a"]}]', "a list"),
        ('ice_servers = [{urls = "http:a"}]', "a list"),
        ('ice_servers = [{urls = "turn:a"}]', "a list"),
        ('ice_servers = [{urls = "stun:a", pasword = "x"}]', "a list"),
    ],
)
@pytest.mark.parametrize("header", ["[default]", "[environments.production]", "[environments.staging]"])
def test_a_wrong_value_is_said_with_file_key_and_what_was_expected(
    load: Load, header: str, line: str, expected: str
) -> None:
    text = refusal(load, f"{header}\n{line}")
    assert text.startswith(f"{line.partition(' ')[0]} in {header} of sleap-rtc.toml")
    assert expected in text


@pytest.mark.parametrize(
    ("here", "said"),
    [
        ("[default]\nchunksize = 1", "unknown key chunksize in [default]"),
        ("chunk_size = 2048", "unknown entry chunk_size"),
        ("[environments.lab]\n", "unknown environment lab"),
        ("default = 3", "[default] in sleap-rtc.toml"),
        ("environments = 3", "environments in sleap-rtc.toml"),
        ("[environments]\nstaging = 3", "[environments.staging] in sleap-rtc.toml"),
        ('[default]\n"\\u001b[31m" = 1', "unknown key '\\x1b[31m'"),
    ],
)
def test_what_is_unknown_is_named(load: Load, here: str, said: str) -> None:
    assert said in refusal(load, here)


@pytest.mark.parametrize(
    ("here", "line"),
    [
        ("[default]\nchunk_size = = 3", "line 2"),
        ("[default]\n\nchunk_size =", "line 3"),
        ("[default]\nchunk_size = 2048\nchunk_size = 4096", "line 3"),
        ("[default\n", "line 1"),
    ],
)
def test_broken_toml_is_said_with_its_line(load: Load, here: str, line: str) -> None:
    text = refusal(load, here)
    assert text.startswith("sleap-rtc.toml is not valid TOML")
    assert line in text


def test_hostile_toml_is_refused_like_any_other(load: Load) -> None:
    assert "nested" in refusal(load, "a = " + "[" * 20_000)
    assert "not valid TOML" in refusal(load, "a = " + "9" * 5_000)
    assert "64 KiB" in refusal(load, "#" * 65_537)
    assert "UTF-8" in refusal(load, b"[default]\n# \xff\n")


def test_a_byte_order_mark_is_forgiven(load: Load) -> None:
    assert load(b"\xef\xbb\xbf[default]\r\nchunk_size = 2048\r\n").chunk_size == 2048


def test_a_folder_or_pipe_in_the_files_place_is_said(load: Load, tmp_path: Path) -> None:
    (tmp_path / "work" / "sleap-rtc.toml").mkdir(parents=True)
    assert "sleap-rtc.toml is not a file" in refusal(load)
    (tmp_path / "work" / "sleap-rtc.toml").rmdir()
    os.mkfifo(tmp_path / "work" / "sleap-rtc.toml")
    assert "sleap-rtc.toml is not a file" in refusal(load)


def test_an_unreadable_file_is_said_without_its_path(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)  # file modes do not stop root
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "sleap-rtc.toml").touch()
    text = refusal(load)
    assert "Permission denied" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("kwargs", "place"),
    [
        ({"server": "http://lab"}, "--server"),
        ({"server": "ws://user:hush@lab"}, "--server"),
        ({"environ": {"SLEAP_RTC_SIGNALING_WS": "lab hush"}}, "SLEAP_RTC_SIGNALING_WS"),
        ({"environ": {"SLEAP_RTC_SIGNALING_HTTP": "ftp://hush"}}, "SLEAP_RTC_SIGNALING_HTTP"),
    ],
)
def test_a_wrong_address_names_its_place_and_not_its_value(
    load: Load, kwargs: Mapping[str, object], place: str
) -> None:
    text = refusal(load, **kwargs)
    assert text.startswith(place)
    assert "hush" not in text


@pytest.mark.parametrize("environment", ["development", "production"])
def test_the_example_says_the_defaults(load: Load, environment: str) -> None:
    plain = load(environ={"SLEAP_RTC_ENV": environment})
    config = load(EXAMPLE.read_text(), environ={"SLEAP_RTC_ENV": environment})
    for setting in plain.sources:
        assert getattr(config, setting) == getattr(plain, setting)
        assert config.sources[setting] != "default"


def test_the_examples_commented_lines_are_right_as_well(load: Load) -> None:
    text = EXAMPLE.read_text().replace("ice_servers = []\n", "")
    for start in ("ice_servers", "    {", "]", "[environments.staging]", "signaling_"):
        text = text.replace(f"\n# {start}", f"\n{start}")
    config = load(text, environ={"SLEAP_RTC_ENV": "staging"})
    assert len(config.ice_servers) == 2
    assert config.signaling_websocket == "wss://staging.example.org/signal"
