"""The question after a Ctrl-C: what happens to the job that runs on the worker?"""

from collections.abc import Callable

import trio
from attrs import define, field

from actors.events import Interrupt
from rtc.terminal.interface import ANSWER_TIME
from rtc.terminal.keyboard import Keyboard

SAFE = "The job runs on the worker. Ctrl-C again leaves it running."
CHOICES = {
    Interrupt.STOP: ("s", "stop early and keep the model"),
    Interrupt.CANCEL: ("c", "cancel the job"),
    Interrupt.DETACH: ("d", "detach and let it run"),
}
"""For each answer its key and its text."""
ENTER = "\r\n"
"""The two characters that Enter may send, depending on the terminal's settings; it means DETACH."""


@define
class Question:
    """One question that is being asked, and its answer."""

    stoppable: bool
    """A model is training, so STOP can be chosen."""
    deadline: float
    """When the question ends without an answer, by trio's clock."""
    answer: Interrupt = Interrupt.DETACH
    answered: trio.Event = field(factory=trio.Event)

    @property
    def choices(self) -> dict[str, Interrupt]:
        """The possible answers by key; STOP is one of them only while a model is training."""
        return {key: each for each, (key, _) in CHOICES.items() if self.stoppable or each is not Interrupt.STOP}

    def handle_key(self, key: str) -> None:
        """Set the answer that belongs to the key; ignore other keys, and every key after the first answer."""
        choices = self.choices | dict.fromkeys(ENTER, Interrupt.DETACH)
        if key in choices and not self.answered.is_set():
            self.answer = choices[key]
            self.answered.set()

    def lines(self, now: float) -> list[str]:
        """Return the question as lines: that the job is safe, then one line per choice; the last one counts down.

        Args:
            now: the time by trio's clock.
        """
        shown = [f"  {key}  {CHOICES[each][1]}" for key, each in self.choices.items()]
        left = max(0, round(self.deadline - now))
        return [SAFE, *shown[:-1], f"{shown[-1]} (or Enter; by itself in {left} s)"]


async def ask(keyboard: Keyboard, stoppable: bool, show: Callable[[Question], None]) -> Interrupt:
    """Ask, wait for a key and return the answer; DETACH without a usable keyboard, or without an answer in time.

    Args:
        keyboard: where the person answers.
        stoppable: a model is training, so STOP can be chosen.
        show: shows the question; called at once and then every second, for the countdown.
    """
    question = Question(stoppable, trio.current_time() + ANSWER_TIME)
    if not keyboard.usable:
        await trio.lowlevel.checkpoint()
        return question.answer
    async with keyboard.read_keys(question.handle_key):
        while not question.answered.is_set() and trio.current_time() < question.deadline:
            show(question)
            with trio.move_on_after(1):
                await question.answered.wait()
    return question.answer
