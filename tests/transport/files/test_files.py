"""Files over a link: a file arrives complete or not at all, and both sides know which."""

import filecmp
import os
import random
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from protocol.faults import Fault, FaultCode
from protocol.ids import LinkId
from protocol.transfer import TRANSFER_MAX, FileAbort, FileAccept, FileCredit, FileEnd, FileOffer, FileVerified
from protocol.wire import TO_CLIENT, TO_WORKER, decode, encode, pack_piece
from rtc.common.errors import RtcError
from rtc.common.file_edit import FileEdit
from rtc.testing.file_channels import PieceCounter, file_channel_over, open_file_channels, receive_file
from rtc.testing.limits import HANG_TIME
from rtc.testing.memory_connection import LOST, MemoryConnection, memory_connection_pair
from rtc.transport.files import FileChannel, Incoming, receiver, send_file
from rtc.transport.files.channel import CREDIT_WINDOW, ProgressCallback
from rtc.transport.files.file_names import FILE_NAME_MAX, safe_name
from rtc.transport.files.receiver import RESERVE
from rtc.transport.links.link import open_link
from rtc.transport.webrtc import open_asyncio_loop, open_peer_connection

BIG = 10**12


def ignore(_done: int, _total: int) -> None:
    """A progress callback that does nothing."""


class Both:
    """Run a sender and a receiver at the same time, and save how each of them ended."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.sent: FaultCode | None = None
        self.received: FaultCode | None = None

    async def run(
        self,
        sending: Callable[[], Any] | None,
        receiving: Callable[[], Any] | None,
    ) -> "Both":
        async def send() -> None:
            assert sending is not None
            try:
                await sending()
            except RtcError as error:
                self.sent = error.fault.code

        async def receive() -> None:
            assert receiving is not None
            try:
                self.path = await receiving()
            except RtcError as error:
                self.received = error.fault.code

        async with trio.open_nursery() as nursery:
            if sending is not None:
                nursery.start_soon(send)
            if receiving is not None:
                nursery.start_soon(receive)
        return self


async def transfer(
    one: FileChannel, two: FileChannel, source: Path, folder: Path, *, name: str = "data.zip", **limits: Any
) -> Both:
    chunk_size = limits.pop("chunk_size", 65536)
    limits.setdefault("max_size", BIG)
    return await Both().run(
        lambda: send_file(one, source, name=name, progress=ignore, chunk_size=chunk_size),
        lambda: receive_file(two, folder, progress=ignore, **limits),
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of ten megabytes and 19 bytes, with random content."""
    path = tmp_path / "source"
    path.write_bytes(random.Random(7).randbytes(10_000_019))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, CREDIT_WINDOW, CREDIT_WINDOW + 1, 3 * CREDIT_WINDOW + 5])
async def test_files_of_every_length_arrive_whole(tmp_path: Path, folder: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(random.Random(size).randbytes(size))
    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):
        both = await transfer(one, two, source, folder)
        assert (both.sent, both.received) == (None, None)
    assert both.path == folder / "data.zip"
    assert both.path.read_bytes() == source.read_bytes()
    assert os.listdir(folder) == ["data.zip"]
    assert both.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("chunk_size", [1024, 65536, 256 * 1024 - 12])
async def test_chunk_size_is_obeyed(source: Path, folder: Path, chunk_size: int) -> None:
    os.truncate(source, 1_000_000)
    ours, theirs = memory_connection_pair()
    longest = 0

    def look(item: Any) -> Any:
        nonlocal longest
        if isinstance(item, bytes):
            longest = max(longest, len(item) - 12)
        return item

    ours.tamper = look
    async with open_file_channels(ours, theirs) as (one, two, _, _):
        both = await transfer(one, two, source, folder, chunk_size=chunk_size)
    assert both.path is not None
    assert longest == chunk_size


@pytest.mark.parametrize("chunk_size", [1023, 256 * 1024])
async def test_a_chunk_size_out_of_range_is_our_own_mistake(source: Path, chunk_size: int) -> None:
    async with open_file_channels(*memory_connection_pair()) as (one, _, _, _):
        with pytest.raises(ValueError, match="chunk_size"):
            await send_file(one, source, name="x", progress=ignore, chunk_size=chunk_size)


async def test_files_go_both_ways_one_after_the_other(source: Path, folder: Path) -> None:
    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):
        for sender, receiver in ((one, two), (two, one), (one, two)):
            assert (await transfer(sender, receiver, source, folder)).path is not None
    assert sorted(os.listdir(folder)) == ["data (2).zip", "data (3).zip", "data.zip"]


async def test_progress_grows_to_the_whole(source: Path, folder: Path) -> None:
    sent: list[int] = []
    received: list[int] = []
    total = 10_000_019
    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):
        await Both().run(
            lambda: send_file(one, source, name="x", progress=lambda done, _: sent.append(done)),
            lambda: receive_file(two, folder, max_size=BIG, progress=lambda done, _: received.append(done)),
        )
    for seen in (sent, received):
        assert seen == sorted(seen)
        assert seen[-1] == total


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_size": 10_000_018}, FaultCode.TOO_LARGE),
        ({"expected_size": 5}, FaultCode.DAMAGED),
        ({"expected_size": 0}, FaultCode.DAMAGED),
        ({}, FaultCode.DISK_FULL),
    ],
)
async def test_a_file_is_refused_before_the_first_byte(
    source: Path, folder: Path, limits: dict[str, int], code: FaultCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code is FaultCode.DISK_FULL:
        monkeypatch.setattr("rtc.transport.files.receiver.RESERVE", 10**17)
    ours, theirs = memory_connection_pair()
    frames: list[bytes] = []
    ours.tamper = lambda item: frames.append(item) or item if isinstance(item, bytes) else item
    async with open_file_channels(ours, theirs) as (one, two, _, _):
        both = await transfer(one, two, source, folder, **limits)
    assert (both.sent, both.received) == (code, code)
    assert frames == []
    assert os.listdir(folder) == []


@pytest.mark.parametrize(("copies", "code"), [(1, None), (2, FaultCode.DISK_FULL)])
async def test_an_archive_needs_space_for_its_files_too(
    source: Path, folder: Path, copies: int, code: FaultCode | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=RESERVE + 15_000_000)
    monkeypatch.setattr("rtc.transport.files.receiver.shutil.disk_usage", lambda _folder: usage)
    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):
        both = await Both().run(
            lambda: send_file(one, source, name="x", progress=ignore),
            lambda: Incoming(folder, BIG, copies=copies).receive(two, ignore),
        )
    assert both.received is code


async def test_the_disk_that_is_too_full_is_named(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=RESERVE)
    monkeypatch.setattr("rtc.transport.files.receiver.shutil.disk_usage", lambda _folder: usage)
    incoming = Incoming(folder, BIG, disk="worker's disk")
    said: list[str] = []

    async def receive(channel: FileChannel) -> None:
        try:
            await incoming.receive(channel, ignore)
        except RtcError as error:
            said.append(error.fault.text)
            raise

    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):
        await Both().run(lambda: send_file(one, source, name="x", progress=ignore), lambda: receive(two))
    assert "but the worker's disk has only" in said[0]


def _flip(number: int) -> Callable[[Any], Any]:
    """Change one byte of the payload of one frame."""
    count = 0

    def tamper(item: Any) -> Any:
        nonlocal count
        if isinstance(item, bytes):
            count += 1
            if count == number:
                return item[:-1] + bytes([item[-1] ^ 1])
        return item

    return tamper


def _readdress(transfer: int, offset: int) -> Callable[[Any], Any]:
    """Replace the transfer number and the offset of every frame."""
    return lambda item: pack_piece(1 + transfer, offset, item[12:]) if isinstance(item, bytes) else item


def _other_hash(item: Any) -> Any:
    if isinstance(item, str) and "FILE_END" in item:
        return encode(evolve(decode(item, TO_WORKER), sha256=bytes(32)))
    return item


def _short_offer(item: Any) -> Any:
    if isinstance(item, str) and "FILE_OFFER" in item:
        return encode(evolve(decode(item, TO_WORKER), size=100_000))
    return item


@pytest.mark.parametrize(
    "tamper",
    [
        _flip(1),
        _flip(100),
        _readdress(0, 5),
        _readdress(0, 2**60),
        _readdress(3, 0),
        _other_hash,
        _short_offer,
        lambda item: b"" if isinstance(item, bytes) else item,
        lambda item: item[:12] if isinstance(item, bytes) else item,
        lambda item: item + bytes(300_000) if isinstance(item, bytes) else item,
    ],
)
async def test_a_spoiled_transfer_is_damaged_on_both_sides(
    source: Path, folder: Path, tamper: Callable[[Any], Any]
) -> None:
    ours, theirs = memory_connection_pair()
    ours.tamper = tamper
    async with open_file_channels(ours, theirs) as (one, two, ada, bob):
        both = await transfer(one, two, source, folder)
        assert (both.sent, both.received) == (FaultCode.DAMAGED, FaultCode.DAMAGED)
        assert not ada.lost.is_set()
        assert not bob.lost.is_set()
    assert os.listdir(folder) == []


@pytest.mark.parametrize("tamper", [_flip(1), _flip(100), _readdress(0, 5), _other_hash, _short_offer])
async def test_leftovers_of_a_failed_transfer_do_not_harm_the_next(
    source: Path, folder: Path, tamper: Callable[[Any], Any]
) -> None:
    ours, theirs = memory_connection_pair()
    ours.tamper = tamper
    async with open_file_channels(ours, theirs) as (one, two, _, _):
        assert (await transfer(one, two, source, folder)).path is None
        ours.tamper = lambda item: item
        assert (await transfer(one, two, source, folder)).path == folder / "data.zip"
    assert os.listdir(folder) == ["data.zip"]


@pytest.mark.parametrize("change", ["shorter", "touched"])
async def test_a_file_that_changes_while_it_is_sent_is_damaged(source: Path, folder: Path, change: str) -> None:
    def meddle(done: int, _total: int) -> None:
        if done > 5_000_000:
            os.truncate(source, 5_500_000) if change == "shorter" else os.utime(source, ns=(0, 0))

    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):
        both = await Both().run(
            lambda: send_file(one, source, name="x", progress=meddle),
            lambda: receive_file(two, folder, max_size=BIG, progress=ignore),
        )
    assert (both.sent, both.received) == (FaultCode.DAMAGED, FaultCode.DAMAGED)
    assert os.listdir(folder) == []


async def test_a_peer_that_uses_up_the_numbers_of_transfers_ends_no_program(source: Path, folder: Path) -> None:
    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):
        one.last_transfer = TRANSFER_MAX - 1
        both = await transfer(one, two, source, folder)
        assert (both.sent, both.received) == (None, None)
        both = await Both().run(lambda: send_file(two, source, name="back.zip", progress=ignore), None)
        assert both.sent is FaultCode.DAMAGED


async def test_a_file_that_is_not_there_or_no_file_is_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    async with open_file_channels(*memory_connection_pair()) as (one, _, _, _):
        for name in ("nowhere", "pipe", "."):
            with trio.fail_after(HANG_TIME), pytest.raises(RtcError) as caught:
                await send_file(one, tmp_path / name, name="x", progress=ignore)
            assert caught.value.fault.code is FaultCode.DAMAGED
            assert str(tmp_path) not in caught.value.fault.text


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_cancelling_either_side_tells_the_other(source: Path, folder: Path, side: str) -> None:
    scope = trio.CancelScope()

    def stop(done: int, _total: int) -> None:
        if done > 3_000_000:
            scope.cancel()

    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):

        async def send() -> None:
            await send_file(one, source, name="x", progress=stop if side == "sender" else ignore)

        async def receive() -> Path:
            return await receive_file(two, folder, max_size=BIG, progress=stop if side == "receiver" else ignore)

        async def stoppable() -> None:
            with scope:
                await (send() if side == "sender" else receive())

        both = Both()
        with trio.fail_after(HANG_TIME):
            if side == "sender":
                await both.run(stoppable, receive)
                assert both.received is FaultCode.CANCELLED
            else:
                await both.run(send, stoppable)
                assert both.sent is FaultCode.CANCELLED
    assert os.listdir(folder) == []


@pytest.mark.parametrize("end", ["close", "cut", "pull"])
async def test_a_lost_link_ends_both_sides(source: Path, folder: Path, end: str) -> None:
    ours, theirs = memory_connection_pair()
    lost_time = 0.3 if end == "pull" else HANG_TIME  # only the pulled cable has to be noticed by its silence
    async with (
        open_link(ours, name=LinkId(1), lost_time=lost_time) as ada,
        open_link(theirs, name=LinkId(2), lost_time=lost_time) as bob,
    ):
        one, two = file_channel_over(ada, TO_CLIENT), file_channel_over(bob, TO_WORKER)

        def break_it(done: int, _total: int) -> None:
            if done < 3_000_000 or bob.lost.is_set() or ours.silent:
                return
            if end == "close":
                theirs.fail(Fault(FaultCode.LINK_LOST, "gone"))
                ours.fail(Fault(FaultCode.LINK_LOST, "gone"))
            elif end == "cut":
                bob.cut(Fault(FaultCode.STALLED, "x"))
            else:
                ours.silent = theirs.silent = True

        with trio.fail_after(HANG_TIME):
            both = await Both().run(
                lambda: send_file(one, source, name="x", progress=ignore),
                lambda: receive_file(two, folder, max_size=BIG, progress=break_it),
            )
    assert both.received is FaultCode.LINK_LOST
    assert both.sent in (FaultCode.LINK_LOST, FaultCode.STALLED)
    assert os.listdir(folder) == []


async def over_a_link(
    source: Path,
    incoming: Incoming,
    *,
    until: int | None = None,
    pair: tuple[MemoryConnection, MemoryConnection] | None = None,
) -> tuple[Both, PieceCounter]:
    """Send the file over a new link, which breaks when `until` bytes have crossed it."""
    ours, theirs = pair or memory_connection_pair()
    pieces = PieceCounter(ours, until)
    async with open_file_channels(ours, theirs) as (one, two, _, _):
        both = await Both().run(
            lambda: send_file(one, source, name="data.zip", progress=ignore), lambda: incoming.receive(two, ignore)
        )
    return both, pieces


async def test_a_new_link_goes_on_where_the_last_one_broke(source: Path, folder: Path) -> None:
    incoming = Incoming(folder, BIG)
    there = 0
    for until in (3_000_000, 4_000_000):
        both, pieces = await over_a_link(source, incoming, until=until)
        assert both.received is FaultCode.LINK_LOST
        assert pieces.first == there
        [before, there] = there, incoming.written
        assert there > before
    both, pieces = await over_a_link(source, incoming)
    assert (both.sent, both.received) == (None, None)
    assert (pieces.first, pieces.seen) == (there, 10_000_019 - there), "bytes that had arrived were not sent again"
    assert both.path == incoming.path == folder / "data.zip"
    assert filecmp.cmp(folder / "data.zip", source, shallow=False)
    assert os.listdir(folder) == ["data.zip"]


def contents(path: Path) -> bytes:
    return path.read_bytes()


def edited(own: bytes) -> bytes:
    return own[:1000] + bytes(1000) + own[2000:9_999_990] + bytes(10) + b"another end"


async def test_an_edited_file_arrives_as_edited_also_over_a_second_link(source: Path, folder: Path) -> None:
    """What is left out is not sent, and size, hash and resumption are those of what is sent."""
    edit = FileEdit(((1000, 2000), (9_999_990, 10_000_000)), 10_000_000, b"another end")
    incoming = Incoming(folder, BIG)
    for until in (3_000_000, None):
        ours, theirs = memory_connection_pair()
        PieceCounter(ours, until)
        async with open_file_channels(ours, theirs) as (one, two, _, _):
            both = await Both().run(
                partial(send_file, one, source, name="data.zip", progress=ignore, edit=lambda _file: edit),
                partial(incoming.receive, two, ignore),
            )
    assert (both.sent, both.received) == (None, None)
    assert contents(folder / "data.zip") == edited(contents(source))


async def test_bytes_that_came_but_were_not_written_are_sent_again(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = memory_connection_pair()
    real = receiver._PartialFile.write

    def write(part: receiver._PartialFile, payloads: list[memoryview]) -> None:
        while part.written >= 1_000_000 and not pair[0].ended.is_set():
            time.sleep(0.001)  # in its thread: the disk is slow, and the link breaks while more is waiting
        real(part, payloads)

    monkeypatch.setattr(receiver._PartialFile, "write", write)
    incoming = Incoming(folder, BIG)
    _, pieces = await over_a_link(source, incoming, until=4_000_000, pair=pair)
    written = incoming.written
    assert 1_000_000 <= written < pieces.seen
    both, pieces = await over_a_link(source, incoming)
    assert (both.received, pieces.first) == (None, written)
    assert filecmp.cmp(folder / "data.zip", source, shallow=False)


async def test_progress_of_a_second_link_begins_with_what_is_there(source: Path, folder: Path) -> None:
    incoming = Incoming(folder, BIG)
    await over_a_link(source, incoming, until=5_000_000)
    seen: list[int] = []
    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):
        await Both().run(
            lambda: send_file(one, source, name="x", progress=lambda done, _: seen.append(done)),
            lambda: incoming.receive(two, ignore),
        )
    assert seen[0] > 1_000_000
    assert seen == sorted(seen)
    assert seen[-1] == 10_000_019


async def test_a_sender_that_missed_the_verification_gets_it_over_the_next_link(source: Path, folder: Path) -> None:
    incoming = Incoming(folder, BIG)
    ours, theirs = memory_connection_pair()
    async with open_file_channels(ours, theirs) as (one, two, _, _):
        theirs.tamper = lambda item: None if isinstance(item, str) and "FILE_VERIFIED" in item else item

        async def take() -> Path:
            path = await incoming.receive(two, ignore)
            ours.fail(LOST)
            theirs.fail(LOST)
            return path

        both = await Both().run(lambda: send_file(one, source, name="data.zip", progress=ignore), take)
    assert (both.sent, both.received) == (FaultCode.LINK_LOST, None)
    both, pieces = await over_a_link(source, incoming)
    assert (both.sent, both.received, pieces.seen) == (None, None, 0)
    assert os.listdir(folder) == ["data.zip"]


async def test_a_sender_that_resumes_with_another_file_than_the_received_one_harms_nothing(
    source: Path, folder: Path
) -> None:
    incoming = Incoming(folder, BIG)
    await over_a_link(source, incoming)
    whole = await trio.Path(source).read_bytes()
    for other, fault in ((b"x" * 10_000_019, FaultCode.DAMAGED), (b"shorter", FaultCode.DAMAGED), (whole, None)):
        await trio.Path(source).write_bytes(other)
        both, _ = await over_a_link(source, incoming)
        assert both.received is fault
    assert os.listdir(folder) == ["data.zip"]


@pytest.mark.parametrize("other", [b"shorter", b"x" * 10_000_019])
async def test_another_file_over_the_next_link_is_damaged_and_nothing_of_it_kept(
    source: Path, folder: Path, other: bytes
) -> None:
    incoming = Incoming(folder, BIG)
    await over_a_link(source, incoming, until=5_000_000)
    await trio.Path(source).write_bytes(other)
    both, _ = await over_a_link(source, incoming)
    assert both.received is FaultCode.DAMAGED
    assert os.listdir(folder) == []


@pytest.fixture
def stall_soon(monkeypatch: pytest.MonkeyPatch) -> ProgressCallback:
    """A progress callback that shortens the stall time-out once the transfer has begun.

    (A mock clock would jump while a thread reads or writes.)
    """
    return lambda _done, _total: monkeypatch.setattr("rtc.transport.files.channel.STALL_TIME", 0.05)


async def test_a_sender_without_credit_gives_up_after_a_while(source: Path, stall_soon: ProgressCallback) -> None:
    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):

        async def accept_and_sleep() -> None:
            await two.messages.receive()
            two.send(FileAccept(1, 0, 100_000))
            while not isinstance(message := await two.messages.receive(), FileAbort):
                pass
            assert message.fault.code is FaultCode.STALLED

        with trio.fail_after(HANG_TIME):
            both = await Both().run(lambda: send_file(one, source, name="x", progress=stall_soon), accept_and_sleep)
        assert both.sent is FaultCode.STALLED


async def test_a_receiver_without_pieces_gives_up_after_a_while(folder: Path, stall_soon: ProgressCallback) -> None:
    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):

        async def offer_and_sleep() -> None:
            one.send(FileOffer(1, "x", 1000))
            while not isinstance(message := await one.messages.receive(), FileAbort):
                pass
            assert message.fault.code is FaultCode.STALLED

        with trio.fail_after(HANG_TIME):
            both = await Both().run(
                offer_and_sleep, lambda: receive_file(two, folder, max_size=BIG, progress=stall_soon)
            )
        assert both.received is FaultCode.STALLED
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    "messages",
    [
        [FileVerified(1)],
        [FileCredit(1, 5)],
        [FileAccept(1, 107, 100)],
        [FileAccept(1, 10**8, 10**9)],
        [FileAccept(1, 0, 10**9), FileAccept(1, 0, 10**9)],
        [FileAccept(1, 0, 5), FileCredit(1, 4)],
        [FileEnd(1, bytes(32))],
        [FileVerified(9)],
    ],
)
async def test_a_sender_accepts_no_wrong_messages(source: Path, messages: list[Any]) -> None:
    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):

        async def answer() -> None:
            await two.messages.receive()
            for message in messages:
                two.send(message)

        both = await Both().run(lambda: send_file(one, source, name="x", progress=ignore), answer)
        assert both.sent is FaultCode.DAMAGED


async def test_more_than_the_credit_is_damaged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtc.transport.files.receiver.CREDIT_STEP", BIG)  # credit is never raised
    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):

        async def rush() -> None:
            one.send(FileOffer(1, "x", 10 * CREDIT_WINDOW))
            for offset in range(0, 3 * CREDIT_WINDOW, 200_000):
                await one.send_piece(pack_piece(1, offset, bytes(200_000)))

        both = await Both().run(rush, lambda: receive_file(two, folder, max_size=BIG, progress=ignore))
        assert both.received is FaultCode.DAMAGED
    assert os.listdir(folder) == []


async def test_many_unread_messages_cut_the_link(autojump_clock: MockClock) -> None:
    async with open_file_channels(*memory_connection_pair()) as (one, _two, _, bob):
        for number in range(1000):
            one.send(FileVerified(number))
            await trio.lowlevel.checkpoint()
        with trio.fail_after(5):
            await bob.lost.wait()
        assert bob.fault is not None
        assert bob.fault.code is FaultCode.STALLED


@pytest.mark.slow
async def test_memory_does_not_grow_with_the_file(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as handle:
        handle.truncate(50_000_000)  # holes: nothing on disk, everything to send
    async with open_file_channels(*memory_connection_pair()) as (one, two, _, _):
        tracemalloc.start()
        try:
            both = await transfer(one, two, source, folder)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert both.path is not None
        assert both.path.stat().st_size == 50_000_000
        assert peak < 4 * CREDIT_WINDOW


@pytest.mark.slow
async def test_a_file_of_several_credit_windows_goes_over_real_aiortc(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtc.transport.files.receiver.CREDIT_WINDOW", 500_000)
    monkeypatch.setattr("rtc.transport.files.receiver.CREDIT_STEP", 60_000)
    source = tmp_path / "source"
    source.write_bytes(random.Random(1).randbytes(3_000_000))
    async with (
        open_asyncio_loop() as asyncio_loop,
        open_peer_connection(asyncio_loop) as ada,
        open_peer_connection(asyncio_loop) as bob,
    ):
        with trio.fail_after(HANG_TIME):
            await ada.accept_answer(await bob.answer(await ada.offer()))
            await ada.wait_open(HANG_TIME)
            await bob.wait_open(HANG_TIME)
            async with open_file_channels(ada, bob) as (one, two, _, _):
                both = await transfer(one, two, source, folder)
    assert both.path is not None
    assert filecmp.cmp(both.path, source, shallow=False)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("my package.zip", "my package.zip"),
        ("../../etc/passwd", "passwd"),
        ("..", "file"),
        ("...", "file"),
        (".bashrc", "bashrc"),
        ("", "file"),
        ("   ", "file"),
        ("/", "file"),
        ("C:\\Windows\\x.zip", "x.zip"),
        ("C:x.zip", "x.zip"),
        ("x.zip:stream", "x.zipstream"),
        ("CON", "_CON"),
        ("con.zip", "_con.zip"),
        ("LPT1.tar.gz", "_LPT1.tar.gz"),
        ("console.zip", "console.zip"),
        ("a\x00b\x1b[31m.zip", "ab[31m.zip"),
        ("gpj\u202e.exe", "gpj.exe"),
        ("name. . ", "name"),
        ("mäuse.zip", "mäuse.zip"),
        ("\ud800x", "x"),
    ],
)
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe
    assert safe_name(safe) == safe


@pytest.mark.parametrize("name", ["x" * 500, "x" * 500 + ".zip", "ü" * 300 + ".zip", "x." + "y" * 300, "🐭" * 100])
def test_long_names_are_shortened_and_keep_their_suffix(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe.encode()) <= FILE_NAME_MAX
    assert safe.endswith(".zip") == name.endswith(".zip")
