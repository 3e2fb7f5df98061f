"""Room secrets, room ids and worker names as people give them: checked as soon as they are read."""

from collections.abc import Callable

from protocol.faults import FaultCode
from protocol.fields import ID_PATTERN, LINE_MAX, WORD_MAX, is_printable
from protocol.ids import RoomId
from protocol.trust import Secret
from rtc.common.errors import RtcError

SECRET_MIN = 16
"""Characters; with fewer, an attacker who records one proof could find the secret by trying all of them."""
WORKER_NAME_MAX = WORD_MAX
"""Characters."""


def read_secret(given: str | None) -> Secret | None:
    """Return the room secret without white space around it; None when none was given.

    Raises:
        RtcError: USAGE: it is shorter than SECRET_MIN.
    """
    if given is None:
        return None
    text = given.strip()
    if len(text) < SECRET_MIN:
        text = f"A room secret needs at least {SECRET_MIN} characters; make one with: openssl rand -base64 32"
        raise RtcError(FaultCode.USAGE, text)
    return Secret(text)


def secret_finder(given: str | None) -> Callable[[RoomId], Secret | None]:
    """Return a function that gives the secret of any room: the one that was given for all of them.

    Raises:
        RtcError: USAGE: as for `read_secret`.
    """
    secret = read_secret(given)
    return lambda _room: secret


def check_room(room: str) -> RoomId:
    """Return a typed room id if it can be one.

    Raises:
        RtcError: USAGE: it does not match `ID_PATTERN`.
    """
    if not ID_PATTERN.fullmatch(room):
        raise RtcError(FaultCode.USAGE, "That is not a room id. Copy it from the worker's banner.")
    return RoomId(room)


def check_token(token: str) -> str:
    """Return a typed token of a room if it can be one.

    Raises:
        RtcError: USAGE: it is empty, too long, or not printable.
    """
    if not token or len(token) > LINE_MAX or not is_printable(token):
        raise RtcError(FaultCode.USAGE, "That is not a room's token. Copy it from the worker's banner.")
    return token


def check_name(name: str | None) -> str | None:
    """Return a typed worker name if it can be one; None when none was given.

    Raises:
        RtcError: USAGE: it is empty, too long, or not printable.
    """
    if name is not None and (not name.strip() or len(name) > WORKER_NAME_MAX or not is_printable(name)):
        raise RtcError(FaultCode.USAGE, f"A worker's name is one line of at most {WORKER_NAME_MAX} characters.")
    return name
