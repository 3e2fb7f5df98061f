"""Receive sleap-nn's training progress over ZeroMQ, on the worker's machine, and send it the command to stop early.

sleap-nn 0.3.5 (`ProgressReporterZMQ` and `TrainingControllerZMQ` in its `training/callbacks.py`) connects a PUB socket
for progress and a SUB socket for commands, both to ports of 127.0.0.1, which every user of the machine can reach. So
our SUB and PUB sockets are bound to Unix sockets in the job's folder, and `rtc.sleap_nn.local_ports` listens on the
ports and passes on the connections of our own user only; from before sleap-nn starts until the job has ended. Each
message is one JSON object, for example:

    {"what": "", "event": "batch_end", "logs": {"loss": 0.0488}, "epoch": 0, "batch": 0}

A SUB socket that binds must be read all the time: ZeroMQ sends its subscription only while we call into the socket.

Events are built from known fields only. sleap-nn's own text is never forwarded, because its usual reader (jsonpickle,
in SLEAP's window) would run code that it finds there.
"""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import zmq
from attrs import define, field, frozen

from protocol.faults import FaultCode
from protocol.ids import JobId
from protocol.jobs import LOSS, ModelTrained, Progress
from rtc.common.errors import RtcError
from rtc.common.nurseries import open_background_nursery
from rtc.sleap_nn.commands import Ports
from rtc.sleap_nn.json_values import number_within, parse_object, whole_number
from rtc.sleap_nn.local_ports import open_short_path, serve_own_user

MESSAGE_MAX = 64 * 1024
"""Bytes of a message; longer ones are dropped. Real messages have less than 3 kB."""
BATCHES_PER_SECOND = 4
"""Maximum number of events about batches per second; sleap-nn sends two messages per batch. No epoch is left out."""
MESSAGES_PER_TURN = 1000
"""Messages read before other trio tasks can run."""
QUEUE_MAX = 100_000
"""Messages that ZeroMQ may queue for us (ZMQ_RCVHWM); it drops further ones silently."""
STOP_INTERVAL = 0.5
"""Seconds between two commands to stop. A command sent before sleap-nn has connected is lost, so it is repeated."""
NOT_OPENED = "The worker could not open the sockets for sleap-nn's progress ({}). Tell its owner: is its disk full?"
PUBLISH, CONTROLLER = "publish", "controller"
"""File names of the two Unix sockets."""
_STOP = b'{"command": "stop"}'
"""The only command that sleap-nn knows. It checks for one after every training batch."""


@frozen
class TrainerMessage:
    """One message of sleap-nn, as far as we read it. What is missing or invalid is None."""

    event: object = None
    epoch: int | None = None
    batch: int | None = None
    loss: float | None = None
    """Loss of the newest batch."""
    train_loss: float | None = None
    val_loss: float | None = None
    has_train_loss: bool = False
    """Whether the message says anything about the training loss, even that it is not a number."""


def read_message(raw: bytes) -> TrainerMessage:
    """Return what a message of sleap-nn says; nothing if it is too long, or no JSON object."""
    message = parse_object(raw) if len(raw) <= MESSAGE_MAX else {}
    logs = message.get("logs")
    logs = logs if isinstance(logs, dict) else {}
    return TrainerMessage(
        event=message.get("event"),
        epoch=whole_number(message.get("epoch")),
        batch=whole_number(message.get("batch")),
        loss=_number(logs, "loss"),
        train_loss=_number(logs, "train/loss", "train_loss"),
        val_loss=_number(logs, "val/loss", "val_loss"),
        has_train_loss=_has_loss(logs, "train"),
    )


@define
class TrainingProgress:
    """Turns the messages of one model's training into `Progress` events, and its `train_end` into `ModelTrained`.

    `epoch` and `batch` count from 0 in sleap-nn's messages. `logs["loss"]` is the loss of the newest batch.
    """

    job: JobId
    model: int
    emit: Callable[[Progress | ModelTrained], None]
    ended: trio.Event = field(factory=trio.Event)
    """Set by `train_end`. The process goes on for a while after it (evaluation). A crash or a signal sends nothing."""
    _epoch: int = 0
    """The newest epoch; messages without a valid one belong to it."""
    _next_batch: float = -math.inf
    """Time in seconds from which the next batch is emitted."""
    _train: float | None = None
    """Newest training loss of a whole epoch. sleap-nn sends it one epoch late, so the first `epoch_end` has none."""
    _val: float | None = None
    """Validation loss of the newest epoch that has ended."""

    def handle_message(self, raw: bytes, now: float) -> None:
        """Handle one message; an invalid or unknown one is dropped. `now` is a time in seconds."""
        message = read_message(raw)
        self._epoch = self._epoch if message.epoch is None else message.epoch
        match message.event:
            case "train_end" if not self.ended.is_set():
                self.ended.set()
                self.emit(ModelTrained(self.job, self.model))
            case "epoch_end":
                self._train = message.train_loss if message.has_train_loss else self._train
                self._val = message.val_loss
                self._emit_progress(None, message.loss)
            case "batch_end" if now >= self._next_batch:
                self._next_batch = now + 1 / BATCHES_PER_SECOND
                self._emit_progress((message.batch or 0) + 1, message.loss)

    def _emit_progress(self, batch: int | None, loss: float | None) -> None:
        self.emit(Progress(self.job, self.model, self._epoch, batch, loss, self._train, self._val))


def _has_loss(logs: dict[str, Any], part: str) -> bool:
    """Return whether `logs` has a loss, as named by sleap-nn 0.1 and later (`train/loss`) or by 0.0 (`train_loss`)."""
    return f"{part}/loss" in logs or f"{part}_loss" in logs


def _number(logs: dict[str, Any], *names: str) -> float | None:
    """Return the value of the first of these names that exists, when it can be sent as a loss; otherwise None."""
    return number_within(LOSS, next((logs[name] for name in names if name in logs), None))


class Monitor:
    """The two ZeroMQ sockets of one job, used for all its models, one after the other. Made by `open_monitor`."""

    def __init__(
        self,
        publish: "zmq.Socket[bytes]",
        controller: "zmq.Socket[bytes]",
        ports: Ports,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self.ports = ports
        self._heard = heard
        self._publish = publish
        self._controller = controller
        self._progress: TrainingProgress | None = None

    def set_receiver(self, training_progress: TrainingProgress) -> None:
        """Pass all messages from now on to this model's progress. Messages that wait already are dropped."""
        self._progress = None
        self._drain()
        self._progress = training_progress

    async def stop(self) -> None:
        """Send sleap-nn the command to stop after its current batch, again and again, until cancelled.

        The caller cancels this when the process has ended. No message ends it earlier, since only the process itself
        shows that it has stopped.
        """
        while True:
            # a PUB socket never blocks; it drops messages when no SUB socket is connected
            self._controller.send(_STOP, zmq.NOBLOCK)
            await trio.sleep(STOP_INTERVAL)

    async def serve(self) -> None:
        """Read messages until cancelled.

        ZeroMQ's descriptor (ZMQ_FD) is edge-triggered: it becomes readable only when something changes. So all waiting
        messages must be read before waiting for it again.
        """
        descriptor = self._publish.getsockopt(zmq.FD)
        assert isinstance(descriptor, int)
        while True:
            if self._drain():
                await trio.lowlevel.wait_readable(descriptor)
            else:
                await trio.lowlevel.checkpoint()

    def _drain(self) -> bool:
        """Read at most `MESSAGES_PER_TURN` waiting messages; return True when none is left."""
        for _ in range(MESSAGES_PER_TURN):
            try:
                raw = self._publish.recv(zmq.NOBLOCK)
            except zmq.Again:
                return True
            self._heard()
            if self._progress is not None:
                self._progress.handle_message(raw, trio.current_time())
        return False


@asynccontextmanager
async def open_monitor(folder: Path, heard: Callable[[], None] = lambda: None) -> AsyncIterator[Monitor]:
    """Open a `Monitor` on two free ports of 127.0.0.1, and read progress until the context ends.

    Args:
        folder: an empty folder that only this user can enter, for the two Unix sockets.
        heard: called for each message of sleap-nn.

    Raises:
        RtcError: JOB_FAILED: a Unix socket or a port cannot be opened.
    """
    context = zmq.Context()
    try:
        publish, controller = context.socket(zmq.SUB), context.socket(zmq.PUB)
        publish.setsockopt(zmq.SUBSCRIBE, b"")
        publish.setsockopt(zmq.RCVHWM, QUEUE_MAX)
        publish.setsockopt(zmq.MAXMSGSIZE, 1024 * 1024)
        with open_short_path(folder) as short:
            async with open_background_nursery() as background:
                try:
                    for socket, name in ((publish, PUBLISH), (controller, CONTROLLER)):
                        socket.bind(f"ipc://{short / name}")
                    ports = Ports(
                        await background.start(serve_own_user, short / PUBLISH),
                        await background.start(serve_own_user, short / CONTROLLER),
                    )
                except (OSError, zmq.ZMQError) as error:
                    raise RtcError(FaultCode.JOB_FAILED, NOT_OPENED.format(error.strerror)) from None
                monitor = Monitor(publish, controller, ports, heard)
                background.start_soon(monitor.serve)
                yield monitor
    finally:
        context.destroy(linger=0)
