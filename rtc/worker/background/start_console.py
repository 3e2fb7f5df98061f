"""What the starter of a background worker shows: everything that the worker reports, until it has joined or ended."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import trio
from attrs import define, field

from protocol.converter import WireError, from_json
from rtc.common.errors import ExitCode
from rtc.common.line_writer import LineWriter
from rtc.runtime.root import print_error
from rtc.worker.background.console import REPORT_MAX
from rtc.worker.background.record import ConsoleReport

SILENT_END = "The worker has ended and has not said why.{last} More may be in {output}."
UNIT_FAILED = (
    "The worker was not started by systemd, or has ended and has not said why.{last} To see more: systemctl --user "
    "status {unit}"
)


@define
class StartConsole:
    """Shows what the worker reports, until it has joined or has ended."""

    output: Path
    """What Python has printed on its own, if the worker ends without a word."""
    launched: trio.Process
    unit: str | None = None
    """The systemd unit that runs the worker."""
    joined: bool = False
    code: int | None = None
    _rest: bytes = b""
    _done: trio.Event = field(factory=trio.Event)

    async def follow(self, reader: int) -> int:
        """Show reports, and return the exit code."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, reader)
            nursery.start_soon(self._wait_end)
            await self._done.wait()
            nursery.cancel_scope.cancel()
        self._read_rest(reader)  # the worker's last words may have come together with its end
        if self.joined:
            return ExitCode.DONE
        return self._report_silent_end() if self.code is None else self.code

    async def _wait_end(self) -> None:
        await self.launched.wait()
        self._done.set()

    async def _read(self, reader: int) -> None:
        while not self._done.is_set():
            await trio.lowlevel.wait_readable(reader)
            if not self._read_rest(reader):
                return  # the worker has closed its end; if it has not joined, it is about to end

    def _read_rest(self, reader: int) -> bool:
        """Read what has come; return False when no more will come."""
        try:
            while part := os.read(reader, 65536):
                self._take(part)
        except BlockingIOError:
            return True
        return False

    def _take(self, part: bytes) -> None:
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            try:
                self._show(from_json(line, ConsoleReport, limit=REPORT_MAX))
            except WireError:
                continue  # somebody else of this user has written into the FIFO

    def _show(self, report: ConsoleReport) -> None:
        if report.output:
            LineWriter(sys.stdout).say(report.output)
        if report.error:
            LineWriter(sys.stderr).say(report.error)
        if report.joined:
            self.joined = True
            self._done.set()
        if report.code is not None:
            self.code = report.code
            self._done.set()

    def _report_silent_end(self) -> int:
        last = ""
        with suppress(OSError):
            lines = self.output.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((f" Its last line: {line.strip()[:200]}" for line in reversed(lines) if line.strip()), "")
        text = SILENT_END if self.unit is None else UNIT_FAILED
        print_error(text.format(last=last, output=self.output, unit=self.unit))
        return ExitCode.JOB_FAILED
