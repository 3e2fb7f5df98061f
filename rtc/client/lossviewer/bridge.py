"""A bridge to SLEAP's own LossViewer: training messages to it, its Stop to us, over ZeroMQ on this machine.

The viewer binds both ports and we connect (`sleap.gui.widgets.monitor`). Each message is made anew from known fields,
and read field by field: both ends of SLEAP's own conversation would run code from a message. `what` names the model, as
sleap-nn leaves it empty and a viewer that missed `train_begin` would ignore everything then.
"""

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
import zmq
from attrs import define, field

from protocol.faults import FaultCode
from protocol.jobs import JobEnded, JobNews, JobStarted, ModelStarted, ModelTrained, Progress
from rtc.client.lossviewer.zmq_port import Socket, ViewerPort
from rtc.common.errors import RtcError
from rtc.common.nurseries import open_background_nursery

MESSAGE_MAX = 4096
"""Bytes of what a viewer says; {"command": "stop"} has 19."""
EPOCHS_MAX = 300
"""Ended epochs that are told again to a viewer that comes late; when a model has had more, every second of them."""
QUEUE_MAX = 4000
"""Messages that may wait for a slow viewer, all told again among them; ZeroMQ drops what is beyond."""
LINGER = 1000
"""Milliseconds that the last messages have to leave."""


@define
class _Run:
    """The training of one model, as far as it was heard of."""

    model: int
    what: str
    epoch: int | None = None
    batch: int | None = None
    """Batches done in this epoch, as last told."""
    width: int = 1
    """The most batches seen in one epoch: a viewer's axis counts batches, and finds its scale from them."""
    ends: list[Progress] = field(factory=list)
    over: bool = False


class LossViewer:
    """What a viewer is told. Nobody has to be there."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._names: tuple[str, ...] = ()
        self._run: _Run | None = None

    def hear(self, news: JobNews | JobEnded) -> None:
        """Pass on what the worker says of the job; never waits."""
        match news:
            case JobStarted():
                self._names = news.models
            case ModelStarted():
                self._follow(news.model)
            case Progress():
                self._follow(news.model)
                self._progress(news)
            case ModelTrained() if self._run is not None and self._run.model == news.model:
                self._end()
            case JobEnded():
                self._end()

    def greet(self) -> None:
        """A viewer has come: tell it of the model that trains now from its beginning, or its plot would have none.

        It draws only as far as batches reach, hence one for each epoch; its own count of epochs is that of the last
        `epoch_begin`.
        """
        run = self._run
        if run is None:
            return
        if run.over:
            run.ends.clear()  # this one has no line of it
            return
        self._say("train_begin", wandb_url=None)
        for news in run.ends:
            self._say("epoch_begin", epoch=news.epoch)
            self._tell_end(news, run.width)
        if run.epoch is not None and (not run.ends or run.epoch != run.ends[-1].epoch):
            self._say("epoch_begin", epoch=run.epoch)

    def _follow(self, model: int) -> None:
        """A model begins; told again of the same one (its news come again after a lost link), it goes on."""
        if self._run is not None and self._run.model == model:
            return
        self._end()
        self._part()
        self._run = _Run(model, self._names[model] if model < len(self._names) else "")
        self._say("train_begin", wandb_url=None)

    def _part(self) -> None:
        """End the lines of the model before, or a viewer would draw them on, back to the first epoch of the next.

        SLEAP's own dialog empties its viewer between models, and such a viewer does not hear this: it waits for the
        next model's name already. A gap (NaN) goes only where there is a line, as nothing is better than a first NaN.
        """
        if self._run is None:
            return
        ends = self._run.ends
        train = any(news.train_loss is not None for news in ends)
        val = any(news.val_loss is not None for news in ends)
        if train or val:
            gap = {"train/loss": math.nan if train else None, "val/loss": math.nan if val else None}
            self._say("epoch_end", epoch=ends[-1].epoch, logs=_logs(gap))

    def _progress(self, news: Progress) -> None:
        run = self._run
        if run is None or run.over:
            return
        if news.epoch != run.epoch:
            run.epoch, run.batch = news.epoch, None
            self._say("epoch_begin", epoch=news.epoch)
        if news.batch is not None:
            run.batch, run.width = news.batch, max(news.batch, run.width)
            self._tell_batch(news, news.batch)
        else:
            self._tell_end(news, run.width, batch_told=run.batch == run.width)
            run.ends.append(news)
            if len(run.ends) > EPOCHS_MAX:
                del run.ends[1::2]

    def _tell_end(self, news: Progress, width: int, *, batch_told: bool = False) -> None:
        """An epoch's end; its last batch comes first, as most batches are not told one by one."""
        if not batch_told:
            self._tell_batch(news, width)
        logs = _logs({"loss": news.loss, "train/loss": news.train_loss, "val/loss": news.val_loss})
        self._say("epoch_end", epoch=news.epoch, logs=logs)

    def _tell_batch(self, news: Progress, done: int) -> None:
        """sleap-nn counts batches from 0."""
        self._say("batch_end", epoch=news.epoch, batch=max(done - 1, 0), logs=_logs({"loss": news.loss}))

    def _end(self) -> None:
        if self._run is not None and not self._run.over:
            self._say("train_end")
            self._run.over = True

    def _say(self, event: str, *, logs: dict[str, float] | None = None, **fields: Any) -> None:
        what = "" if self._run is None else self._run.what
        self._send(json.dumps({"what": what, "event": event, "logs": logs, **fields}).encode())


def _logs(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def check_ports(controller: int, publish: int) -> None:
    """Both directions need a port of their own.

    Raises:
        RtcError: they have one between them.
    """
    if controller == publish:
        text = f"--controller-port and --publish-port are both {publish}; SLEAP's LossViewer uses two different ports."
        raise RtcError(FaultCode.USAGE, f"{text} Its own are 9000 and 9001.")


@asynccontextmanager
async def open_lossviewer(
    *, publish: int, controller: int, stop: Callable[[], None], warn: Callable[[str], None]
) -> AsyncIterator[LossViewer]:
    """Talk to a viewer on these ports of 127.0.0.1 for as long as this lasts.

    `stop` is called for each of its stops, and `warn` once for a port that another program holds.
    """
    context = zmq.Context()

    def subscribed(raw: bytes) -> None:
        if raw[:1] == b"\x01":
            viewer.greet()

    def commanded(raw: bytes) -> None:
        if _is_stop(raw):
            stop()

    out = ViewerPort(publish, partial(_talker, context), subscribed, lambda: warn(_unseen(publish)), LINGER)
    into = ViewerPort(controller, partial(_listener, context), commanded, lambda: warn(_unheard(controller)))
    viewer = LossViewer(out.send)
    try:
        async with open_background_nursery() as background:
            background.start_soon(out.run)
            background.start_soon(into.run)
            yield viewer
    finally:
        with trio.CancelScope(shield=True):  # bounded by the linger
            await trio.to_thread.run_sync(context.destroy)


def _talker(context: "zmq.Context[Socket]") -> Socket:
    """XPUB is a PUB that hears of subscriptions: a viewer that comes late is told at once how things stand."""
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    socket.setsockopt(zmq.SNDHWM, QUEUE_MAX)
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_MAX)
    return socket


def _listener(context: "zmq.Context[Socket]") -> Socket:
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_MAX)
    return socket


_CHOOSE = "Open LossViewer on another port and name it with"


def _unseen(port: int) -> str:
    return f"{_taken(port)}, so it shows no progress; the job goes on. {_CHOOSE} --publish-port."


def _unheard(port: int) -> str:
    return f"{_taken(port)}, so its Stop is not heard; the job goes on. {_CHOOSE} --controller-port."


def _taken(port: int) -> str:
    return f"Port {port} is used by another program than SLEAP's LossViewer"


def _is_stop(raw: bytes) -> bool:
    try:
        command = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(command, dict) and command.get("command") == "stop"
