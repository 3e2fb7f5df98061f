"""The question after a Ctrl-C: what becomes of the job that runs far away?"""

from collections.abc import Callable

import trio
from attrs import define, field

from rtc.terminal.interface import ANSWER_TIME, Interrupt
from rtc.terminal.keyboard import Keyboard

SAFE = "The job runs on the worker. Ctrl-C again leaves it running."
CHOICES = {
    Interrupt.STOP: ("s", "stop early and keep the model"),
    Interrupt.CANCEL: ("c", "cancel the job"),
    Interrupt.DETACH: ("d", "detach and let it run"),
}
"""The key of each answer, and what it means."""
ENTER = "\r\n"
"""What Enter sends, whichever way the terminal is set: it means to detach."""


@define
class Question:
    """One question in the air."""

    stoppable: bool
    until: float
    """When it answers itself (trio's clock)."""
    answer: Interrupt = Interrupt.DETACH
    answered: trio.Event = field(factory=trio.Event)

    @property
    def choices(self) -> dict[str, Interrupt]:
        """By key; a job in which nothing trains has nothing to keep."""
        return {key: each for each, (key, _) in CHOICES.items() if self.stoppable or each is not Interrupt.STOP}

    def key(self, key: str) -> None:
        """Take the answer, if it is one; other keys mean nothing."""
        choices = self.choices | dict.fromkeys(ENTER, Interrupt.DETACH)
        if key in choices and not self.answered.is_set():
            self.answer = choices[key]
            self.answered.set()

    def lines(self, now: float) -> list[str]:
        """What is safe, and one line for each choice; the last one counts down."""
        shown = [f"  {key}  {CHOICES[each][1]}" for key, each in self.choices.items()]
        left = max(0, round(self.until - now))
        return [SAFE, *shown[:-1], f"{shown[-1]} (or Enter; by itself in {left} s)"]


async def ask(keyboard: Keyboard, stoppable: bool, show: Callable[[Question], None]) -> Interrupt:
    """Ask, and wait for a key; `show` is called at once and then every second, for the countdown.

    Without a keyboard, or an answer in time, the job is left to run.
    """
    question = Question(stoppable, trio.current_time() + ANSWER_TIME)
    if not keyboard.usable:
        await trio.lowlevel.checkpoint()
        return question.answer
    async with keyboard.hear(question.key):
        while not question.answered.is_set() and trio.current_time() < question.until:
            show(question)
            with trio.move_on_after(1):
                await question.answered.wait()
    return question.answer
