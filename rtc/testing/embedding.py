"""One actor in the test's own nursery: tell it what happened, and look at what it said."""

from typing import Any, Generic, TypeVar

import trio
import trio.testing
from attrs import frozen

from actors.actor import Actor
from actors.mailbox import Mailbox
from actors.table import Table
from protocol.status import Status

D = TypeVar("D")


@frozen
class Embedded(Generic[D]):
    """A living actor and its outbox."""

    actor: Actor[D]
    outbox: Mailbox[Any]

    async def after(self, *events: Any) -> list[Any]:
        """Tell it these, wait until it has nothing more to do, and return all it has said since the last look."""
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
        """What it is now."""
        return self.actor.state

    @property
    def data(self) -> D:
        """What it remembers now."""
        return self.actor.data


async def embed(nursery: trio.Nursery, table: Table[D], data: D) -> Embedded[D]:
    """Start an actor; it lives until the nursery ends."""
    outbox: Mailbox[Any] = Mailbox()
    actor = Actor(table, data, outbox)
    await nursery.start(actor.run)
    return Embedded(actor, outbox)
