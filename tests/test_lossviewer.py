"""The bridge to SLEAP's LossViewer, with a viewer that does what SLEAP's own does: it binds, hears and says stop."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import zmq
from attrs import define

from protocol.ids import JobId
from protocol.jobs import JobEnded, JobStarted, ModelStarted, Outcome, Progress
from rtc.lossviewer import open_lossviewer
from rtc.testing.lab import Lab, RecordingView

JOB = JobId("job-1")


@define
class Viewer:
    """SLEAP's side: SUB binds the publish port, PUB binds the controller port (`sleap.gui.widgets.monitor`)."""

    sub: "zmq.Socket[bytes]"
    pub: "zmq.Socket[bytes]"
    ports: tuple[int, int]

    async def hears(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await trio.to_thread.run_sync(self.sub.recv))
        return message

    async def until(self, event: str) -> dict[str, Any]:
        while True:
            message = await self.hears()
            if message["event"] == event:
                return message


@asynccontextmanager
async def open_viewer() -> AsyncIterator[Viewer]:
    context = zmq.Context()
    try:
        sub, pub = context.socket(zmq.SUB), context.socket(zmq.PUB)
        sub.setsockopt(zmq.SUBSCRIBE, b"")
        sub.setsockopt(zmq.RCVTIMEO, 20_000)
        controller = pub.bind_to_random_port("tcp://127.0.0.1")
        publish = sub.bind_to_random_port("tcp://127.0.0.1")
        yield Viewer(sub, pub, (controller, publish))
    finally:
        context.destroy(linger=0)


async def test_a_viewer_hears_what_sleap_nn_would_have_told_it_with_the_models_name() -> None:
    async with open_viewer() as viewer:
        controller, publish = viewer.ports
        async with open_lossviewer(publish=publish, controller=controller, stop=lambda: None) as bridge:
            bridge.hear(JobStarted(JOB, ("centroid",)))
            bridge.hear(ModelStarted(JOB, 0, 2))
            with trio.fail_after(20):
                heard = [await viewer.hears()]
                bridge.hear(Progress(JOB, 0, 0, batch=1, loss=0.5))
                bridge.hear(Progress(JOB, 0, 0, loss=0.5, val_loss=0.25))
                bridge.hear(JobEnded(JOB, Outcome.DONE, "Done.", result=True))
                heard += [await viewer.hears() for _ in range(4)]
    assert {message["what"] for message in heard} == {"centroid"}
    assert [message["event"] for message in heard] == [
        "train_begin",
        "epoch_begin",
        "batch_end",
        "epoch_end",
        "train_end",
    ]
    assert heard[2]["logs"] == {"loss": 0.5}
    assert heard[3]["logs"] == {"loss": 0.5, "val/loss": 0.25}


async def test_only_a_plain_stop_is_a_stop() -> None:
    stops, came = [], trio.Event()

    def stop() -> None:
        stops.append(True)
        came.set()

    hostile = [
        b"",
        b"stop",
        b"[" * 4000,
        b'{"py/reduce":[{"py/function":"os.getcwd"},{"py/tuple":[]}]}',
        b'{"command":1}',
    ]
    async with open_viewer() as viewer:
        controller, publish = viewer.ports
        async with open_lossviewer(publish=publish, controller=controller, stop=stop) as bridge:
            bridge.hear(JobStarted(JOB, ("centroid",)))
            bridge.hear(ModelStarted(JOB, 0, 2))
            with trio.fail_after(20):
                await viewer.hears()  # both connections stand once this came
                while not came.is_set():
                    for word in hostile:
                        viewer.pub.send(word)
                    viewer.pub.send(b'{"command": "stop"}')
                    with trio.move_on_after(0.1):
                        await came.wait()
    assert stops


async def test_the_viewers_stop_reaches_the_trainer_and_the_model_is_kept(
    lab: Lab, package: Callable[..., Path]
) -> None:
    worker = await lab.start_worker()
    view = RecordingView()
    async with open_viewer() as viewer:
        visits = []

        async def come() -> None:
            long = package(epochs=10_000, seconds=0.05)
            visits.append(await lab.visit(worker, long, view=view, viewer_ports=viewer.ports))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come)
            with trio.fail_after(60):
                await viewer.until("epoch_end")
                while not visits:
                    viewer.pub.send(b'{"command": "stop"}')
                    await trio.sleep(0.2)
    [visit] = visits
    assert visit.fault is None
    assert visit.output is not None
    assert len(list(visit.output.rglob("best.ckpt"))) == 1
