"""A question that is answered with one key, y or n."""

import trio

from rtc.terminal.keyboard import Keyboard


async def press_y_or_n(keyboard: Keyboard) -> bool | None:
    """Wait for one of the keys y and n, and return whether it was y; None without a usable keyboard.

    What was typed before does not count, and other keys change nothing. The caller bounds the time.
    """
    if not keyboard.usable:
        await trio.lowlevel.checkpoint()
        return None
    pressed, answered = "", trio.Event()

    def handle_key(key: str) -> None:
        nonlocal pressed
        if key in "yn" and not answered.is_set():
            pressed = key
            answered.set()

    async with keyboard.read_keys(handle_key):
        await answered.wait()
    return pressed == "y"
