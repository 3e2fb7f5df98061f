"""One job that is run in the test's own process, without a supervisor."""

import trio

from protocol.jobs import LogLines
from rtc.packages.plan import read_plan
from rtc.packages.zip_reader import unpack
from rtc.runner.run_plan import StopSwitch, run_job
from rtc.testing.limits import HANG_TIME


class JobRun:
    """One unpacked package and the events that were emitted when it ran."""

    def __init__(self, folder, sleap_nn):
        self.folder = folder
        self.sleap_nn = sleap_nn
        self.emitted = []
        self.switch = StopSwitch()

    def emit(self, news):
        self.emitted.append(news)

    def of(self, *kinds):
        return [news for news in self.emitted if isinstance(news, kinds)]

    def lines(self):
        return [line for news in self.of(LogLines) for line in news.lines]

    async def run(self, package, accelerator="cpu", gpus=None, overrides=(), **more):
        await unpack(package, self.folder)
        plan = await trio.to_thread.run_sync(read_plan, self.folder, overrides)
        with trio.fail_after(HANG_TIME):
            return await run_job(
                "j",
                plan,
                self.folder,
                sleap_nn=self.sleap_nn,
                accelerator=accelerator,
                gpus=gpus,
                emit=self.emit,
                switch=self.switch,
                **more,
            )
