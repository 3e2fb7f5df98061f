"""Who does not know the room secret holds no worker, and a server that changes what it relays is found out."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from attrs import evolve
from trio_websocket import WebSocketConnection, open_websocket_url

from actors.events import BestWorker
from protocol.faults import FaultCode
from protocol.signaling import Answer, Join, Joined, JoinQueue, Offer, Refuse, WorkerAssigned
from protocol.status import Role
from protocol.wire import FROM_SERVER, decode, encode
from rtc.server.rooms import RoomEffects, RoomRegistry, WebSocketId
from rtc.testing.lab import Lab, LabWorker

pytestmark = pytest.mark.slow

T = TypeVar("T")
MakePackage = Callable[..., Path]
SECRET = "a secret of sixteen or more"
SDP = "v=0\r\n"
FINGERPRINT = re.compile(r"(a=fingerprint:sha-256 )(..)")


@asynccontextmanager
async def open_stranger(lab: Lab, worker: LabWorker) -> AsyncIterator[WebSocketConnection]:
    """Join the room of a worker with its token alone."""
    async with open_websocket_url(lab.server.ws_url) as line:
        await line.send_message(encode(Join(worker.ready.room, worker.ready.token, Role.CLIENT)))
        await hear(line, Joined)
        yield line


async def hear(line: WebSocketConnection, kind: type[T]) -> T:
    """Return the next message of this kind."""
    while True:
        message = decode(await line.get_message(), FROM_SERVER)
        if isinstance(message, kind):
            return message


async def test_a_stranger_that_offers_without_end_keeps_no_worker_from_the_others(
    lab: Lab, package: MakePackage, nursery: trio.Nursery
) -> None:
    worker = await lab.start_worker(secret=SECRET)
    codes = set()

    async def offer_without_end() -> None:
        async with open_stranger(lab, worker) as line:
            for number in count(1):
                await line.send_message(encode(Offer(worker.peer, SDP, None, number)))
                codes.add((await hear(line, Refuse)).fault.code)

    nursery.start_soon(offer_without_end)
    for _ in range(3):
        assert (await lab.run_client(worker, package(), secret=SECRET)).fault is None
    nursery.cancel_scope.cancel()
    assert codes == {FaultCode.AUTH_MISSING}


async def test_strangers_in_the_queue_keep_no_worker_from_who_waits_and_who_does_not(
    lab: Lab, package: MakePackage
) -> None:
    worker = await lab.start_worker(secret=SECRET)
    async with open_stranger(lab, worker) as first, open_stranger(lab, worker) as second:
        await first.send_message(encode(JoinQueue()))
        assert (await hear(first, WorkerAssigned)).peer == worker.peer
        await second.send_message(encode(JoinQueue()))
        at_once = await lab.run_client(worker, package(), secret=SECRET)
        waiting = await lab.run_client(worker, package(), secret=SECRET, choice=BestWorker(), wait=60.0)
    assert (at_once.fault, waiting.fault) == (None, None)


async def test_an_offer_that_was_recorded_is_of_no_use_to_who_sends_it_again(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = change_relays(monkeypatch, lambda message: message)
    worker = await lab.start_worker(secret=SECRET)
    assert (await lab.run_client(worker, package(), secret=SECRET)).fault is None
    [offer] = [message for message in recorded if isinstance(message, Offer)]
    async with open_stranger(lab, worker) as line:
        await line.send_message(encode(offer))
        assert (await hear(line, Refuse)).fault.code is FaultCode.AUTH_INVALID


async def test_a_server_that_puts_another_certificate_into_the_offer_is_named_in_the_workers_log(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_relays(monkeypatch, lambda message: with_another_certificate(message) if of_client(message) else message)
    worker = await lab.start_worker(secret=SECRET)
    run = await lab.run_client(worker, package(), secret=SECRET)
    assert run.fault is not None
    assert run.fault.code is FaultCode.AUTH_INVALID
    assert "changed" not in run.fault.text
    assert "was changed on its way" in await worker.log.until("rejected")


async def test_a_server_that_puts_another_certificate_into_the_answer_is_named_in_the_clients_log(
    lab: Lab, package: MakePackage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    change_relays(monkeypatch, lambda message: message if of_client(message) else with_another_certificate(message))
    worker = await lab.start_worker(secret=SECRET)
    run = await lab.run_client(worker, package(), secret=SECRET)
    assert run.fault is not None
    assert run.fault.code is FaultCode.AUTH_UNPROVEN_WORKER
    assert "was changed on its way" in caplog.text
    await worker.log.until("Status: available.")


Relayed = Offer | Answer


def of_client(message: Relayed) -> bool:
    return isinstance(message, Offer)


def with_another_certificate(message: Relayed) -> Relayed:
    sdp, number = FINGERPRINT.subn(lambda found: found[1] + ("00" if found[2] != "00" else "01"), message.sdp)
    assert number >= 1
    return evolve(message, sdp=sdp)


def change_relays(monkeypatch: pytest.MonkeyPatch, change: Callable[[Relayed], Relayed]) -> list[Relayed]:
    """Let the server change offers and answers before it passes them on; return what it was given to pass on."""
    honest, given = RoomRegistry.relay, list[Relayed]()

    def relay(registry: RoomRegistry, websocket: WebSocketId, message: object) -> RoomEffects:
        if isinstance(message, Relayed):
            given.append(message)
            message = change(message)
        return honest(registry, websocket, message)

    monkeypatch.setattr(RoomRegistry, "relay", relay)
    return given
