"""The router: passes each effect, by its type, to inboxes and adapters. All effects of a program go through it."""

from collections.abc import Callable, Mapping
from typing import Any

import trio
from attrs import define, field

from actors.mailbox import PROGRAM_CAPACITY, PROGRAM_THRESHOLD, Mailbox

Route = Callable[[Any], None]
"""A receiver of effects that never waits: the `put` of an inbox, or a synchronous method of an adapter."""


class NoRoute(Exception):
    """An effect has a type without routes: a bug in how the program connects its parts."""


@define
class Router:
    """Passes effects from one outbox, which all actors of a program share, to their receivers."""

    routes: Mapping[type, tuple[Route, ...]]
    """For each type of effect, its receivers, in the order of the calls."""
    outbox: Mailbox[Any] = field(factory=lambda: Mailbox(PROGRAM_CAPACITY, PROGRAM_THRESHOLD))
    tap: Callable[[Any], None] | None = None
    """Called with every effect, in order, before its receivers; for logs, traces and tests."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Pass effects on until the outbox is finished or this task is cancelled. After a cancellation pass on none.

        An effect may be put in the same scheduler pass of trio in which this task is cancelled. The adapters are
        cancelled together with this task, and their nurseries may be closed before this task runs again; so the effect
        must not reach the adapters.
        """
        task_status.started()
        while True:
            try:
                effect = await self.outbox.take()
            except trio.EndOfChannel:
                return
            await trio.lowlevel.checkpoint_if_cancelled()
            self.carry(effect)

    def carry(self, effect: Any) -> None:
        """Pass one effect to all its receivers.

        Raises:
            NoRoute: its type has no routes.
        """
        if self.tap is not None:
            self.tap(effect)
        try:
            receivers = self.routes[type(effect)]
        except KeyError:
            raise NoRoute(f"no route for {type(effect).__name__}") from None
        for receive in receivers:
            receive(effect)
