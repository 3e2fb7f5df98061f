"""A job is stopped, cancelled or left, in every way and in every phase: what was wanted happens, and the code says so.

A selection by default; everything with `SLEAP_RTC_TEST_FAULTS=all pytest tests/programs/test_wishes.py`. As in
`test_faults.py` the scenes play at the same time.
"""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial

import pytest
from attrs import frozen

from rtc.testing.moments import MOMENTS
from rtc.testing.terminals import Scene, Terminal, eventually, play_all

ALL = os.environ.get("SLEAP_RTC_TEST_FAULTS") == "all"
AT_ONCE = int(os.environ.get("SLEAP_RTC_TEST_FAULTS_AT_ONCE", "4"))
CANCEL_TIME = 15.0
"""Seconds in which a cancelled job has ended, with all its processes."""

PHASES = {
    "upload": "in mid upload",
    "start-up": "at start-up",
    "training": "in the first epoch",
    "evaluation": "in the evaluation",
    "prediction": "in the prediction",
    "download": "in mid download",
}


# -------- ways to say it


@frozen
class Target:
    """How something is wanted of a job."""

    wish: str
    """`stop this`, `stop all`, `cancel` or `detach`."""
    options: tuple[str, ...] = ()
    """Of the client that watches the job."""
    number: signal.Signals | None = None
    """What it is sent."""
    command: tuple[str, ...] = ()
    """Or what is said from another terminal."""


def _press(wish: str, *options: str) -> Target:
    return Target(wish, ("--on-interrupt", wish.split()[0], *options), signal.SIGINT)


WAYS = {
    "Ctrl-C that stops": _press("stop this"),
    "Ctrl-C that stops all": _press("stop all", "--stop", "all"),
    "Ctrl-C that cancels": _press("cancel"),
    "Ctrl-C that detaches": _press("detach"),
    "SIGTERM": Target("detach", (), signal.SIGTERM),
    "jobs stop": Target("stop this", command=("jobs", "stop")),
    "jobs stop --all": Target("stop all", command=("jobs", "stop", "--all")),
    "jobs cancel": Target("cancel", command=("jobs", "cancel")),
}
CHOSEN = {
    "Ctrl-C that stops in training",
    "Ctrl-C that stops all in start-up",
    "Ctrl-C that cancels in evaluation",
    "SIGTERM in prediction",
    "jobs cancel in upload",
}
MATRIX = {f"{way} in {phase}": (way, phase) for way in WAYS for phase in PHASES}


def play(scene: Scene, *, way: Target, phase: str) -> str:
    """One job, one wish, and all that must come of it."""
    moment = MOMENTS[PHASES[phase]]
    package = moment.package(scene.job_manager / "toy.zip", 3 if way.command else 1)
    scene.start_worker()
    client = scene.client(package, *way.options)
    moment.wait(scene, client)
    begin = time.monotonic()
    answer = _say(scene, client, way)
    code = client.ended()
    if code == 6:
        assert time.monotonic() - begin < CANCEL_TIME
    assert (code, answer) == expected(way, phase), client.text
    told = client.event("ended")
    assert told is not None
    assert (told["exit_code"], client.code) == (code, code)
    judge(scene, way, phase, client)
    scene.check_nothing_is_left()
    return f"{code} {client.sentence}"


def _say(scene: Scene, client: Terminal, way: Target) -> int | None:
    """Say it; the exit code of the command, if it was one."""
    if way.number is not None:
        client.signal(way.number)
        return None
    [credential] = scene.tickets
    return scene.person(*way.command, credential.stem).ended()


def expected(way: Target, phase: str) -> tuple[int, int | None]:
    """Exit codes of the client, and of the command."""
    by_command = bool(way.command)
    match phase:
        case "upload":
            if not by_command:
                return 130, None  # nothing has begun that could be stopped or left
            return (6, 0) if way.wish == "cancel" else (0, 3)
        case "download":
            return (0, 0) if by_command else (7, None)  # it has ended, and can only be left where it is
    code = {"cancel": 6, "detach": 7}.get(way.wish, 0)
    return code, 0 if by_command else None


def judge(scene: Scene, way: Target, phase: str, client: Terminal) -> None:
    """What is here now is what was wanted."""
    if client.code == 7:
        assert scene.person("attach").ended() == 0
    if phase == "upload" and client.code:
        assert scene.trained == scene.models() == set()
        assert list(scene.job_manager.iterdir()) == [scene.job_manager / "toy.zip"]
    elif client.code == 6:
        assert len(list(scene.job_manager.rglob("job.log"))) == 1, "what there is was not brought home"
    else:
        assert scene.models() == scene.trained != set()
        if phase not in ("upload", "download"):
            alone = way.wish == "stop all" and phase in ("start-up", "training")
            assert len(scene.models()) == (1 if alone else 2)
            predicted = list(scene.job_manager.rglob("*.predictions.slp"))
            assert len(predicted) == (0 if way.wish == "stop all" and phase != "prediction" else 1)
    eventually("nothing waits for its owner", lambda: not list(scene.results.glob("*.zip")), 20)
    assert scene.tickets == []


# -------- at a terminal


def _until_trains(scene: Scene, client: Terminal) -> None:
    client.until_said("epoch")


def ask(scene: Scene, *, keys: tuple[str, ...]) -> str:
    """Ctrl-C at a terminal, and these answers; the exit code, and what was shown last."""
    package = MOMENTS["in the first epoch"].package(scene.job_manager / "toy.zip", 1)
    scene.start_worker()
    client, typing = scene.at_terminal(package)
    _until_trains(scene, client)
    for key in keys:
        if key == "Ctrl-C":
            client.signal(signal.SIGINT)
            client.until_said("Ctrl-C again leaves it running")
        else:
            os.write(typing, key.encode())
    client.ended()
    os.close(typing)
    if client.code == 7:
        assert re.search(r"sleap-rtc attach job-\S+", client.text)
        assert scene.person("attach").ended() == 0
    assert scene.tickets == []
    assert (scene.models() == scene.trained) or client.code == 6
    scene.check_nothing_is_left()
    return str(client.code)


KEYS = {
    "Ctrl-C and s at a terminal stop early": (("Ctrl-C", "s"), "0"),
    "Ctrl-C and c at a terminal cancel": (("Ctrl-C", "c"), "6"),
    "Ctrl-C and d at a terminal detach": (("Ctrl-C", "d"), "7"),
    "Ctrl-C and no answer detach": (("Ctrl-C",), "7"),
    "Ctrl-C twice at a terminal detaches": (("Ctrl-C", "Ctrl-C"), "7"),
    "the key s at a terminal stops early": (("s",), "0"),
}


RARE = {"Ctrl-C and d at a terminal detach", "Ctrl-C twice at a terminal detaches"}
"""Told by the others, nearly."""


# -------- all of them


@pytest.fixture(scope="module")
def plays(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, "Future[str]"]]:
    """Begins every scene that was asked for."""
    items = [item for item in request.session.items if "plays" in item.fixturenames and item.module is request.module]
    every: dict[str, Callable[[Scene], str]] = {}
    for name in (item.callspec.params["scene"] for item in items):
        if name in KEYS:
            every[name] = partial(ask, keys=KEYS[name][0])
        else:
            way, phase = MATRIX[name]
            every[name] = partial(play, way=WAYS[way], phase=phase)
    with play_all(tmp_path_factory.mktemp("wishes"), every, AT_ONCE) as futures:
        yield futures


@pytest.mark.parametrize("scene", [name for name in MATRIX if ALL or name in CHOSEN])
def test_what_was_wanted_happens_after(plays: Mapping[str, "Future[str]"], scene: str) -> None:
    print(f"{scene}: {plays[scene].result()}")


@pytest.mark.parametrize("scene", [name for name in KEYS if ALL or name not in RARE])
def test_a_terminal_is_asked_and_heeded(plays: Mapping[str, "Future[str]"], scene: str) -> None:
    assert plays[scene].result() == KEYS[scene][1]
