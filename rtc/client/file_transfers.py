"""Uploads the client's package to the worker, and downloads and unpacks the result."""

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
from protocol.ids import LinkId
from rtc.common.errors import RtcError
from rtc.common.scratch_dirs import scratch_name, sweep
from rtc.common.size_limits import RESULT_MAX
from rtc.packages.original_paths import edit_for_sending, sent_size
from rtc.transport.files import Incoming, send_file
from rtc.transport.links.manager import LinkManager

OUTPUT_DISK = "disk of the output folder"
RESULT_TOO_LARGE = "It is kept on the worker for some time; fetch it with a larger --max-result."


class Destination(Protocol):
    """Chooses the path of the result and unpacks it there; implemented by `rtc.client.result_folder.ResultFolder`."""

    @property
    def parent(self) -> Path:
        """The folder in which the result's folder or file will lie; it may not exist yet."""

    @property
    def fallback_archive(self) -> Path:
        """The path to which an archive is moved that could not be unpacked."""

    def choose_path_again(self) -> None:
        """Choose the path of the result once more, because another program may have created a file there meanwhile.

        Called in a thread, because it blocks."""

    async def unpack(self, archive: Path) -> None:
        """Unpack the archive of the result to the chosen path."""


class TransferProgress(Protocol):
    """Shows the progress of upload and download; implemented by the views (`rtc.terminal`)."""

    def upload(self, done: int, total: int) -> None:
        """Show that `done` of the package's `total` bytes are on the worker."""

    def download(self, done: int, total: int) -> None:
        """Show that `done` of the result's `total` bytes are here."""


@define
class FileTransfers:
    """The upload of one package, and the download of its result, over as many links as they need."""

    package: Path
    destination: Destination
    chunk_size: int
    links: LinkManager
    router: Router
    progress: TransferProgress
    result_max: int = RESULT_MAX
    """Bytes of the largest result that is accepted."""
    _upload_begun: bool = False
    """An earlier link may have carried a part of the package."""
    _incoming: Incoming | None = None
    """The download, with the part of the result that is here; a download over the next link continues it."""
    _downloaded: bool = False
    """The archive of the result is, or was, completely here."""
    _archive: Path | None = None
    """The complete archive of the result, until it is unpacked."""
    _download_lock: trio.Lock = field(factory=trio.Lock)
    _nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run uploads and downloads until cancelled; then remove the partial download."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            await self._remove_folder()

    # -------- called by the router

    def send(self, effect: SendPackage) -> None:
        """Start to upload the package over a link.

        Puts `PackageSent` or `UploadFailed` into the outbox, or nothing if the link ends first.
        """
        assert self._nursery is not None, "transfers start only while `run` runs"
        self._nursery.start_soon(self._upload, effect)

    def fetch(self, effect: FetchResult) -> None:
        """Start to download and unpack the result.

        Puts `ResultDownloaded` and `ResultUnpacked` into the outbox, or `DownloadFailed`; nothing if the link ends
        before the result is here.
        """
        assert self._nursery is not None, "transfers start only while `run` runs"
        self._nursery.start_soon(self._download, effect)

    # -------- the transfers

    async def _upload(self, effect: SendPackage) -> None:
        file_channel = self.links.file_channel(effect.link)
        if file_channel is None:
            return  # the link is gone, and its `LinkLost` has been sent already
        try:
            size = await trio.to_thread.run_sync(sent_size, self.package)
            if not self._upload_begun:  # a second link continues where the first one broke
                self.progress.upload(0, size)
            self._upload_begun = True
            await send_file(
                file_channel,
                self.package,
                name=self.package.name,
                chunk_size=self.chunk_size,
                progress=self.progress.upload,
                edit=edit_for_sending,
            )
            self.router.outbox.put(PackageSent(effect.link))
        except RtcError as error:
            self._report_upload_failed(effect.link, error.fault)
        except OSError as error:
            text = f"The package cannot be read any more ({error.strerror}). Leave it where it is, and try again."
            self._report_upload_failed(effect.link, Fault(FaultCode.USAGE, text))

    def _report_upload_failed(self, link: LinkId, fault: Fault) -> None:
        if not self._ends_with_link(link, fault):
            self.router.outbox.put(UploadFailed(link, fault))

    async def _download(self, effect: FetchResult) -> None:
        """Receive the result and unpack it. A complete archive is never removed before it is unpacked."""
        file_channel = self.links.file_channel(effect.link)
        if file_channel is None:
            return  # the link is gone, and its `LinkLost` has been sent already
        async with self._download_lock:  # the download over the lost link may not have ended yet
            if self._downloaded:
                return  # and it had all bytes
            try:
                if self._incoming is None:
                    self._incoming = await trio.to_thread.run_sync(self._make_incoming)
                self._archive = await self._incoming.receive(file_channel, self.progress.download)
                self._downloaded = True
                self.router.outbox.put(ResultDownloaded())
                await trio.to_thread.run_sync(self.destination.choose_path_again)
                await self.destination.unpack(self._archive)
                self._archive = None
                self.router.outbox.put(ResultUnpacked())
            except (RtcError, OSError) as error:
                fault = _download_fault(error, self._archive, self.destination.fallback_archive)
                if self._archive is None and self._ends_with_link(effect.link, fault):
                    return  # the download goes on over the next link
                self.router.outbox.put(DownloadFailed(fault))
            await self._remove_folder()

    def _ends_with_link(self, name: LinkId, fault: Fault) -> bool:
        """Return whether a transfer has failed because its link has ended, or ends now: `LinkLost` says more then."""
        link = self.links.link(name)
        return fault.code is FaultCode.LINK_LOST or link is None or link.lost.is_set()

    def _make_incoming(self) -> Incoming:
        """Return a new download, into a temporary folder beside the output, so that no file is copied between disks."""
        self.destination.parent.mkdir(parents=True, exist_ok=True)
        sweep(self.destination.parent)
        folder = self.destination.parent / scratch_name()
        folder.mkdir(mode=0o700)
        return Incoming(folder, self.result_max, advice=RESULT_TOO_LARGE, disk=OUTPUT_DISK, copies=2)

    async def _remove_folder(self) -> None:
        """Remove the temporary folder; an archive in it that was not unpacked is moved beside the output first."""
        incoming, self._incoming = self._incoming, None
        archive, self._archive = self._archive, None
        if incoming is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._remove_folder_sync, incoming.folder, archive)

    def _remove_folder_sync(self, folder: Path, archive: Path | None) -> None:
        if archive is not None:
            target, number = self.destination.fallback_archive, 2
            while target.exists():
                target, number = self.destination.fallback_archive.with_suffix(f".{number}.zip"), number + 1
            archive.rename(target)
        shutil.rmtree(folder, ignore_errors=True)


def _download_fault(error: RtcError | OSError, archive: Path | None, fallback: Path) -> Fault:
    """Return the fault to report: why the result is not unpacked here, and where the result is now.

    Args:
        error: what went wrong.
        archive: the complete archive, if it is on this machine.
        fallback: the path to which the archive will be moved.
    """
    fault = error.fault if isinstance(error, RtcError) else None
    reason = fault.text if fault is not None else f"Its folder cannot be used ({getattr(error, 'strerror', error)})."
    if archive is not None:
        return Fault(FaultCode.DISK_FULL, f"The result is here as {fallback.name}, but not unpacked. {reason}")
    if fault is not None:
        return fault
    return Fault(FaultCode.DISK_FULL, f"The result could not be taken; it is kept on the worker. {reason}")
