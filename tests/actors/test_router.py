"""Tests of the router: it passes each effect to all its receivers, and none once it is cancelled."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.router import NoRoute, Router


async def passed_on(*effects: object, cancel: bool = False) -> list[object]:
    """Return those of these effects that a router passes on; all are put while it waits for one."""
    passed: list[object] = []
    router = Router({int: (passed.append,), str: (passed.append, passed.append)})
    async with trio.open_nursery() as nursery:
        await nursery.start(router.run)
        await wait_all_tasks_blocked()
        for effect in effects:
            router.outbox.put(effect)
        if cancel:
            nursery.cancel_scope.cancel()
        router.outbox.finish()
    return passed


async def test_effects_are_passed_in_order_to_each_of_their_receivers() -> None:
    assert await passed_on(1, "a", 2) == [1, "a", "a", 2]


async def test_an_effect_that_comes_in_the_pass_that_cancels_is_not_passed_on() -> None:
    assert await passed_on(1, cancel=True) == []


async def test_an_effect_without_a_route_raises() -> None:
    with pytest.RaisesGroup(NoRoute):
        await passed_on(1.0)
