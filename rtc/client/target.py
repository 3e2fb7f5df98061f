"""Where a client goes, and whom it asks, from what people type."""

from attrs import field, frozen

from actors.events import AskPerson, BestWorker, NamedWorker
from protocol.faults import FaultCode
from protocol.fields import ID_PATTERN
from protocol.ids import PeerId, RoomId
from protocol.session_string import SessionStringError, read_session_string
from rtc.common.errors import RtcError
from rtc.config.credentials import check_room


@frozen
class Target:
    """Where to go, and whom to ask."""

    room: RoomId
    token: str = field(repr=False)
    choice: NamedWorker | BestWorker | AskPerson
    server: str | None = None


def choose_target(
    session: str | None, room: str | None, token: str | None, worker: str | None, *, auto_select: bool
) -> Target:
    """One of the four ways to connect.

    Raises:
        RtcError: USAGE: the session string or an id is none.
    """
    if session is not None:
        try:
            there = read_session_string(session)
        except SessionStringError as error:
            raise RtcError(FaultCode.USAGE, str(error)) from None
        return Target(there.room, there.token, NamedWorker(there.peer), there.server)
    assert room is not None, "the command line asks for it"
    assert token is not None, "the command line asks for it"
    if worker is not None and not ID_PATTERN.fullmatch(worker):
        raise RtcError(FaultCode.USAGE, "That is not a worker id. Copy it from the worker's banner or the room's list.")
    choice = NamedWorker(PeerId(worker)) if worker is not None else BestWorker() if auto_select else AskPerson()
    return Target(check_room(room), token, choice)
