"""A job is stopped, cancelled or left, by every command and in every phase: the request is carried out, and the exit
code shows it.

A selection by default; everything with `pytest -m "slow or long" tests/programs/test_stop_and_leave.py`.
"""

import os
import re
import signal

import psutil
import pytest
from attrs import frozen

from rtc.client.presenter import NOTHING_TO_STOP
from rtc.testing.moments import MOMENTS
from rtc.testing.stand_in import TrainingPause, make_package
from rtc.testing.terminals import Scene, Terminal, eventually, stopped

pytestmark = pytest.mark.slow

PHASES = {
    "upload": "in mid upload",
    "start-up": "at start-up",
    "training": "in the first epoch",
    "evaluation": "in the evaluation",
    "prediction": "in the prediction",
    "download": "in mid download",
}
TRANSFERS = ("upload", "download")


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
    "jobs cancel in upload",
}
MATRIX = {f"{name} in {phase}": (name, phase) for name in METHODS for phase in PHASES}


def request(scene: Scene, client: Terminal, method: Method, phase: str) -> int | None:
    """Make the request, and return the exit code of the command, or None for a signal.

    The phase lasts until the request has arrived: meanwhile the process that would end it is stopped.
    """
    [ticket] = scene.tickets or [None]
    with stopped(*_busy_processes(scene, client, phase)):
        if method.number is not None:
            client.signal(method.number)
            command = None
        else:
            assert ticket is not None
            command = scene.person(*method.command, ticket.stem)
        if phase in TRANSFERS:
            if command is not None:
                command.ended()
        else:
            eventually("an effect of the request", lambda: _has_arrived(scene, client, command))
    return None if command is None else command.ended()


def _busy_processes(scene: Scene, client: Terminal, phase: str) -> list[psutil.Process]:
    """Return the client in a transfer; otherwise the stand-in for sleap-nn, which may not have been started yet."""
    if phase in TRANSFERS:
        return [psutil.Process(client.process.pid)]
    return eventually("a running sleap-nn", scene.trainers)


def _has_arrived(scene: Scene, client: Terminal, command: Terminal | None) -> bool:
    """Return whether the worker knows of the request, or the client or the command has dealt with it alone."""
    programs = [client] if command is None else [client, command]
    return (
        re.search(r"is asked to stop early|is being cancelled", scene.worker.text) is not None
        or NOTHING_TO_STOP in client.text
        or any(program.process.poll() is not None for program in programs)
    )


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
        if phase not in TRANSFERS:
            only_one = method.request == "stop all" and phase in ("start-up", "training")
            assert len(scene.models()) == (1 if only_one else 2)
            predicted = list(scene.person_folder.rglob("*.predictions.slp"))
            assert len(predicted) == (0 if method.request == "stop all" and phase != "prediction" else 1)
    eventually("no result waits on the worker", lambda: not list(scene.results.glob("*.zip")))
    assert scene.tickets == []


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in CHOSEN else pytest.mark.long) for name in MATRIX]
)
def test_what_was_requested_happens_after(scene: Scene, name: str) -> None:
    method, phase = METHODS[MATRIX[name][0]], MATRIX[name][1]
    moment = MOMENTS[PHASES[phase]]
    package = moment.package(scene.person_folder / "toy.zip")
    scene.start_worker()
    client = scene.client(package, *method.options)
    moment.wait(scene, client)
    command_code = request(scene, client, method, phase)
    code = client.ended()
    assert (code, command_code) == expected(method, phase), client.text
    ended = client.event("ended")
    assert ended is not None
    assert (ended["exit_code"], client.code) == (code, code)
    judge(scene, method, phase, client)
    scene.check_nothing_is_left()
    print(f"{code} {client.sentence}")


@pytest.mark.long
def test_a_package_is_not_sent_again_when_its_job_was_cancelled_while_the_client_was_away(scene: Scene) -> None:
    moment = MOMENTS["in mid upload"]
    package = moment.package(scene.person_folder / "toy.zip")
    scene.start_worker()
    client = scene.client(package)
    moment.wait(scene, client)
    [ticket] = scene.tickets
    with stopped(psutil.Process(client.process.pid)):
        scene.worker.until_printed("Link closed: ")
        assert scene.person("jobs", "cancel", ticket.stem).ended() == 0
        eventually("an available worker", lambda: scene.status() == "available")
    assert client.ended() == 6, client.text
    assert "all of it is sent again" not in client.text
    assert scene.trained == scene.models() == set()
    assert scene.tickets == []
    scene.check_nothing_is_left()


# -------- at a terminal


KEYS = {
    "Ctrl-C and s at a terminal stop early": (("Ctrl-C", "s"), 0),
    "Ctrl-C and c at a terminal cancel": (("Ctrl-C", "c"), 6),
    "Ctrl-C and d at a terminal detach": (("Ctrl-C", "d"), 7),
    "Ctrl-C and no answer detach": (("Ctrl-C",), 7),
    "Ctrl-C twice at a terminal detaches": (("Ctrl-C", "Ctrl-C"), 7),
    "the key s at a terminal stops early": (("s",), 0),
}
RARE = {
    "Ctrl-C and c at a terminal cancel",
    "Ctrl-C and d at a terminal detach",
    "Ctrl-C twice at a terminal detaches",
    "the key s at a terminal stops early",
}
"""Left to `make test-long`: the other scenes cover nearly the same."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.long if name in RARE else ()) for name in KEYS])
def test_the_answer_at_a_terminal_is_carried_out(scene: Scene, name: str) -> None:
    keys, code = KEYS[name]
    pause = TrainingPause(str(scene.folder / "pause-ended"))
    package = make_package(
        scene.person_folder / "toy.zip", models=("centroid", "centered_instance"), predict=True, wait_for=pause.file
    )
    scene.start_worker()
    client, typing = scene.at_terminal(package)
    client.until_printed("epoch")
    for key in keys:
        if key == "Ctrl-C":
            client.signal(signal.SIGINT)
            client.until_printed("Ctrl-C again leaves it running")
        else:
            os.write(typing, key.encode())
    eventually("an effect of the keys", lambda: _has_arrived(scene, client, None))
    pause.end()
    client.ended()
    os.close(typing)
    if client.code == 7:
        assert re.search(r"sleap-rtc attach job-\S+", client.text)
        assert scene.person("attach").ended() == 0
    assert scene.tickets == []
    assert (scene.models() == scene.trained) or client.code == 6
    scene.check_nothing_is_left()
    assert client.code == code


# -------- leaving at once


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(("--json", "--wait", "5m"), id="--json --wait"),
        pytest.param(("--json",), id="--json", marks=pytest.mark.long),
        pytest.param(("--quiet",), id="--quiet", marks=pytest.mark.long),
    ],
)
def test_detach_ends_when_the_job_runs_and_attach_fetches_the_result(scene: Scene, more: tuple[str, ...]) -> None:
    pause = TrainingPause(str(scene.folder / "go-on"))
    package = make_package(scene.folder / "train-pause.zip", wait_for=pause.file)
    scene.start_worker()
    client = scene.start("person", "train", str(package), "--session-string", scene.session, "--detach", *more)
    assert client.ended() == 0
    [ticket] = scene.tickets
    assert ticket.stem in client.text
    assert eventually("a running job", scene.trainers)
    assert not scene.models()
    if "--json" in more:
        ended = client.until_event("ended")
        assert (ended["outcome"], ended["fault"], ended["exit_code"]) == ("detached", None, 0)
    pause.end()
    assert scene.person("attach", "--json").ended() == 0
    assert scene.models() == scene.trained != set()
    scene.check_nothing_is_left()


@pytest.mark.long
def test_detach_waits_in_line_for_a_busy_worker_and_then_leaves(scene: Scene) -> None:
    pause = TrainingPause(str(scene.folder / "go-on"))
    scene.start_worker()
    first = make_package(scene.folder / "train-first.zip", wait_for=pause.file)
    assert scene.client(first, "--detach").ended() == 0
    second = scene.client(make_package(scene.folder / "train-second.zip"), "--detach", "--wait")
    second.until("a place in line", lambda: "In line for a worker" in second.text)
    pause.end()
    assert second.ended() == 0
    assert len(scene.tickets) == 2
    for ticket in scene.tickets:
        assert scene.person("attach", ticket.stem, "--json").ended() == 0
    scene.check_nothing_is_left()
