"""The client's courier: carries the package there, and brings home what was made of it."""

import shutil
from pathlib import Path
from typing import Protocol

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
from protocol.faults import Fault, FaultCode
from rtc.common.errors import RtcError
from rtc.common.scratch_dirs import aside_name, sweep
from rtc.transport.files import Incoming, send_file
from rtc.transport.links.manager import LinkManager

RESULT_MAX = 2**50


class Destination(Protocol):
    """Where the result goes; `rtc.client.result_folder.ResultFolder` is one."""

    @property
    def parent(self) -> Path:
        """The folder that it goes into, which may have to be made."""

    @property
    def kept(self) -> Path:
        """Where an archive is put that could not be unpacked."""

    def choose_again(self) -> None:
        """The result is here: see that the place is free still, or choose another."""

    async def take_in(self, archive: Path) -> None:
        """Unpack it."""


class TransferMeter(Protocol):
    """Sees bytes go by; a view is one."""

    def upload(self, done: int, total: int) -> None:
        """So many of the package's bytes are there."""

    def download(self, done: int, total: int) -> None:
        """So many of the result's bytes are here."""


@define
class FileTransfers:
    """One package there, one result back."""

    package: Path
    destination: Destination
    chunk_size: int
    links: LinkManager
    router: Router
    meter: TransferMeter
    _sending: bool = False
    """Some of the package may be over."""
    _incoming: Incoming | None = None
    """What is here of the result: a lost link's part is gone on from over the next one."""
    _archive: Path | None = None
    """The result, whole, as long as it is not unpacked."""
    _turn: trio.Lock = field(factory=trio.Lock)
    _nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            await self._clear()

    # -------- the router's doors

    def send(self, effect: SendPackage) -> None:
        """Carry the package there."""
        assert self._nursery is not None, "the courier is sent while it runs"
        self._nursery.start_soon(self._carry, effect)

    def fetch(self, effect: FetchResult) -> None:
        """Bring the result home."""
        assert self._nursery is not None, "the courier is sent while it runs"
        self._nursery.start_soon(self._bring_home, effect)

    # -------- the ways

    async def _carry(self, effect: SendPackage) -> None:
        file_channel = self.links.file_channel(effect.link)
        if file_channel is None:
            return  # the link is gone, and its loss is told already
        try:
            size = (await trio.Path(self.package).stat()).st_size
            if not self._sending:  # a second link goes on where the first one broke
                self.meter.upload(0, size)
            self._sending = True
            await send_file(
                file_channel,
                self.package,
                name=self.package.name,
                chunk_size=self.chunk_size,
                progress=self.meter.upload,
            )
            self.router.outbox.put(PackageSent())
        except RtcError as error:
            self.router.outbox.put(UploadFailed(error.fault))
        except OSError as error:
            text = f"The package cannot be read any more ({error.strerror}). Leave it where it is, and try again."
            self.router.outbox.put(UploadFailed(Fault(FaultCode.USAGE, text)))

    async def _bring_home(self, effect: FetchResult) -> None:
        """Take the result and unpack it. Once its archive is here it is never removed before it is unpacked."""
        file_channel = self.links.file_channel(effect.link)
        if file_channel is None:
            return  # likewise
        async with self._turn:  # the try over a lost link may not have ended yet
            try:
                if self._incoming is None:
                    self._incoming = await trio.to_thread.run_sync(self._make_room)
                self._archive = await self._incoming.take(file_channel, self.meter.download)
                self.router.outbox.put(ResultDownloaded())
                await trio.to_thread.run_sync(self.destination.choose_again)
                await self.destination.take_in(self._archive)
                self._archive = None
                self.router.outbox.put(ResultUnpacked())
            except (RtcError, OSError) as error:
                lost = _lost(error, self._archive, self.destination.kept)
                self.router.outbox.put(DownloadFailed(lost))
                if lost.code is FaultCode.LINK_LOST:
                    return
            await self._clear()

    def _make_room(self) -> Incoming:
        """In a folder of our own beside the output, so that nothing has to be copied between disks."""
        self.destination.parent.mkdir(parents=True, exist_ok=True)
        sweep(self.destination.parent)
        folder = self.destination.parent / aside_name()
        folder.mkdir(mode=0o700)
        return Incoming(folder, RESULT_MAX)

    async def _clear(self) -> None:
        """Remove our folder; an archive in it that was not unpacked is put beside the output first."""
        incoming, self._incoming = self._incoming, None
        archive, self._archive = self._archive, None
        if incoming is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._clean, incoming.folder, archive)

    def _clean(self, folder: Path, archive: Path | None) -> None:
        if archive is not None:
            kept, number = self.destination.kept, 2
            while kept.exists():
                kept, number = self.destination.kept.with_suffix(f".{number}.zip"), number + 1
            archive.rename(kept)
        shutil.rmtree(folder, ignore_errors=True)


def _lost(error: RtcError | OSError, archive: Path | None, kept: Path) -> Fault:
    """Why the result is not there as it should be, and where it is."""
    fault = error.fault if isinstance(error, RtcError) else None
    reason = fault.text if fault is not None else f"Its folder cannot be used ({getattr(error, 'strerror', error)})."
    if archive is not None:
        return Fault(FaultCode.DISK_FULL, f"The result is here as {kept.name}, but not unpacked. {reason}")
    if fault is not None:
        return fault
    return Fault(FaultCode.DISK_FULL, f"The result could not be taken; it is kept on the worker. {reason}")
