"""File transfers: package and result go over as many links as that takes, and no error here loses a result."""

import filecmp
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import define, field

from actors.events import (
    DownloadFailed,
    FetchResult,
    PackageSent,
    ResultDownloaded,
    ResultUnpacked,
    SendPackage,
    UploadFailed,
)
from actors.router import Router
from protocol.faults import FaultCode
from protocol.ids import JobId, LinkId
from rtc.client.file_transfers import FileTransfers
from rtc.common.errors import RtcError
from rtc.common.size_limits import RESULT_MAX
from rtc.testing.file_channels import PieceCounter, open_file_channels
from rtc.testing.limits import HANG_TIME
from rtc.testing.memory_connection import MemoryConnection, memory_connection_pair
from rtc.transport.files import Incoming, send_file

SIZE = 10_000_019


@define
class Destination:
    """Copies the archive instead of unpacking it; or raises `error`."""

    folder: Path
    error: OSError | None = None
    taken: trio.Event = field(factory=trio.Event)

    @property
    def parent(self) -> Path:
        return self.folder

    @property
    def fallback_archive(self) -> Path:
        return self.folder / "flies.results.zip"

    def choose_path_again(self) -> None:
        pass

    async def unpack(self, archive: Path) -> None:
        if self.error is not None:
            raise self.error
        await trio.Path(self.folder / "flies.models").write_bytes(await trio.Path(archive).read_bytes())


@define
class Transfers:
    """A client's transfers, and links that the test makes and breaks."""

    file_transfers: FileTransfers
    destination: Destination
    source: Path
    channels: dict[LinkId, Any]
    events: list[object]
    worker_accepts: int = 2 * SIZE
    """Bytes of the largest package that the worker takes."""

    async def fetch(self, link: int, *, until: int | None = None) -> PieceCounter:
        """Send the result over one more link, which breaks when `until` bytes have crossed; None: never."""
        async with self.open_link(link) as (theirs, counted, _):
            pieces = PieceCounter(counted, until)
            self.file_transfers.fetch(FetchResult(LinkId(link)))
            with suppress(RtcError):  # the outcome is read from the events of the transfers
                await send_file(theirs, self.source, name="job-1.zip", progress=lambda _done, _all: None)
            await self.settle()
        return pieces

    async def send(self, link: int, folder: Path, *, until: int | None = None) -> None:
        """Receive the package in `folder` over one more link, which breaks when `until` bytes have crossed."""
        async with self.open_link(link) as (theirs, _, counted):
            PieceCounter(counted, until)
            self.file_transfers.send(SendPackage(LinkId(link), JobId("job-1")))
            with suppress(RtcError):
                await Incoming(folder, self.worker_accepts).receive(theirs, lambda _done, _all: None)
            await self.settle()

    @asynccontextmanager
    async def open_link(self, link: int) -> AsyncIterator[tuple[Any, MemoryConnection, MemoryConnection]]:
        """Open a link; yield the worker's file channel, and both ends of the connection, the worker's first."""
        theirs, ours = memory_connection_pair()
        async with open_file_channels(theirs, ours) as (their_channel, our_channel, _, _):
            self.channels[LinkId(link)] = our_channel
            yield their_channel, theirs, ours

    async def settle(self) -> None:
        """Wait until the transfers have no task any more, and note their events."""
        nursery = self.file_transfers._nursery
        assert nursery is not None
        with trio.fail_after(HANG_TIME):
            while len(nursery.child_tasks) > 0:  # noqa: ASYNC110 (a nursery has no event for it)
                await trio.sleep(0.01)
        with suppress(trio.WouldBlock):
            while True:
                self.events.append(self.file_transfers.router.outbox.take_nowait())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "job-1.zip"
    path.write_bytes(random.Random(7).randbytes(SIZE))
    return path


def transfers_for(source: Path, error: OSError | None = None, result_max: int = RESULT_MAX) -> Transfers:
    destination = Destination(source.parent / "home", error)
    channels: dict[LinkId, Any] = {}
    progress = SimpleNamespace(upload=lambda _done, _all: None, download=lambda _done, _all: None)
    links = SimpleNamespace(file_channel=channels.get, link=lambda _name: SimpleNamespace(lost=trio.Event()))
    file_transfers = FileTransfers(source, destination, 65536, links, Router({}), progress, result_max)
    return Transfers(file_transfers, destination, source, channels, [])


async def test_a_result_is_downloaded_over_as_many_links_as_it_takes(source: Path) -> None:
    transfers = transfers_for(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(transfers.file_transfers.run)
        first = await transfers.fetch(1, until=5_000_000)
        assert transfers.events == [], "the end of the link says it"
        second = await transfers.fetch(2)
        assert transfers.events == [ResultDownloaded(), ResultUnpacked()]
        nursery.cancel_scope.cancel()
    assert first.seen + second.seen < SIZE + 5_000_000, "bytes that were here were sent again"
    assert filecmp.cmp(transfers.destination.folder / "flies.models", source, shallow=False)
    assert os.listdir(transfers.destination.folder) == ["flies.models"]


async def test_a_result_larger_than_the_limit_is_refused_with_the_option(source: Path) -> None:
    transfers = transfers_for(source, result_max=SIZE - 1)
    async with trio.open_nursery() as nursery:
        await nursery.start(transfers.file_transfers.run)
        counter = await transfers.fetch(1)
        nursery.cancel_scope.cancel()
    [failed] = transfers.events
    assert isinstance(failed, DownloadFailed)
    assert failed.fault.code is FaultCode.TOO_LARGE
    assert "--max-result" in failed.fault.text
    assert counter.seen == 0
    assert not transfers.destination.folder.exists() or os.listdir(transfers.destination.folder) == []


async def test_a_result_that_is_here_is_not_fetched_once_more(source: Path) -> None:
    transfers = transfers_for(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(transfers.file_transfers.run)
        await transfers.fetch(1)
        async with transfers.open_link(2):  # asked for because link 1 broke after the last byte
            transfers.file_transfers.fetch(FetchResult(LinkId(2)))
            await transfers.settle()
        nursery.cancel_scope.cancel()
    assert transfers.events == [ResultDownloaded(), ResultUnpacked()]


async def test_a_part_of_a_result_does_not_outlive_the_client(source: Path) -> None:
    transfers = transfers_for(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(transfers.file_transfers.run)
        await transfers.fetch(1, until=5_000_000)
        assert len(os.listdir(transfers.destination.folder)) == 1
        nursery.cancel_scope.cancel()
    assert os.listdir(transfers.destination.folder) == []


async def test_the_archive_of_a_result_that_cannot_be_unpacked_is_kept_beside_it(source: Path) -> None:
    transfers = transfers_for(source, OSError(28, "No space left on device"))
    async with trio.open_nursery() as nursery:
        await nursery.start(transfers.file_transfers.run)
        await transfers.fetch(1)
        [_, failed] = transfers.events
        assert isinstance(failed, DownloadFailed)
        assert "flies.results.zip" in failed.fault.text
        nursery.cancel_scope.cancel()
    assert filecmp.cmp(transfers.destination.fallback_archive, source, shallow=False)
    assert os.listdir(transfers.destination.folder) == ["flies.results.zip"]


# -------- the package


async def test_a_package_is_sent_over_the_link_that_is_there(source: Path) -> None:
    transfers = transfers_for(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(transfers.file_transfers.run)
        await transfers.send(1, source.parent)
        nursery.cancel_scope.cancel()
    assert transfers.events == [PackageSent(LinkId(1))]


async def test_an_upload_that_ends_with_its_link_reports_nothing(source: Path) -> None:
    transfers = transfers_for(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(transfers.file_transfers.run)
        await transfers.send(1, source.parent, until=5_000_000)
        nursery.cancel_scope.cancel()
    assert transfers.events == []


async def test_an_upload_that_the_worker_refuses_is_reported_with_its_link(source: Path) -> None:
    transfers = transfers_for(source)
    transfers.worker_accepts = 100
    async with trio.open_nursery() as nursery:
        await nursery.start(transfers.file_transfers.run)
        await transfers.send(1, source.parent)
        nursery.cancel_scope.cancel()
    [failed] = transfers.events
    assert isinstance(failed, UploadFailed)
    assert (failed.link, failed.fault.code) == (LinkId(1), FaultCode.TOO_LARGE)


async def test_a_package_that_was_removed_is_reported(source: Path) -> None:
    transfers = transfers_for(source)
    await trio.Path(source).unlink()
    async with trio.open_nursery() as nursery:
        await nursery.start(transfers.file_transfers.run)
        async with transfers.open_link(1):
            transfers.file_transfers.send(SendPackage(LinkId(1), JobId("job-1")))
            await transfers.settle()
        nursery.cancel_scope.cancel()
    [failed] = transfers.events
    assert isinstance(failed, UploadFailed)
    assert "cannot be read any more" in failed.fault.text
