"""The courier: a result comes home whole, over as many links as that takes, and no trouble here loses it."""

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
from rtc.testing.file_channels import Pieces, open_file_channels
from rtc.testing.memory_connection import memory_connection_pair
from rtc.transport.files import send_file

SIZE = 10_000_019


@define
class Destination:
    """Takes the archive as it is; or finds that it cannot."""

    folder: Path
    trouble: OSError | None = None
    taken: trio.Event = field(factory=trio.Event)

    @property
    def parent(self) -> Path:
        return self.folder

    @property
    def kept(self) -> Path:
        return self.folder / "flies.results.zip"

    def choose_again(self) -> None:
        pass

    async def take_in(self, archive: Path) -> None:
        if self.trouble is not None:
            raise self.trouble
        await trio.Path(self.folder / "flies.models").write_bytes(await trio.Path(archive).read_bytes())


@define
class Trip:
    """A courier, and links that the test makes and breaks."""

    file_transfers: FileTransfers
    destination: Destination
    source: Path
    lanes: dict[LinkId, Any]
    said: list[object]

    async def fetch(self, link: int, *, until: int | None = None) -> Pieces:
        """Send the result over one more link, which breaks when so many bytes have crossed."""
        ours, theirs = memory_connection_pair()
        pieces = Pieces(ours, until)
        async with open_file_channels(ours, theirs) as (one, two, _, _):
            self.lanes[LinkId(link)] = two
            self.file_transfers.fetch(FetchResult(LinkId(link)))
            with suppress(RtcError):  # what became of it is what the courier says
                await send_file(one, self.source, name="job-1.zip", progress=lambda _done, _all: None)
            self.said.append(await self.file_transfers.router.outbox.take())
            if isinstance(self.said[-1], ResultDownloaded):
                self.said.append(await self.file_transfers.router.outbox.take())
        return pieces


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "job-1.zip"
    path.write_bytes(random.Random(7).randbytes(SIZE))
    return path


def trip_for(source: Path, trouble: OSError | None = None) -> Trip:
    destination = Destination(source.parent / "home", trouble)
    lanes: dict[LinkId, Any] = {}
    meter = SimpleNamespace(download=lambda _done, _all: None)
    file_transfers = FileTransfers(
        source, destination, 65536, SimpleNamespace(file_channel=lanes.get), Router({}), meter
    )
    return Trip(file_transfers, destination, source, lanes, [])


async def test_a_result_comes_home_over_as_many_links_as_it_takes(source: Path) -> None:
    trip = trip_for(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(trip.file_transfers.run)
        first = await trip.fetch(1, until=5_000_000)
        [lost] = trip.said
        assert isinstance(lost, DownloadFailed)
        assert lost.fault.code is FaultCode.LINK_LOST
        second = await trip.fetch(2)
        assert trip.said[1:] == [ResultDownloaded(), ResultUnpacked()]
        nursery.cancel_scope.cancel()
    assert first.seen + second.seen < SIZE + 5_000_000, "what was here was not sent again"
    assert filecmp.cmp(trip.destination.folder / "flies.models", source, shallow=False)
    assert os.listdir(trip.destination.folder) == ["flies.models"]


async def test_a_part_of_a_result_does_not_outlive_the_client(source: Path) -> None:
    trip = trip_for(source)
    async with trio.open_nursery() as nursery:
        await nursery.start(trip.file_transfers.run)
        await trip.fetch(1, until=5_000_000)
        assert len(os.listdir(trip.destination.folder)) == 1
        nursery.cancel_scope.cancel()
    assert os.listdir(trip.destination.folder) == []


async def test_a_result_that_cannot_be_unpacked_is_kept_beside_its_place(source: Path) -> None:
    trip = trip_for(source, OSError(28, "No space left on device"))
    async with trio.open_nursery() as nursery:
        await nursery.start(trip.file_transfers.run)
        await trip.fetch(1)
        [_, lost] = trip.said
        assert isinstance(lost, DownloadFailed)
        assert "flies.results.zip" in lost.fault.text
        nursery.cancel_scope.cancel()
    assert filecmp.cmp(trip.destination.kept, source, shallow=False)
    assert os.listdir(trip.destination.folder) == ["flies.results.zip"]
