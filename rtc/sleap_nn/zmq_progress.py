"""Listens to sleap-nn's progress over ZeroMQ, on the worker's own machine, and can ask it to stop early.

sleap-nn connects; we bind, from before it starts until the job is over. A SUB socket that binds must be served all the
time: its subscription only goes out while we call into it. Messages are rebuilt from known fields; sleap-nn's own text
never travels on, since its usual reader (jsonpickle) would run code it finds there.
"""

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import zmq
from attrs import define, field

from protocol.ids import JobId
from protocol.jobs import ModelTrained, Progress
from rtc.common.nurseries import open_background_nursery
from rtc.sleap_nn.commands import Ports

MESSAGE_MAX = 64 * 1024
"""Bytes; real messages have less than 3 kB."""
BATCHES_PER_SECOND = 4
MESSAGES_PER_TURN = 1000
"""Messages read before other tasks get their turn."""
QUEUE_MAX = 100_000
"""Messages ZeroMQ may hold for us; beyond it drops silently."""
STOP_INTERVAL = 0.5
"""Seconds: a stop sent before sleap-nn has connected is lost, so it is repeated."""
_STOP = b'{"command": "stop"}'
_WHOLE_MAX = 2**53


@define
class TrainingProgress:
    """Turns the messages of one model's training into `Progress`, thinned, and the last one into `ModelTrained`."""

    job: JobId
    model: int
    emit: Callable[[Progress | ModelTrained], None]
    ended: trio.Event = field(factory=trio.Event)
    """Set by `train_end`. The process goes on for a while (evaluation); a crash sends nothing."""
    _epoch: int = 0
    _next_batch: float = -math.inf
    _train: float | None = None
    _val: float | None = None

    def hear(self, raw: bytes, now: float) -> None:
        """Take one message; whatever is not understood is dropped. `now` in seconds."""
        message = _parse(raw)
        logs = message.get("logs")
        logs = logs if isinstance(logs, dict) else {}
        self._epoch = _whole_number(message.get("epoch"), self._epoch)
        match message.get("event"):
            case "train_end" if not self.ended.is_set():
                self.ended.set()
                self.emit(ModelTrained(self.job, self.model))
            case "epoch_end":
                self._train = _number(logs, "train/loss", "train_loss") if _has_loss(logs, "train") else self._train
                self._val = _number(logs, "val/loss", "val_loss")
                self._emit_progress(None, _number(logs, "loss"))
            case "batch_end" if now >= self._next_batch:
                self._next_batch = now + 1 / BATCHES_PER_SECOND
                self._emit_progress(_whole_number(message.get("batch"), 0) + 1, _number(logs, "loss"))

    def _emit_progress(self, batch: int | None, loss: float | None) -> None:
        self.emit(Progress(self.job, self.model, self._epoch, batch, loss, self._train, self._val))


def _parse(raw: bytes) -> dict[str, Any]:
    if len(raw) > MESSAGE_MAX:
        return {}
    try:
        message = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _whole_number(value: object, otherwise: int) -> int:
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _WHOLE_MAX
    return value if fits and isinstance(value, int) else otherwise


def _has_loss(logs: dict[str, Any], part: str) -> bool:
    return f"{part}/loss" in logs or f"{part}_loss" in logs


def _number(logs: dict[str, Any], *names: str) -> float | None:
    """The first of these that is there, when it is a number that JSON can say."""
    value = next((logs[name] for name in names if name in logs), None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond all floats
        return None


class Monitor:
    """The two sockets of one job. `set_receiver` says whose messages come next."""

    def __init__(self, publish: "zmq.Socket[bytes]", controller: "zmq.Socket[bytes]", ports: Ports) -> None:
        self.ports = ports
        self._publish = publish
        self._controller = controller
        self._progress: TrainingProgress | None = None

    def set_receiver(self, training_progress: TrainingProgress) -> None:
        """From now on messages belong to this model; what is still here belongs to nobody."""
        self._progress = None
        self._drain()
        self._progress = training_progress

    async def stop(self) -> None:
        """Ask sleap-nn to end after this batch, again and again until it says it does.

        It never says so when the process dies: whoever calls this cancels it when the process has ended.
        """
        training_progress = self._progress
        await trio.lowlevel.checkpoint()
        while training_progress is not None and not training_progress.ended.is_set():
            self._controller.send(_STOP, zmq.NOBLOCK)  # a PUB socket never blocks; without a listener it drops
            with trio.move_on_after(STOP_INTERVAL):
                await training_progress.ended.wait()

    async def serve(self) -> None:
        """Read as long as the job lasts. The descriptor tells of change only: each wake reads all there is."""
        descriptor = self._publish.getsockopt(zmq.FD)
        assert isinstance(descriptor, int)
        while True:
            if self._drain():
                await trio.lowlevel.wait_readable(descriptor)
            else:
                await trio.lowlevel.checkpoint()

    def _drain(self) -> bool:
        """Read what is here; True when nothing is left."""
        for _ in range(MESSAGES_PER_TURN):
            try:
                raw = self._publish.recv(zmq.NOBLOCK)
            except zmq.Again:
                return True
            if self._progress is not None:
                self._progress.hear(raw, trio.current_time())
        return False


@asynccontextmanager
async def open_monitor() -> AsyncIterator[Monitor]:
    """Listen on two free ports of 127.0.0.1 for as long as a job lasts."""
    context = zmq.Context()
    try:
        publish, controller = context.socket(zmq.SUB), context.socket(zmq.PUB)
        publish.setsockopt(zmq.SUBSCRIBE, b"")
        publish.setsockopt(zmq.RCVHWM, QUEUE_MAX)
        publish.setsockopt(zmq.MAXMSGSIZE, 1024 * 1024)
        ports = Ports(publish.bind_to_random_port("tcp://127.0.0.1"), controller.bind_to_random_port("tcp://127.0.0.1"))
        monitor = Monitor(publish, controller, ports)
        async with open_background_nursery() as background:
            background.start_soon(monitor.serve)
            yield monitor
    finally:
        context.destroy(linger=0)
