"""One list of jobs in several rooms, with secrets and without: each room's own secret, and one row for each trouble."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve

from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, PeerId, RoomId
from protocol.jobs import AskJob, JobKind, JobStage, JobState
from protocol.trust import RoomKeys
from rtc.client import jobs
from rtc.client.job_query import WorkerAddress
from rtc.client.jobs import JobsOptions
from rtc.client.jobs_table import as_json, as_table
from rtc.client.options import explain_without_secret
from rtc.client.tickets import JobTicket
from rtc.common.errors import ExitCode, RtcError
from rtc.config.load import load_config
from rtc.config.room_secrets.finder import RoomSecrets
from rtc.config.room_secrets.sources import SecretPlaces

TICKET = JobTicket(
    job=JobId("job-1"),
    key="key",
    worker=PeerId("worker-1"),
    room=RoomId("locked"),
    token="token",
    server="ws://lab:8080",
    package="flies.zip",
    kind=JobKind.TRAIN,
)
TICKETS = [evolve(TICKET, job=JobId(f"job-{room}"), room=RoomId(room)) for room in ("locked", "open", "absent", "bad")]
SECRET = "the secret of the locked room"
KEYS = RoomKeys(b"proof", b"tag")


async def query(address: WorkerAddress, requests: tuple[AskJob, ...], _loop: object) -> dict[JobId, JobState]:
    """Answer as the workers of four rooms do, all of which but `open` ask for a secret."""
    await trio.lowlevel.checkpoint()
    secret = address.find_secret(address.room)
    if address.room != "open" and secret is None:
        refused = RtcError(FaultCode.AUTH_MISSING, "No proof was given.")
        raise explain_without_secret(refused, address.room, None)
    assert (secret is not None) == (address.room == "locked")
    return {request.job: JobState(request.job, JobStage.RUNNING, "It trains.") for request in requests}


async def test_each_room_has_its_own_secret_and_its_own_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(server="ws://lab:8080", environ={}, cwd=tmp_path, settings=tmp_path)
    environ = {"SLEAP_RTC_ROOM_SECRET_LOCKED": SECRET, "SLEAP_RTC_ROOM_SECRET_BAD": "short"}
    secrets = RoomSecrets(SecretPlaces(environ=environ), lambda _: pytest.fail("nothing is to be said"))
    monkeypatch.setattr(jobs, "run_job_query", query)
    options = JobsOptions(lambda _: config, tmp_path, secrets)
    loop: Any = None
    rows = await jobs.query_all(options, TICKETS, loop)
    locked, opened, absent, bad = json.loads(as_json(rows))
    assert [locked["state"], opened["state"], absent["state"], bad["state"]] == [
        *("running", "running", "secret-missing", "unreachable")
    ]
    assert "asks for the secret of absent, and none is here" in absent["text"]
    assert "SLEAP_RTC_ROOM_SECRET_BAD" in bad["text"]
    assert "short" not in bad["text"]
    table = as_table(rows, None)
    assert table.count("secret-missing") == 1
    assert absent["text"] in table


@pytest.mark.parametrize("code", [FaultCode.AUTH_MISSING, FaultCode.AUTH_INVALID])
def test_a_refusal_without_a_secret_says_that_none_is_here(code: FaultCode) -> None:
    error = explain_without_secret(RtcError(code, "Refused."), RoomId("room-1"), None)
    assert (error.fault.code, error.exit_code) == (FaultCode.AUTH_MISSING, ExitCode.AUTHENTICATION)
    assert "the secret of room-1, and none is here" in error.fault.text


@pytest.mark.parametrize(
    ("keys", "code"), [(KEYS, FaultCode.AUTH_INVALID), (KEYS, FaultCode.AUTH_MISSING), (None, FaultCode.NO_WORKER)]
)
def test_other_refusals_stay_as_they_are(keys: RoomKeys | None, code: FaultCode) -> None:
    fault = Fault(code, "Refused.")
    assert explain_without_secret(RtcError.of(fault), RoomId("room-1"), keys).fault == fault
