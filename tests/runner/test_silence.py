"""A program that says nothing and does nothing for long is reported once, and ended if its owner wants that."""

import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest
import trio
import trio.testing

from rtc.runner import silence
from rtc.runner.silence import LOOK_PERIOD, SILENT_TIME, SilenceWatch, Usage, read_cpu_time, read_usage
from rtc.testing.limits import HANG_TIME


class Program:
    """A program whose use of the machine is made up, and its watch."""

    def __init__(self, give_up_after: float | None = None) -> None:
        self.cpu_per_look = 0.0
        self.gpu = 0
        self.cpu = 100.0
        self.lines = ["Epoch 3", "waiting for the loader"]
        self.told: list[str] = []
        self.ended = trio.Event()
        self.watch = SilenceWatch(give_up_after=give_up_after, read=self.read)

    async def read(self, _gpus: Sequence[str]) -> Usage:
        self.cpu += self.cpu_per_look
        return Usage(self.cpu, self.gpu)

    async def run(self) -> None:
        await self.watch.watch(lambda: self.lines, self.told.append, self.ended.set)


class TestWatch:
    """The watch, on a clock that jumps."""

    async def test_silence_is_reported_once_with_the_last_lines(self, autojump_clock: trio.testing.MockClock) -> None:
        program = Program()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.run)
            await trio.sleep(SILENT_TIME - 1)
            assert program.told == []
            await trio.sleep(2 * LOOK_PERIOD)
            assert "for 10 minutes" in program.told[0]
            assert "Epoch 3 / waiting for the loader." in program.told[0]
            await trio.sleep(10 * SILENT_TIME)
            assert len(program.told) == 1
            assert not program.ended.is_set()
            nursery.cancel_scope.cancel()

    async def test_each_new_stretch_of_silence_is_reported(self, autojump_clock: trio.testing.MockClock) -> None:
        program = Program()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.run)
            for number in (1, 2, 3):
                await trio.sleep(SILENT_TIME + 2 * LOOK_PERIOD)
                assert len(program.told) == number
                program.watch.hear()
            nursery.cancel_scope.cancel()

    @pytest.mark.parametrize("sign", ["output", "processor", "gpu"])
    async def test_a_program_that_does_anything_is_not_silent(
        self, sign: str, autojump_clock: trio.testing.MockClock
    ) -> None:
        program = Program(give_up_after=SILENT_TIME)
        program.cpu_per_look = 1.0 if sign == "processor" else 0.0
        program.gpu = 30 if sign == "gpu" else 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.run)
            for _ in range(20):
                await trio.sleep(SILENT_TIME / 2)
                if sign == "output":
                    program.watch.hear()
            assert (program.told, program.ended.is_set()) == ([], False)
            nursery.cancel_scope.cancel()

    async def test_waking_up_now_and_then_is_no_use_of_the_processor(
        self, autojump_clock: trio.testing.MockClock
    ) -> None:
        program = Program()
        program.cpu_per_look, program.gpu = 0.05, 2
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.run)
            await trio.sleep(SILENT_TIME + 2 * LOOK_PERIOD)
            assert len(program.told) == 1
            nursery.cancel_scope.cancel()

    @pytest.mark.parametrize(("time_limit", "reports"), [(2 * SILENT_TIME, 1), (SILENT_TIME, 0), (5.0, 0)])
    async def test_it_is_given_up_after_the_owners_time(
        self, time_limit: float, reports: int, autojump_clock: trio.testing.MockClock
    ) -> None:
        program = Program(time_limit)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.run)
            await program.ended.wait()
        assert time_limit <= trio.current_time() - began < time_limit + LOOK_PERIOD
        assert len(program.told) == reports
        assert "--give-up-after" in program.watch.given_up
        assert all("it is ended after 20 minutes" in text for text in program.told)

    async def test_a_time_of_which_nothing_is_known_does_not_count(
        self, autojump_clock: trio.testing.MockClock
    ) -> None:
        program = Program(SILENT_TIME)

        async def fail(_gpus: Sequence[str]) -> Usage:
            raise OSError(5, "Input/output error")

        program.watch.read = fail
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.run)
            await trio.sleep(3 * SILENT_TIME)
            assert not program.ended.is_set()
            nursery.cancel_scope.cancel()

    async def test_a_long_line_is_visibly_cut(self, autojump_clock: trio.testing.MockClock) -> None:
        program = Program(90)
        program.lines = ["x" * 1000]
        await program.run()
        assert program.watch.given_up.endswith("xx…")

    async def test_what_had_printed_nothing_is_said_so(self, autojump_clock: trio.testing.MockClock) -> None:
        program = Program(90)
        program.lines = ["  "]
        await program.run()
        assert "for 90 seconds" in program.watch.given_up
        assert "printed nothing" in program.watch.given_up


async def test_a_driver_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    answer = threading.Event()
    asked: list[str] = []

    def hang(gpu: str) -> None:
        asked.append(gpu)
        answer.wait(HANG_TIME)

    monkeypatch.setattr(silence, "_DRIVER", trio.CapacityLimiter(1))
    monkeypatch.setattr(silence, "read_use", hang)
    try:
        for _ in range(3):
            assert (await read_usage(["GPU-1"])).gpu == 0
        assert asked == ["GPU-1"]  # no second thread waits
    finally:
        answer.set()


@pytest.mark.slow
def test_the_time_of_children_counts_also_when_they_have_ended() -> None:
    before = read_cpu_time()
    work = "import os, time\nif os.fork(): os.wait()\nelse:\n  while time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", work], check=True)
    after = read_cpu_time()
    assert after - before >= 0.25
