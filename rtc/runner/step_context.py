"""The settings that all steps of a job share, with the functions that start a program and describe its failure."""

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio
from attrs import field, frozen

from protocol.faults import FaultCode
from protocol.ids import JobId
from protocol.jobs import JobKind, JobNews, JobNote, NoteKind
from rtc.common.errors import RtcError
from rtc.common.nurseries import open_background_nursery
from rtc.common.process_group import Holder, run_group
from rtc.runner.silence import SilenceWatch
from rtc.sleap_nn.commands import Accelerator, show_command
from rtc.sleap_nn.hardware_lines import advice, find_cause
from rtc.sleap_nn.output import JobLog, LineHandler, failure_reason, hide_paths

Emit = Callable[[JobNews], None]
"""Gets each event of a job. Must not block."""


@frozen
class StepContext:
    """What all steps of one job need to run their programs and to report events."""

    job: JobId
    folder: Path
    """The package's root, to which its paths are relative; the programs run in it."""
    sleap_nn: Path
    accelerator: Accelerator
    environment: dict[str, str]
    log: JobLog
    emit: Emit
    inherit: tuple[int, ...]
    """Descriptors that stay open in the programs."""
    holder: Holder | None = None
    """Ends what a program has left running outside of its process group."""
    devices: int = 1
    """Number of GPUs that the programs may see; 1 for the CPU."""
    watch_line: Callable[[bytes], None] = lambda _line: None
    """Called with each printed line."""
    silence: SilenceWatch = field(factory=SilenceWatch)
    """Watches whether a program still does something."""

    async def run(self, command: list[str], handle_line: LineHandler | None = None) -> int:
        """Run a program to its end, log what it prints, and return its status (negative: the signal that ended it).

        Args:
            handle_line: gets each printed line; a line for which it returns True is not reported as a log line.

        Raises:
            RtcError: JOB_FAILED: the program could not be started.
        """

        def read_line(line: bytes) -> bool:
            self.watch_line(line)
            return handle_line is not None and handle_line(line)

        self.log.add_line(f"$ {show_command(command)}")
        run = partial(run_group, folder=self.folder, environment=self.environment, inherit=self.inherit)
        read = partial(self.log.read_output, handle_line=read_line, heard=self.silence.hear)
        status = -signal.SIGKILL  # also of a program that the watch has ended
        async with open_background_nursery() as background:
            with trio.CancelScope() as scope:
                background.start_soon(self.silence.watch, self._last_lines, self._warn, scope.cancel)
                try:
                    status = await run(command, read=read, holder=self.holder)
                except OSError as error:  # turned here, since only an `RtcError` leaves the nursery as itself
                    text = f"sleap-nn could not be started ({error.strerror}). Check the worker's installation."
                    raise RtcError(FaultCode.JOB_FAILED, text) from None
        return status

    def _last_lines(self) -> list[str]:
        """Return the newest lines that the program has printed, without the worker's paths."""
        return [hide_paths(line) for line in self.log.last_lines]

    def _warn(self, text: str) -> None:
        self.note(text, NoteKind.WARNING)
        self.log.flush()  # the next line of the program, with which it would be written, may never come

    def note(self, text: str, kind: NoteKind = NoteKind.INFO) -> None:
        """Tell the person a sentence about the job, and write it into the job's log."""
        self.log.add_line(text)
        self.emit(JobNote(self.job, text, kind))

    def step_error(
        self, failure: str, status: int, missing: str, why: str = "", kind: JobKind | None = JobKind.TRAIN
    ) -> RtcError:
        """Return the error of a failed step: what failed, how sleap-nn ended, and the best reason that it printed.

        If memory was missing, or the GPU could not be used, it says so, and what to change. If the watch on silence has
        ended the step, it says that.

        Args:
            failure: the sentence that says what failed.
            missing: what is missing although sleap-nn ended with status 0.
            why: the reason; when empty, it is looked for in the last printed lines.
            kind: what the step does: it trains, or predicts; None: it has configurations written.
        """
        if self.silence.given_up:
            return RtcError(FaultCode.JOB_FAILED, f"{failure} {self.silence.given_up}")
        cause = find_cause((*self.log.last_lines, why), status) if status else None
        failure = failure if cause is None else f"{failure} {advice(cause, kind)}"
        why = self.log.without_secrets(why) or failure_reason(list(self.log.last_lines))
        ending = f": {why}" if why else "."
        return RtcError(FaultCode.JOB_FAILED, f"{failure} {_describe_status(status, missing)}{ending}")


def _describe_status(status: int, missing: str) -> str:
    if status < 0:
        return f"sleap-nn was ended by signal {-status}"
    return f"sleap-nn ended with status {status}" if status else f"sleap-nn ended without leaving {missing}"
