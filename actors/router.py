"""Carries each effect, by its type, to inboxes and adapters. The one place where everything passes."""

from collections.abc import Callable, Mapping
from typing import Any

import trio
from attrs import define, field

from actors.mailbox import PROGRAM_CAPACITY, PROGRAM_THRESHOLD, Mailbox

Route = Callable[[Any], None]
"""Takes an effect without waiting: an inbox's `put`, or an adapter's sync method."""


class NoRoute(Exception):
    """An effect that nobody takes: a wiring bug."""


@define
class Router:
    """All actors of a program share its outbox."""

    routes: Mapping[type, tuple[Route, ...]]
    outbox: Mailbox[Any] = field(factory=lambda: Mailbox(PROGRAM_CAPACITY, PROGRAM_THRESHOLD))
    tap: Callable[[Any], None] | None = None
    """Sees everything, in order: the log, the trace, the tests."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry until the outbox is finished, or until cancelled: then nothing new is begun.

        An effect may come in the very turn that cancels us. The adapters are cancelled by the same hand, and their
        nurseries may be closed before it is our turn.
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
        """Hand one effect to everyone it is for.

        Raises:
            Unrouted: nobody takes it.
        """
        if self.tap is not None:
            self.tap(effect)
        try:
            takers = self.routes[type(effect)]
        except KeyError:
            raise NoRoute(f"nobody takes {type(effect).__name__}") from None
        for take in takers:
            take(effect)
