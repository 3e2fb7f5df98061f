"""What people hand us to be recognised by: room secrets, ids and names, checked where they come in."""

from protocol.faults import FaultCode
from protocol.fields import ID_PATTERN, is_printable
from protocol.ids import RoomId
from protocol.trust import Secret
from rtc.common.errors import RtcError

SECRET_MIN = 16
"""Characters: with fewer, whoever records one proof could try them all."""
WORKER_NAME_MAX = 64


def read_secret(given: str | None) -> Secret | None:
    """The room secret, white space around it forgiven; None when none was given.

    Raises:
        RtcError: USAGE: empty or too short to protect anything.
    """
    if given is None:
        return None
    text = given.strip()
    if len(text) < SECRET_MIN:
        text = f"A room secret needs at least {SECRET_MIN} characters; make one with: openssl rand -base64 32"
        raise RtcError(FaultCode.USAGE, text)
    return Secret(text.encode())


def check_room(room: str) -> RoomId:
    """A room id as typed.

    Raises:
        RtcError: USAGE: it cannot be one.
    """
    if not ID_PATTERN.fullmatch(room):
        raise RtcError(FaultCode.USAGE, "That is not a room id. Copy it from the worker's banner.")
    return RoomId(room)


def check_name(name: str | None) -> str | None:
    """A worker's name as typed.

    Raises:
        RtcError: USAGE: too long, or it cannot be shown.
    """
    if name is not None and (not name.strip() or len(name) > WORKER_NAME_MAX or not is_printable(name)):
        raise RtcError(FaultCode.USAGE, f"A worker's name is one line of at most {WORKER_NAME_MAX} characters.")
    return name
