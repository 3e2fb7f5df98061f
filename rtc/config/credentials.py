"""Room ids, tokens and worker names as people give them: checked as soon as they are read."""

from protocol.faults import FaultCode
from protocol.fields import ID_PATTERN, LINE_MAX, WORD_MAX, is_printable
from protocol.ids import RoomId
from rtc.common.errors import RtcError

WORKER_NAME_MAX = WORD_MAX
"""Characters."""


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
