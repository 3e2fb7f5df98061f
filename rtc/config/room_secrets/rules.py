"""What a room secret is: the one rule for all places that it may come from.

A program that pretends to be a worker gets a proof, and can then try guesses by itself for as long as it likes. 600 000
rounds of PBKDF2 make each guess slow (`protocol.trust`), and a random secret is never found. So what can be told to be
guessed at once is refused: a short text, and one that repeats a few characters. No list of words is consulted; whoever
thinks of a secret instead of having one made is told in the documentation why not to.
"""

import secrets
import unicodedata
from itertools import pairwise

from protocol.faults import FaultCode
from protocol.fields import is_printable
from protocol.trust import Secret
from rtc.common.errors import RtcError

SECRET_MIN, SECRET_MAX = 16, 1024
"""Characters."""
DISTINCT_MIN = 6
"""Different characters. Of 16 random hexadecimal digits, 10 are different on average; fewer than 6 are once in
30 000 times."""
PAIRS_MIN = 11
"""Different pairs of neighbouring characters. A text that repeats a block of ten characters, such as `1234567890`, has
no more than ten; 16 random hexadecimal digits have fewer than 11 once in 10 000 times."""
MADE_BYTES = 32
"""Random bytes of a secret that we make: as many as each key that is derived from it."""
HOW_TO_GET = "Copy the worker's whole secret; for a new one: sleap-rtc room create-secret --room ROOM"


def check_secret(text: str, place: str) -> Secret:
    """Return the secret that a text holds, without white space around it and in Unicode's normal form C.

    Without that form, the same secret with an accented letter would give other keys where it was typed on a system that
    spells the letter as two characters (RFC 8265 has the same rule for passwords).

    Args:
        text: as it was given or read.
        place: where it was given, for the error's text.

    Raises:
        RtcError: USAGE: it cannot be a secret; the text names `place` and never shows the secret.
    """
    secret = unicodedata.normalize("NFC", text.strip())
    problem = _problem(secret)
    if problem is not None:
        raise RtcError(FaultCode.USAGE, f"The room secret of {place} cannot be used: {problem}.")
    return Secret(secret)


def _problem(secret: str) -> str | None:
    """Return why a text cannot be a secret, as a part of a sentence; None if it can."""
    if len(secret) < SECRET_MIN:
        return f"it needs at least {SECRET_MIN} characters. {HOW_TO_GET}"
    if len(secret) > SECRET_MAX:
        return f"it may have at most {SECRET_MAX} characters"
    if not is_printable(secret):
        return "it must be one line of characters that can be shown"
    if len(set(secret)) < DISTINCT_MIN or len(set(pairwise(secret))) < PAIRS_MIN:
        return f"it repeats a few characters. {HOW_TO_GET}"
    return None


def make_secret() -> str:
    """Return a new secret: 43 letters, digits, `-` and `_` (base64url), of which the first cannot begin an option."""
    while (text := secrets.token_urlsafe(MADE_BYTES)).startswith("-"):
        pass
    return text
