"""Words for our own log about offers and answers whose tag is not right. The peer is not told these cases apart."""

import logging

from actors.events import TagDenied
from protocol.trust import TagVerdict

log = logging.getLogger("rtc.trust")

REASONS = {
    TagVerdict.MISSING: "it shows no knowledge of the room secret",
    TagVerdict.OTHER_SECRET: "it was made with another room secret, or is long out of date",
    TagVerdict.CHANGED: "it was made with the right room secret, but its session description, which names the "
    "certificate, was changed on its way: the server, or somebody between, is not honest",
    TagVerdict.REPEATED: "it is right, but has come before: somebody has recorded it and sends it again",
}


def reason_of(denied: TagDenied) -> str:
    """Return why an offer or an answer was not accepted, as half a sentence."""
    return REASONS[denied.verdict]


def log_denied_answer(denied: TagDenied) -> None:
    """Write to a client's log why it does not use an answer."""
    log.warning("The answer of %s is not used: %s.", denied.peer, reason_of(denied))
