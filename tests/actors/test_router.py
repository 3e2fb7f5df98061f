"""The router: each effect to everyone it is for, and none once the program is being cancelled."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.router import NoRoute, Router


async def carry(*effects: object, cancel: bool = False) -> list[object]:
    """What a router carries of these effects, put while it waits for one."""
    carried: list[object] = []
    router = Router({int: (carried.append,), str: (carried.append, carried.append)})
    async with trio.open_nursery() as nursery:
        await nursery.start(router.run)
        await wait_all_tasks_blocked()
        for effect in effects:
            router.outbox.put(effect)
        if cancel:
            nursery.cancel_scope.cancel()
        router.outbox.finish()
    return carried


async def test_effects_are_carried_in_order_to_each_of_their_takers() -> None:
    assert await carry(1, "a", 2) == [1, "a", "a", 2]


async def test_an_effect_that_comes_in_the_turn_that_cancels_is_not_carried() -> None:
    assert await carry(1, cancel=True) == []


async def test_an_effect_that_nobody_takes_is_a_bug_said_loudly() -> None:
    with pytest.RaisesGroup(NoRoute):
        await carry(1.0)
