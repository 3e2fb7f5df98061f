"""The keeper: a program that runs one job to its end, whatever becomes of the worker that started it.

    python -P -m rtc.runner.supervisor FOLDER [DESCRIPTOR]

FOLDER holds the unpacked package and `spec.json`; DESCRIPTOR is the folder's lock, for trainers to inherit. Standard
input is the FIFO with orders, `cancel`, `stop this` and `stop all`, a line each. All that happens goes into the
folder: the journal, and last of all `outcome.json`. Nothing here leads back to the worker, so its death is not felt.
"""

import logging
import os
import signal
import sys
from pathlib import Path

import trio
from attrs import define, field

from protocol.jobs import GpuUse, JobKind, Outcome, StopScope
from rtc.common.errors import RtcError
from rtc.common.gpu import read_use
from rtc.common.job_result import JobResult
from rtc.packages.plan import Plan, read_plan
from rtc.packages.zip_reader import unpack
from rtc.runner.job_files import ARRIVED, LOST_TEXT, PACKAGE, Spec, read_spec, write_made, write_outcome
from rtc.runner.journal import Journal
from rtc.runner.run_plan import StopSwitch, run_job

log = logging.getLogger("rtc.keeper")

GPU_PERIOD = 2.0
"""Seconds from one look at the GPU to the next."""
ORDER_MAX = 4096
"""Bytes of orders read at once."""
STOPS = {f"stop {scope.value}".encode(): scope for scope in StopScope}
CANCEL = b"cancel"
CANCELLED = "The job was cancelled; what the models had learned so far is in the result."
CANCELLED_TRACK = "The job was cancelled; there are no predictions, as they are written only when they are whole."
NO_ROOM = "The worker could not make the job's own files ({}). Tell its owner: is its disk full?"
BROKEN = JobResult(
    Outcome.FAILED,
    "The job ended because of a bug in sleap-rtc, not in the package. Details are in the worker's log; tell its owner.",
)


@define
class _Supervisor:
    spec: Spec
    folder: Path
    """With the unpacked package."""
    inherit: tuple[int, ...]
    journal: Journal
    switch: StopSwitch = field(factory=StopSwitch)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    """Cancelled when the job is."""
    lost: bool = False
    """It was ended from outside, by nobody who may cancel it."""

    async def run(self) -> JobResult:
        """Run the job, and meanwhile heed orders and signals and look at the GPU."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._handle_signals)
            nursery.start_soon(self._handle_orders)
            if self.spec.gpu is not None:
                nursery.start_soon(_watch, self.spec, self.spec.gpu, self.journal)
            result = await self._run()
            nursery.cancel_scope.cancel()
        return result

    async def _run(self) -> JobResult:
        kind = JobKind.TRAIN
        with self.scope:
            try:
                await _unpack(self.folder.with_name(ARRIVED), self.folder)
                plan = await trio.to_thread.run_sync(read_plan, self.folder, self.spec.overrides)
                write_made(self.folder.parent, plan)
            except RtcError as error:
                return JobResult(Outcome.FAILED, error.fault.text)
            except OSError as error:
                return JobResult(Outcome.FAILED, NO_ROOM.format(error.strerror))
            kind = plan.kind
            return await self._run_plan(plan)
        # only a cancelled scope is left this way, so whatever sleap-nn's status was, this is what happened
        if self.lost:
            return LOST_TEXT
        return JobResult(Outcome.CANCELLED, CANCELLED if kind is JobKind.TRAIN else CANCELLED_TRACK)

    async def _run_plan(self, plan: Plan) -> JobResult:
        return await run_job(
            self.spec.job,
            plan,
            self.folder,
            sleap_nn=self.spec.sleap_nn,
            accelerator=self.spec.accelerator,
            gpu=self.spec.gpu,
            emit=self.journal.write,
            switch=self.switch,
            inherit=self.inherit,
        )

    async def _handle_orders(self) -> None:
        orders, rest = sys.stdin.fileno(), b""
        while True:
            await trio.lowlevel.wait_readable(orders)
            *lines, rest = (rest + os.read(orders, ORDER_MAX)).split(b"\n")
            for line in lines:
                self._obey(line)
            rest = rest[-ORDER_MAX:]

    def _obey(self, order: bytes) -> None:
        if order == CANCEL:
            self.scope.cancel()
        elif order in STOPS:
            self.switch.ask(STOPS[order])
        else:
            log.warning("an order that is none was passed over")

    async def _handle_signals(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """SIGTERM is the machine's shutdown, or somebody's kill; a terminal's signals are not meant for us."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                if number == signal.SIGTERM:
                    self.lost = self.lost or not self.scope.cancel_called
                    self.scope.cancel()


async def _unpack(arrived: Path, folder: Path) -> None:
    """Unpack the one archive that came, which is removed then.

    Raises:
        RtcError: BAD_PACKAGE or DISK_FULL.
    """
    for archive in await trio.Path(arrived).glob("*"):
        await unpack(Path(archive), folder)
        await archive.unlink()


async def _watch(spec: Spec, gpu: str, journal: Journal) -> None:
    """Tell what the job's GPU does, until cancelled."""
    while True:
        use = await trio.to_thread.run_sync(read_use, gpu, abandon_on_cancel=True)
        if use is not None:
            journal.write(GpuUse(spec.job, use.used_mb, use.total_mb, use.percent))
        await trio.sleep(GPU_PERIOD)


async def _supervise(folder: Path, inherit: tuple[int, ...]) -> JobResult:
    spec = read_spec(folder)
    try:
        journal = Journal(folder)
    except OSError as error:
        return JobResult(Outcome.FAILED, NO_ROOM.format(error.strerror))
    try:
        return await _Supervisor(spec, folder / PACKAGE, inherit, journal).run()
    finally:
        journal.close()


def main(words: list[str]) -> int:
    """The program. A bug of ours ends it loudly, in its log; the outcome is there all the same."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _pass_over)  # not SIG_IGN, which the trainers would inherit
    folder = Path(words[0])
    result = BROKEN
    try:
        result = trio.run(_supervise, folder, tuple(map(int, words[1:])))
    finally:
        write_outcome(folder, result)
    return 0


def _pass_over(_number: int, _frame: object) -> None:
    """A signal that means nothing to us."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
