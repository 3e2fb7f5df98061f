"""The ZMQ messages of sleap-nn become Progress: known fields, real numbers, not too many."""

import json
import math
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest
import trio
import zmq
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.jobs import ModelTrained, Progress
from rtc.common.errors import RtcError
from rtc.common.socket_owner import PeerOwner
from rtc.sleap_nn import local_ports, zmq_progress
from rtc.sleap_nn.zmq_progress import TrainingProgress, open_monitor
from rtc.testing.limits import HANG_TIME
from rtc.testing.users import can_become_another_user


class EmittedEvents(list):
    """A list of the emitted events, which sets `news` when one is added."""

    def __init__(self):
        super().__init__()
        self.news = trio.Event()

    def __call__(self, progress):
        self.append(progress)
        self.news.set()


@pytest.fixture
def heard():
    return EmittedEvents()


@pytest.fixture
def training_progress(heard):
    return TrainingProgress("j", 1, heard)


def message(event, **fields):
    return json.dumps({"what": "", "event": event, "logs": None} | fields).encode()


def test_infinity_and_nan_become_nothing(training_progress, heard):
    training_progress.handle_message(
        message("epoch_end", epoch=0, logs={"loss": math.inf, "val/loss": math.nan, "train/loss": 0.5}), 0
    )
    assert heard == [Progress("j", 1, 0, None, None, 0.5, None)]


NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from((10**9, 2**53, 10**400, -1, 1e300))


@given(
    event=st.sampled_from(("epoch_end", "batch_end", "train_end")), numbers=st.lists(NUMBERS, min_size=5, max_size=5)
)
@example(event="batch_end", numbers=[10**9, 10**9, 1e39, -1e39, math.inf])
@example(event="batch_end", numbers=[10**9 - 1, 10**9 - 1, 1e38, -1e38, 5e-324])
def test_whatever_numbers_sleap_nn_reports_a_message_can_have_them_or_null(event, numbers):
    epoch, batch, *losses = numbers
    logs = dict(zip(("loss", "train/loss", "val/loss"), losses, strict=True))
    heard = []
    TrainingProgress("j", 1, heard.append).handle_message(message(event, epoch=epoch, batch=batch, logs=logs), 0)
    assert len(heard) == 1


def test_the_train_loss_of_the_epoch_before_is_kept_until_the_next(training_progress, heard):
    training_progress.handle_message(
        message("epoch_end", epoch=1, logs={"train/loss": 0.5, "val/loss": 0.4, "loss": 0.3}), 0
    )
    training_progress.handle_message(message("batch_end", epoch=2, batch=0, logs={"loss": 0.2}), 1)
    assert heard[-1] == Progress("j", 1, 2, 1, 0.2, 0.5, 0.4)


def test_the_end_of_training_is_emitted_once(training_progress, heard):
    for _ in range(2):
        training_progress.handle_message(message("train_end"), 0)
    assert heard == [ModelTrained("j", 1)]
    assert training_progress.ended.is_set()


def test_batches_are_thinned_and_epochs_are_not(training_progress, heard):
    for number in range(100):  # one second of messages
        training_progress.handle_message(message("batch_end", epoch=0, batch=number, logs={"loss": 0.1}), number / 100)
        training_progress.handle_message(message("epoch_end", epoch=0, logs={}), number / 100)
    assert sum(progress.batch is not None for progress in heard) == 4
    assert sum(progress.batch is None for progress in heard) == 100


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"[" * 60_000,
        b"[]",
        b'"epoch_end"',
        b"1" * 5000,
        message("epoch_end", epoch=0, logs={"x": "y" * 70_000}),
        b'{"event": ["epoch_end"]}',
        b'{"py/reduce": [{"py/function": "os.getcwd"}, {"py/tuple": []}]}',
    ],
)
def test_what_is_not_understood_is_dropped(raw, training_progress, heard):
    training_progress.handle_message(raw, 0)
    assert heard == []


def test_strange_fields_do_no_harm(training_progress, heard):
    training_progress.handle_message(
        message("epoch_end", epoch=-3, logs={"loss": True, "val/loss": "x", "train/loss": [1]}), 0
    )
    training_progress.handle_message(
        b'{"event": "batch_end", "epoch": 1e400, "batch": true, "logs": {"loss": 1' + b"0" * 400 + b"}}", 1
    )
    training_progress.handle_message(message("batch_end", epoch=2**70, batch=-1, logs=[]), 2)
    assert heard == [Progress("j", 1, 0), Progress("j", 1, 0, 1), Progress("j", 1, 0, 1)]


async def test_every_message_arrives_although_the_descriptor_is_edge_triggered(heard, tmp_path):
    with zmq.Context() as context:
        async with open_monitor(tmp_path) as monitor:
            monitor.set_receiver(TrainingProgress("j", 0, heard))
            with context.socket(zmq.PUB) as trainer:
                trainer.setsockopt(zmq.SNDHWM, 0)
                trainer.connect(f"tcp://127.0.0.1:{monitor.ports.publish}")
                with trio.fail_after(HANG_TIME):
                    while not heard:  # until the subscription has reached the PUB socket
                        trainer.send(message("epoch_end", epoch=0, logs={}))
                        with trio.move_on_after(0.01):
                            await heard.news.wait()
                    for epoch in range(1, 5001):
                        trainer.send(message("epoch_end", epoch=epoch, logs={}))
                    while heard[-1].epoch < 5000:
                        heard.news = trio.Event()
                        await heard.news.wait()
    assert [progress.epoch for progress in heard if progress.epoch] == list(range(1, 5001))


@pytest.fixture
async def monitor(tmp_path):
    async with open_monitor(tmp_path) as opened:
        yield opened


async def count_stops(trainer, enough):
    """Receive this many commands to stop."""
    for _ in range(enough):
        assert await trio.to_thread.run_sync(trainer.poll, 1000 * HANG_TIME)
        assert json.loads(trainer.recv()) == {"command": "stop"}


async def test_stop_is_sent_again_whatever_a_message_says(heard, monitor, nursery, monkeypatch):
    monkeypatch.setattr(zmq_progress, "STOP_INTERVAL", 0.02)
    training_progress = TrainingProgress("j", 0, heard)
    monitor.set_receiver(training_progress)
    nursery.start_soon(monitor.stop)
    with zmq.Context() as context, context.socket(zmq.SUB) as trainer, trio.fail_after(HANG_TIME):
        trainer.setsockopt(zmq.SUBSCRIBE, b"")
        trainer.connect(f"tcp://127.0.0.1:{monitor.ports.controller}")  # late, as sleap-nn does
        await count_stops(trainer, 2)
        training_progress.handle_message(message("train_end"), 0)
        await count_stops(trainer, 3)


# -------- who may talk with the trainer's ports


@pytest.fixture
def stranger(monkeypatch):
    """Make the other end of each connection another user's."""
    owners = []

    def find(_descriptor):
        owners.append(PeerOwner.ANOTHER)
        return PeerOwner.ANOTHER

    local_ports._report_refusal.cache_clear()
    monkeypatch.setattr(local_ports, "find_peer_owner", find)
    return owners


async def test_another_users_connection_is_closed_before_a_byte_of_it_is_read(stranger, monitor, heard, caplog):
    monitor.set_receiver(TrainingProgress("j", 0, heard))
    with trio.fail_after(HANG_TIME):
        for port in (monitor.ports.publish, monitor.ports.controller) * 2:
            async with await trio.open_tcp_stream("127.0.0.1", port) as connection:
                with suppress(trio.BrokenResourceError):  # it is reset when we have sent more than was read
                    await connection.send_all(b"\xff" + bytes(8) + b"\x7f")
                    assert await connection.receive_some() == b"", "not even a greeting"
    assert len(stranger) == 4
    assert [record.getMessage() for record in caplog.records] == [
        f"another user of this machine has connected to the trainer's {name} port and was refused"
        for name in ("publish", "controller")
    ]


async def test_a_connection_that_was_closed_already_is_not_read_either(monitor, heard, monkeypatch):
    monkeypatch.setattr(local_ports, "find_peer_owner", lambda _descriptor: PeerOwner.GONE)
    with trio.fail_after(HANG_TIME):
        async with await trio.open_tcp_stream("127.0.0.1", monitor.ports.publish) as connection:
            assert await connection.receive_some() == b""


async def test_a_socket_that_the_jobs_code_has_removed_ends_only_its_connection(tmp_path, monitor):
    (tmp_path / zmq_progress.PUBLISH).unlink()
    with trio.fail_after(HANG_TIME):
        async with await trio.open_tcp_stream("127.0.0.1", monitor.ports.publish) as connection:
            assert await connection.receive_some() == b""
        async with await trio.open_tcp_stream("127.0.0.1", monitor.ports.controller) as connection:
            assert await connection.receive_some() != b""


async def test_the_sockets_of_a_job_in_a_deep_folder_can_be_opened(tmp_path):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    async with open_monitor(deep) as monitor:
        assert sorted(path.name for path in deep.iterdir()) == ["controller", "publish"]
        assert monitor.ports.publish != monitor.ports.controller


async def test_sockets_that_cannot_be_opened_are_a_sentence(tmp_path):
    (tmp_path / zmq_progress.PUBLISH).mkdir()
    with pytest.raises(RtcError, match="could not open the sockets"):
        async with open_monitor(tmp_path):
            pass


STRANGER = """
import os, sys
import zmq
os.setuid(65533)
forger, listener = (zmq.Context.instance().socket(kind) for kind in (zmq.PUB, zmq.SUB))
listener.setsockopt(zmq.SUBSCRIBE, b"")
for socket, port in ((forger, sys.argv[1]), (listener, sys.argv[2])):
    socket.connect(f"tcp://127.0.0.1:{port}")
print("trying", flush=True)
while not listener.poll(10):
    forger.send(b'{"event": "train_end"}')
print("heard", flush=True)
"""


@contextmanager
def stranger_program(ports):
    """A program of another user that forges the end of the training, and listens for commands."""
    command = [sys.executable, "-c", STRANGER, str(ports.publish), str(ports.controller)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout.readline() == "trying\n"
            yield
        finally:
            program.kill()
        assert program.stdout.read() == "", "it has heard no command"


@pytest.mark.slow
@pytest.mark.skipif(not can_become_another_user(), reason="only root can become another user")
async def test_a_real_program_of_another_user_forges_nothing_and_hears_nothing(
    heard, monitor, nursery, monkeypatch, caplog
):
    local_ports._report_refusal.cache_clear()
    monkeypatch.setattr(zmq_progress, "STOP_INTERVAL", 0.02)
    monitor.set_receiver(TrainingProgress("j", 0, heard))
    nursery.start_soon(monitor.stop)
    with stranger_program(monitor.ports), trio.fail_after(HANG_TIME):
        while len(caplog.records) < 2:  # noqa: ASYNC110 (a log has no event)
            await trio.sleep(0.01)
        with zmq.Context() as context, context.socket(zmq.SUB) as trainer:
            trainer.setsockopt(zmq.SUBSCRIBE, b"")
            trainer.connect(f"tcp://127.0.0.1:{monitor.ports.controller}")
            await count_stops(trainer, 3)
    assert heard == []
    nursery.cancel_scope.cancel()
