"""The fixtures that other projects get, the order of the tests, and one Hypothesis profile."""

import os
import signal
from collections.abc import Generator, Iterator

import pytest
import trio
from hypothesis import HealthCheck, settings

from rtc.common import logs
from rtc.common.turn_json import known_tables
from rtc.testing.lab import TRACE
from rtc.testing.replay import Player, read_trace

pytest_plugins = ["rtc.testing.plugin"]

# The same examples in each run, and no clock: how fast an example is depends on what else the machine does.
settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
# `make test-long` looks for new ones.
settings.register_profile("search", settings.get_profile("same"), derandomize=False, max_examples=1000)
settings.load_profile("same")


# Programs that the tests start inherit both: settings of the person, and signals that `nohup` or a shell's `&` ignore.
for variable in [name for name in os.environ if name.startswith("SLEAP_RTC_") and name != "SLEAP_RTC_TEST_SLEAP"]:
    del os.environ[variable]
os.environ.pop("XDG_STATE_HOME", None)  # tests have homes of their own
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture(autouse=True)
def nothing_is_hidden_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget at the end what a test has hidden in logs: its tokens, often single letters, are no secrets of others."""
    monkeypatch.setattr(logs, "_found_secrets", logs.Redactor())


@pytest.fixture(autouse=True)
def told_again(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Replay the trace that the test has left, if any: what actors do must follow from what they are told.

    The actors of small tables, which only tests have, are left out. With `monkeypatch` what the test has patched is
    still patched then.
    """
    del monkeypatch
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None and (folder / TRACE).exists():
        trio.run(replay, (folder / TRACE).read_text())


async def replay(trace: str) -> None:
    said: list[str] = []
    player = Player(say=said.append)
    known: set[str] = set()
    for line in read_trace(trace) if trace else ():
        known |= {line["actor"]} if line.get("table") in known_tables() else set()
        if line["actor"] in known:
            player.play(line)
    assert player.differences == 0, "\n".join(said)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the slow tests when several tests run at a time, so that none of them is left alone at the end."""
    if hasattr(config, "workerinput"):  # a process of pytest-xdist
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test has logged or printed encodable: a lone surrogate in it ends the whole run of pytest-xdist."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
