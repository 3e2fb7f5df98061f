"""File transfers: a result is downloaded whole, over as many links as that takes, and no error here loses it."""

import filecmp
import os
import random
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import define, field

from actors.events import DownloadFailed, FetchResult, ResultDownloaded, ResultUnpacked
from actors.router import Router
from protocol.faults import FaultCode
from protocol.ids import LinkId
from rtc.client.file_transfers import FileTransfers
from rtc.common.errors import RtcError
from rtc.testing.file_channels import PieceCounter, open_file_channels
from rtc.testing.memory_connection import memory_connection_pair
from rtc.transport.files import send_file

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

    async def fetch(self, link: int, *, until: int | None = None) -> PieceCounter:
        """Send the result over one more link, which breaks when `until` bytes have crossed; None: never."""
        ours, theirs = memory_connection_pair()
        pieces = PieceCounter(ours, until)
        async with open_file_channels(ours, theirs) as (one, two, _, _):
            self.channels[LinkId(link)] = two
            self.file_transfers.fetch(FetchResult(LinkId(link)))
            with suppress(RtcError):  # the outcome is read from the events of the transfers
                await send_file(one, self.source, name="job-1.zip", progress=lambda _done, _all: None)
            self.events.append(await self.file_transfers.router.outbox.take())
            if isinstance(self.events[-1], ResultDownloaded):
                self.events.append(await self.file_transfers.router.outbox.take())
        return pieces


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "job-1.zip"
    path.write_bytes(random.Random(7).randbytes(SIZE))
    return path


def transfers_for(source: Path, error: OSError | None = None) -> Transfers:
    destination = Destination(source.parent / "home", error)
    channels: dict[LinkId, Any] = {}
    progress = SimpleNamespace(download=lambda _done, _all: None)
    file_transfers = FileTransfers(
        source, destination, 65536, SimpleNamespace(file_channel=channels.get), Router({}), progress
    )
    return Transfers(file_transfers, destination, source, channels, [])


async def test_a_result_is_downloaded_over_as_many_links_as_it_takes(source: Path) -> None:
    transfers = transfers_for(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(transfers.file_transfers.run)
        first = await transfers.fetch(1, until=5_000_000)
        [failed] = transfers.events
        assert isinstance(failed, DownloadFailed)
        assert failed.fault.code is FaultCode.LINK_LOST
        second = await transfers.fetch(2)
        assert transfers.events[1:] == [ResultDownloaded(), ResultUnpacked()]
        nursery.cancel_scope.cancel()
    assert first.seen + second.seen < SIZE + 5_000_000, "bytes that were here were sent again"
    assert filecmp.cmp(transfers.destination.folder / "flies.models", source, shallow=False)
    assert os.listdir(transfers.destination.folder) == ["flies.models"]


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
