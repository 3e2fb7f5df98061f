"""A job is found where its room is now: what was remembered after its ticket was saved counts before the ticket."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from attrs import evolve

from actors.events import AskPerson, NamedWorker, WorkerCalled
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId, RoomId
from protocol.signaling import WorkerPresent
from protocol.status import Status, WorkerFacts
from rtc.client import job_query, tickets
from rtc.client.jobs import JobsOptions, client_options_to_attach
from rtc.client.jobs_table import JobRow, as_table
from rtc.client.target import Target
from rtc.client.tickets import JobTicket
from rtc.common.errors import ExitCode, RtcError
from rtc.config.load import Config, load_config
from rtc.config.remembered_rooms import RememberedRoom, RememberedRoomsJson
from rtc.config.room_renewal import explain_for_job_in, explain_for_room

SAVED = 1_000_000
"""When the ticket was saved, in seconds since 1970."""
SERVER, MOVED = "ws://lab.example.org:8080", "ws://new.example.org:8080"
TICKET = JobTicket(
    JobId("job-1"), "key", PeerId("worker-1"), RoomId("room-1"), "old token", SERVER, package="flies.zip"
)
LAB = RememberedRoom("lab", SERVER, RoomId("room-1"), "new token", joined=SAVED + 1)


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., JobsOptions]:
    tickets.save(tmp_path, TICKET)
    os.utime(tmp_path / "job-1.json", (SAVED, SAVED))

    def config_for(server: str | None) -> Config:
        return load_config(server=server, environ={}, cwd=tmp_path, settings=tmp_path)

    def make(*rooms: RememberedRoom, target: Target | None = None) -> JobsOptions:
        return JobsOptions(config_for, tmp_path, target=target, rooms=RememberedRoomsJson(rooms))

    return make


@pytest.mark.parametrize(
    ("rooms", "server", "token"),
    [
        ((), SERVER, "old token"),
        ((LAB,), SERVER, "new token"),
        ((evolve(LAB, joined=SAVED),), SERVER, "new token"),
        ((evolve(LAB, joined=SAVED - 1),), SERVER, "old token"),
        ((evolve(LAB, room=RoomId("room-2")),), SERVER, "old token"),
        ((evolve(LAB, server=MOVED),), MOVED, "new token"),
        ((evolve(LAB, server=MOVED, joined=SAVED - 1),), SERVER, "old token"),
        ((LAB, evolve(LAB, name="other", server=MOVED, token="another")), SERVER, "new token"),
        ((evolve(LAB, joined=0), evolve(LAB, name="other", server=MOVED, token="another")), SERVER, "old token"),
    ],
    ids=[
        "nothing remembered",
        "token changed",
        "in the same second",
        "the ticket is newer",
        "another room",
        "server moved",
        "it was elsewhere before",
        "the same server comes first",
        "the same server comes first, although the ticket is newer",
    ],
)
def test_a_ticket_is_renewed_by_what_was_remembered_after_it(
    options: Callable[..., JobsOptions], rooms: tuple[RememberedRoom, ...], server: str, token: str
) -> None:
    made = options(*rooms)
    found = made.ticket(None)
    assert found == evolve(TICKET, server=server, token=token)
    assert made.read_tickets() == ([found], [])
    address = made.address(found)
    assert (address.config.signaling_websocket, address.token) == (server, token)


def test_the_ticket_itself_stays_as_it_was_saved(options: Callable[..., JobsOptions], tmp_path: Path) -> None:
    options(evolve(LAB, server=MOVED)).ticket(None)
    assert tickets.read(tmp_path, "job-1") == TICKET


def test_what_the_person_says_comes_before_what_is_remembered(options: Callable[..., JobsOptions]) -> None:
    named = Target(RoomId("room-9"), "t", NamedWorker(PeerId("worker-9")), MOVED)
    found = options(LAB, target=named).ticket(None)
    assert (found.room, found.token, found.worker, found.server) == ("room-9", "t", "worker-9", MOVED)


def test_with_a_room_alone_the_worker_is_that_of_the_ticket(options: Callable[..., JobsOptions]) -> None:
    target = Target(RoomId("room-9"), "t", AskPerson(take_only=True), MOVED, "mice")
    assert options(LAB, target=target).ticket(None).worker == "worker-1"


@pytest.mark.parametrize("called", ["worker-2", "bench 2"])
def test_a_worker_may_be_called_by_its_name_for_a_job_too(options: Callable[..., JobsOptions], called: str) -> None:
    made = options(LAB, target=Target(RoomId("room-9"), "t", WorkerCalled(called), MOVED, "mice"))
    ticket = made.ticket(None)
    assert made.address(ticket).called == called
    assert client_options_to_attach(made, ticket).choice == WorkerCalled(called)
    plain = options(LAB)
    assert plain.address(TICKET).called is None
    assert client_options_to_attach(plain, TICKET).choice == NamedWorker(PeerId("worker-1"))


@pytest.mark.parametrize(("called", "peer"), [("BENCH", "worker-1"), ("worker-7", "worker-7"), ("bench 9", None)])
async def test_the_name_is_looked_for_in_the_room_before_jobs_are_asked_about(
    options: Callable[..., JobsOptions], monkeypatch: pytest.MonkeyPatch, called: str, peer: str | None
) -> None:
    facts = WorkerFacts(Status.AVAILABLE, "bench", "lab", "GPU", 8000, "0.3", "12.4", "0.1")

    async def list_workers(_config: Config, _room: RoomId, _token: str) -> tuple[WorkerPresent, ...]:
        await trio.lowlevel.checkpoint()
        return (WorkerPresent(PeerId("worker-1"), facts),)

    monkeypatch.setattr(job_query, "list_workers", list_workers)
    address = evolve(options(LAB).address(TICKET), called=called)
    if peer is not None:
        assert await job_query._find_worker(address) == peer
        return
    with pytest.raises(RtcError, match="No worker of this room has this") as caught:
        await job_query._find_worker(address)
    assert caught.value.exit_code is ExitCode.NOT_AVAILABLE


# -------- what is said when the room cannot be used

DENIED = RtcError(
    FaultCode.ROOM_DENIED, "The server knows no room of this id that this token opens. Check both; tokens and so on."
)
LOST = RtcError(FaultCode.SERVER_LOST, f"The server at {SERVER} cannot be reached (refused). Check that it runs; or …")
NOT_ASKED = RtcError(FaultCode.AUTH_UNPROVEN_WORKER, "A room secret was given, but this worker asks for none.")
NONE_HERE = RtcError(FaultCode.AUTH_MISSING, "The worker asks for the secret, and none is here.")
NO_PROOF = RtcError(FaultCode.AUTH_INVALID, "The worker has another secret.")


def test_of_a_room_that_has_no_secret_any_more_it_is_said_how_to_remove_the_remembered_one() -> None:
    for explain in (explain_for_room, explain_for_job_in):
        text = explain(NOT_ASKED, "lab").fault.text
        assert text.startswith(NOT_ASKED.fault.text)
        assert text.endswith("sleap-rtc secrets remove lab")
    assert explain_for_room(NOT_ASKED, None) is NOT_ASKED


def test_of_a_job_in_a_room_that_was_left_it_is_said_how_to_get_its_secret_again() -> None:
    assert explain_for_job_in(NONE_HERE, None).fault.text.endswith("sleap-rtc join WHAT")


@pytest.mark.parametrize(
    ("error", "code"),
    [(DENIED, ExitCode.AUTHENTICATION), (LOST, ExitCode.NETWORK), (NO_PROOF, ExitCode.AUTHENTICATION)],
    ids=["gone, or its token changed", "server moved", "its secret changed"],
)
def test_of_a_remembered_room_it_is_said_how_to_renew_it(error: RtcError, code: ExitCode) -> None:
    for explain in (explain_for_room, explain_for_job_in):
        explained = explain(error, "lab")
        assert explained.exit_code is code
        assert explained.fault.text.startswith(error.fault.text.partition(". ")[0].removesuffix("."))
        assert explained.fault.text.endswith("sleap-rtc join WHAT --name lab")
        assert explained.fault.text.count("Check that it runs") == (error is LOST)


def test_of_other_rooms_only_jobs_say_that_joining_helps() -> None:
    for error in (DENIED, LOST):
        assert explain_for_room(error, None) is error
        assert explain_for_job_in(error, None).fault.text.endswith("found by themselves: sleap-rtc join WHAT")
    busy = RtcError(FaultCode.WORKER_BUSY, "The worker is busy.")
    for name in (None, "lab"):
        assert explain_for_room(busy, name) is busy
        assert explain_for_job_in(busy, name) is busy


def test_a_job_knows_its_remembered_room(options: Callable[..., JobsOptions]) -> None:
    moved = options(evolve(LAB, server=MOVED))
    ticket = moved.ticket(None)
    assert moved.address(ticket).remembered_as == "lab"
    assert client_options_to_attach(moved, ticket).remembered_as == "lab"
    assert options().address(TICKET).remembered_as is None


def test_the_list_of_jobs_says_once_and_whole_how_their_room_is_found_again() -> None:
    fault = explain_for_room(DENIED, "lab").fault
    rows = [JobRow(evolve(TICKET, job=JobId(f"job-{number}")), fault=fault) for number in range(3)]
    text = as_table([*rows, JobRow(TICKET, fault=Fault(FaultCode.NO_WORKER, "It is away."))], 80)
    assert text.splitlines().count(fault.text) == 1
    assert all(len(line) <= 80 for line in text.splitlines() if line != fault.text and not line.startswith("Come back"))
