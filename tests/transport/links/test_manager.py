"""The link manager: what it tells others of links that never open. Real aiortc on this machine, and no server."""

from collections.abc import AsyncGenerator
from typing import Any, TypeVar

import pytest
import trio
from attrs import define, field

from actors.events import (
    AcceptLink,
    AnswerReady,
    Authenticated,
    CloseLink,
    JoinedRoom,
    LinkAnswered,
    LinkLost,
    LinkRefused,
    OfferReady,
    OfferWithdrawn,
    OpenLink,
    TellPeer,
    WithdrawOffer,
)
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId, PeerId, RoomId
from protocol.status import Role
from rtc.testing.limits import HANG_TIME
from rtc.transport.links.manager import WITHDRAWN, LinkManager
from rtc.transport.webrtc import AsyncioLoop, open_asyncio_loop

T = TypeVar("T")

pytestmark = pytest.mark.slow

CLIENT, WORKER = PeerId("client-ada"), PeerId("worker-bob")
BUSY = Fault(FaultCode.WORKER_BUSY, "Busy.")


async def _drop(_link: LinkId, _message: object) -> None:
    await trio.lowlevel.checkpoint()


@define
class Side:
    """A link manager with its router, and what has passed that."""

    links: LinkManager
    said: list[Any] = field(factory=list)
    _more: trio.Event = field(factory=trio.Event)

    def note(self, effect: Any) -> None:
        """Remember an effect, and wake who waits for it."""
        self.said.append(effect)
        self._more.set()
        self._more = trio.Event()

    async def until(self, kind: type[T]) -> T:
        """Wait until something of this kind has been said, and return the first."""
        with trio.fail_after(HANG_TIME):
            while not any(isinstance(one, kind) for one in self.said):
                await self._more.wait()
        return next(one for one in self.said if isinstance(one, kind))


@pytest.fixture
async def loop() -> AsyncGenerator[AsyncioLoop, None]:
    async with open_asyncio_loop() as asyncio_loop:
        yield asyncio_loop


async def _start(nursery: trio.Nursery, loop: AsyncioLoop, role: Role, peer: PeerId) -> Side:
    router = Router(dict.fromkeys((OfferReady, AnswerReady, WithdrawOffer, LinkLost, CloseLink), ()))
    links = LinkManager(loop, router, role, _drop)
    router.routes = {**router.routes, TellPeer: (links.send,), Authenticated: (links.handle_authenticated,)}
    side = Side(links)
    router.tap = side.note
    await nursery.start(router.run)
    await nursery.start(links.run)
    links.set_room(JoinedRoom(RoomId("room-1"), "token", peer))
    return side


@pytest.fixture
async def client(nursery: trio.Nursery, loop: AsyncioLoop) -> Side:
    return await _start(nursery, loop, Role.CLIENT, CLIENT)


@pytest.fixture
async def worker(nursery: trio.Nursery, loop: AsyncioLoop) -> Side:
    return await _start(nursery, loop, Role.WORKER, WORKER)


async def offer_of(client: Side) -> str:
    """Let the client ask for a link, and return its offer."""
    client.links.request_link(OpenLink(LinkId(1), WORKER))
    return (await client.until(OfferReady)).sdp


async def test_a_client_that_gives_up_takes_back_its_offer_before_anything_else(client: Side) -> None:
    await offer_of(client)
    client.links.close_link(CloseLink(LinkId(1)))
    await client.until(LinkLost)
    assert client.said[1:] == [WithdrawOffer(WORKER, number=1), LinkLost(LinkId(1))]


async def test_an_offer_that_nobody_answers_is_taken_back(client: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtc.transport.links.manager.ANSWER_TIME", 0.0)
    await offer_of(client)
    lost = await client.until(LinkLost)
    assert lost.fault is not None
    assert lost.fault.code is FaultCode.STALLED
    assert client.said[1:] == [WithdrawOffer(WORKER, number=1), lost]


async def test_an_offer_is_taken_back_when_its_answer_opens_no_link(client: Side) -> None:
    await offer_of(client)
    client.links.handle_answer(LinkAnswered(WORKER, "garbage", number=1))
    lost = await client.until(LinkLost)
    assert client.said[1:] == [WithdrawOffer(WORKER, number=1), lost]


async def test_nothing_is_taken_back_before_the_offer_is_made_or_after_it_is_refused(client: Side) -> None:
    client.links.request_link(OpenLink(LinkId(2), WORKER))
    client.links.close_link(CloseLink(LinkId(2)))
    await client.until(LinkLost)
    assert client.said == [LinkLost(LinkId(2))]
    client.said.clear()
    await offer_of(client)
    client.links.handle_refusal(LinkRefused(WORKER, BUSY, number=1))
    await client.until(LinkLost)
    assert client.said[-1] == LinkLost(LinkId(1), BUSY)
    assert WithdrawOffer(WORKER, number=1) not in client.said
    assert not client.links.give_up_unopened()


async def test_what_is_said_about_an_earlier_offer_does_not_touch_a_later_one(client: Side, worker: Side) -> None:
    await offer_of(client)
    client.links.handle_answer(LinkAnswered(WORKER, "of an earlier offer", number=0))
    client.links.handle_refusal(LinkRefused(WORKER, BUSY, number=0))
    worker.links.accept_link(AcceptLink(LinkId(7), CLIENT, client.said[0].sdp, number=3))
    worker.links.handle_withdrawal(OfferWithdrawn(CLIENT, number=2))
    answer = await worker.until(AnswerReady)
    assert answer.number == 3
    client.links.handle_answer(LinkAnswered(WORKER, answer.sdp, number=1))
    await client.until(Authenticated)


async def test_a_program_that_ends_takes_back_its_offer(client: Side) -> None:
    await offer_of(client)
    assert client.links.give_up_unopened()
    await client.until(LinkLost)
    assert client.said[1:] == [WithdrawOffer(WORKER, number=1), LinkLost(LinkId(1))]


async def test_a_worker_ends_the_link_whose_offer_is_taken_back(client: Side, worker: Side) -> None:
    worker.links.accept_link(AcceptLink(LinkId(7), CLIENT, await offer_of(client), number=3))
    await worker.until(AnswerReady)  # the client gets no answer, so nothing opens
    worker.links.handle_withdrawal(OfferWithdrawn(PeerId("client-eve"), number=3))
    worker.links.handle_withdrawal(OfferWithdrawn(CLIENT, number=3))
    assert await worker.until(LinkLost) == LinkLost(LinkId(7), WITHDRAWN)


async def test_an_offer_that_is_taken_back_before_it_is_accepted_opens_nothing(client: Side, worker: Side) -> None:
    offer = await offer_of(client)
    worker.links.handle_withdrawal(OfferWithdrawn(CLIENT, number=3))
    worker.links.accept_link(AcceptLink(LinkId(7), CLIENT, offer, number=3))
    assert await worker.until(LinkLost) == LinkLost(LinkId(7), WITHDRAWN)
    worker.links.accept_link(AcceptLink(LinkId(8), CLIENT, offer, number=4))
    await worker.until(AnswerReady)


async def test_an_open_link_is_not_touched(client: Side, worker: Side) -> None:
    worker.links.accept_link(AcceptLink(LinkId(7), CLIENT, await offer_of(client), number=3))
    client.links.handle_answer(LinkAnswered(WORKER, (await worker.until(AnswerReady)).sdp, number=1))
    await client.until(Authenticated)
    worker.links.handle_withdrawal(OfferWithdrawn(CLIENT, number=3))
    assert not client.links.give_up_unopened()
    for side, link in ((worker, LinkId(7)), (client, LinkId(1))):
        opened = side.links.link(link)
        assert opened is not None
        assert not opened.lost.is_set()
        assert not {WithdrawOffer, LinkLost} & {type(one) for one in side.said}
