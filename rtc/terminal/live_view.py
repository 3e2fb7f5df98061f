"""The view for a terminal: steps scroll by, and below them a few lines show what moves.

rich makes the lines, and one trio task draws them when something changed.
"""

from collections.abc import Callable

import trio
from attrs import define, field
from rich.console import Console, RenderableType
from rich.text import Text

from protocol.faults import Fault
from protocol.ids import JobId, PeerId
from protocol.jobs import JobNews, LogLines
from rtc.common.text import clean, clean_lines, percent
from rtc.terminal.base_view import BaseView
from rtc.terminal.interface import Changed, Interrupt, JobSummary, Workers
from rtc.terminal.interrupt_prompt import Question, ask
from rtc.terminal.job_progress import JobProgress, ModelProgress
from rtc.terminal.keyboard import Keyboard
from rtc.terminal.layout import LayoutInput, lay_out
from rtc.terminal.live_region import LiveRegion
from rtc.terminal.summary import WHAT_THERE_IS, closing_lines, item_lines
from rtc.terminal.transfer_rate import TransferRate, moved_text
from rtc.terminal.worker_prompt import choose

REFRESH_LEAST = 0.1
"""Seconds between two drawings at least."""
TICK_TIME = 1.0
"""Seconds after which clocks are redrawn though nothing happened."""
STOP, LOG = "s", "l"
"""Keys."""


@define
class LiveView(BaseView):
    """Draws on a terminal. `run` must run meanwhile, and `close` end it; `open_view` sees to both."""

    _console: Console
    _verbose: bool = False
    _stdin: int = 0
    _asks: bool = True
    """A Ctrl-C is followed by a question."""
    _region: LiveRegion = field(init=False)
    _keyboard: Keyboard = field(init=False)
    _job_progress: JobProgress = field(factory=JobProgress, init=False)
    _head: str = field(default="", init=False)
    _transfer: tuple[str, TransferRate] | None = field(default=None, init=False)
    """What is transferred now, and which way."""
    _listening: bool = field(default=False, init=False)
    _log: bool = field(default=False, init=False)
    _question: Question | None = field(default=None, init=False)
    _over: bool = field(default=False, init=False)
    """The last word is said, and nothing moves any more."""
    _unsaid: list[str] = field(factory=list, init=False)
    """What sleap-nn printed since the last drawing: a client that comes late hears thousands of lines at once."""
    _dirty: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._region = LiveRegion(self._console)
        self._keyboard = Keyboard(self._stdin)

    # -------- what happens

    def step(self, text: str) -> None:
        self._say("✓ ", "green", text)

    def warn(self, text: str) -> None:
        self._say("! ", "yellow", text)

    def upload(self, done: int, total: int) -> None:
        self._moved("Upload", done, total)

    def download(self, done: int, total: int) -> None:
        self._job_progress.ended = True
        self._moved("Download", done, total)

    def accepted(self, job: JobId, worker: PeerId) -> None:
        self._head = f"{job} on {worker}"
        self._touch()

    def news(self, news: JobNews, at: float) -> None:
        self._transfer = None
        self._job_progress.hear(news, at, trio.current_time())
        if isinstance(news, LogLines) and self._verbose and news.lines:
            self._unsaid.append("\n".join(map(clean, news.lines)))
        self._touch()

    def finished(self, summary: JobSummary) -> None:
        self._end()
        for line in closing_lines(summary, self._job_progress):
            self._say("", "", line)

    def failed(self, fault: Fault, partial: JobSummary | None) -> None:
        self._leave()
        if partial is not None:
            self._say("", "", f"{WHAT_THERE_IS} {partial.folder}")

    # -------- what the person does

    async def listen(self, stop: Callable[[], None]) -> None:
        def key(key: str) -> None:
            if key == STOP and self._stoppable:
                stop()
            elif key == LOG:
                self._log = not self._log
                self._touch()

        async with self._keyboard.hear(key):
            self._listening = self._keyboard.usable
            self._touch()
            try:
                await trio.sleep_forever()
            finally:
                self._listening = False
                self._touch()

    async def ask_interrupt(self, *, stoppable: bool) -> Interrupt:
        try:
            return await ask(self._keyboard, stoppable, self._show_question)
        finally:
            self._question = None
            self._touch()

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        self._transfer = None
        self._draw()
        out, width = self._console.file, self._console.width
        return await choose(workers, changed, out=out, stdin=self._stdin, width=width)

    # -------- drawing

    async def run(self) -> None:
        """Redraw when something changed, and every second for the clocks, until cancelled."""
        while True:
            if not self._region.shown:
                await self._dirty.wait()
            with trio.move_on_after(TICK_TIME):
                await self._dirty.wait()
            self._dirty = trio.Event()
            self._draw()
            await trio.sleep(REFRESH_LEAST)

    def close(self) -> None:
        """Give the terminal back as it was; where the job stood stays there to be read."""
        if not self._over:
            self._leave()

    def _leave(self) -> None:
        """The end of watching, but not a good end of the job: say how far each step has come."""
        items, current = self._job_progress.items, self._job_progress.current
        self._end()
        for item in items:
            for line in item_lines([item]):
                self._say("✓ " if item is not current else "… ", "green" if item is not current else "", line)

    def _end(self) -> None:
        self._over = True
        self._draw()

    def _draw(self) -> None:
        rows, lines = self._rows(), self._unsaid
        if lines:
            self._unsaid = []
            self._region.say(Text("\n".join(lines), "dim"), rows)
        else:
            self._region.draw(rows)

    def _touch(self) -> None:
        self._dirty.set()

    def _show_question(self, question: Question) -> None:
        self._question = question
        self._touch()

    def _moved(self, verb: str, done: int, total: int) -> None:
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
        transfer.moved(now, done)
        if done >= total and transfer.told < 100:
            transfer.told = 100
            self.step(f"{verb}ed {moved_text(transfer, now)}")
        self._touch()

    def _say(self, mark: str, style: str, text: str) -> None:
        if self._unsaid:
            self._draw()
        # Text, not markup: what others say can neither colour nor link anything
        self._region.say(Text.assemble((mark, style), clean_lines(text)), self._rows())

    @property
    def _stoppable(self) -> bool:
        """A model trains, which can end early and be kept."""
        current = self._job_progress.current
        return isinstance(current, ModelProgress) and current.over is None and not self._job_progress.ended

    @property
    def _keys(self) -> tuple[str, ...]:
        """The last line: which keys there are, and that Ctrl-C is safe."""
        if not self._job_progress.items or self._job_progress.ended:
            return ()
        stop = (f"{STOP} stop early and keep the model", f"{STOP} stop early") if self._stoppable else ("", "")
        log = "" if self._verbose else f"{LOG} {'hide' if self._log else 'show'} log"
        keys = zip(stop, (log, log), strict=True) if self._listening else [(), ()]
        safe = ("Ctrl-C is safe: it asks first", "Ctrl-C is safe") if self._asks else ("", "")
        return tuple("  ".join(filter(None, (*words, end))) for words, end in zip(keys, safe, strict=True))

    def _rows(self) -> list[RenderableType]:
        if self._over:
            return []
        moving = self._transfer is not None and self._transfer[1].done < self._transfer[1].total
        now = trio.current_time()
        shown = LayoutInput(
            self._job_progress,
            now,
            head=self._head if self._job_progress.items else "",
            transfer=self._transfer if moving else None,
            keys=self._keys,
            question=() if self._question is None else tuple(self._question.lines(now)),
            log=self._log,
            curves=self._console.encoding.startswith("utf"),
        )
        return lay_out(shown, self._region.width, self._region.height)
