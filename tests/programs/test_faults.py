"""A program is killed or frozen at some moment of a job: the client gets the models, or one true sentence, and nothing
is left behind.

A selection by default; every fault at every moment with `pytest -m "slow or long" tests/programs/test_faults.py`.
"""

import pytest

from protocol.link import HEARTBEAT_TIME, LOST_TIME
from rtc.testing.moments import MOMENTS, Moment
from rtc.testing.terminals import Scene, Terminal, eventually, freeze

pytestmark = pytest.mark.slow

OUTAGE = LOST_TIME + HEARTBEAT_TIME + 1
"""Seconds after which both sides have given up a silent link."""


# -------- the faults


def kill_client(_scene: Scene, client: Terminal) -> None:
    client.kill()


def kill_worker(scene: Scene, _client: Terminal) -> None:
    scene.worker.kill()
    scene.start_worker()


def kill_both(scene: Scene, client: Terminal) -> None:
    client.kill()
    kill_worker(scene, client)


def freeze_client(_scene: Scene, client: Terminal) -> None:
    freeze(client, seconds=OUTAGE)


def freeze_worker(scene: Scene, _client: Terminal) -> None:
    freeze(scene.worker, seconds=OUTAGE)


def kill_supervisor(scene: Scene, _client: Terminal) -> None:
    [supervisor] = [process for process in scene.processes() if "rtc.runner.supervisor" in process.cmdline()]
    supervisor.kill()


FAULTS = {
    "the client is killed": kill_client,
    "the worker is killed": kill_worker,
    "both are killed": kill_both,
    "the client is out of reach": freeze_client,
    "the worker is out of reach": freeze_worker,
    "the supervisor is killed": kill_supervisor,
}
ATTACHED = ("the client is killed", "both are killed")
"""Faults after which the person has to attach to the job again."""
PASSING = ("the client is out of reach", "the worker is out of reach")
"""Faults that are over after a while."""
CHOSEN = {
    "both are killed in the evaluation",
    "the supervisor is killed at start-up",
}


# -------- what must hold afterwards


def judge(scene: Scene, moment: Moment, fault: str, client: Terminal) -> None:
    """Check that the client has exactly the trained models, and fails only where it must, with a true text."""
    if fault == "the supervisor is killed":
        assert (client.code, "ended from outside" in client.sentence) == (1, True), client.text
    elif moment.package_complete or continues(moment, fault) or client.code == 0:
        assert client.code == 0, client.text
        assert scene.models() == scene.trained != set(), client.text
    else:
        assert client.code in (2, 3, 5) or "never came whole" in client.sentence, client.text
        assert scene.trained == scene.models() == set(), "a job ran although its client reported that it does not"
    if client.code not in (0, 1) or not receipt_gets_lost(moment, fault):
        eventually("no result waits on the worker", lambda: not list(scene.results.glob("*.zip")))
    assert scene.tickets == [] or client.code == 3, "a ticket of a job that has ended, or never began"
    assert "sleap-rtc attach" not in client.text, client.text
    ends = [event["exit_code"] for event in client.events if event["event"] == "ended"]
    assert ends in ([client.code], []), client.text
    assert len(client.err.read_text().strip().splitlines()) <= 1, client.text


def continues(moment: Moment, fault: str) -> bool:
    """Return whether the upload continues after the fault, because a part of the package is on the worker already."""
    return fault in PASSING and moment is not MOMENTS["before the upload"]


def receipt_gets_lost(moment: Moment, fault: str) -> bool:
    """Return whether the link is lost after the result was downloaded.

    Then the worker gets no `ResultTaken`, and keeps the result for its usual time.
    """
    return moment is MOMENTS["while the result is unpacked"] and fault not in ATTACHED


MATRIX = {
    f"{fault} {when}": (fault, when)
    for fault in FAULTS
    for when, moment in MOMENTS.items()
    if moment.has_supervisor or fault != "the supervisor is killed"
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in CHOSEN else pytest.mark.long) for name in MATRIX]
)
def test_the_client_gets_the_models_or_a_true_sentence_when(scene: Scene, name: str) -> None:
    fault, when = MATRIX[name]
    moment = MOMENTS[when]
    package = moment.package(scene.person_folder / "toy.zip")
    scene.start_worker()
    client = scene.client(package)
    moment.wait(scene, client)
    FAULTS[fault](scene, client)
    if client.ended() < 0:
        client = scene.person("attach", "--json")
        client.ended()
    judge(scene, moment, fault, client)
    scene.check_nothing_is_left()
    print(f"{client.code} {client.sentence}")
