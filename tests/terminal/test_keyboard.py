"""Single keys, and the question after a Ctrl-C: which handler gets a key, and that the terminal is always restored."""

import os
import re
import select
import signal
import subprocess
import sys
import termios
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
import trio
import trio.testing

from protocol.ids import JobId
from protocol.jobs import JobStarted, LogLines, ModelStarted, ModelTrained
from rtc.terminal import Interrupt, Mode, interrupt_prompt, open_view
from rtc.terminal.interface import ANSWER_TIME, ClientView
from rtc.terminal.interrupt_prompt import Question
from rtc.terminal.keyboard import Keyboard, split_keys
from rtc.terminal.yes_or_no import press_y_or_n
from rtc.testing.limits import HANG_TIME

JOB = JobId("job-1")
MODES = [Mode.NORMAL, Mode.QUIET]


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", "80"), ("LINES", "24")):
        monkeypatch.setenv(name, value)


class FakeTerminal:
    """A pseudo-terminal: a test types on it and reads its settings."""

    def __init__(self) -> None:
        self._master, self.fd = os.openpty()

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    @property
    def in_line_mode(self) -> bool:
        """Whether it is set as a shell needs it: whole lines, with echo."""
        flags = termios.tcgetattr(self.fd)[3]
        return bool(flags & termios.ICANON) and bool(flags & termios.ECHO)

    @property
    def sends_ctrl_c_as_signal(self) -> bool:
        return bool(termios.tcgetattr(self.fd)[3] & termios.ISIG)

    def close(self) -> None:
        for fd in (self._master, self.fd):
            os.close(fd)


@pytest.fixture
def keys() -> Iterator[FakeTerminal]:
    terminal = FakeTerminal()
    yield terminal
    terminal.close()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(HANG_TIME):
        while not condition():  # noqa: ASYNC110 (a terminal's settings have no event)
            await trio.sleep(0.01)


@pytest.mark.parametrize(
    ("typed", "keys", "rest"),
    [
        ("sL", "sl", ""),
        ("\x1b[C", "", ""),
        ("a\x1b[1;5Db", "ab", ""),
        ("\x1bOPx", "x", ""),
        ("\x1b", "", ""),
        ("s\x1b[", "s", "\x1b["),
        ("\r\n", "\r\n", ""),
    ],
)
def test_arrow_keys_are_no_letters(typed: str, keys: str, rest: str) -> None:
    assert split_keys(typed) == (keys, rest)


# -------- the keyboard


async def test_keys_are_received_at_once_and_the_terminal_is_restored(keys: FakeTerminal) -> None:
    received: list[str] = []
    async with Keyboard(keys.fd).read_keys(received.append):
        await until(lambda: not keys.in_line_mode)
        assert keys.sends_ctrl_c_as_signal
        keys.type("sx")
        await until(lambda: received == ["s", "x"])
    assert keys.in_line_mode


async def test_the_last_handler_gets_the_keys_and_then_the_one_before_again(keys: FakeTerminal) -> None:
    keyboard, first, second = Keyboard(keys.fd), [], []
    async with keyboard.read_keys(first.append):
        await until(lambda: not keys.in_line_mode)
        async with keyboard.read_keys(second.append):
            keys.type("a")
            await until(lambda: second == ["a"])
        keys.type("b")
        await until(lambda: first == ["b"])
    assert second == ["a"]


async def test_when_the_first_handler_is_removed_the_second_one_gets_the_keys(keys: FakeTerminal) -> None:
    keyboard, received = Keyboard(keys.fd), []
    scope = trio.CancelScope()

    async def first() -> None:
        with scope:
            async with keyboard.read_keys(lambda _key: None):
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await until(lambda: not keys.in_line_mode)
        async with keyboard.read_keys(received.append):
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked(0.01)
            keys.type("a")
            await until(lambda: received == ["a"])
    assert keys.in_line_mode


@pytest.mark.parametrize("end", ["cancel", "crash"])
async def test_whatever_ends_the_listening_the_terminal_is_restored(keys: FakeTerminal, end: str) -> None:
    scope = trio.CancelScope()

    async def read_keys() -> None:
        async with Keyboard(keys.fd).read_keys(lambda _key: None):
            await until(lambda: not keys.in_line_mode)
            if end == "crash":
                raise RuntimeError
            scope.cancel()
            await trio.sleep_forever()

    with scope:
        if end == "crash":
            with pytest.RaisesGroup(RuntimeError):
                await read_keys()
        else:
            await read_keys()
    assert keys.in_line_mode


async def test_without_a_terminal_nothing_is_ever_received() -> None:
    read, write = os.pipe()
    os.write(write, b"s")
    keyboard = Keyboard(read)
    assert not keyboard.usable
    async with keyboard.read_keys(lambda key: pytest.fail(key)):
        await trio.testing.wait_all_tasks_blocked()
    assert os.read(read, 9) == b"s", "it is not read"
    os.close(read)
    os.close(write)


async def test_a_terminal_that_is_closed_ends_the_reading_and_nothing_else() -> None:
    master, slave = os.openpty()
    keyboard = Keyboard(slave)
    async with keyboard.read_keys(lambda key: pytest.fail(key)):
        await until(keyboard._read_lock.locked)
        os.close(master)
        await until(lambda: not keyboard._read_lock.locked())
    os.close(slave)


@pytest.mark.slow
def test_in_a_real_session_ctrl_c_is_a_signal_and_sigterm_leaves_the_terminal_in_order(tmp_path: Path) -> None:
    script = tmp_path / "listen.py"
    root = Path(__file__).parents[2]
    script.write_text(
        textwrap.dedent(f"""
        import fcntl, signal, sys, termios
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        sys.path.insert(0, {str(root)!r})
        import trio
        from rtc.terminal import Mode, open_view

        async def main():
            out = sys.stdout
            async with open_view(terminal=True, mode=Mode.NORMAL, out=out) as view, trio.open_nursery() as nursery:
                with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    nursery.start_soon(view.read_keys, lambda: None)
                    await trio.testing.wait_all_tasks_blocked(0.05)
                    print("ready", flush=True)
                    async for number in signals:
                        print("signal", int(number), flush=True)
                        if number == signal.SIGTERM:
                            nursery.cancel_scope.cancel()
                            break

        import trio.testing
        trio.run(main)
        """)
    )
    terminal, inner = os.openpty()
    process = subprocess.Popen(
        [sys.executable, script], stdin=inner, stdout=inner, stderr=inner, start_new_session=True
    )
    os.close(inner)
    try:
        read_until(terminal, b"ready")
        assert not termios.tcgetattr(terminal)[3] & termios.ICANON
        os.write(terminal, b"\x03")
        read_until(terminal, b"signal 2")
        process.send_signal(signal.SIGTERM)
        read_until(terminal, b"signal 15")
        assert process.wait(HANG_TIME) == 0
        assert termios.tcgetattr(terminal)[3] & termios.ICANON
    finally:
        process.kill()
        os.close(terminal)


def read_until(fd: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        assert select.select([fd], [], [], HANG_TIME)[0], seen
        seen += os.read(fd, 1024)


# -------- keys of the live view


def running(view: ClientView) -> None:
    view.news(JobStarted(JOB, ("centroid",)), 0.0)
    view.news(ModelStarted(JOB, 0, 10), 0.0)


async def test_s_asks_to_stop_early_while_a_model_trains_and_l_shows_the_log(keys: FakeTerminal) -> None:
    out, stops = StringIO(), []
    async with (
        open_view(terminal=True, mode=Mode.NORMAL, out=out, stdin=keys.fd) as view,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(view.read_keys, lambda: stops.append(1))
        await until(lambda: not keys.in_line_mode)
        keys.type("sl")
        await until(lambda: view._log_shown)  # so the s has been handled, too
        keys.type("l")
        await until(lambda: not view._log_shown)
        running(view)
        view.news(LogLines(JOB, ("hello from there",)), 0.0)
        await until(lambda: "s stop early and keep the model" in out.getvalue())
        assert "hello from there" not in out.getvalue()
        keys.type("ssl")
        await until(lambda: "hello from there" in out.getvalue())
        assert len(stops) == 2
        view.news(ModelTrained(JOB, 0), 1.0)
        keys.type("sl")
        await until(lambda: out.getvalue().endswith("l show log  Ctrl-C is safe: it asks first\x1b[0m\x1b[K\x1b[J"))
        assert len(stops) == 2
        nursery.cancel_scope.cancel()
    assert keys.in_line_mode


@pytest.mark.parametrize("mode", [Mode.NORMAL, Mode.QUIET, Mode.JSON, Mode.VERBOSE])
async def test_without_a_terminal_listening_waits_for_ever(mode: Mode, autojump_clock: trio.testing.MockClock) -> None:
    async with open_view(terminal=False, mode=mode, out=StringIO()) as view:
        with trio.move_on_after(1e6) as scope:
            await view.read_keys(lambda: pytest.fail("nobody asked"))
    assert scope.cancelled_caught


async def test_where_ctrl_c_asks_nothing_it_is_not_called_safe(keys: FakeTerminal) -> None:
    out = StringIO()
    async with (
        open_view(terminal=True, mode=Mode.NORMAL, out=out, stdin=keys.fd, asks=False) as view,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(view.read_keys, lambda: None)
        running(view)
        await until(lambda: "l show log" in out.getvalue())
        nursery.cancel_scope.cancel()
    assert "Ctrl-C" not in out.getvalue()


# -------- the question


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question waits for its answer, however slow the machine is."""
    monkeypatch.setattr(interrupt_prompt, "ANSWER_TIME", HANG_TIME)


@pytest.fixture(params=MODES, ids=lambda mode: mode.value)
async def asked(request: pytest.FixtureRequest, keys: FakeTerminal, patient: None) -> AsyncIterator["Asked"]:
    out = StringIO()
    async with open_view(terminal=True, mode=request.param, out=out, stdin=keys.fd) as view:
        running(view)
        yield Asked(view, out, keys)


class Asked:
    """A view that can ask, and the terminal on which it asks."""

    def __init__(self, view: ClientView, out: StringIO, keys: FakeTerminal) -> None:
        self.view, self.out, self._keys = view, out, keys

    async def answer(self, typed: str, *, stoppable: bool = True) -> Interrupt:
        """Return the answer when this is typed as soon as the question is shown."""

        async def person() -> None:
            await until(lambda: not self._keys.in_line_mode and "Ctrl-C again" in self.out.getvalue())
            self._keys.type(typed)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(person)
            return await self.view.ask_interrupt(stoppable=stoppable)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("s", Interrupt.STOP),
        ("C", Interrupt.CANCEL),
        ("d", Interrupt.DETACH),
        ("\r", Interrupt.DETACH),
        ("\n", Interrupt.DETACH),
        ("x\x1b\x1b[C\x1b[Dqs", Interrupt.STOP),
    ],
)
async def test_one_key_is_an_answer_and_others_are_none(
    asked: Asked, keys: FakeTerminal, typed: str, expected: Interrupt
) -> None:
    assert await asked.answer(typed) is expected
    assert keys.in_line_mode
    for part in (
        "The job runs on the worker.",
        "s  stop early",
        "c  cancel",
        "d  detach",
        f"by itself in {HANG_TIME:.0f} s",
    ):
        assert part in asked.out.getvalue()


async def test_where_nothing_trains_nothing_can_stop_early(asked: Asked) -> None:
    assert await asked.answer("sc", stoppable=False) is Interrupt.CANCEL
    assert "s  stop early" not in asked.out.getvalue()


async def test_during_the_question_other_keys_do_nothing_and_afterwards_they_work_again(
    keys: FakeTerminal, patient: None
) -> None:
    out, stops = StringIO(), []
    async with (
        open_view(terminal=True, mode=Mode.NORMAL, out=out, stdin=keys.fd) as view,
        trio.open_nursery() as nursery,
    ):
        running(view)
        nursery.start_soon(view.read_keys, lambda: stops.append(1))
        await until(lambda: not keys.in_line_mode)
        assert await Asked(view, out, keys).answer("ls") is Interrupt.STOP
        assert not stops
        asked_at = len(out.getvalue())
        await until(lambda: "s stop early and keep the model  l show log" in out.getvalue()[asked_at:])
        keys.type("s")
        await until(lambda: bool(stops))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("mode", MODES)
async def test_no_answer_leaves_the_job_to_run_and_the_time_is_seen_to_pass(
    keys: FakeTerminal, mode: Mode, autojump_clock: trio.testing.MockClock
) -> None:
    out = StringIO()
    async with open_view(terminal=True, mode=mode, out=out, stdin=keys.fd) as view:
        running(view)
        begun = trio.current_time()
        assert await view.ask_interrupt(stoppable=True) is Interrupt.DETACH
        assert trio.current_time() - begun == ANSWER_TIME
    counted = list(dict.fromkeys(re.findall(r"by itself in (\d+) s", out.getvalue())))
    assert counted == [str(seconds) for seconds in range(10, 0, -1)]


async def test_a_terminal_that_cannot_draw_asks_once(
    keys: FakeTerminal, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = StringIO()
    async with open_view(terminal=True, mode=Mode.NORMAL, out=out, stdin=keys.fd) as view:
        assert await Asked(view, out, keys).answer("c") is Interrupt.CANCEL
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("terminal", [True, False])
async def test_with_nobody_to_ask_the_job_is_left_to_run_at_once(
    mode: Mode, terminal: bool, autojump_clock: trio.testing.MockClock
) -> None:
    read, write = os.pipe()
    async with open_view(terminal=terminal, mode=mode, out=StringIO(), stdin=read) as view:
        begun = trio.current_time()
        assert await view.ask_interrupt(stoppable=True) is Interrupt.DETACH
        assert trio.current_time() == begun
    os.close(read)
    os.close(write)


def test_the_first_answer_holds() -> None:
    question = Question(True, 10.0, answered=trio.Event())
    question.handle_key("c")
    question.handle_key("d")
    assert question.answer is Interrupt.CANCEL


# -------- y or n


async def press(keys: FakeTerminal, typed: str) -> bool | None:
    """Ask, type once the keyboard is read, and return the answer."""
    answers: list[bool | None] = []

    async def answer() -> None:
        answers.append(await press_y_or_n(Keyboard(keys.fd)))

    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            await until(lambda: not keys.in_line_mode)
            keys.type(typed)
    return answers[0]


@pytest.mark.parametrize(("typed", "answer"), [("y", True), ("N", False), ("\rq yn", True), ("\x1b[Cny", False)])
async def test_y_or_n_answers_and_no_other_key(keys: FakeTerminal, typed: str, answer: bool) -> None:
    assert await press(keys, typed) is answer
    assert keys.in_line_mode


async def test_a_key_that_was_pressed_before_the_question_is_no_answer_to_it(keys: FakeTerminal) -> None:
    keys.type("y")
    assert await press(keys, "n") is False


async def test_without_a_terminal_nobody_answers(tmp_path: Path) -> None:
    with (tmp_path / "no terminal").open("w+") as file:
        assert await press_y_or_n(Keyboard(file.fileno())) is None
