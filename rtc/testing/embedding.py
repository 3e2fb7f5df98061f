"""One actor in the test's own nursery: send events to it, and check the effects that it returns."""

from typing import Any, Generic, TypeVar

import trio
import trio.testing
from attrs import frozen

from actors.actor import Actor
from actors.mailbox import Mailbox
from actors.phase import Phase
from actors.table import Table
from protocol.status import Status
from rtc.common.stories import make_actor

D = TypeVar("D")


@frozen
class Embedded(Generic[D]):
    """A running actor and its outbox."""

    actor: Actor[D]
    outbox: Mailbox[Any]

    async def after(self, *events: Any) -> list[Any]:
        """Send `events` to the actor, wait until all tasks are blocked, and return the outbox since the last call."""
        for event in events:
            self.actor.inbox.put(event)
        await trio.testing.wait_all_tasks_blocked()
        sent = []
        while True:
            try:
                sent.append(self.outbox.take_nowait())
            except trio.WouldBlock:
                return sent

    @property
    def state(self) -> Status:
        """Whether the actor is available, reserved or busy."""
        return self.actor.status

    @property
    def phase(self) -> Phase:
        """The actor's phase."""
        return self.actor.phase

    @property
    def data(self) -> D:
        """The actor's data."""
        return self.actor.data


async def embed(nursery: trio.Nursery, table: Table[D], data: D) -> Embedded[D]:
    """Start an actor with this table and data; it is strict, and runs until the nursery ends."""
    outbox: Mailbox[Any] = Mailbox()
    actor = make_actor(table, data, outbox)
    actor.on_unexpected = None  # strict
    await nursery.start(actor.run)
    return Embedded(actor, outbox)
