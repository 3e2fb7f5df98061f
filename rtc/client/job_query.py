"""Asks one worker about jobs of ours, over a link of its own, and leaves: the program around an Errand."""

from attrs import field, frozen

from actors.actor import Actor
from actors.events import (
    Drain,
    Entered,
    EnterFailed,
    Heard,
    LinkLost,
    Refused,
    Reported,
    RoomPass,
    RosterIs,
    Sent,
    Trusted,
)
from actors.job_query import ERRAND, Errands
from protocol.ids import JobId, LinkId, PeerId, RoomId
from protocol.jobs import JobEvent, JobState, JobWishes
from protocol.signaling import Granted, InLine
from protocol.status import Role
from protocol.trust import Secret
from rtc.client.options import of_a_job
from rtc.common.errors import RtcError
from rtc.config.load import Config
from rtc.runtime.peer_runtime import House, open_house
from rtc.transport.webrtc import Bridge


@frozen
class Address:
    """Where a worker is, and how to be let in."""

    config: Config
    room: RoomId
    token: str = field(repr=False)
    worker: PeerId
    secret: Secret | None = None


async def run_errand(where: Address, wishes: tuple[JobWishes, ...], bridge: Bridge) -> dict[JobId, JobState]:
    """Ask a worker these things; its answers by job. Cancelling leaves at once.

    Raises:
        RtcError: it cannot be reached, or refuses; what it answered before is lost.
    """
    states: dict[JobId, JobState] = {}

    def note(event: Reported) -> None:
        states[event.state.job] = event.state

    async with open_house(
        bridge=bridge, config=where.config, role=Role.CLIENT, secret=where.secret, heard=_heard
    ) as house:
        errand = Actor(ERRAND, Errands(), house.router.outbox)
        hear = errand.inbox.put
        heard = (Sent, RosterIs, Refused, Trusted, LinkLost, Heard, EnterFailed, Drain)
        house.route(dict.fromkeys(heard, (hear,)) | {Reported: (note,), Entered: (), Granted: (), InLine: ()})
        await house.actors.start(errand.run)
        room_pass = RoomPass(Role.CLIENT, where.room, where.token)
        house.post(Sent(room_pass, where.worker, wishes, where.config.connection_timeout))
        await house.finished.wait()
        fault = house.last.fault
    if fault is not None:
        raise of_a_job(RtcError.of(fault))
    return states


async def _heard(house: House, link: LinkId, message: object) -> None:
    if not isinstance(message, JobEvent):  # nobody here follows a job
        await house.router.outbox.admit(Heard(link, message))
