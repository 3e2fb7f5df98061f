"""The view for files, pipes and batch systems: whole lines, few of them, nothing that moves."""

from pathlib import Path
from typing import TextIO

import trio
from attrs import define, field

from protocol.ids import PeerId
from protocol.jobs import LogLines, Progress
from rtc.view.base import Changed, Losses, News, Workers
from rtc.view.choose import choose, no_terminal
from rtc.view.lines import Lines
from rtc.view.tally import Flow, Training
from rtc.view.text import clean, count, duration, percent, size, size_of, speed
from rtc.view.text import losses as losses_text

STEP = 10
"""Percents of a transfer from one line to the next."""


@define
class PlainView:
    """One line per step, per tenth of a transfer and per epoch."""

    _out: TextIO
    _verbose: bool = False
    _stdin: int | None = None
    """Where a person may answer, for a terminal that cannot draw; None when there is nobody to ask."""
    _flows: dict[str, Flow] = field(factory=dict, init=False)
    _training: Training = field(factory=Training, init=False)
    _lines: Lines = field(init=False)
    _epoch: tuple[int, int] = field(default=(0, 0), init=False)
    """Model and epoch last told."""

    def __attrs_post_init__(self) -> None:
        self._lines = Lines(self._out)

    def step(self, text: str) -> None:
        self._lines.say(text)

    def warn(self, text: str) -> None:
        self._lines.say(f"Warning: {text}")

    def upload(self, done: int, total: int) -> None:
        self._moved("Upload", done, total)

    def download(self, done: int, total: int) -> None:
        self._moved("Download", done, total)

    def started(self, models: tuple[str, ...]) -> None:
        self._training.begin(models)
        if models:
            self._lines.say(f"Training {count(len(models), 'model')}: {', '.join(models)}")

    def news(self, news: News) -> None:
        if isinstance(news, LogLines):
            for line in news.lines if self._verbose else ():
                self._lines.say(f"| {clean(line)}")
            return
        model = self._training.hear(news, trio.current_time())
        if not isinstance(news, Progress):
            most = f", at most {model.epochs} epochs" if model.epochs else ""
            self._lines.say(f"{model.title}: started{most}")
        elif news.batch is None and (model.number, model.epoch) > self._epoch:
            self._epoch = (model.number, model.epoch)
            self._lines.say(f"{model.title}: {model.standing}")

    def finished(
        self, text: str, folder: Path | None, models: tuple[str, ...] = (), losses: tuple[Losses, ...] = ()
    ) -> None:
        self._lines.say(text)
        for line in summary(self._training, models, losses):
            self._lines.say(f"  {line}")
        if folder is not None:
            self._lines.say(f"Results are in {folder}")

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        if self._stdin is None:
            raise no_terminal()
        return await choose(workers, changed, out=self._out, stdin=self._stdin, width=80)

    def _moved(self, verb: str, done: int, total: int) -> None:
        now, part = trio.current_time(), percent(done, total)
        flow = self._flows.get(verb)
        if flow is None or done < flow.done or total != flow.total:  # another file, or from the start again
            flow = self._flows[verb] = Flow(now, done, total)
            flow.told = part - part % STEP if part < 100 else 0
            if 0 < done < total:
                self._lines.say(f"{verb}: resumed at {part} %")
        flow.moved(now, done)
        if part < flow.told + STEP:
            return
        flow.told = part - part % STEP
        self._lines.say(f"{verb}: {moved_text(flow, now) if part == 100 else f'{part} %  {flow_text(flow, now)}'}")


def flow_text(flow: Flow, now: float) -> str:
    """`412/1980 MB  4.1 MB/s  6:22 left`, or that it waits."""
    parts = [size_of(flow.done, flow.total)]
    rate = flow.rate(now)
    if flow.stalled(now):
        parts.append(f"nothing for {duration(now - flow.heard)}")
    elif rate:
        parts += [speed(rate), f"{duration((flow.total - flow.done) / rate)} left"]
    return "  ".join(parts)


def moved_text(flow: Flow, now: float) -> str:
    """`1980 MB in 6:22 (5.2 MB/s)`"""
    rate = flow.average(now)
    return f"{size(flow.total)} in {duration(now - flow.begun)}" + (f" ({speed(rate)})" if rate else "")


def summary(training: Training, models: tuple[str, ...], losses: tuple[Losses, ...]) -> list[str]:
    """One line per model with its final losses: those given, else those heard."""
    if models and losses:
        pairs = zip(models, losses, strict=False)
        return [f"{clean(name)}: {losses_text(each.train, each.val)}" for name, each in pairs]
    return [f"{model.title}: {model.result}" for model in training.models if model.epoch]
