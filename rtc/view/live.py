"""The view for a terminal: steps scroll by, and below them one small region shows what moves.

rich draws; its own refreshing thread stays off, and one trio task redraws when something changed.
"""

from pathlib import Path

import trio
from attrs import define, field
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from protocol.ids import PeerId
from protocol.jobs import LogLines
from rtc.view.base import Changed, Losses, News, Workers
from rtc.view.choose import choose
from rtc.view.plain import flow_text, moved_text, summary
from rtc.view.tally import Flow, Model, Training
from rtc.view.text import clean, clean_lines, duration, loss, percent

REFRESH_LEAST = 0.1
"""Seconds between two drawings at least."""
WIDTH_MAX = 100
"""Cells of the region: on a very wide terminal a row would fall apart."""
TICK_TIME = 1.0
"""Seconds after which clocks are redrawn though nothing happened."""


@define
class LiveView:
    """Draws on a terminal. `run` must run meanwhile, and `close` end it; `open_view` sees to both."""

    _console: Console
    _verbose: bool = False
    _stdin: int = 0
    _live: Live | None = field(default=None, init=False)
    _flow: tuple[str, Flow] | None = field(default=None, init=False)
    """What is transferred now, and which way."""
    _training: Training = field(factory=Training, init=False)
    _dirty: trio.Event = field(factory=trio.Event, init=False)

    def step(self, text: str) -> None:
        self._print("✓ ", "green", text)

    def warn(self, text: str) -> None:
        self._print("! ", "yellow", text)

    def upload(self, done: int, total: int) -> None:
        self._moved("Upload", done, total)

    def download(self, done: int, total: int) -> None:
        self._rest()
        self._moved("Download", done, total)

    def started(self, models: tuple[str, ...]) -> None:
        self._flow = None
        self._training.begin(models)
        self._show()

    def news(self, news: News) -> None:
        if isinstance(news, LogLines):
            if self._verbose and news.lines:
                self._console.print(Text("\n".join(map(clean, news.lines)), style="dim"), soft_wrap=True)
            return
        if (current := self._training.current) is not None and current.number != news.model + 1:
            self._rest()
        self._training.hear(news, trio.current_time())
        self._show()

    def finished(
        self, text: str, folder: Path | None, models: tuple[str, ...] = (), losses: tuple[Losses, ...] = ()
    ) -> None:
        self._hide()
        self._rest()
        self._print("", "none", text)
        for line in summary(self._training, models, losses):
            self._print("  ", "none", line)
        if folder is not None:
            self._print("", "none", f"Results are in {folder}")

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        self._hide()
        out, width = self._console.file, self._console.width
        return await choose(workers, changed, out=out, stdin=self._stdin, width=width)

    async def run(self) -> None:
        """Redraw when something changed, and every second for the clocks, until cancelled."""
        while True:
            if self._live is None:
                await self._dirty.wait()
            with trio.move_on_after(TICK_TIME):
                await self._dirty.wait()
            self._dirty = trio.Event()
            if self._live is not None:
                self._live.refresh()
            await trio.sleep(REFRESH_LEAST)

    def close(self) -> None:
        """Give the terminal back as it was; where the training stood stays there to be read."""
        self._hide()
        self._rest()

    def _rest(self) -> None:
        """No model is trained now; the last one's result stays there to be read."""
        model, self._training.current = self._training.current, None
        if model is not None and model.epoch:
            self.step(f"{model.title}: {model.result}")

    def _moved(self, verb: str, done: int, total: int) -> None:
        now = trio.current_time()
        if self._flow is None or self._flow[0] != verb or done < self._flow[1].done or total != self._flow[1].total:
            self._flow = (verb, Flow(now, done, total))
            if 0 < done < total:
                self.step(f"{verb} resumed at {percent(done, total)} %")
        flow = self._flow[1]
        flow.moved(now, done)
        if done >= total and flow.told < 100:
            flow.told = 100
            self.step(f"{verb}ed {moved_text(flow, now)}")
        self._show()

    def _print(self, mark: str, style: str, text: str) -> None:
        # Text, not markup: what others say can neither colour nor link anything. Long lines are the terminal's to
        # wrap, so that a folder can be copied whole.
        self._console.print(Text.assemble((mark, style), clean_lines(text)), soft_wrap=True)

    def _show(self) -> None:
        if self._live is None:
            self._live = Live(
                get_renderable=self._region,
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,  # standard error may well be a file, and must stay one
                redirect_stderr=False,
            )
            self._live.start()
        self._dirty.set()

    def _hide(self) -> None:
        live, self._live = self._live, None
        self._flow = None
        if live is not None:
            live.stop()

    def _region(self) -> RenderableType:
        now = trio.current_time()
        parts: list[RenderableType] = []
        if (model := self._training.current) is not None:
            parts += [_title(model, now), _standing(model)]
        if self._flow is not None and self._flow[1].done < self._flow[1].total:
            parts.append(_flow(*self._flow, now))
        return Constrain(Group(*parts), WIDTH_MAX)


def _row(*cells: RenderableType, spread: int) -> Table:
    """One line; the column numbered `spread` takes the room that is left."""
    row = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for column in range(len(cells)):
        row.add_column(no_wrap=True, overflow="ellipsis", ratio=1 if column == spread else None)
    row.add_row(*cells)
    return row


def _bar(done: float, total: float) -> ProgressBar:
    return ProgressBar(total=max(total, 1), completed=done, width=None)


def _flow(verb: str, flow: Flow, now: float) -> Table:
    part = Text(f"{percent(flow.done, flow.total):3} %")
    return _row(Text(verb), _bar(flow.done, flow.total), part, Text(flow_text(flow, now)), spread=1)


def _title(model: Model, now: float) -> Table:
    parts = []
    if model.best is not None:
        parts.append(f"best val {loss(model.best)} (epoch {model.best_epoch})")
    if model.begun is not None:
        parts.append(duration(now - model.begun))
    if (left := model.left(now)) is not None:
        parts.append(f"≤ {duration(left)} left")
    return _row(Text(model.title, style="bold"), Text("  ".join(parts), style="dim"), spread=0)


def _standing(model: Model) -> Table:
    if not model.epoch:
        return _row(Text("  sleap-nn is starting", style="dim"), spread=0)
    if not model.epochs:  # a bar without an end would say nothing
        return _row(Text(f"  {model.standing}"), spread=0)
    return _row(Text(" "), _bar(model.ended, model.epochs), Text(model.standing), spread=1)
