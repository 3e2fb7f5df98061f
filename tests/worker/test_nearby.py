"""What a worker announces and prints for `--nearby`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from protocol.faults import FaultCode
from protocol.status import Status, WorkerFacts
from rtc.common.errors import RtcError
from rtc.nearby import multicast
from rtc.nearby.announcement import Announcement
from rtc.terminal.keyboard import Keyboard
from rtc.worker.nearby import WorkerConsole, is_loopback

FACTS = WorkerFacts(Status.AVAILABLE, "bench 4", "host-4", "NVIDIA A40", 46068, "0.3.5", "12.4", "0.1.0")
SERVER = "ws://192.168.1.20:8080"
FAILURE = RtcError(FaultCode.OTHER, "Multicast DNS cannot be used.")


class FakeAnnouncer:
    """Keeps what is announced, or fails."""

    def __init__(self) -> None:
        self.announced: list[Announcement | None] = []
        self.fails = False

    async def announce(self, announcement: Announcement | None) -> str:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise FAILURE
        self.announced.append(announcement)
        return "" if announcement is None else "bench 4-2"


@pytest.fixture
def announcer(monkeypatch: pytest.MonkeyPatch) -> FakeAnnouncer:
    announcer = FakeAnnouncer()

    @asynccontextmanager
    async def open_announcer(_addresses: Any) -> AsyncIterator[FakeAnnouncer]:
        yield announcer

    monkeypatch.setattr(multicast, "open_announcer", open_announcer)
    return announcer


def console_of(printed: list[str], fd: int = -1, prefix: str = "") -> WorkerConsole:
    return WorkerConsole(FACTS, SERVER, printed.append, Keyboard(fd), prefix)


async def test_the_number_is_announced_with_the_worker_s_name_gpu_and_server(
    nursery: trio.Nursery, announcer: FakeAnnouncer
) -> None:
    printed: list[str] = []
    console = console_of(printed)
    nursery.start_soon(console.run)
    for number in (7, 8, None):
        await console.number_changed(number)
    lab = Announcement("bench 4", "NVIDIA A40", SERVER, 7)
    assert announcer.announced == [lab, Announcement("bench 4", "NVIDIA A40", SERVER, 8), None]
    assert printed == ["Computers of this network find this worker as 'bench 4-2': sleap-rtc join --nearby"]


async def test_a_network_without_multicast_is_said_once_and_stops_nothing(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def open_announcer(_addresses: Any) -> AsyncIterator[None]:
        raise FAILURE
        yield

    monkeypatch.setattr(multicast, "open_announcer", open_announcer)
    printed: list[str] = []
    console = console_of(printed, prefix="[bench 4] ")
    await console.run()
    await console.number_changed(7)
    assert printed == ["[bench 4] This worker cannot be found nearby: Multicast DNS cannot be used."]


async def test_an_announcement_that_fails_is_said_once(nursery: trio.Nursery, announcer: FakeAnnouncer) -> None:
    printed: list[str] = []
    console = console_of(printed)
    nursery.start_soon(console.run)
    announcer.fails = True
    await console.number_changed(7)
    await console.number_changed(8)
    assert len(printed) == 1


async def test_the_person_sees_who_asks_and_the_words() -> None:
    printed: list[str] = []
    with open(os.devnull) as nothing:  # noqa: ASYNC230 (no real file)
        answer = await console_of(printed, nothing.fileno()).confirm("ada\x1b[2J\u202e", ("tulip", "otter", "radio"))
    assert answer is None, "there is no terminal"
    assert printed == [
        "A computer nearby asks to join this room. It says that it is called 'ada\\x1b[2J\\u202e',\n"
        "which anybody can say.\n\n"
        "    tulip otter radio\n\n"
        "Are these the words on its screen? Press y to let it in, n to refuse (60 s)."
    ]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://localhost:8080", True),
        ("ws://127.0.0.2:8080", True),
        ("ws://[::1]:8080", True),
        ("ws://192.168.1.20:8080", False),
        ("wss://lab.example.org", False),
    ],
)
def test_an_address_that_others_cannot_reach_is_known(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


async def test_a_server_that_others_cannot_reach_is_said(nursery: trio.Nursery, announcer: FakeAnnouncer) -> None:
    printed: list[str] = []
    console = WorkerConsole(FACTS, "ws://localhost:8080", printed.append, Keyboard(-1))
    nursery.start_soon(console.run)
    await console.number_changed(7)
    await console.number_changed(8)
    assert printed[1:] == [
        "But only this computer can reach the server at ws://localhost:8080. Start the worker with --serve."
    ]
