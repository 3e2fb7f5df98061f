"""Expected errors leave a nursery as themselves; bugs and cancellation are never hidden by them."""

from functools import partial

import pytest
import trio

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.common.nurseries import first_error, open_background_nursery, ungrouped
from rtc.transport.files.channel import race


def lost(text="The link is lost."):
    return RtcError(FaultCode.LINK_LOST, text)


async def fail(error, delay=0.0):
    await trio.sleep(delay)
    raise error


async def run_in_background(task, body=trio.sleep_forever):
    async with open_background_nursery() as background:
        background.start_soon(task)
        await body()


async def run_ungrouped(*tasks):
    with ungrouped():
        async with trio.open_nursery() as nursery:
            for task in tasks:
                nursery.start_soon(task)


async def fail_while_cancelled(error):
    """Fail in the turn in which the task is cancelled, as a transfer does whose link is closed then."""
    try:
        await trio.sleep_forever()
    finally:
        raise error


def test_the_first_error_is_found_inside_nested_groups() -> None:
    error = lost()
    assert first_error(error) is error
    assert first_error(ExceptionGroup("outer", [ExceptionGroup("inner", [error]), ValueError()])) is error


async def test_an_error_of_the_body_leaves_as_itself() -> None:
    error = lost()
    with pytest.raises(RtcError) as caught:
        await run_in_background(trio.sleep_forever, partial(fail, error))
    assert caught.value is error


async def test_an_error_of_a_task_leaves_as_itself() -> None:
    with pytest.raises(RtcError, match="The link is lost"):
        await run_in_background(partial(fail, lost()))


async def test_the_tasks_end_with_the_body() -> None:
    await run_in_background(trio.sleep_forever, trio.lowlevel.checkpoint)


async def test_the_error_that_came_first_is_raised(autojump_clock) -> None:
    with pytest.raises(RtcError, match="first"):
        await run_ungrouped(partial(fail_while_cancelled, lost("second")), partial(fail, lost("first"), 1.0))


async def test_a_bug_is_not_hidden_by_an_expected_error(autojump_clock) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await run_ungrouped(partial(fail_while_cancelled, ValueError()), partial(fail, lost(), 1.0))
    assert {type(error) for error in caught.value.exceptions} == {ValueError, RtcError}


@pytest.mark.parametrize("tasks", [(), (partial(fail_while_cancelled, lost()),)])
async def test_a_cancellation_wins_over_an_error_that_comes_with_it(tasks, autojump_clock) -> None:
    with trio.move_on_after(1) as scope:
        await run_ungrouped(trio.sleep_forever, *tasks)
    assert scope.cancelled_caught


async def test_a_race_that_is_cancelled_ends_in_cancellation(autojump_clock) -> None:
    with trio.move_on_after(1) as scope:
        await race(partial(fail_while_cancelled, lost()), trio.sleep_forever)
    assert scope.cancelled_caught
