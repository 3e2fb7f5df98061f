"""The tags of offers and answers: only who knows the room secret reaches a worker, and each offer only once."""

from typing import Any

import pytest
import trio
from attrs import evolve

from actors.discovery import DISCOVERY
from actors.discovery_data import DiscoveryData
from actors.events import (
    AnswerReady,
    JoinRoom,
    LinkAnswered,
    LinkRefused,
    LinkRequested,
    OfferReady,
    RoomCredentials,
    SendToServer,
    ServerConnected,
    SessionRequested,
    TagDenied,
)
from actors.offer_tags import ANSWER_FORGED, SECRET_MISSING, SECRET_WRONG, USES_MAX, OfferNonces
from protocol.faults import FaultCode
from protocol.ids import JobId, PeerId, RoomId
from protocol.signaling import Announce, Answer, Join, Joined, Offer, Refuse, Withdraw, WorkerPresent
from protocol.status import Role, Status, WorkerFacts
from protocol.trust import Ends, RoomKeys, Tag, TagVerdict, answer_tag, offer_tag
from rtc.testing.embedding import Embedded, embed

Discovery = Embedded[DiscoveryData]

pytestmark = pytest.mark.usefixtures("autojump_clock")

ROOM, JOB = RoomId("room-1"), JobId("job-1")
WORKER, CLIENT, EVE = PeerId("worker-1"), PeerId("client-1"), PeerId("client-eve")
KEYS, OTHER_KEYS = RoomKeys(b"p" * 32, b"t" * 32), RoomKeys(b"q" * 32, b"u" * 32)
ENDS = Ends(ROOM, WORKER, CLIENT)
FACTS = WorkerFacts(Status.AVAILABLE, "bench", "lab", "GPU", 24000, "0.3.5", "12.4", "0.1")


async def at_worker(nursery: trio.Nursery, keys: RoomKeys | None, seed: bytes = b"seed") -> Discovery:
    """Return the Discovery of a worker that is in the room."""
    discovery = await embed(nursery, DISCOVERY, DiscoveryData(FACTS, nonces=OfferNonces(seed)))
    credentials = RoomCredentials(Role.WORKER, ROOM, "token", keys=keys)
    await discovery.after(JoinRoom(credentials, 30), ServerConnected(), Joined(ROOM, WORKER, "resume"))
    return discovery


async def at_client(nursery: trio.Nursery, keys: RoomKeys | None, *workers: WorkerPresent) -> Discovery:
    """Return the Discovery of a client that is in the room with these workers."""
    discovery = await embed(nursery, DISCOVERY, DiscoveryData())
    credentials = RoomCredentials(Role.CLIENT, ROOM, "token", keys=keys)
    await discovery.after(JoinRoom(credentials, 30), ServerConnected(), Joined(ROOM, CLIENT, "resume", workers))
    return discovery


@pytest.fixture
async def worker(nursery: trio.Nursery) -> Discovery:
    return await at_worker(nursery, KEYS)


def nonce_of(worker: Discovery) -> bytes:
    assert worker.data.facts is not None
    assert worker.data.facts.offer_nonce is not None
    return worker.data.facts.offer_nonce


def honest(worker: Discovery, number: int = 1, job: JobId | None = None, keys: RoomKeys = KEYS) -> Offer:
    tag = offer_tag(keys, ENDS, number, job, nonce_of(worker), "sdp")
    return Offer(CLIENT, "sdp", job, number, tag)


def denied(peer: PeerId, verdict: TagVerdict, number: int = 1) -> list[Any]:
    fault = SECRET_MISSING if verdict is TagVerdict.MISSING else SECRET_WRONG
    return [TagDenied(peer, verdict), SendToServer(Refuse(peer, fault, number))]


# -------- at the worker


async def test_an_offer_of_who_knows_the_secret_reaches_the_worker(worker: Discovery) -> None:
    [request] = await worker.after(honest(worker))
    assert isinstance(request, LinkRequested)
    [request] = await worker.after(honest(worker, 2, JOB))
    assert isinstance(request, SessionRequested)


async def test_without_a_tag_an_offer_is_refused_and_nobody_else_hears_of_it(worker: Discovery) -> None:
    for job in (None, JOB):
        assert await worker.after(Offer(EVE, "sdp", job, 1)) == denied(EVE, TagVerdict.MISSING)


async def test_who_knows_another_secret_is_told_so(worker: Discovery) -> None:
    assert await worker.after(honest(worker, keys=OTHER_KEYS)) == denied(CLIENT, TagVerdict.OTHER_SECRET)


async def test_a_changed_description_is_found_and_the_peer_is_not_told_it_from_another_secret(
    worker: Discovery,
) -> None:
    lie = evolve(honest(worker), sdp="sdp with another fingerprint")
    effects = await worker.after(lie)
    assert effects == denied(CLIENT, TagVerdict.CHANGED)
    assert effects[1:] == denied(CLIENT, TagVerdict.OTHER_SECRET)[1:]


@pytest.mark.parametrize("change", [{"peer": EVE}, {"number": 2}, {"job": JOB}])
async def test_a_tag_is_good_for_one_offer_of_one_client_about_one_thing(
    worker: Discovery, change: dict[str, Any]
) -> None:
    effects = await worker.after(evolve(honest(worker), **change))
    assert isinstance(effects[0], TagDenied)
    assert isinstance(effects[1].message, Refuse)


async def test_a_description_left_out_does_not_make_the_other_half_of_a_tag_count(worker: Discovery) -> None:
    tag = honest(worker).tag
    assert tag is not None
    for sdp in ("", "sdp"):
        lie = Offer(CLIENT, sdp, None, 1, Tag(tag.without_sdp, tag.without_sdp))
        assert await worker.after(lie) == denied(CLIENT, TagVerdict.CHANGED)


async def test_an_offer_that_is_sent_again_by_somebody_who_has_recorded_it_is_refused(worker: Discovery) -> None:
    offer = honest(worker)
    assert isinstance((await worker.after(offer))[0], LinkRequested)
    for _ in range(2):
        assert await worker.after(offer) == denied(CLIENT, TagVerdict.REPEATED)


async def test_the_nonce_changes_after_a_number_of_offers_and_the_one_before_still_counts(worker: Discovery) -> None:
    first = nonce_of(worker)
    old = [honest(worker, number) for number in range(USES_MAX + 2)]
    for offer in old[: USES_MAX - 1]:
        assert len(await worker.after(offer)) == 1
    _request, announced = await worker.after(old[USES_MAX - 1])
    second = nonce_of(worker)
    assert announced == SendToServer(Announce(evolve(FACTS, offer_nonce=second)))
    assert first != second
    assert isinstance((await worker.after(old[USES_MAX]))[0], LinkRequested)
    assert await worker.after(old[0]) == denied(CLIENT, TagVerdict.REPEATED, 0)
    new = [honest(worker, 1000 + number) for number in range(USES_MAX)]
    for offer in new:
        await worker.after(offer)
    assert await worker.after(old[USES_MAX + 1]) == denied(CLIENT, TagVerdict.OTHER_SECRET, USES_MAX + 1)


async def test_a_worker_that_starts_again_takes_no_offer_from_before(nursery: trio.Nursery, worker: Discovery) -> None:
    offer = honest(worker)
    again = await at_worker(nursery, KEYS, b"another seed")
    assert await again.after(offer) == denied(CLIENT, TagVerdict.OTHER_SECRET)


async def test_a_worker_without_a_secret_announces_no_nonce_and_takes_any_offer(
    nursery: trio.Nursery, worker: Discovery
) -> None:
    without = await at_worker(nursery, None)
    assert without.data.facts == FACTS
    for offer in (Offer(CLIENT, "sdp", number=1), evolve(honest(worker), number=2)):
        [request] = await without.after(offer)
        assert isinstance(request, LinkRequested)


async def test_the_nonce_is_announced_from_the_join_on(nursery: trio.Nursery) -> None:
    discovery = await embed(nursery, DISCOVERY, DiscoveryData(FACTS, nonces=OfferNonces(b"seed")))
    join_room = JoinRoom(RoomCredentials(Role.WORKER, ROOM, "token", keys=KEYS), 30)
    [effect] = await discovery.after(join_room, ServerConnected())
    assert isinstance(effect.message, Join)
    assert effect.message.facts == evolve(FACTS, offer_nonce=OfferNonces(b"seed").present)


async def test_an_answer_has_a_tag_if_the_worker_knows_the_secret(nursery: trio.Nursery, worker: Discovery) -> None:
    tag = answer_tag(KEYS, ENDS, 1, "sdp")
    assert await worker.after(AnswerReady(CLIENT, "sdp", number=1)) == [SendToServer(Answer(CLIENT, "sdp", 1, tag))]
    without = await at_worker(nursery, None)
    assert await without.after(AnswerReady(CLIENT, "sdp", number=1)) == [SendToServer(Answer(CLIENT, "sdp", 1))]


# -------- at the client

GUARDED = WorkerPresent(WORKER, evolve(FACTS, offer_nonce=b"n" * 32))
OPEN = WorkerPresent(WORKER, FACTS)
READY = OfferReady(WORKER, "sdp", number=1)


@pytest.mark.parametrize(("keys", "present"), [(None, GUARDED), (None, OPEN), (KEYS, OPEN)])
async def test_an_offer_has_no_tag_unless_both_ends_have_a_secret(
    nursery: trio.Nursery, keys: RoomKeys | None, present: WorkerPresent
) -> None:
    client = await at_client(nursery, keys, present)
    assert await client.after(READY) == [SendToServer(Offer(WORKER, "sdp", number=1))]
    assert await client.after(Answer(WORKER, "sdp", 1)) == [LinkAnswered(WORKER, "sdp", number=1)]


async def test_an_offer_has_a_tag_for_the_newest_nonce(nursery: trio.Nursery) -> None:
    client = await at_client(nursery, KEYS, GUARDED)
    await client.after(evolve(GUARDED, facts=evolve(FACTS, offer_nonce=b"m" * 32)))
    tag = offer_tag(KEYS, ENDS, 1, JOB, b"m" * 32, "sdp")
    assert await client.after(evolve(READY, job=JOB)) == [SendToServer(Offer(WORKER, "sdp", JOB, 1, tag))]


async def test_a_worker_whose_nonce_is_not_known_is_asked_again_later_and_not_without_a_tag(
    nursery: trio.Nursery,
) -> None:
    client = await at_client(nursery, KEYS)
    [refused] = await client.after(READY)
    assert isinstance(refused, LinkRefused)
    assert refused.fault.code is FaultCode.NO_WORKER


async def test_an_answer_of_a_worker_that_knows_the_secret_is_used(nursery: trio.Nursery) -> None:
    client = await at_client(nursery, KEYS, GUARDED)
    answer = Answer(WORKER, "sdp", 1, answer_tag(KEYS, ENDS, 1, "sdp"))
    assert await client.after(answer) == [LinkAnswered(WORKER, "sdp", number=1)]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(WORKER, "sdp", 1), TagVerdict.MISSING),
        (Answer(WORKER, "sdp", 1, answer_tag(OTHER_KEYS, ENDS, 1, "sdp")), TagVerdict.OTHER_SECRET),
        (Answer(WORKER, "sdp", 1, answer_tag(KEYS, ENDS, 2, "sdp")), TagVerdict.OTHER_SECRET),
        (Answer(WORKER, "sdp", 1, offer_tag(KEYS, ENDS, 1, None, b"", "sdp")), TagVerdict.OTHER_SECRET),
        (Answer(WORKER, "another", 1, answer_tag(KEYS, ENDS, 1, "sdp")), TagVerdict.CHANGED),
    ],
)
async def test_an_answer_that_the_worker_has_not_made_like_this_is_not_used(
    nursery: trio.Nursery, answer: Answer, verdict: TagVerdict
) -> None:
    client = await at_client(nursery, KEYS, GUARDED)
    assert await client.after(answer) == [
        TagDenied(WORKER, verdict),
        LinkRefused(WORKER, ANSWER_FORGED, number=1),
        SendToServer(Withdraw(WORKER, 1)),
    ]
