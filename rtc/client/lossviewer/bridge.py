"""A bridge to SLEAP's own LossViewer, over ZeroMQ on this machine: sends training messages, receives stop commands.

The viewer binds both ports and we connect (`sleap.gui.widgets.monitor`). Each message to the viewer is built from known
fields, and each message from it is read field by field: SLEAP's own code decodes messages in a way that can run code
from them. We set the field `what` to the model's name. sleap-nn leaves it empty, and a viewer that missed `train_begin`
ignores every message with an empty name.
"""

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
import zmq
from attrs import define, field, frozen

from protocol.converter import WireError, from_json
from protocol.faults import FaultCode
from protocol.fields import SingleLine
from protocol.jobs import JobEnded, JobNews, JobStarted, ModelStarted, ModelTrained, Progress
from rtc.client.lossviewer.zmq_port import Listener, Socket, ViewerPort
from rtc.common.errors import RtcError
from rtc.common.nurseries import open_background_nursery

MESSAGE_MAX = 4096
"""Bytes of the largest message that is accepted from a viewer; {"command": "stop"} has 19."""
EPOCHS_MAX = 300
"""Ended epochs that are kept to be sent to a viewer that connects late. When there are more, every second one is
dropped."""
QUEUE_MAX = 4000
"""Messages that may wait for a slow viewer, those for a late viewer included; ZeroMQ drops further ones."""
LINGER = 1000
"""Milliseconds for sending the last messages when the sockets are closed (ZMQ_LINGER)."""


@frozen
class ViewerCommand:
    """A command of the viewer, as far as we read it."""

    command: str = field(validator=SingleLine())


@define
class _ModelTraining:
    """The training of one model, as far as the worker has reported it."""

    model: int
    what: str
    """The model's name."""
    epoch: int | None = None
    batch: int | None = None
    """Batches done in this epoch, as last reported; None before the first one."""
    max_batches: int = 1
    """The largest number of batches in one epoch so far: a viewer's x axis counts batches, and takes its scale from
    them."""
    epoch_ends: list[Progress] = field(factory=list)
    """The last message of each ended epoch, thinned out to EPOCHS_MAX."""
    ended: bool = False


class LossViewer:
    """Turns the news of a job into messages for LossViewer. It may be used while no viewer is connected.

    Args:
        send: sends one message to the viewer, if there is one; never waits.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._model_names: tuple[str, ...] = ()
        self._training: _ModelTraining | None = None

    def handle(self, news: JobNews | JobEnded) -> None:
        """Send the viewer what the worker reports about the job; never waits."""
        match news:
            case JobStarted():
                self._model_names = news.models
            case ModelStarted():
                self._begin_model(news.model)
            case Progress():
                self._begin_model(news.model)
                self._send_progress(news)
            case ModelTrained() if self._training is not None and self._training.model == news.model:
                self._end_model()
            case JobEnded():
                self._end_model()

    def send_history(self) -> None:
        """Send a viewer that has just connected the current model from its beginning, so that its plot is complete.

        A viewer draws only as far as the x axis of its batches, so each epoch gets one `batch_end`. The viewer takes
        the current epoch from the last `epoch_begin`.
        """
        training = self._training
        if training is None:
            return
        if training.ended:
            training.epoch_ends.clear()  # this viewer has no curve of the ended model, so `_send_gap` ends none
            return
        self._send_event("train_begin", wandb_url=None)
        for news in training.epoch_ends:
            self._send_event("epoch_begin", epoch=news.epoch)
            self._send_epoch_end(news, training.max_batches)
        if training.epoch is not None and (not training.epoch_ends or training.epoch != training.epoch_ends[-1].epoch):
            self._send_event("epoch_begin", epoch=training.epoch)

    def _begin_model(self, model: int) -> None:
        """Begin the training of a model, unless it has begun already (a worker repeats news after a lost link)."""
        if self._training is not None and self._training.model == model:
            return
        self._end_model()
        self._send_gap()
        self._training = _ModelTraining(model, self._model_names[model] if model < len(self._model_names) else "")
        self._send_event("train_begin", wandb_url=None)

    def _send_gap(self) -> None:
        """End the curves of the previous model with a gap (NaN), or a viewer would continue them with the next model.

        SLEAP's own dialog resets its viewer between models; such a viewer ignores this message, because it accepts
        only the next model's name by then. The gap is sent only for a curve that has points: a viewer whose first
        validation loss is NaN keeps NaN as the best loss, because no loss is less than NaN.
        """
        if self._training is None:
            return
        ends = self._training.epoch_ends
        train = any(news.train_loss is not None for news in ends)
        val = any(news.val_loss is not None for news in ends)
        if train or val:
            gap = {"train/loss": math.nan if train else None, "val/loss": math.nan if val else None}
            self._send_event("epoch_end", epoch=ends[-1].epoch, logs=_logs(gap))

    def _send_progress(self, news: Progress) -> None:
        training = self._training
        if training is None or training.ended:
            return
        if news.epoch != training.epoch:
            training.epoch, training.batch = news.epoch, None
            self._send_event("epoch_begin", epoch=news.epoch)
        if news.batch is not None:
            training.batch, training.max_batches = news.batch, max(news.batch, training.max_batches)
            self._send_batch_end(news, news.batch)
        else:
            last_batch_sent = training.batch == training.max_batches
            self._send_epoch_end(news, training.max_batches, last_batch_sent=last_batch_sent)
            training.epoch_ends.append(news)
            if len(training.epoch_ends) > EPOCHS_MAX:
                del training.epoch_ends[1::2]

    def _send_epoch_end(self, news: Progress, batches: int, *, last_batch_sent: bool = False) -> None:
        """Send the end of an epoch, and before it the epoch's last batch unless that was sent already.

        A worker does not report every batch, so the last one is usually missing.

        Args:
            news: the last message of the epoch.
            batches: the number of batches in one epoch.
            last_batch_sent: whether the last batch was sent.
        """
        if not last_batch_sent:
            self._send_batch_end(news, batches)
        logs = _logs({"loss": news.loss, "train/loss": news.train_loss, "val/loss": news.val_loss})
        self._send_event("epoch_end", epoch=news.epoch, logs=logs)

    def _send_batch_end(self, news: Progress, done: int) -> None:
        """Send the end of a batch.

        Args:
            news: the progress that contains the batch's loss.
            done: batches done in this epoch. The message has one less, as sleap-nn counts batches from 0.
        """
        self._send_event("batch_end", epoch=news.epoch, batch=max(done - 1, 0), logs=_logs({"loss": news.loss}))

    def _end_model(self) -> None:
        """End the training of the current model, if there is one that has not ended."""
        if self._training is not None and not self._training.ended:
            self._send_event("train_end")
            self._training.ended = True

    def _send_event(self, event: str, *, logs: dict[str, float] | None = None, **fields: Any) -> None:
        what = "" if self._training is None else self._training.what
        self._send(json.dumps({"what": what, "event": event, "logs": logs, **fields}).encode())


def _logs(values: dict[str, float | None]) -> dict[str, float]:
    """Return the losses that are known, by the viewer's names."""
    return {name: value for name, value in values.items() if value is not None}


def check_ports(controller: int, publish: int) -> None:
    """Check that the two directions use different ports.

    Raises:
        RtcError: USAGE: both ports are the same.
    """
    if controller == publish:
        text = f"--controller-port and --publish-port are both {publish}; SLEAP's LossViewer uses two different ports."
        raise RtcError(FaultCode.USAGE, f"{text} Its own are 9000 and 9001.")


@asynccontextmanager
async def open_lossviewer(
    *, publish: int, controller: int, stop: Callable[[], None], warn: Callable[[str], None]
) -> AsyncIterator[LossViewer]:
    """Connect to a viewer on two ports of 127.0.0.1 while this context lasts; the viewer may start later, or never.

    Args:
        publish: the port on which the viewer receives progress.
        controller: the port on which the viewer sends its commands.
        stop: called for each stop command.
        warn: called with a sentence, once for each port that another program or another user's program uses.
    """
    context = zmq.Context()

    def on_subscription(raw: bytes) -> None:
        if raw[:1] == b"\x01":
            viewer.send_history()

    def on_command(raw: bytes) -> None:
        if _is_stop(raw):
            stop()

    def on_publish_taken(listener: Listener) -> None:
        warn(_no_progress_text(publish, listener))

    def on_controller_taken(listener: Listener) -> None:
        warn(_no_stop_text(controller, listener))

    publisher = ViewerPort(publish, partial(_publish_socket, context), on_subscription, on_publish_taken, LINGER)
    commands = ViewerPort(controller, partial(_command_socket, context), on_command, on_controller_taken)
    viewer = LossViewer(publisher.send)
    try:
        async with open_background_nursery() as background:
            background.start_soon(publisher.run)
            background.start_soon(commands.run)
            yield viewer
    finally:
        with trio.CancelScope(shield=True):  # takes at most LINGER
            await trio.to_thread.run_sync(context.destroy)


def _publish_socket(context: "zmq.Context[Socket]") -> Socket:
    """Return a new socket for progress.

    XPUB is a PUB that also receives subscriptions. They show when a viewer connects, so that it gets the history at
    once. The first byte of a subscription is 1.
    """
    socket = context.socket(zmq.XPUB)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    socket.setsockopt(zmq.SNDHWM, QUEUE_MAX)
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_MAX)
    return socket


def _command_socket(context: "zmq.Context[Socket]") -> Socket:
    """Return a new socket for the viewer's commands."""
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"")
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_MAX)
    return socket


_CHOOSE_PORT = "Open LossViewer on another port and name it with"


def _no_progress_text(port: int, listener: Listener) -> str:
    return f"{_taken_text(port, listener)}, so it shows no progress; the job goes on. {_CHOOSE_PORT} --publish-port."


def _no_stop_text(port: int, listener: Listener) -> str:
    return (
        f"{_taken_text(port, listener)}, so its Stop is not heard; the job goes on. {_CHOOSE_PORT} --controller-port."
    )


def _taken_text(port: int, listener: Listener) -> str:
    if listener is Listener.OTHER_USER:
        return f"Port {port} is used by another user of this machine"
    return f"Port {port} is used by another program than SLEAP's LossViewer"


def _is_stop(raw: bytes) -> bool:
    """Return whether a message of the viewer is its stop command; False for anything malformed."""
    try:
        command: ViewerCommand = from_json(raw, ViewerCommand, limit=MESSAGE_MAX)
    except WireError:
        return False
    return command.command == "stop"
