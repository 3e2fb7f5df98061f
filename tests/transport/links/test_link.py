"""A link over an in-memory connection: every way it can end, and hostile peers, which cannot break our program."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import chain, islice
from typing import Any

import pytest
import trio
from mutations import mutations
from trio.testing import MockClock, wait_all_tasks_blocked

from protocol import converter
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import AttachJob, JobStarted
from protocol.link import HEARTBEAT_TIME, LOST_TIME, Goodbye, Heartbeat, Hello
from protocol.trust import AuthFailure, AuthResponse, Denial
from protocol.version import OLDER_VALUES, VersionRange
from protocol.wire import TO_CLIENT, TO_WORKER, UNPROVEN, Vocabulary, decode, encode
from rtc.common.errors import RtcError
from rtc.testing.memory_connection import MemoryConnection, memory_connection_pair
from rtc.transport.links.link import FLUSH_TIME, PIECES_MAX, UNKNOWN_MAX, Link, open_link

RESPONSE = AuthResponse(bytes(32))
JOB = AttachJob(JobId("j1"), "key")
ENOUGH = Fault(FaultCode.CANCELLED, "Enough.")


def append_to(received: list[Any]) -> Callable[[Any], Awaitable[None]]:
    """Return a route that appends each message to `received`."""

    async def route(message: Any) -> None:
        await trio.lowlevel.checkpoint()
        received.append(message)

    return route


@asynccontextmanager
async def linked(received: list[Any]) -> AsyncGenerator[tuple[Link, MemoryConnection, MemoryConnection], None]:
    """Open a link; yield it with its own end of the connection and the other end, which has no link."""
    ours, theirs = memory_connection_pair()
    async with open_link(ours, name=LinkId(1), route=append_to(received)) as link:
        yield link, ours, theirs


async def test_messages_go_both_ways_in_order(autojump_clock: MockClock) -> None:
    received: list[Any] = []
    answers: list[Any] = []
    one, two = memory_connection_pair()
    async with open_link(one, name=LinkId(1), route=append_to(answers)) as ada:
        async with open_link(two, name=LinkId(2), route=append_to(received)) as bob:
            for reason in Denial:
                ada.send(AuthFailure(reason, "no"))
            bob.send(RESPONSE)
            await wait_all_tasks_blocked()
        assert [message.reason for message in received] == list(Denial)
        assert answers == [RESPONSE]


async def test_nothing_is_read_before_there_is_a_route(autojump_clock: MockClock) -> None:
    received: list[Any] = []
    one, two = memory_connection_pair()
    async with open_link(one, name=LinkId(1)) as link:
        await two.send_control(encode(RESPONSE))
        await wait_all_tasks_blocked()
        link.route = append_to(received)
        await wait_all_tasks_blocked()
        assert received == [RESPONSE]


async def test_trust_changes_vocabulary_route_and_opens_bulk(autojump_clock: MockClock) -> None:
    before: list[Any] = []
    after: list[Any] = []
    async with linked(before) as (link, _ours, theirs):
        await theirs.send_control(encode(RESPONSE))
        await wait_all_tasks_blocked()
        link.trust(TO_WORKER, 3, append_to(after))
        await theirs.send_control(encode(JOB))
        await theirs.send_bulk(b"piece")
        with trio.fail_after(1):
            assert await link.pieces.receive() == b"piece"
        await wait_all_tasks_blocked()
        assert (before, after) == ([RESPONSE], [JOB])


async def test_heartbeats_keep_a_quiet_link_alive_and_reach_no_route(autojump_clock: MockClock) -> None:
    received: list[Any] = []
    one, two = memory_connection_pair()
    async with (
        open_link(one, name=LinkId(1), route=append_to(received)) as ada,
        open_link(two, name=LinkId(2), route=append_to(received)) as bob,
    ):
        await trio.sleep(10 * LOST_TIME)
        assert not ada.lost.is_set()
        assert not bob.lost.is_set()
    assert received == []
    assert set(one.sent_texts[:-1]) == {encode(Heartbeat())}
    assert len(one.sent_texts) == pytest.approx(10 * LOST_TIME / HEARTBEAT_TIME, abs=2)


async def test_a_silent_other_side_is_lost_after_a_while(autojump_clock: MockClock) -> None:
    async with linked([]) as (link, _ours, theirs):
        started = trio.current_time()
        await trio.sleep(5)
        await theirs.send_control(encode(Heartbeat()))
        await link.lost.wait()
        assert trio.current_time() - started == pytest.approx(5 + LOST_TIME)
        assert link.fault is not None
        assert link.fault.code is FaultCode.LINK_LOST
        assert f"silent for {LOST_TIME:g} seconds" in link.fault.text


async def test_bulk_is_a_sign_of_life(autojump_clock: MockClock) -> None:
    async with linked([]) as (link, _ours, theirs):
        link.trust(TO_WORKER, 3, append_to([]))
        for _ in range(5):
            await trio.sleep(LOST_TIME - 1)
            await theirs.send_bulk(b"piece")
        assert not link.lost.is_set()


async def test_a_slow_route_does_not_make_the_other_side_look_silent(autojump_clock: MockClock) -> None:
    async def slow(_message: object) -> None:
        await trio.sleep(5 * LOST_TIME)

    one, two = memory_connection_pair()
    async with open_link(one, name=LinkId(1), route=slow) as ada, open_link(two, name=LinkId(2), route=slow) as bob:
        bob.send(RESPONSE)
        await trio.sleep(4 * LOST_TIME)
        assert not ada.lost.is_set()


async def test_a_good_bye_ends_the_other_side_at_once(autojump_clock: MockClock) -> None:
    for fault in (None, ENOUGH):
        one, two = memory_connection_pair()
        async with (
            open_link(one, name=LinkId(1), route=append_to([])) as ada,
            open_link(two, name=LinkId(2), route=append_to([])) as bob,
        ):
            started = trio.current_time()
            await bob.aclose(fault)
            await ada.lost.wait()
            assert trio.current_time() - started < 0.1
            assert ada.fault == bob.fault == fault


async def test_queued_messages_are_sent_before_the_good_bye(autojump_clock: MockClock) -> None:
    async with linked([]) as (link, ours, theirs):
        for _ in range(40):
            link.send(RESPONSE)
        await link.aclose(ENOUGH)
        assert ours.sent_texts == [encode(RESPONSE)] * 40 + [encode(Goodbye(ENOUGH))]
        assert theirs.ended.is_set()


async def test_a_connection_that_ends_ends_the_link(autojump_clock: MockClock) -> None:
    async with linked([]) as (link, _ours, theirs):
        started = trio.current_time()
        await theirs.aclose()
        await link.lost.wait()
        assert trio.current_time() == started
        assert link.fault is not None
        assert link.fault.code is FaultCode.LINK_LOST
        with pytest.raises(RtcError):
            await link.send_piece(b"piece")
        with pytest.raises(trio.EndOfChannel):
            await link.pieces.receive()


async def test_a_connection_that_ends_is_noticed_although_the_route_is_busy(autojump_clock: MockClock) -> None:
    async def stuck(_message: object) -> None:
        await trio.sleep_forever()

    one, two = memory_connection_pair()
    async with open_link(one, name=LinkId(1), route=stuck) as link:
        await two.send_control(encode(RESPONSE))
        await wait_all_tasks_blocked()
        await two.aclose()
        with trio.fail_after(FLUSH_TIME + 0.1):
            await link.lost.wait()


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "x",
        "[]",
        "[" * 900,
        '{"type":"GOODBYE","fault":1}',
        encode(JOB),
        "\ud800",
        '{"type":"NO_SUCH"}',
        "9" * 5000,
    ],
)
async def test_a_hostile_frame_ends_the_link_with_a_fault_that_is_sent(autojump_clock: MockClock, frame: str) -> None:
    received: list[Any] = []
    async with linked(received) as (link, ours, theirs):
        await theirs.send_control(frame)
        with trio.fail_after(1):
            await link.lost.wait()
        await link.aclose()
        assert link.fault is not None
        assert link.fault.code is FaultCode.BAD_MESSAGE
        assert ours.sent_texts == [encode(Goodbye(link.fault))]
    assert received == []


@pytest.mark.parametrize("count", [500, pytest.param(200_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize("vocabulary", [None, TO_WORKER, TO_CLIENT], ids=["not trusted", "to worker", "to client"])
async def test_changed_messages_end_a_link_in_order_or_not_at_all(
    autojump_clock: MockClock, count: int, vocabulary: Vocabulary[Any] | None
) -> None:
    changed = islice(mutations(count), count)
    kinds = set((vocabulary or UNPROVEN).messages.values())
    ended = 0
    for first in changed:
        received: list[Any] = []
        async with linked(received) as (link, _, theirs):
            if vocabulary is not None:
                link.trust(vocabulary, 3, append_to(received))
            for frame in chain([first], changed):
                await theirs.send_control(frame)
                await wait_all_tasks_blocked()
                if link.lost.is_set():
                    ended += 1
                    assert link.fault is None or link.fault.text
                    break
        assert {type(message) for message in received} <= kinds
    assert ended > count / 10


# -------- what another version says

FUTURE = '{"type":"FUTURE_WORDS","mood":"good"}'
FUTURE_NEWS = '{"type":"JOB_EVENT","news":{"type":"FUTURE_NEWS","job":"j1"},"at":1.0,"seq":7}'
PARTS = {"a message": (TO_WORKER, FUTURE), "a part of a message": (TO_CLIENT, FUTURE_NEWS)}


@pytest.mark.parametrize("what", PARTS)
async def test_an_unknown_message_is_answered_at_most_ten_times_a_minute_and_the_link_lives(
    autojump_clock: MockClock, what: str
) -> None:
    received: list[Any] = []
    vocabulary, text = PARTS[what]
    async with linked([]) as (link, ours, theirs):
        link.trust(vocabulary, 3, append_to(received))
        for minute in (1, 2):
            for _ in range(UNKNOWN_MAX + 5):
                await theirs.send_control(text)
            await wait_all_tasks_blocked()
            answers = [decode(sent, TO_CLIENT) for sent in ours.sent_texts if sent != encode(Heartbeat())]
            assert {answer.code for answer in answers} == {FaultCode.UNKNOWN_MESSAGE}
            assert len(answers) == minute * UNKNOWN_MAX
            for _ in range(7):  # a minute in which the other end is not silent
                await theirs.send_control(encode(Heartbeat()))
                await trio.sleep(9)
        await theirs.send_control(encode(ENOUGH))
        await wait_all_tasks_blocked()
        assert received == [ENOUGH]
        assert not link.lost.is_set()


async def test_a_peer_that_complains_without_end_does_not_fill_the_log(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked([]) as (link, _ours, theirs):
        link.trust(TO_WORKER, 3, append_to([]))
        for minute in (1, 2):
            for _ in range(UNKNOWN_MAX + 5):
                await theirs.send_control(encode(Fault(FaultCode.UNKNOWN_MESSAGE, "It was not understood.")))
            await wait_all_tasks_blocked()
            assert caplog.text.count("It was not understood.") == minute * UNKNOWN_MAX
            for _ in range(7):  # a minute in which the other end is not silent
                await theirs.send_control(encode(Heartbeat()))
                await trio.sleep(9)
        assert not link.lost.is_set()


async def test_a_fault_is_never_answered(autojump_clock: MockClock) -> None:
    received: list[Any] = []
    async with linked([]) as (link, ours, theirs):
        link.trust(TO_WORKER, 3, append_to(received))
        for code in FaultCode:
            await theirs.send_control(encode(Fault(code, "It was not understood.")))
        await theirs.send_control('{"type":"FAULT","code":"of_the_future","text":"It was not understood."}')
        await wait_all_tasks_blocked()
        assert ours.sent_texts == []
        known = [code for code in FaultCode if code is not FaultCode.UNKNOWN_MESSAGE]
        assert [fault.code for fault in received] == [*known, FaultCode.OTHER], "who did not understand is only logged"


async def test_two_ends_that_do_not_understand_each_other_fall_silent(autojump_clock: MockClock) -> None:
    one, two = memory_connection_pair()
    async with open_link(one, name=LinkId(1)) as ada, open_link(two, name=LinkId(2)) as bob:
        ada.trust(TO_WORKER, 3, append_to([]))
        bob.trust(TO_CLIENT, 3, append_to([]))
        await one.send_control(FUTURE)
        await two.send_control(FUTURE)
        await wait_all_tasks_blocked()
        assert [len(end.sent_texts) for end in (one, two)] == [2, 2]


async def test_what_follows_hello_is_in_the_common_version(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason of a denial, and that of a Goodbye, are known to an older peer."""
    monkeypatch.setattr("rtc.transport.links.link.VERSIONS", VersionRange(2, 3))
    monkeypatch.setitem(converter._converters, 2, converter._make_converter(2, 2))
    monkeypatch.setitem(OLDER_VALUES, Denial.TIMEOUT, (3, Denial.INVALID))
    monkeypatch.setitem(OLDER_VALUES, FaultCode.WORKER_LEAVING, (3, FaultCode.WORKER_BUSY))
    async with linked([]) as (link, ours, theirs):
        await theirs.send_control(encode(Hello(VersionRange(1, 2))))
        await wait_all_tasks_blocked()
        link.send(AuthFailure(Denial.TIMEOUT, "Too late."))
        await link.aclose(Fault(FaultCode.WORKER_LEAVING, "I go."))
    denial, goodbye = (json.loads(text) for text in ours.sent_texts)
    assert (denial["reason"], goodbye["fault"]["code"]) == ("invalid", "worker_busy")


async def test_bulk_before_trust_ends_the_link(autojump_clock: MockClock) -> None:
    async with linked([]) as (link, _ours, theirs):
        await theirs.send_bulk(b"piece")
        with trio.fail_after(1):
            await link.lost.wait()
        assert link.fault is not None
        assert link.fault.code is FaultCode.BAD_MESSAGE


async def test_a_flood_before_trust_is_answered_or_cut_and_never_breaks_us(autojump_clock: MockClock) -> None:
    one, two = memory_connection_pair()
    answered = 0
    async with open_link(one, name=LinkId(1)) as link:

        async def refuse(_message: object) -> None:
            nonlocal answered
            await trio.lowlevel.checkpoint()
            answered += 1
            link.send(AuthFailure(Denial.INVALID, "No."))

        link.route = refuse
        for number in range(20_000):
            try:
                await two.send_control(encode(RESPONSE))
            except RtcError:
                assert number > 0
                break
        await wait_all_tasks_blocked()
        assert link.fault is None or link.fault.code is FaultCode.STALLED
        assert answered > 1000 or link.lost.is_set()


async def test_a_flood_that_is_not_read_cuts_the_link(autojump_clock: MockClock) -> None:
    async def stuck(_message: object) -> None:
        await trio.sleep_forever()

    one, two = memory_connection_pair()
    async with open_link(one, name=LinkId(1), route=stuck) as link:

        async def flood() -> None:
            for _ in range(20_000):
                await two.send_control(encode(RESPONSE))

        with pytest.raises(RtcError):
            await flood()
        with trio.fail_after(FLUSH_TIME + 1):
            await link.lost.wait()
        assert link.fault is not None
        assert link.fault.code is FaultCode.STALLED


async def test_a_link_that_cannot_send_its_messages_is_cut_in_bounded_time(autojump_clock: MockClock) -> None:
    async with linked([]) as (link, ours, _theirs):
        ours.stuck = True
        for _ in range(200):
            link.send(RESPONSE)
        assert link.fault is not None
        assert link.fault.code is FaultCode.STALLED
        with trio.fail_after(6):
            await link.aclose()


async def test_waiting_for_queue_space_ends_with_the_link(autojump_clock: MockClock) -> None:
    async with linked([]) as (link, ours, _theirs):
        ours.stuck = True
        for _ in range(50):
            link.send(RESPONSE)
        with trio.fail_after(FLUSH_TIME + 1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.wait_below_threshold)
                await wait_all_tasks_blocked()
                await link.aclose()


async def test_closing_with_a_pulled_cable_is_bounded(autojump_clock: MockClock) -> None:
    async with linked([]) as (link, ours, theirs):
        ours.silent = theirs.silent = True
        started = trio.current_time()
        await link.aclose()
        assert trio.current_time() - started <= FLUSH_TIME + 0.1


async def test_unread_pieces_wait_and_then_cut_the_link(autojump_clock: MockClock) -> None:
    ours, theirs = memory_connection_pair(bulk_queue_max=100_000)
    async with open_link(ours, name=LinkId(1), route=append_to([])) as link:
        link.trust(TO_WORKER, 3, append_to([]))
        for _ in range(PIECES_MAX + 5):
            await theirs.send_bulk(bytes(10_000))
            await wait_all_tasks_blocked()
        assert not link.lost.is_set()
        for _ in range(20):
            await theirs.send_bulk(bytes(10_000))
            if theirs.ended.is_set():
                break
        with trio.fail_after(FLUSH_TIME):
            await link.lost.wait()
        assert link.fault is not None
        assert link.fault.code is FaultCode.STALLED


async def test_an_error_of_the_body_is_raised_unchanged_and_the_other_side_is_closed(autojump_clock: MockClock) -> None:
    ours, theirs = memory_connection_pair()
    with pytest.raises(RtcError, match=r"^mine$"):
        async with open_link(ours, name=LinkId(1)):
            raise RtcError(FaultCode.USAGE, "mine")
    assert theirs.ended.is_set()


async def test_cancelling_around_a_link_sends_a_good_bye(autojump_clock: MockClock) -> None:
    ours, theirs = memory_connection_pair()
    with trio.move_on_after(1) as scope:
        async with open_link(ours, name=LinkId(1)) as link:
            link.send(RESPONSE)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert ours.sent_texts == [encode(RESPONSE), encode(Goodbye())]
    assert theirs.ended.is_set()


async def test_a_bug_in_a_route_is_raised_and_still_closes_the_connection(autojump_clock: MockClock) -> None:
    async def broken(_message: object) -> None:
        raise ZeroDivisionError

    ours, theirs = memory_connection_pair()
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with open_link(ours, name=LinkId(1), route=broken):
            await theirs.send_control(encode(RESPONSE))
            await trio.sleep_forever()
    assert theirs.ended.is_set()


async def test_lost_callbacks_are_called_once_and_also_when_added_afterwards(autojump_clock: MockClock) -> None:
    calls: list[str] = []
    async with linked([]) as (link, _ours, _theirs):
        link.when_lost(lambda: calls.append("before"))
        await link.aclose()
        await link.aclose(ENOUGH)
        link.when_lost(lambda: calls.append("after"))
        link.send(JobStarted(JobId("j1"), ()))  # dropped: the link has ended
        link.trust(TO_CLIENT, 3, append_to([]))
    assert calls == ["before", "after"]
    assert link.fault is None
