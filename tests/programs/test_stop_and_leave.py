"""A job is stopped, cancelled or left, by every command and in every phase: the request is carried out, and the exit
code shows it.

A selection by default; everything with `SLEAP_RTC_TEST_FAULTS=all pytest tests/programs/test_stop_and_leave.py`. As in
`test_faults.py` the scenes run at the same time.
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

pytestmark = pytest.mark.slow

ALL = os.environ.get("SLEAP_RTC_TEST_FAULTS") == "all"
AT_ONCE = int(os.environ.get("SLEAP_RTC_TEST_FAULTS_AT_ONCE", "4"))
CANCEL_TIME = 15.0
"""Seconds until a cancelled job has ended, with all its processes."""

PHASES = {
    "upload": "in mid upload",
    "start-up": "at start-up",
    "training": "in the first epoch",
    "evaluation": "in the evaluation",
    "prediction": "in the prediction",
    "download": "in mid download",
}


# -------- how a request is made


@frozen
class Method:
    """What is requested, and how: by a signal to the client, or by a command."""

    request: str
    """`stop this`, `stop all`, `cancel` or `detach`."""
    options: tuple[str, ...] = ()
    """Options of the client that watches the job."""
    number: signal.Signals | None = None
    """The signal that the client is sent; None for a command."""
    command: tuple[str, ...] = ()
    """The command that is run from another terminal; empty for a signal."""


def _interrupt(request: str, *options: str) -> Method:
    return Method(request, ("--on-interrupt", request.split()[0], *options), signal.SIGINT)


METHODS = {
    "Ctrl-C that stops": _interrupt("stop this"),
    "Ctrl-C that stops all": _interrupt("stop all", "--stop", "all"),
    "Ctrl-C that cancels": _interrupt("cancel"),
    "Ctrl-C that detaches": _interrupt("detach"),
    "SIGTERM": Method("detach", (), signal.SIGTERM),
    "jobs stop": Method("stop this", command=("jobs", "stop")),
    "jobs stop --all": Method("stop all", command=("jobs", "stop", "--all")),
    "jobs cancel": Method("cancel", command=("jobs", "cancel")),
}
CHOSEN = {
    "Ctrl-C that stops in training",
    "Ctrl-C that stops all in start-up",
    "Ctrl-C that cancels in evaluation",
    "SIGTERM in prediction",
    "jobs cancel in upload",
}
MATRIX = {f"{name} in {phase}": (name, phase) for name in METHODS for phase in PHASES}


def play(scene: Scene, *, method: Method, phase: str) -> str:
    """Run one job with one request, and check everything that must hold afterwards."""
    moment = MOMENTS[PHASES[phase]]
    package = moment.package(scene.person_folder / "toy.zip", 3 if method.command else 1)
    scene.start_worker()
    client = scene.client(package, *method.options)
    moment.wait(scene, client)
    begin = time.monotonic()
    command_code = _send(scene, client, method)
    code = client.ended()
    if code == 6:
        assert time.monotonic() - begin < CANCEL_TIME
    assert (code, command_code) == expected(method, phase), client.text
    ended = client.event("ended")
    assert ended is not None
    assert (ended["exit_code"], client.code) == (code, code)
    judge(scene, method, phase, client)
    scene.check_nothing_is_left()
    return f"{code} {client.sentence}"


def _send(scene: Scene, client: Terminal, method: Method) -> int | None:
    """Make the request; return the exit code of the command, or None for a signal."""
    if method.number is not None:
        client.signal(method.number)
        return None
    [ticket] = scene.tickets
    return scene.person(*method.command, ticket.stem).ended()


def expected(method: Method, phase: str) -> tuple[int, int | None]:
    """Return the expected exit codes of the client and of the command (None for a signal)."""
    by_command = bool(method.command)
    match phase:
        case "upload":
            if not by_command:
                return 130, None  # the job has not begun, so the client just ends
            return (6, 0) if method.request == "cancel" else (0, 3)
        case "download":
            return (
                (0, 0) if by_command else (7, None)
            )  # the job has ended, so its result can only be left on the worker
    code = {"cancel": 6, "detach": 7}.get(method.request, 0)
    return code, 0 if by_command else None


def judge(scene: Scene, method: Method, phase: str, client: Terminal) -> None:
    """Check that the client has exactly what was requested."""
    if client.code == 7:
        assert scene.person("attach").ended() == 0
    if phase == "upload" and client.code:
        assert scene.trained == scene.models() == set()
        assert list(scene.person_folder.iterdir()) == [scene.person_folder / "toy.zip"]
    elif client.code == 6:
        assert len(list(scene.person_folder.rglob("job.log"))) == 1, "the partial result was not fetched"
    else:
        assert scene.models() == scene.trained != set()
        if phase not in ("upload", "download"):
            only_one = method.request == "stop all" and phase in ("start-up", "training")
            assert len(scene.models()) == (1 if only_one else 2)
            predicted = list(scene.person_folder.rglob("*.predictions.slp"))
            assert len(predicted) == (0 if method.request == "stop all" and phase != "prediction" else 1)
    eventually("no result waits on the worker", lambda: not list(scene.results.glob("*.zip")), 20)
    assert scene.tickets == []


# -------- at a terminal


def _wait_training(scene: Scene, client: Terminal) -> None:
    client.until_printed("epoch")


def ask(scene: Scene, *, keys: tuple[str, ...]) -> str:
    """Run a client at a terminal, send it Ctrl-C and keys, check the outcome, and return the exit code."""
    package = MOMENTS["in the first epoch"].package(scene.person_folder / "toy.zip", 1)
    scene.start_worker()
    client, typing = scene.at_terminal(package)
    _wait_training(scene, client)
    for key in keys:
        if key == "Ctrl-C":
            client.signal(signal.SIGINT)
            client.until_printed("Ctrl-C again leaves it running")
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
"""Run only with SLEAP_RTC_TEST_FAULTS=all: the other scenes cover nearly the same."""


# -------- the tests


@pytest.fixture(scope="module")
def plays(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, "Future[str]"]]:
    """Starts the scene of every selected test; the outcome of each is in its future."""
    items = [item for item in request.session.items if "plays" in item.fixturenames and item.module is request.module]
    every: dict[str, Callable[[Scene], str]] = {}
    for name in (item.callspec.params["scene"] for item in items):
        if name in KEYS:
            every[name] = partial(ask, keys=KEYS[name][0])
        else:
            method, phase = MATRIX[name]
            every[name] = partial(play, method=METHODS[method], phase=phase)
    with play_all(tmp_path_factory.mktemp("requests"), every, AT_ONCE) as futures:
        yield futures


@pytest.mark.parametrize("scene", [name for name in MATRIX if ALL or name in CHOSEN])
def test_what_was_requested_happens_after(plays: Mapping[str, "Future[str]"], scene: str) -> None:
    print(f"{scene}: {plays[scene].result()}")


@pytest.mark.parametrize("scene", [name for name in KEYS if ALL or name not in RARE])
def test_the_answer_at_a_terminal_is_carried_out(plays: Mapping[str, "Future[str]"], scene: str) -> None:
    assert plays[scene].result() == KEYS[scene][1]
