"""The Python API when it is called in a wrong way: each time a sentence, and never the end of a room."""

import asyncio  # noqa: TID251 (that of a program which uses the API)
import importlib
import inspect
import math
import re
from pathlib import Path

import pytest
import trio

import rtc.api
from rtc.api import arguments, blocking
from rtc.api.connection import RoomConnection


def test_numbers_texts_and_paths_are_taken_as_programs_have_them() -> None:
    numpy = pytest.importorskip("numpy")
    assert arguments.whole_number_of("n", numpy.int64(5)) == 5
    assert arguments.seconds_of("t", numpy.float32(1.5)) == 1.5
    assert arguments.seconds_of("t", math.inf) == math.inf
    assert arguments.seconds_of("t", None) is None
    assert arguments.path_of("p", Path("a")) == arguments.path_of("p", "a") == Path("a")
    assert arguments.paths_of("p", (each for each in ("a", Path("b")))) == (Path("a"), Path("b"))
    assert arguments.texts_of("x", "one") == arguments.texts_of("x", ["one"]) == ("one",)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (arguments.path_of, 5),
        (arguments.path_of, b"bytes"),
        (arguments.path_of, ["a.zip"]),
        (arguments.paths_of, "a.yaml"),
        (arguments.paths_of, None),
        (arguments.paths_of, [5]),
        (arguments.texts_of, {"a": 1}),
        (arguments.texts_of, [5]),
        (arguments.texts_of, 5),
        (arguments.whole_number_of, "16000"),
        (arguments.whole_number_of, True),
        (arguments.whole_number_of, -1),
        (arguments.whole_number_of, 1.5),
        (arguments.seconds_of, "1h"),
        (arguments.seconds_of, math.nan),
        (arguments.seconds_of, -1),
    ],
)
def test_other_types_are_usage_errors_that_name_the_argument(check, value) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(rtc.api.UsageError, match="thing=…"):
        check("thing", value)


@pytest.mark.parametrize("name", ["room", "session_string", "room_id", "token", "server", "room_secret", "log"])
async def test_a_room_is_named_by_texts(name: str) -> None:
    wrong = {name: 5}
    with pytest.raises(rtc.api.UsageError, match=f"{name}=…"):
        async with rtc.api.connect(**wrong):  # type: ignore[arg-type]
            pass


def test_the_form_for_trio_says_so_where_there_is_no_trio() -> None:
    """Regression: within asyncio it was `Task got bad yield`."""

    async def within_asyncio() -> None:
        async with rtc.api.connect():
            pass

    # asyncio.run would leave the thread without a loop, which tests of aioice want
    runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    with runner, pytest.raises(rtc.api.UsageError, match=r"blocking\.connect"):
        runner.run(within_asyncio())
    with pytest.raises(rtc.api.UsageError, match=r"blocking\.connect"), rtc.api.connect():  # type: ignore[attr-defined]
        pass
    with pytest.raises(AttributeError, match=r"blocking\.connect"):
        rtc.api.connect().submit("bugs.zip")  # type: ignore[attr-defined]
    assert isinstance(rtc.api.connect(), RoomConnection)


def test_the_blocking_form_says_so_in_async_with() -> None:
    async def with_async() -> None:
        async with blocking.BlockingRoom.__new__(blocking.BlockingRoom):
            pass

    with pytest.raises(rtc.api.UsageError, match="without async"):
        trio.run(with_async)


def test_asyncio_stays_what_it_was_for_a_program_that_uses_the_api() -> None:
    """Regression: trio-asyncio made every loop of the program one of its own, as soon as a room was opened."""
    importlib.import_module("rtc.transport.webrtc")
    loop = asyncio.new_event_loop()
    loop.close()
    assert type(loop).__module__.startswith("asyncio.")


def test_help_tells_of_every_argument_in_both_forms() -> None:
    for function in (blocking.connect, rtc.api.connect, blocking.BlockingRoom.submit, rtc.api.Room.submit):
        text = inspect.getdoc(function) or ""
        described = set(re.findall(r"\w+", text.partition("Args:")[2].partition("Raises:")[0]))
        assert set(inspect.signature(function).parameters) - {"self"} <= described
