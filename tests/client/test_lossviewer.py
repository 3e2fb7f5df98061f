"""The bridge to SLEAP's LossViewer, with a viewer that does what SLEAP's own does: it binds its ports, receives
messages and sends the stop command.

`tests/data` contains the messages of sleap-nn 0.3.5 in real trainings, each with the seconds since the start.
"""

import json
import math
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trio
import zmq
from attrs import define, field

from protocol.faults import FaultCode
from protocol.ids import JobId
from protocol.jobs import FramesDone, JobEnded, JobStarted, ModelStarted, ModelTrained, Outcome, Progress
from rtc.client.lossviewer import bridge, zmq_port
from rtc.client.lossviewer.bridge import EPOCHS_MAX, QUEUE_MAX, LossViewer, check_ports, open_lossviewer
from rtc.common.errors import RtcError
from rtc.common.socket_owner import PeerOwner
from rtc.sleap_nn.zmq_progress import TrainingProgress
from rtc.testing.lab import Lab, RecordingView
from rtc.testing.limits import HANG_TIME
from rtc.testing.ports import open_port
from rtc.testing.users import can_become_another_user

JOB = JobId("job-1")
HEADS = ("centroid", "centered_instance")
STOP = b'{"command": "stop"}'
DONE = JobEnded(JOB, Outcome.DONE, "Done.", result=True)
DATA = Path(__file__).parents[1] / "data"


@define
class Plot:
    """What SLEAP 1.6.6's LossViewer draws, by its own rules (`LossViewer._check_messages`, without the drawing)."""

    what: str = ""
    running: bool = False
    epoch: int = 0
    epoch_size: int = 1
    last_batch: int = 0
    batch: list[tuple[int, float]] = field(factory=list)
    train: list[tuple[int, float]] = field(factory=list)
    val: list[tuple[int, float]] = field(factory=list)
    best: tuple[int, float] | None = None

    def reset(self, what: str) -> None:
        """Empty the plot for the next model, as SLEAP's dialog does before each model."""
        self.__init__(what)

    def receive(self, raw: bytes) -> None:
        message = json.loads(raw)
        if message["event"] == "train_begin":
            self.what = message["what"]
        if message.get("what", "") != self.what:
            return
        self.running = message["event"] != "train_end"
        match message["event"]:
            case "epoch_begin":
                self.epoch = message["epoch"]
            case "epoch_end":
                self.epoch_size = max(self.epoch_size, self.last_batch + 1)
                self._line(self.train, message["logs"].get("train/loss"))
                self._line(self.val, message["logs"].get("val/loss"))
                if self.val and (self.best is None or self.val[-1][1] < self.best[1]):
                    self.best = self.val[-1]
            case "batch_end":
                self.last_batch = message["batch"]
                if (loss := message["logs"].get("loss")) is not None:
                    self.batch.append((self.epoch * self.epoch_size + message["batch"], loss))

    def _line(self, line: list[tuple[int, float]], loss: float | None) -> None:
        if loss is not None:
            line.append(((self.epoch + 1) * self.epoch_size, loss))


def captured(name: str) -> list[tuple[float, bytes]]:
    lines = (DATA / f"zmq_{name}.jsonl").read_text().splitlines()
    return [(line["t"], line["raw"].encode()) for line in map(json.loads, lines)]


def replay(relay: LossViewer, model: int, name: str) -> None:
    """Send the recorded messages of one model through the worker's `TrainingProgress` to the bridge."""
    relay.handle(ModelStarted(JOB, model, 2))
    training_progress = TrainingProgress(JOB, model, relay.handle)
    for seconds, raw in captured(name):
        training_progress.handle_message(raw, seconds)
    assert training_progress.ended.is_set()


def drawn_directly(plot: Plot, what: str, name: str) -> Plot:
    """Return what a viewer connected to sleap-nn itself would draw, if sleap-nn sent the model's name."""
    for _, raw in captured(name):
        plot.receive(json.dumps(json.loads(raw) | {"what": what}).encode())
    return plot


def losses(line: list[tuple[int, float]]) -> list[float]:
    return [loss for _, loss in line]


def positions(line: list[tuple[int, float]]) -> list[int]:
    return [x for x, _ in line]


@define
class Recorder:
    """Records the messages that the bridge sends, and passes them on to plots, without sockets."""

    raws: list[bytes] = field(factory=list)
    plots: list[Plot] = field(factory=list)

    def receive(self, raw: bytes) -> None:
        self.raws.append(raw)
        for plot in self.plots:
            plot.receive(raw)

    def events(self) -> list[tuple[str, str]]:
        return [(message["what"], message["event"]) for message in map(json.loads, self.raws)]


@pytest.fixture
def audience() -> Recorder:
    return Recorder()


@pytest.fixture
def relay(audience: Recorder) -> LossViewer:
    relay = LossViewer(audience.receive)
    relay.handle(JobStarted(JOB, HEADS))
    return relay


def epoch(model: int, number: int, batches: int = 3) -> Iterator[Progress]:
    """Yield one epoch's messages as a worker sends them."""
    for batch in range(1, batches + 1):
        yield Progress(JOB, model, number, batch, loss=0.5)
    yield Progress(JOB, model, number, None, 0.5, 0.4 if number else None, 0.3)


# -------- what sleap-nn sent, and what a viewer draws from it


def test_a_real_training_is_drawn_as_if_it_ran_beside_the_viewer(audience: Recorder, relay: LossViewer) -> None:
    audience.plots = [Plot()]
    replay(relay, 0, "single_3epochs")
    direct = drawn_directly(Plot(), "centroid", "single_3epochs")
    [plot] = audience.plots
    assert (plot.train, plot.val, plot.best) == (direct.train, direct.val, direct.best)
    assert plot.val == [(3, 0.04498838260769844), (6, 0.03995779529213905), (9, 0.033355917781591415)]
    assert set(plot.batch) <= set(direct.batch), "thinned, but at the same positions"
    assert {0, 2, 5, 8} <= set(positions(plot.batch)), "the last batch of each epoch is there"
    assert (plot.what, plot.running) == ("centroid", False)


def test_a_training_too_fast_to_report_each_batch_has_all_its_epochs(audience: Recorder, relay: LossViewer) -> None:
    audience.plots = [Plot()]
    replay(relay, 0, "centroid_with_infinity")
    direct = drawn_directly(Plot(), "centroid", "centroid_with_infinity")
    [plot] = audience.plots
    assert losses(plot.val) == losses(direct.val)
    assert losses(plot.train) == losses(direct.train)
    assert positions(plot.val) == sorted(set(positions(plot.val)))


def test_only_valid_json_is_sent_while_a_model_trains(audience: Recorder, relay: LossViewer) -> None:
    replay(relay, 0, "centroid_with_infinity")
    assert b"Infinity" in b"".join(raw for _, raw in captured("centroid_with_infinity"))
    assert not any(b"Infinity" in raw or b"NaN" in raw for raw in audience.raws)


def test_an_epoch_without_a_number_for_its_loss_is_left_out(audience: Recorder, relay: LossViewer) -> None:
    audience.plots = [Plot()]
    training_progress = TrainingProgress(JOB, 0, relay.handle)
    relay.handle(ModelStarted(JOB, 0))
    for number, loss in enumerate(("Infinity", "0.25", "NaN", "0.125")):
        raw = f'{{"what": "", "event": "epoch_end", "epoch": {number}, "logs": {{"loss": {loss}, "val/loss": {loss}}}}}'
        training_progress.handle_message(raw.encode(), number)
    assert audience.plots[0].val == [(2, 0.25), (4, 0.125)]
    assert audience.plots[0].best == (4, 0.125)


def test_a_viewer_that_dialogs_reset_between_models_shows_each_alone(audience: Recorder, relay: LossViewer) -> None:
    [plot] = audience.plots = [Plot("centroid")]
    replay(relay, 0, "centroid_with_infinity")
    plot.reset("centered_instance")
    replay(relay, 1, "single_3epochs")
    assert plot.what == "centered_instance"
    direct = drawn_directly(Plot(), "centered_instance", "single_3epochs")
    assert (plot.train, plot.val, plot.best) == (direct.train, direct.val, direct.best)


def test_a_viewer_opened_for_the_first_head_alone_shows_both_with_a_gap_between(
    audience: Recorder, relay: LossViewer
) -> None:
    [plot] = audience.plots = [Plot("centroid")]
    replay(relay, 0, "centroid_with_infinity")
    replay(relay, 1, "single_3epochs")
    first = losses(drawn_directly(Plot(), "", "centroid_with_infinity").val)
    second = losses(drawn_directly(Plot(), "", "single_3epochs").val)
    gap = [index for index, loss in enumerate(losses(plot.val)) if math.isnan(loss)]
    assert gap == [len(first)]
    assert losses(plot.val)[: len(first)] + losses(plot.val)[len(first) + 1 :] == first + second
    assert plot.best is not None
    assert plot.best[1] == min(first + second)


def test_there_is_no_gap_where_there_was_no_line(audience: Recorder, relay: LossViewer) -> None:
    relay.handle(ModelStarted(JOB, 0))
    relay.handle(Progress(JOB, 0, 0, loss=0.5))  # no epoch-wide loss
    relay.handle(ModelTrained(JOB, 0))
    relay.handle(ModelStarted(JOB, 1))
    assert not any(b"NaN" in raw for raw in audience.raws)


def test_a_viewer_that_connected_between_two_models_gets_no_gap(audience: Recorder, relay: LossViewer) -> None:
    replay(relay, 0, "single_3epochs")
    audience.raws.clear()
    [plot] = audience.plots = [Plot("centroid")]
    relay.send_history()
    replay(relay, 1, "single_3epochs")
    direct = drawn_directly(Plot(), "centered_instance", "single_3epochs")
    assert (plot.train, plot.val, plot.best) == (direct.train, direct.val, direct.best)


# -------- the course of a job


def test_a_model_ends_when_it_is_trained_and_not_twice(audience: Recorder, relay: LossViewer) -> None:
    for news in (ModelStarted(JOB, 0), *epoch(0, 0, 1), ModelTrained(JOB, 0), ModelTrained(JOB, 0)):
        relay.handle(news)
    sent = ["train_begin", "epoch_begin", "batch_end", "epoch_end", "train_end"]
    assert audience.events() == [("centroid", event) for event in sent]
    relay.handle(FramesDone(JOB, 0, 1))
    relay.handle(Progress(JOB, 0, 1, loss=0.5))  # too late
    relay.handle(DONE)
    assert len(audience.raws) == len(sent)


def test_a_model_whose_end_was_not_received_ends_before_the_next_begins(audience: Recorder, relay: LossViewer) -> None:
    relay.handle(ModelStarted(JOB, 0))
    relay.handle(ModelStarted(JOB, 1))
    relay.handle(ModelTrained(JOB, 0))  # for a model that has ended already
    relay.handle(DONE)
    assert audience.events() == [
        ("centroid", "train_begin"),
        ("centroid", "train_end"),
        ("centered_instance", "train_begin"),
        ("centered_instance", "train_end"),
    ]


def test_news_repeated_after_a_lost_link_do_not_begin_the_model_again(audience: Recorder, relay: LossViewer) -> None:
    relay.handle(ModelStarted(JOB, 0))
    relay.handle(Progress(JOB, 0, 0, 1, 0.5))
    relay.handle(JobStarted(JOB, HEADS))
    relay.handle(ModelStarted(JOB, 0))
    relay.handle(Progress(JOB, 0, 0, 2, 0.5))
    events = [event for _, event in audience.events()]
    assert events == ["train_begin", "epoch_begin", "batch_end", "batch_end"]


def test_batches_are_counted_from_0_as_sleap_nn_does(audience: Recorder, relay: LossViewer) -> None:
    relay.handle(ModelStarted(JOB, 0))
    for news in epoch(0, 0):
        relay.handle(news)
    messages = map(json.loads, audience.raws)
    assert [message["batch"] for message in messages if message["event"] == "batch_end"] == [0, 1, 2]


def test_a_model_that_was_never_named_is_sent_without_a_name(audience: Recorder) -> None:
    relay = LossViewer(audience.receive)
    relay.handle(ModelStarted(JOB, 7))
    assert audience.events() == [("", "train_begin")]


# -------- a viewer that connects late


def test_a_late_viewer_gets_the_model_from_its_beginning(audience: Recorder, relay: LossViewer) -> None:
    early, late = Plot(), Plot("something else")
    audience.plots = [early]
    relay.handle(ModelStarted(JOB, 0))
    for number in range(5):
        for news in epoch(0, number):
            relay.handle(news)
    relay.handle(Progress(JOB, 0, 5, 1, 0.5))
    audience.plots = [late]
    relay.send_history()
    assert (late.what, late.epoch) == ("centroid", 5)
    assert (late.train, late.val, late.best) == (early.train, early.val, early.best)
    assert positions(late.batch) == [2, 5, 8, 11, 14], "it draws only as far as batches reach"
    audience.plots = [early, late]
    for news in epoch(0, 5):
        relay.handle(news)
    assert late.val == early.val
    assert late.val[-1] == (18, 0.3)


def test_a_long_history_is_sent_thinned_from_its_first_epoch_to_its_last(audience: Recorder, relay: LossViewer) -> None:
    relay.handle(ModelStarted(JOB, 0))
    for number in range(5000):
        relay.handle(Progress(JOB, 0, number, loss=0.5, val_loss=1 / (number + 1)))
    audience.raws.clear()
    [late] = audience.plots = [Plot()]
    relay.send_history()
    assert EPOCHS_MAX / 2 < len(late.val) <= EPOCHS_MAX
    assert (late.val[0], late.val[-1], late.epoch) == ((1, 1.0), (5000, 1 / 5000), 4999)
    assert positions(late.val) == sorted(positions(late.val))
    assert len(audience.raws) < QUEUE_MAX


def test_a_viewer_that_connects_when_nothing_trains_receives_nothing(audience: Recorder, relay: LossViewer) -> None:
    relay.send_history()
    replay(relay, 0, "single_3epochs")
    audience.raws.clear()
    relay.send_history()
    assert audience.raws == []


# -------- over ZeroMQ


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, the viewer is not taken for another program, and gets the last messages."""
    monkeypatch.setattr(zmq_port, "HANDSHAKE_TIME", HANG_TIME)
    monkeypatch.setattr(bridge, "LINGER", int(HANG_TIME * 1000))


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """Two ports that only this test uses, by their names in `open_lossviewer`."""
    with open_port() as publish, open_port() as controller:
        yield {"publish": publish, "controller": controller}


@define
class Viewer:
    """SLEAP's side: SUB binds the publish port, PUB binds the controller port (`sleap.gui.widgets.monitor`)."""

    sub: "zmq.Socket[bytes]"
    pub: "zmq.Socket[bytes]"
    ports: tuple[int, int]

    async def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await trio.to_thread.run_sync(self.sub.recv))
        return message

    async def until(self, event: str) -> dict[str, Any]:
        while True:
            message = await self.receive()
            if message["event"] == event:
                return message

    async def send_until(self, done: Callable[[], bool], *commands: bytes) -> None:
        """Send the commands again and again until `done`: those before the connection are lost."""
        with trio.fail_after(HANG_TIME):
            while not done():
                for command in commands or (STOP,):
                    self.pub.send(command)
                await trio.sleep(0.02)


@asynccontextmanager
async def open_viewer(controller: int = 0, publish: int = 0) -> AsyncIterator[Viewer]:
    context = zmq.Context()
    try:
        sub, pub = context.socket(zmq.SUB), context.socket(zmq.PUB)
        sub.setsockopt(zmq.SUBSCRIBE, b"")
        sub.setsockopt(zmq.RCVTIMEO, int(HANG_TIME * 1000))
        yield Viewer(sub, pub, (bind(pub, controller), bind(sub, publish)))
    finally:
        context.destroy(linger=0)


def bind(binder: "zmq.Socket[bytes]", port: int = 0) -> int:
    if not port:
        return binder.bind_to_random_port("tcp://127.0.0.1")
    binder.bind(f"tcp://127.0.0.1:{port}")
    return port


def never(_text: str = "") -> None:
    raise AssertionError("this should not have been called")


async def test_a_viewer_receives_what_sleap_nn_would_send_it_with_the_models_name() -> None:
    async with open_viewer() as viewer:
        controller, publish = viewer.ports
        async with open_lossviewer(publish=publish, controller=controller, stop=never, warn=never) as relay:
            relay.handle(JobStarted(JOB, HEADS))
            relay.handle(ModelStarted(JOB, 0, 2))
            with trio.fail_after(HANG_TIME):
                received = [await viewer.receive()]
                relay.handle(Progress(JOB, 0, 0, batch=1, loss=0.5))
                relay.handle(Progress(JOB, 0, 0, loss=0.5, val_loss=0.25))
                relay.handle(ModelTrained(JOB, 0))
                relay.handle(DONE)
        received += [await viewer.receive() for _ in range(4)]
    assert received == [
        {"what": "centroid", "event": "train_begin", "logs": None, "wandb_url": None},
        {"what": "centroid", "event": "epoch_begin", "logs": None, "epoch": 0},
        {"what": "centroid", "event": "batch_end", "logs": {"loss": 0.5}, "epoch": 0, "batch": 0},
        {"what": "centroid", "event": "epoch_end", "logs": {"loss": 0.5, "val/loss": 0.25}, "epoch": 0},
        {"what": "centroid", "event": "train_end", "logs": None},
    ]


def ignore(_text: str = "") -> None:
    pass


async def test_a_second_viewer_on_the_same_ports_gets_the_model_from_its_beginning(ports: dict[str, int]) -> None:
    async with open_lossviewer(**ports, stop=never, warn=ignore) as relay:
        relay.handle(JobStarted(JOB, HEADS))
        relay.handle(ModelStarted(JOB, 1))
        for number in range(50):
            for news in epoch(1, number):
                relay.handle(news)
        for _ in range(2):
            plot = Plot()
            async with open_viewer(**ports) as viewer:
                with trio.fail_after(HANG_TIME):
                    while len(plot.val) < 50:
                        plot.receive(json.dumps(await viewer.receive()).encode())
            assert plot.what == "centered_instance"
            assert positions(plot.val) == [3 * (number + 1) for number in range(50)]


async def test_only_a_plain_stop_is_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: dict[bytes, bool] = {}
    is_stop = bridge._is_stop

    def judge(raw: bytes) -> bool:
        judged[raw] = is_stop(raw)
        return judged[raw]

    monkeypatch.setattr(bridge, "_is_stop", judge)
    stopped = trio.Event()
    hostile = [
        b"",
        b"stop",
        b"[" * 4000,
        b'{"py/reduce":[{"py/function":"os.getcwd"},{"py/tuple":[]}]}',
        b'{"command":1}',
    ]
    async with open_viewer() as viewer:
        controller, publish = viewer.ports
        async with open_lossviewer(publish=publish, controller=controller, stop=stopped.set, warn=never):
            await viewer.send_until(lambda: judged.keys() == {*hostile, STOP}, *hostile, STOP)
    assert [raw for raw, stops in judged.items() if stops] == [STOP]
    assert stopped.is_set()


@pytest.mark.slow
async def test_the_viewers_stop_reaches_the_trainer_and_the_model_is_kept(
    lab: Lab, package: Callable[..., Path]
) -> None:
    worker = await lab.start_worker()
    view = RecordingView()
    async with open_viewer() as viewer:
        runs = []

        async def run_client() -> None:
            long = package(epochs=10_000, seconds=0.05)
            runs.append(await lab.run_client(worker, long, view=view, viewer_ports=viewer.ports))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_client)
            with trio.fail_after(HANG_TIME):
                await viewer.until("epoch_end")
                await viewer.send_until(lambda: bool(runs))
    [run] = runs
    assert run.fault is None
    assert run.output is not None
    assert len(list(run.output.rglob("best.ckpt"))) == 1


# -------- ports that other programs use


@contextmanager
def http_server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextmanager
def greeting_server(greeting: bytes) -> Iterator[int]:
    """A server that accepts connections, sends a greeting (or nothing) and waits, as SSH, SMTP or a database do."""
    taken: list[socket.socket] = []
    ending = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while not ending.is_set():
                taken.append(server.accept()[0])
                with suppress(OSError):  # the other side has gone
                    taken[-1].sendall(greeting)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ending.set()
            socket.create_connection(server.getsockname()).close()
            thread.join()
            for connection in taken:
                connection.close()


@contextmanager
def zeromq(kind: int, port: int = 0) -> Iterator[int]:
    with zmq.Context() as context, context.socket(kind) as other:
        yield bind(other, port)


OTHER_PROGRAMS = {
    "a web server": http_server,
    "a silent server": lambda: greeting_server(b""),
    "an SSH server": lambda: greeting_server(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a ZeroMQ socket of another type": lambda: zeromq(zmq.REP),
}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RETRY_TIME", "FIRST_PAUSE", "LATER_PAUSE"):
        monkeypatch.setattr(zmq_port, name, 0.02)


@pytest.fixture
def publishers(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The sockets for progress that the bridge has made; it makes a new one after each handshake that failed."""
    made: list[object] = []
    publish_socket = bridge._publish_socket

    def make(context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
        made.append(publish_socket(context))
        return made[-1]

    monkeypatch.setattr(bridge, "_publish_socket", make)
    return made


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(HANG_TIME):
        while not condition():  # noqa: ASYNC110 (the bridge has no event for it)
            await trio.sleep(0.01)


@pytest.mark.parametrize("other", OTHER_PROGRAMS)
async def test_a_port_that_another_program_uses_is_reported_once_and_the_rest_goes_on(
    other: str, hasty: None, publishers: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    stopped = trio.Event()
    with OTHER_PROGRAMS[other]() as taken, open_port() as controller:
        async with open_lossviewer(
            publish=taken, controller=controller, stop=stopped.set, warn=warnings.append
        ) as relay:
            relay.handle(JobStarted(JOB, HEADS))
            relay.handle(ModelStarted(JOB, 0))
            with monkeypatch.context() as patch:
                patch.setattr(zmq_port, "HANDSHAKE_TIME", 0.1)  # some of them say nothing
                await until(lambda: len(publishers) > zmq_port.FAILURES_TO_WARN + 2)
            async with open_viewer(controller) as viewer:
                await viewer.send_until(stopped.is_set)
            relay.handle(DONE)
    assert warnings == [
        f"Port {taken} is used by another program than SLEAP's LossViewer, so it shows no progress; the job goes on. "
        "Open LossViewer on another port and name it with --publish-port."
    ]


async def test_ports_given_the_wrong_way_round_are_both_reported(hasty: None) -> None:
    warnings: list[str] = []
    async with open_viewer() as viewer:
        controller, publish = viewer.ports
        async with open_lossviewer(publish=controller, controller=publish, stop=never, warn=warnings.append):
            await until(lambda: len(warnings) == 2)
    assert sorted(sentence.rpartition(" ")[2] for sentence in warnings) == ["--controller-port.", "--publish-port."]


async def test_a_port_without_a_program_gives_no_warning(
    hasty: None, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[int] = []
    next_event = zmq_port._next_event

    async def record(monitor: zmq_port.Socket) -> tuple[int, int]:
        event, value = await next_event(monitor)
        events.append(event)
        return event, value

    monkeypatch.setattr(zmq_port, "_next_event", record)
    async with open_lossviewer(**ports, stop=never, warn=never) as relay:
        relay.handle(JobStarted(JOB, HEADS))
        relay.handle(ModelStarted(JOB, 0))
        await until(lambda: events.count(zmq.EVENT_CLOSED) > 2 * zmq_port.FAILURES_TO_WARN)
    assert set(events) == {zmq.EVENT_CLOSED}


async def test_a_connection_of_which_nothing_is_reported_is_tried_again(
    hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZeroMQ reports none for which it has no descriptor left."""
    next_event = zmq_port._next_event
    silent = 4

    async def report_late(monitor: zmq_port.Socket) -> tuple[int, int]:
        nonlocal silent
        if silent:
            silent -= 1
            await trio.sleep_forever()
        return await next_event(monitor)

    monkeypatch.setattr(zmq_port, "_next_event", report_late)
    stopped = trio.Event()
    async with open_viewer() as viewer:
        controller, publish = viewer.ports
        with monkeypatch.context() as patch:
            patch.setattr(zmq_port, "CONNECT_TIME", 0.02)
            async with open_lossviewer(publish=publish, controller=controller, stop=stopped.set, warn=ignore):
                await until(lambda: silent == 0)
                patch.setattr(zmq_port, "CONNECT_TIME", HANG_TIME)
                await viewer.send_until(stopped.is_set)


async def test_a_viewer_that_leaves_is_not_taken_for_another_program(hasty: None, ports: dict[str, int]) -> None:
    stops: list[bool] = []
    async with open_lossviewer(**ports, stop=lambda: stops.append(True), warn=never) as relay:
        relay.handle(JobStarted(JOB, HEADS))
        relay.handle(ModelStarted(JOB, 0))
        for _ in range(zmq_port.FAILURES_TO_WARN + 1):
            stops.clear()
            async with open_viewer(**ports) as viewer:
                with trio.fail_after(HANG_TIME):
                    assert (await viewer.receive())["event"] == "train_begin"
                await viewer.send_until(lambda: bool(stops))  # both ports were connected


async def test_a_viewer_that_connects_after_another_program_receives_each_message_once(
    hasty: None, ports: dict[str, int]
) -> None:
    warned = trio.Event()

    def warn(_text: str) -> None:
        warned.set()

    with ExitStack() as other:
        other.enter_context(zeromq(zmq.PULL, ports["publish"]))
        async with open_lossviewer(**ports, stop=never, warn=warn) as relay:
            relay.handle(JobStarted(JOB, HEADS))
            relay.handle(ModelStarted(JOB, 0))
            with trio.fail_after(HANG_TIME):
                await warned.wait()
            other.close()
            async with open_viewer(**ports) as viewer:
                with trio.fail_after(HANG_TIME):
                    received = [await viewer.receive()]
                    relay.handle(ModelTrained(JOB, 0))
                    relay.handle(ModelStarted(JOB, 1))
                    received += [await viewer.receive() for _ in range(2)]
    assert [message["event"] for message in received] == ["train_begin", "train_end", "train_begin"]


def test_one_port_for_both_directions_is_refused() -> None:
    check_ports(9000, 9001)
    with pytest.raises(RtcError) as refused:
        check_ports(9000, 9000)
    assert refused.value.fault.code is FaultCode.USAGE
    assert "--controller-port and --publish-port are both 9000" in refused.value.fault.text


# -------- ports that another user of the machine uses


async def test_another_users_viewer_stops_nothing_and_sees_nothing(
    hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither does it once it has waited for a while, nor when it comes after a viewer of ours."""
    owners = {True: PeerOwner.ANOTHER, False: PeerOwner.OURS}
    looked: list[bool] = []
    foreign = True

    def find(_descriptor: int) -> PeerOwner:
        looked.append(foreign)
        return owners[foreign]

    monkeypatch.setattr(zmq_port, "find_peer_owner", find)
    warnings: list[str] = []
    stops: list[bool] = []
    async with open_viewer() as viewer:
        controller, publish = viewer.ports
        async with open_lossviewer(
            publish=publish, controller=controller, stop=lambda: stops.append(foreign), warn=warnings.append
        ) as relay:
            relay.handle(JobStarted(JOB, HEADS))
            relay.handle(ModelStarted(JOB, 0, 2))
            await viewer.send_until(lambda: len(looked) > 6)
            assert stops == []
            assert not viewer.sub.poll(0)
            foreign = False
            await viewer.send_until(lambda: bool(stops))
            assert not any(stops)
            with trio.fail_after(HANG_TIME):
                assert (await viewer.receive())["event"] == "train_begin"
    assert len(warnings) == 2
    assert set(warnings) == {
        f"Port {controller} is used by another user of this machine, so its Stop is not heard; the job goes on. "
        "Open LossViewer on another port and name it with --controller-port.",
        f"Port {publish} is used by another user of this machine, so it shows no progress; the job goes on. "
        "Open LossViewer on another port and name it with --publish-port.",
    }


async def test_each_connection_is_checked_not_only_the_first(
    hasty: None, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = PeerOwner.OURS
    looked: list[PeerOwner] = []

    def find(_descriptor: int) -> PeerOwner:
        looked.append(owner)
        return owner

    monkeypatch.setattr(zmq_port, "find_peer_owner", find)
    stops: list[PeerOwner] = []
    async with open_lossviewer(**ports, stop=lambda: stops.append(owner), warn=ignore):
        async with open_viewer(**ports) as viewer:
            await viewer.send_until(lambda: bool(stops))
        await until(lambda: len(looked) >= 2)  # the viewer's both ports
        owner = PeerOwner.ANOTHER
        async with open_viewer(**ports) as viewer:
            await viewer.send_until(lambda: looked.count(owner) > 6)
    assert set(stops) == {PeerOwner.OURS}


async def test_a_connection_that_ended_during_the_check_is_tried_again(
    hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = iter([PeerOwner.GONE] * 2)
    monkeypatch.setattr(zmq_port, "find_peer_owner", lambda _descriptor: next(owners, PeerOwner.OURS))
    stopped = trio.Event()
    async with open_viewer() as viewer:
        controller, publish = viewer.ports
        async with open_lossviewer(publish=publish, controller=controller, stop=stopped.set, warn=ignore):
            await viewer.send_until(stopped.is_set)


async def test_a_viewer_whose_owner_is_never_found_is_another_program(
    hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is in a virtual machine that shares the address 127.0.0.1 with us, as WSL may."""
    monkeypatch.setattr(zmq_port, "find_peer_owner", lambda _descriptor: PeerOwner.GONE)
    warnings: list[str] = []
    async with open_viewer() as viewer:
        controller, publish = viewer.ports
        async with open_lossviewer(publish=publish, controller=controller, stop=never, warn=warnings.append):
            await viewer.send_until(lambda: len(warnings) == 2)
    assert all("another program than SLEAP's LossViewer" in warning for warning in warnings)


STRANGER = """
import os
import select
import sys
import zmq
os.setuid(65533)
socket = zmq.Context().socket(zmq.PUB)
print(socket.bind_to_random_port("tcp://127.0.0.1"), flush=True)
while True:
    socket.send(b'{"command": "stop"}')
    if sys.stdin in select.select([sys.stdin], [], [], 0.02)[0]:
        break
"""


@contextmanager
def stranger() -> Iterator[int]:
    """A program of another user, which sends the command to stop; yields its port."""
    command = [sys.executable, "-c", STRANGER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        yield int(program.stdout.readline())
        program.communicate()


@pytest.mark.slow
@pytest.mark.skipif(not can_become_another_user(), reason="only root can become another user")
async def test_a_real_program_of_another_user_stops_nothing(hasty: None) -> None:
    warned = trio.Event()
    with stranger() as port, open_port() as publish:
        async with open_lossviewer(publish=publish, controller=port, stop=never, warn=lambda _text: warned.set()):
            with trio.fail_after(HANG_TIME):
                await warned.wait()
