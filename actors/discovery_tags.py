"""Discovery's guards and actions about the tags of offers and answers (`protocol/trust.py`)."""

from attrs import evolve

from actors import events
from actors.discovery_data import DiscoveryData
from actors.offer_tags import ANSWER_FORGED, SECRET_MISSING, SECRET_WRONG
from actors.table import Step
from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId, PeerId
from protocol.signaling import Announce, Answer, Offer, Refuse, Withdraw
from protocol.status import Role
from protocol.trust import Ends, TagVerdict, answer_tag, judge_tag, offer_tag

# -------- what a tag says


def _ends(data: DiscoveryData, other: PeerId) -> Ends:
    """Return the room, ourselves and another peer, as the one that is the worker and the one that is the client."""
    room_credentials = data.room_credentials
    assert room_credentials.room is not None, "this peer is in a room"
    assert room_credentials.peer is not None, "this peer is in a room"
    if room_credentials.role is Role.WORKER:
        return Ends(room_credentials.room, room_credentials.peer, other)
    return Ends(room_credentials.room, other, room_credentials.peer)


def _judge(data: DiscoveryData, message: Offer | Answer) -> TagVerdict:
    """Return what a tag says. Without a secret every offer and answer is right, with a tag or without one.

    So is an answer to an offer of ours that had no tag: Auth decides on the link then.
    """
    keys = data.room_credentials.keys
    if keys is None:
        return TagVerdict.RIGHT
    ends = _ends(data, message.peer)
    if isinstance(message, Offer):
        return data.nonces.judge(keys, ends, message)
    if _nonce_of(data, message.peer) is None:
        return TagVerdict.RIGHT
    return judge_tag(answer_tag(keys, ends, message.number, message.sdp), message.tag)


def _nonce_of(data: DiscoveryData, worker: PeerId) -> bytes | None:
    """Return the nonce that this worker announces for offers; None if it announces none, or is not here."""
    return next((one.facts.offer_nonce for one in data.workers if one.peer == worker), None)


def with_nonce(data: DiscoveryData) -> DiscoveryData:
    """Return the data with the nonce for offers in a worker's facts, if the room has a secret."""
    if data.facts is None:
        return data
    nonce = None if data.room_credentials.keys is None else data.nonces.present
    return evolve(data, facts=evolve(data.facts, offer_nonce=nonce))


# -------- guards


def tag_is_missing(data: DiscoveryData, event: Offer | Answer) -> bool:
    """Return whether there is no tag, although we have a secret and, for an answer, the worker has one too."""
    return event.tag is None and _judge(data, event) is TagVerdict.MISSING


def tag_was_used(data: DiscoveryData, event: Offer) -> bool:
    """Return whether the same offer has come before."""
    return _judge(data, event) is TagVerdict.REPEATED


def sdp_was_changed(data: DiscoveryData, event: Offer | Answer) -> bool:
    """Return whether the peer knows the secret, but has not made this session description."""
    return _judge(data, event) is TagVerdict.CHANGED


def tag_is_wrong(data: DiscoveryData, event: Offer | Answer) -> bool:
    """Return whether the peer knows another secret than we do."""
    return _judge(data, event) is TagVerdict.OTHER_SECRET


def nonce_is_unknown(data: DiscoveryData, event: events.OfferReady) -> bool:
    """Return whether we have the room's keys, and the worker is not in the list, so that its nonce is not known."""
    return data.room_credentials.keys is not None and all(one.peer != event.peer for one in data.workers)


# -------- actions


def _deny_offer(data: DiscoveryData, offer: Offer, verdict: TagVerdict, fault: Fault) -> Step[DiscoveryData]:
    refusal = events.SendToServer(Refuse(offer.peer, fault, offer.number))
    return Step(data, (events.TagDenied(offer.peer, verdict), refusal))


def deny_untagged(data: DiscoveryData, event: Offer) -> Step[DiscoveryData]:
    """Refuse the offer of a client that knows no secret; no other part of the worker hears of it."""
    return _deny_offer(data, event, TagVerdict.MISSING, SECRET_MISSING)


def deny_repeated(data: DiscoveryData, event: Offer) -> Step[DiscoveryData]:
    """Refuse an offer that somebody has recorded and sends again."""
    return _deny_offer(data, event, TagVerdict.REPEATED, SECRET_WRONG)


def deny_changed(data: DiscoveryData, event: Offer) -> Step[DiscoveryData]:
    """Refuse an offer whose session description was changed on its way."""
    return _deny_offer(data, event, TagVerdict.CHANGED, SECRET_WRONG)


def deny_wrong_tag(data: DiscoveryData, event: Offer) -> Step[DiscoveryData]:
    """Refuse the offer of a client that knows another secret."""
    return _deny_offer(data, event, TagVerdict.OTHER_SECRET, SECRET_WRONG)


def accept_offer(data: DiscoveryData, offer: Offer) -> tuple[DiscoveryData, tuple[events.SendToServer, ...]]:
    """Return the data after an offer, with a new id for the link; and the announcement of a new nonce, if it is due."""
    data = evolve(data, last_link=LinkId(data.last_link + 1))
    if data.room_credentials.keys is None:
        return data, ()
    after = with_nonce(evolve(data, nonces=data.nonces.after(offer)))
    assert after.facts is not None, "only a worker gets offers"
    return after, () if after.facts == data.facts else (events.SendToServer(Announce(after.facts)),)


def _distrust(data: DiscoveryData, answer: Answer, verdict: TagVerdict) -> Step[DiscoveryData]:
    """Give up our offer, since the answer to it is not what a worker that knows the secret has said.

    The worker may have accepted the offer, so it is told.
    """
    refused = events.LinkRefused(answer.peer, ANSWER_FORGED, number=answer.number)
    withdrawal = events.SendToServer(Withdraw(answer.peer, answer.number))
    return Step(data, (events.TagDenied(answer.peer, verdict), refused, withdrawal))


def distrust_untagged(data: DiscoveryData, event: Answer) -> Step[DiscoveryData]:
    """Give up our offer, since the answer shows nothing, although the worker has a secret."""
    return _distrust(data, event, TagVerdict.MISSING)


def distrust_changed(data: DiscoveryData, event: Answer) -> Step[DiscoveryData]:
    """Give up our offer, since the worker's session description was changed on its way."""
    return _distrust(data, event, TagVerdict.CHANGED)


def distrust_wrong_tag(data: DiscoveryData, event: Answer) -> Step[DiscoveryData]:
    """Give up our offer, since the answer is from somebody that knows another secret."""
    return _distrust(data, event, TagVerdict.OTHER_SECRET)


def send_offer(data: DiscoveryData, event: events.OfferReady) -> Step[DiscoveryData]:
    """Send our offer to the worker, through the server; with a tag if both ends have a secret."""
    keys, nonce, tag = data.room_credentials.keys, _nonce_of(data, event.peer), None
    if keys is not None and nonce is not None:
        tag = offer_tag(keys, _ends(data, event.peer), event.number, event.job, nonce, event.sdp)
    return Step(data, (events.SendToServer(Offer(event.peer, event.sdp, event.job, event.number, tag)),))


def refuse_absent(data: DiscoveryData, event: events.OfferReady) -> Step[DiscoveryData]:
    """Refuse our own offer, as the server does when the worker is not in the room.

    Without a tag, a worker that comes back in the same moment would take this client for one that knows no secret.
    """
    gone = Fault(FaultCode.NO_WORKER, "No such worker is in the room now. Look at the room's list again.")
    return Step(data, (events.LinkRefused(event.peer, gone, number=event.number),))


def send_answer(data: DiscoveryData, event: events.AnswerReady) -> Step[DiscoveryData]:
    """Send our answer to the client, through the server; with a tag if the room has a secret."""
    keys, tag = data.room_credentials.keys, None
    if keys is not None:
        tag = answer_tag(keys, _ends(data, event.peer), event.number, event.sdp)
    return Step(data, (events.SendToServer(Answer(event.peer, event.sdp, event.number, tag)),))
