"""Turns options of the command line into the room that a client joins and the worker that it asks."""

from attrs import field, frozen

from actors.events import AskPerson, BestWorker, NamedWorker
from protocol.faults import FaultCode
from protocol.fields import ID_PATTERN
from protocol.ids import PeerId, RoomId
from protocol.session_string import SessionStringError, read_session_string
from rtc.common.errors import RtcError
from rtc.config.credentials import check_room, check_token


@frozen
class Target:
    """A room with its token, and how the worker in it is chosen."""

    room: RoomId
    token: str = field(repr=False)
    choice: NamedWorker | BestWorker | AskPerson
    server: str | None = None
    """The signalling server's address from the session string; None: the configured one."""


def choose_target(
    session: str | None, room: str | None, token: str | None, worker: str | None, *, auto_select: bool
) -> Target:
    """Return the target that these options name.

    There are four ways: a session string; or room and token, and then a worker's id, `--auto-select` (the available
    worker with most GPU memory), or the person's choice from a list.

    Args:
        session: the session string, which a worker prints at its start.
        room, token: needed without a session string; the command line then requires them.
        worker: the id of one worker.
        auto_select: take the best worker instead of asking the person.

    Raises:
        RtcError: USAGE: the session string or an id is malformed.
    """
    if session is not None:
        try:
            parsed = read_session_string(session)
        except SessionStringError as error:
            raise RtcError(FaultCode.USAGE, str(error)) from None
        return Target(parsed.room, parsed.token, NamedWorker(parsed.peer), parsed.server)
    assert room is not None, "the command line requires it"
    assert token is not None, "the command line requires it"
    if worker is not None and not ID_PATTERN.fullmatch(worker):
        raise RtcError(FaultCode.USAGE, "That is not a worker id. Copy it from the worker's banner or the room's list.")
    choice = NamedWorker(PeerId(worker)) if worker is not None else BestWorker() if auto_select else AskPerson()
    return Target(check_room(room), check_token(token), choice)
