"""The client's courier: carries the package there, and brings home what was made of it."""

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Protocol

import trio
from attrs import define

from actors.events import FetchResult, ResultHere, ResultLost, ResultSafe, SendFailed, SendPackage
from actors.router import Router
from protocol.faults import FaultCode
from rtc.errors import RtcError
from rtc.jobs.results import unpack_results
from rtc.links import Links
from rtc.transfer import receive_file, send_file

CLEAN_TIME = 10.0
RESULT_MAX = 2**50


class Gauge(Protocol):
    """Sees bytes go by; a view is one."""

    def upload(self, done: int, total: int) -> None:
        """So many of the package's bytes are there."""

    def download(self, done: int, total: int) -> None:
        """So many of the result's bytes are here."""


@define
class Courier:
    """One package there, one result back."""

    package: Path
    output: Path
    chunk_size: int
    links: Links
    router: Router
    gauge: Gauge
    models: tuple[Path, ...] = ()
    """What came home: folders of models, relative to `output`."""
    _nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

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
        lane = self.links.lane(effect.link)
        if lane is None:
            return  # the link is gone, and its loss is told already
        size = (await trio.Path(self.package).stat()).st_size
        self.gauge.upload(0, size)
        try:
            await send_file(
                lane, self.package, name=self.package.name, chunk_size=self.chunk_size, progress=self.gauge.upload
            )
        except RtcError as error:
            self.router.outbox.put(SendFailed(error.fault))

    async def _bring_home(self, effect: FetchResult) -> None:
        """Take the result. The archive lies beside the output until it is unpacked."""
        lane = self.links.lane(effect.link)
        if lane is None:
            return  # likewise
        await trio.Path(self.output.parent).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".sleap-rtc-", dir=self.output.parent))
        try:
            archive = await receive_file(lane, folder, max_size=RESULT_MAX, progress=self.gauge.download)
            self.router.outbox.put(ResultSafe())
            await self._unpack(archive)
        except RtcError as error:
            self.router.outbox.put(ResultLost(error.fault))
        finally:
            with trio.move_on_after(CLEAN_TIME, shield=True):
                await trio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))

    async def _unpack(self, archive: Path) -> None:
        try:
            self.models = await unpack_results(archive, self.output)
        except (RtcError, OSError) as error:
            kept = self.output.with_name(f"{self.output.name}.results.zip")
            await trio.Path(archive).rename(kept)
            reason = (
                error.fault.text if isinstance(error, RtcError) else f"It could not be unpacked ({error.strerror})."
            )
            text = f"The result is here as {kept.name}, but not unpacked. {reason}"
            raise RtcError(FaultCode.DISK_FULL, text) from None
        self.router.outbox.put(ResultHere())
