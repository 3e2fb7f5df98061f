"""The program of the client's commands: runs one client with a view on standard output, and handles its signals."""

import signal
import sys

import trio
from attrs import define

from rtc.api.job_run import JobRun
from rtc.api.result import Result
from rtc.client.options import ClientOptions
from rtc.client.presenter import CANCELLED_BEFORE_JOB, Presenter
from rtc.common.errors import EXIT_CODES, ExitCode
from rtc.runtime.root import print_error
from rtc.terminal import open_view
from rtc.terminal.interface import Mode
from rtc.transport.webrtc import AsyncioLoop


@define
class ClientProgram:
    """One client with a view on standard output, which is a terminal or a pipe."""

    options: ClientOptions
    mode: Mode = Mode.NORMAL
    presenter: Presenter | None = None
    """That of the client, once it runs."""
    result: Result | None = None
    """How the job has ended, once it is known."""

    async def run(self, asyncio_loop: AsyncioLoop, drain: trio.Event) -> None:
        """Run the client, and show what happens. When `drain` is set, the client leaves its job and ends.

        Raises:
            RtcError: as for `rtc.client.program.run_client`.
        """
        asks = self.options.on_interrupt is None
        with trio.CancelScope() as outcome_scope:
            async with open_view(terminal=sys.stdout.isatty(), mode=self.mode, out=sys.stdout, asks=asks) as view:
                job_run = JobRun(self.options, view, outcome_scope)
                self.presenter = job_run.presenter
                try:
                    await job_run.run(asyncio_loop, drain)
                finally:
                    self.result = job_run.result

    def handle_signal(self, number: int) -> bool:
        """Tell the Client of a Ctrl-C. So is a SIGTERM if `--on-interrupt` says what it means.

        Any other SIGTERM, and a closed terminal (SIGHUP), ask nobody: the client leaves its job.

        Args:
            number: the signal.

        Returns:
            Whether the Client was told. False means that the client should leave.
        """
        tells = number == signal.SIGINT or (number == signal.SIGTERM and self.options.on_interrupt is not None)
        return tells and self.presenter is not None and self.presenter.interrupt()

    def cancelled_exit_code(self) -> ExitCode:
        """Print whether a job stays on a worker after the client was cancelled, and return the exit code."""
        fault = CANCELLED_BEFORE_JOB if self.presenter is None else self.presenter.cancelled_fault
        print_error(fault.text)
        return EXIT_CODES[fault.code]
