"""A bridge to SLEAP's own LossViewer: training messages to it, its Stop to us, over ZeroMQ on this machine.

The viewer binds both ports and we connect (`sleap.gui.widgets.monitor`). Each message is made anew from known fields,
and read field by field: both ends of SLEAP's own conversation would run code from a message. `what` names the model, as
sleap-nn leaves it empty and a viewer that missed `train_begin` would ignore everything then.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import zmq

from protocol.jobs import JobEnded, JobStarted, ModelStarted, Progress

COMMAND_MAX = 4096
"""Bytes of a command; {"command": "stop"} has 19."""
QUEUE_MAX = 1000
"""Messages kept while nobody listens yet; older ones are dropped by ZeroMQ."""
LOOK_AGAIN = 1.0
"""Seconds after which a socket is read even if nothing was told of it."""
LINGER = 1000
"""Milliseconds that the last messages have to leave."""


class LossViewer:
    """What a viewer is told. Nobody has to be there."""

    def __init__(self, publish: "zmq.Socket[bytes]") -> None:
        self._publish = publish
        self._models: tuple[str, ...] = ()
        self._what: str | None = None
        self._epoch: int | None = None

    def hear(self, news: object) -> None:
        """Pass on what the worker says of the job; never waits."""
        match news:
            case JobStarted():
                self._models = news.models
            case ModelStarted():
                self._end_model()
                self._what = self._models[news.model] if news.model < len(self._models) else ""
                self._say("train_begin", wandb_url=None)
            case Progress():
                self._progress(news)
            case JobEnded():
                self._end_model()
            case _:
                return

    def greet(self) -> None:
        """A viewer has come: it follows the model that trains now."""
        if self._what is not None:
            self._say("train_begin", wandb_url=None)

    def _progress(self, news: Progress) -> None:
        if news.epoch != self._epoch:
            self._epoch = news.epoch
            self._say("epoch_begin", epoch=news.epoch)
        if news.batch is not None:
            self._say("batch_end", epoch=news.epoch, batch=news.batch, logs=_logs(loss=news.loss))
        else:
            logs = _logs(**{"loss": news.loss, "train/loss": news.train_loss, "val/loss": news.val_loss})
            self._say("epoch_end", epoch=news.epoch, logs=logs)

    def _end_model(self) -> None:
        if self._what is not None:
            self._say("train_end")
        self._what, self._epoch = None, None

    def _say(self, event: str, *, logs: dict[str, float] | None = None, **fields: Any) -> None:
        message = {"what": self._what or "", "event": event, "logs": logs, **fields}
        self._publish.send(json.dumps(message).encode(), zmq.NOBLOCK)  # a PUB socket drops what it cannot send


def _logs(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


@asynccontextmanager
async def open_lossviewer(*, publish: int, controller: int, stop: Callable[[], None]) -> AsyncIterator[LossViewer]:
    """Talk to a viewer on these ports of 127.0.0.1 for as long as this lasts; `stop` is called for each of its stops.

    XPUB is a PUB that hears of subscriptions: a viewer that comes late is told at once which model trains.
    """
    context = zmq.Context()
    try:
        out, into = context.socket(zmq.XPUB), context.socket(zmq.SUB)
        out.setsockopt(zmq.XPUB_VERBOSE, 1)
        out.setsockopt(zmq.SNDHWM, QUEUE_MAX)
        into.setsockopt(zmq.SUBSCRIBE, b"")
        into.setsockopt(zmq.MAXMSGSIZE, COMMAND_MAX)
        out.connect(f"tcp://127.0.0.1:{publish}")
        into.connect(f"tcp://127.0.0.1:{controller}")
        viewer = LossViewer(out)

        def commanded(raw: bytes) -> None:
            if _is_stop(raw):
                stop()

        def subscribed(raw: bytes) -> None:
            if raw[:1] == b"\x01":
                viewer.greet()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, into, commanded)
            nursery.start_soon(_listen, out, subscribed)
            yield viewer
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):  # bounded by the linger
            await trio.to_thread.run_sync(context.destroy, LINGER)


async def _listen(socket: "zmq.Socket[bytes]", heard: Callable[[bytes], None]) -> None:
    """The descriptor tells of change only, and a send may eat one: so all is read at each wake, and now and then."""
    descriptor = socket.getsockopt(zmq.FD)
    assert isinstance(descriptor, int)
    while True:
        try:
            while True:
                heard(socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            with trio.move_on_after(LOOK_AGAIN):
                await trio.lowlevel.wait_readable(descriptor)


def _is_stop(raw: bytes) -> bool:
    try:
        command = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(command, dict) and command.get("command") == "stop"
