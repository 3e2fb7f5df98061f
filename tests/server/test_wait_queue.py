"""The room's line: first come, first served, and no worker promised twice."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from protocol.ids import PeerId
from protocol.signaling import Granted, InLine, Wait, WorkerShown
from protocol.status import Status, WorkerFacts
from rtc.server.wait_queue import WaitingLine

BIG, SMALL = PeerId("worker-big"), PeerId("worker-small")


def shown(peer: PeerId, memory: int, status: Status = Status.AVAILABLE) -> WorkerShown:
    return WorkerShown(peer, WorkerFacts(status, "bench", "lab", "GPU", memory, "0.3.5", "12.4", "0.1"))


def served(line: WaitingLine[str], *workers: WorkerShown) -> list[tuple[str, Any]]:
    said: list[tuple[str, Any]] = []
    line.serve(workers, lambda who, news: said.append((who, news)))
    return said


def lined_up(*names: str) -> WaitingLine[str]:
    line: WaitingLine[str] = WaitingLine()
    for name in names:
        line.join(name, Wait())
    return line


def test_everyone_is_told_their_place_once() -> None:
    line = lined_up("ada", "bob")
    assert served(line) == [("ada", InLine(1, 2)), ("bob", InLine(2, 2))]
    assert served(line) == []


def test_the_first_in_line_is_promised_the_worker_that_comes_free_and_the_others_move_up() -> None:
    line = lined_up("ada", "bob", "cyd")
    served(line)
    assert served(line, shown(BIG, 24000)) == [("ada", Granted(BIG))]
    line.leave("ada")
    assert served(line, shown(BIG, 24000, Status.RESERVED)) == [("bob", InLine(1, 2)), ("cyd", InLine(2, 2))]


def test_two_workers_that_come_free_together_go_to_the_first_two_in_order() -> None:
    line = lined_up("ada", "bob", "cyd")
    said = served(line, shown(SMALL, 8000), shown(BIG, 24000))
    assert said == [("ada", Granted(BIG)), ("bob", Granted(SMALL)), ("cyd", InLine(3, 3))]


def test_who_needs_more_memory_does_not_hold_up_who_needs_less() -> None:
    line: WaitingLine[str] = WaitingLine()
    line.join("ada", Wait(20000))
    line.join("bob", Wait())
    assert served(line, shown(SMALL, 8000)) == [("bob", Granted(SMALL)), ("ada", InLine(1, 2))]


def test_who_waits_for_one_worker_is_not_given_another() -> None:
    line: WaitingLine[str] = WaitingLine()
    line.join("ada", Wait(worker=BIG))
    assert served(line, shown(SMALL, 8000)) == [("ada", InLine(1, 1))]
    assert served(line, shown(BIG, 24000)) == [("ada", Granted(BIG))]


def test_a_promised_worker_is_kept_from_all_others() -> None:
    line = lined_up("ada")
    served(line, shown(BIG, 24000))
    assert line.keeps_from("bob", BIG)
    assert not line.keeps_from("ada", BIG)
    line.leave("ada")
    assert not line.keeps_from("bob", BIG)


def test_a_promise_that_came_to_nothing_keeps_the_place_and_is_not_made_again_at_once() -> None:
    line = lined_up("ada", "bob")
    served(line, shown(BIG, 24000))
    line.join("ada", Wait())
    assert not any(isinstance(news, Granted) for _, news in served(line, shown(BIG, 24000)))
    line.heard(BIG)
    assert ("ada", Granted(BIG)) in served(line, shown(BIG, 24000))


def test_a_client_on_a_new_line_keeps_its_place() -> None:
    line = lined_up("ada", "bob")
    served(line)
    line.rename("ada", "ada again")
    assert served(line, shown(BIG, 24000)) == [("ada again", Granted(BIG))]


names = st.sampled_from(["ada", "bob", "cyd", "dee"])
moves = st.one_of(
    st.tuples(st.just("join"), names, st.sampled_from([Wait(), Wait(20000), Wait(worker=SMALL)])),
    st.tuples(st.just("leave"), names, st.none()),
    st.tuples(st.just("word"), st.sampled_from([BIG, SMALL]), st.sampled_from(list(Status))),
)


@given(st.lists(moves, max_size=60))
def test_no_worker_is_promised_twice_and_nobody_is_passed_over(steps: list[tuple[str, Any, Any]]) -> None:
    line: WaitingLine[str] = WaitingLine()
    workers = {BIG: shown(BIG, 24000), SMALL: shown(SMALL, 8000)}
    for kind, who, what in steps:
        if kind == "join":
            line.join(who, what)
        elif kind == "leave":
            line.leave(who)
        else:
            workers[who] = shown(who, workers[who].facts.memory_mb, what)
            line.heard(who)
        served(line, *workers.values())
        promised = [waiter.promised for waiter in line._waiters if waiter.promised]
        assert len(promised) == len(set(promised))
        free = [one for one in workers.values() if one.facts.status is Status.AVAILABLE]
        idle = [one for one in free if one.peer not in promised and one.peer not in line._doubtful]
        for waiter in line._waiters:
            assert waiter.promised is not None or not any(waiter.fits(one) for one in idle)
