"""The view for a terminal: steps scroll by, and a few lines below them show the progress and are redrawn in place.

rich renders the lines; one trio task draws them when something has changed.
"""

from collections.abc import Callable

import trio
from attrs import define, field
from rich.console import Console, RenderableType
from rich.text import Text

from actors.events import Interrupt
from protocol.faults import Fault
from protocol.ids import JobId, PeerId
from protocol.jobs import ConfigurationStarted, JobNews, JobNote, LogLines, NoteKind
from rtc.common.text import clean, clean_lines, percent
from rtc.terminal.base_view import BaseView
from rtc.terminal.interface import Changed, JobSummary, Workers
from rtc.terminal.interrupt_prompt import Question, ask
from rtc.terminal.job_progress import JobProgress, ModelProgress
from rtc.terminal.keyboard import Keyboard
from rtc.terminal.layout import LayoutInput, lay_out
from rtc.terminal.live_region import LiveRegion
from rtc.terminal.summary import CONFIGURING, PARTIAL_RESULT, closing_lines, item_lines
from rtc.terminal.transfer_rate import TransferRate, moved_text
from rtc.terminal.worker_prompt import choose

REDRAW_TIME_MIN = 0.1
"""Seconds between two drawings at least."""
TICK_TIME = 1.0
"""Seconds after which the times on the screen are redrawn although no event came."""
STOP_KEY, LOG_KEY = "s", "l"


@define
class LiveView(BaseView):
    """Draws on a terminal. While it is used, a task must run `run`; `close` ends the drawing. `open_view` does both."""

    _console: Console
    _verbose: bool = False
    """Show everything that sleap-nn prints."""
    _stdin: int = 0
    """File descriptor on which the person types."""
    _asks: bool = True
    """A Ctrl-C is followed by a question, so the view may say that it is safe."""
    _live_region: LiveRegion = field(init=False)
    _keyboard: Keyboard = field(init=False)
    _job_progress: JobProgress = field(factory=JobProgress, init=False)
    _heading: str = field(default="", init=False)
    """The job and its worker."""
    _transfer: tuple[str, TransferRate] | None = field(default=None, init=False)
    """The current transfer, with "Upload" or "Download"; None while the job runs."""
    _listening: bool = field(default=False, init=False)
    """Keys are handled now."""
    _log_shown: bool = field(default=False, init=False)
    """The person has asked to see the log."""
    _question: Question | None = field(default=None, init=False)
    """The question after a Ctrl-C, while it is asked."""
    _ended: bool = field(default=False, init=False)
    """The last line is printed; the region is not drawn any more."""
    _configuring: bool = field(default=False, init=False)
    """The line about the configuration is printed; a client that reconnects receives the event again."""
    _pending_log: list[str] = field(factory=list, init=False)
    """What sleap-nn printed since the last drawing: a client that attaches late receives thousands of lines at once."""
    _changed: trio.Event = field(factory=trio.Event, init=False)
    """Set when the region must be drawn again."""

    def __attrs_post_init__(self) -> None:
        self._live_region = LiveRegion(self._console)
        self._keyboard = Keyboard(self._stdin)

    # -------- notifications

    def step(self, text: str) -> None:
        self._print("✓ ", "green", text)

    def warn(self, text: str) -> None:
        self._print("! ", "yellow", text)

    def upload(self, done: int, total: int) -> None:
        self._show_transfer("Upload", done, total)

    def download(self, done: int, total: int) -> None:
        self._job_progress.ended = True
        self._show_transfer("Download", done, total)

    def accepted(self, job: JobId, worker: PeerId) -> None:
        self._heading = f"{job} on {worker}"
        self._changed.set()

    def news(self, news: JobNews, at: float) -> None:
        self._transfer = None
        self._job_progress.update(news, at, trio.current_time())
        if isinstance(news, LogLines) and self._verbose and news.lines:
            self._pending_log.append("\n".join(map(clean, news.lines)))
        if isinstance(news, JobNote):
            (self.warn if news.kind is NoteKind.WARNING else self.step)(news.text)
        if isinstance(news, ConfigurationStarted) and not self._configuring:
            self._configuring = True
            self.step(CONFIGURING)
        self._changed.set()

    def finished(self, summary: JobSummary) -> None:
        self._end()
        for line in closing_lines(summary, self._job_progress):
            self._print("", "", line)

    def failed(self, fault: Fault, partial: JobSummary | None) -> None:
        self._end_unfinished()
        if partial is not None:
            self._print("", "", f"{PARTIAL_RESULT} {partial.folder}")

    # -------- keys and questions

    async def read_keys(self, stop: Callable[[], None]) -> None:
        def handle_key(key: str) -> None:
            if key == STOP_KEY and self._stoppable:
                stop()
            elif key == LOG_KEY:
                self._log_shown = not self._log_shown
                self._changed.set()

        async with self._keyboard.read_keys(handle_key):
            self._listening = self._keyboard.usable
            self._changed.set()
            try:
                await trio.sleep_forever()
            finally:
                self._listening = False
                self._changed.set()

    async def ask_interrupt(self, *, stoppable: bool) -> Interrupt:
        try:
            return await ask(self._keyboard, stoppable, self._show_question)
        finally:
            self._question = None
            self._changed.set()

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        self._transfer = None
        self._draw()
        out, width = self._console.file, self._console.width
        return await choose(workers, changed, out=out, stdin=self._stdin, width=width)

    # -------- drawing

    async def run(self) -> None:
        """Redraw when something has changed, and every TICK_TIME while the region is shown, until cancelled."""
        while True:
            if not self._live_region.shown:
                await self._changed.wait()
            with trio.move_on_after(TICK_TIME):
                await self._changed.wait()
            self._changed = trio.Event()
            self._draw()
            await trio.sleep(REDRAW_TIME_MIN)

    def close(self) -> None:
        """Remove the region and show the cursor again; lines about the job's progress stay on the screen."""
        if not self._ended:
            self._end_unfinished()

    def _end_unfinished(self) -> None:
        """End the drawing although the job has not ended well: print how far each model and prediction has come."""
        items, current = self._job_progress.items, self._job_progress.current
        self._end()
        for item in items:
            for line in item_lines([item]):
                self._print("✓ " if item is not current else "… ", "green" if item is not current else "", line)

    def _end(self) -> None:
        self._ended = True
        self._draw()

    def _draw(self) -> None:
        rows, lines = self._rows(), self._pending_log
        if lines:
            self._pending_log = []
            self._live_region.print_above(Text("\n".join(lines), "dim"), rows)
        else:
            self._live_region.draw(rows)

    def _show_question(self, question: Question) -> None:
        self._question = question
        self._changed.set()

    def _show_transfer(self, verb: str, done: int, total: int) -> None:
        now = trio.current_time()
        if (
            self._transfer is None
            or self._transfer[0] != verb
            or done < self._transfer[1].done
            or total != self._transfer[1].total
        ):
            self._transfer = (verb, TransferRate(now, done, total))
            if 0 < done < total:
                self.step(f"{verb} resumed at {percent(done, total)} %")
        transfer = self._transfer[1]
        transfer.update(now, done)
        if done >= total and transfer.reported_percent < 100:
            transfer.reported_percent = 100
            self.step(f"{verb}ed {moved_text(transfer, now)}")
        self._changed.set()

    def _print(self, mark: str, style: str, text: str) -> None:
        """Print a line above the region, after the log lines that came before it."""
        if self._pending_log:
            self._draw()
        # a Text, not markup: text from other machines must not be able to set colours or links
        self._live_region.print_above(Text.assemble((mark, style), clean_lines(text)), self._rows())

    @property
    def _stoppable(self) -> bool:
        """Whether a model is training that can stop early and be kept."""
        current = self._job_progress.current
        return isinstance(current, ModelProgress) and current.trained_at is None and not self._job_progress.ended

    @property
    def _keys(self) -> tuple[str, ...]:
        """The last row, in a long and a short form: the keys that can be pressed, and that Ctrl-C is safe."""
        if not self._job_progress.items or self._job_progress.ended:
            return ()
        stop = ("", "")
        if self._stoppable:
            stop = (f"{STOP_KEY} stop early and keep the model", f"{STOP_KEY} stop early")
        log = "" if self._verbose else f"{LOG_KEY} {'hide' if self._log_shown else 'show'} log"
        keys = zip(stop, (log, log), strict=True) if self._listening else [(), ()]
        safe = ("Ctrl-C is safe: it asks first", "Ctrl-C is safe") if self._asks else ("", "")
        return tuple("  ".join(filter(None, (*parts, end))) for parts, end in zip(keys, safe, strict=True))

    def _rows(self) -> list[RenderableType]:
        """Return the rows of the region as they are now; none after the end."""
        if self._ended:
            return []
        transferring = self._transfer is not None and self._transfer[1].done < self._transfer[1].total
        now = trio.current_time()
        content = LayoutInput(
            self._job_progress,
            now,
            heading=self._heading if self._job_progress.items else "",
            transfer=self._transfer if transferring else None,
            keys=self._keys,
            question=() if self._question is None else tuple(self._question.lines(now)),
            log=self._log_shown,
            curves=self._console.encoding.startswith("utf"),
        )
        return lay_out(content, self._live_region.width, self._live_region.height)
