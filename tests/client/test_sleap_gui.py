"""The bridge with SLEAP's own LossViewer: `make test-sleap-gui` installs SLEAP 1.6.6 into `.venv-sleap` and runs this.

It is skipped without SLEAP: neither in `.venv-sleap` nor in the Python that SLEAP_RTC_TEST_SLEAP names.
"""

import json
import math
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field

from protocol.ids import JobId
from protocol.jobs import JobEnded, JobStarted, ModelStarted, Outcome, Progress
from rtc.client.lossviewer.bridge import LossViewer, open_lossviewer
from rtc.sleap_nn.zmq_progress import TrainingProgress
from rtc.testing.limits import HANG_TIME
from rtc.testing.ports import open_port

pytestmark = [pytest.mark.long, pytest.mark.sleap_gui]

HERE = Path(__file__).parent
NAMED = os.environ.get("SLEAP_RTC_TEST_SLEAP")
PYTHON = Path(NAMED) if NAMED else HERE.parents[1] / ".venv-sleap" / "bin" / "python"
OFFSCREEN = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
JOB = JobId("job-1")
HEADS = ("centroid", "centered_instance")
CENTROID_VAL = [0.050100862979888916, 0.049842365086078644]
SINGLE_VAL = [0.04498838260769844, 0.03995779529213905, 0.033355917781591415]
SINGLE_TRAIN = [0.047644902020692825, 0.04338407889008522]


@pytest.fixture(scope="module", autouse=True)
def sleap() -> None:
    """Check that SLEAP's LossViewer can be imported: skip without SLEAP, fail if the Python that was named has none."""
    give_up = pytest.fail if NAMED else pytest.skip
    if not PYTHON.exists():
        give_up(f"there is no {NAMED or 'SLEAP in .venv-sleap'}; `make test-sleap-gui` installs it")
    command = [PYTHON, "-c", "import sleap.gui.widgets.monitor"]
    tried = subprocess.run(command, env=OFFSCREEN, capture_output=True, text=True, check=False, timeout=300)
    if tried.returncode:
        give_up(f"SLEAP's LossViewer cannot be imported: {tried.stderr.strip().rpartition(chr(10))[2]}")


@define
class RealViewer:
    """SLEAP's LossViewer in its own process, `sleap_viewer.py`."""

    process: trio.Process
    ports: dict[str, int] = field(factory=dict)
    _unread: bytearray = field(factory=bytearray)

    async def do(self, command: str) -> dict[str, Any]:
        """Send a command, and return what the viewer shows after it."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(command.encode() + b"\n")
        return await self.answer()

    async def shows(self, expected: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until `expected` is true of what the viewer shows; return what it shows."""
        with trio.fail_after(HANG_TIME):
            while not expected(seen := await self.do("look")):  # noqa: ASYNC110 - another process has no event
                await trio.sleep(0.1)
        return seen

    async def draws(self, epochs: int) -> dict[str, Any]:
        """Wait until the line of validation losses has a point for each of `epochs`; return what the viewer shows."""
        return await self.shows(lambda seen: len(seen["val_loss"]) >= epochs)

    async def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        with trio.fail_after(HANG_TIME):
            while b"\n" not in self._unread:
                more = await self.process.stdout.receive_some()
                assert more, "the viewer ended"
                self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)


@asynccontextmanager
async def open_real_viewer(controller: int = 0, publish: int = 0) -> AsyncIterator[RealViewer]:
    command = [str(PYTHON), str(HERE / "sleap_viewer.py"), str(controller), str(publish)]
    process = await trio.lowlevel.open_process(command, env=OFFSCREEN, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with process.stdout, process.stdin:
            viewer = RealViewer(process)
            viewer.ports = await viewer.answer()
            yield viewer
        with trio.fail_after(HANG_TIME):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


def never(text: str = "") -> None:
    raise AssertionError(f"this should not have been called: {text}")


def replay(bridge: LossViewer, model: int, name: str) -> None:
    """Send the recorded messages of one model through the worker's `TrainingProgress` to the bridge."""
    bridge.handle(ModelStarted(JOB, model))
    training_progress = TrainingProgress(JOB, model, bridge.handle)
    for line in map(json.loads, (HERE.parent / "data" / f"zmq_{name}.jsonl").read_text().splitlines()):
        training_progress.handle_message(line["raw"].encode(), line["t"])


async def wait_until_connected(bridge: LossViewer, viewer: RealViewer) -> None:
    """Begin a first model without an epoch; when the viewer shows that it runs, both ends are connected."""
    bridge.handle(JobStarted(JOB, HEADS))
    bridge.handle(ModelStarted(JOB, 0))
    await viewer.shows(lambda seen: seen["running"])


def losses(points: list[list[float]]) -> list[float]:
    return [loss for _, loss in points]


async def test_the_dialogs_viewer_shows_two_models_each_in_a_plot_of_its_own() -> None:
    async with (
        open_real_viewer() as viewer,
        open_lossviewer(
            publish=viewer.ports["publish_port"],
            controller=viewer.ports["controller_port"],
            stop=never,
            warn=never,
        ) as bridge,
    ):
        await viewer.do("reset centroid")
        await wait_until_connected(bridge, viewer)
        replay(bridge, 0, "centroid_with_infinity")
        seen = await viewer.draws(2)
        assert losses(seen["val_loss"]) == CENTROID_VAL
        await viewer.do("reset centered_instance")
        replay(bridge, 1, "single_3epochs")
        seen = await viewer.draws(3)
        bridge.handle(JobEnded(JOB, Outcome.DONE, "Done.", result=True))
        assert seen["val_loss"] == [[3 * (epoch + 1), loss] for epoch, loss in enumerate(SINGLE_VAL)]
        assert seen["train_loss"] == [[3 * (epoch + 2), loss] for epoch, loss in enumerate(SINGLE_TRAIN)]
        assert seen["val_loss_best"] == [[9, SINGLE_VAL[-1]]]
        assert seen["what"] == "centered_instance"
        await viewer.shows(lambda seen: not seen["running"])


async def test_a_viewer_opened_for_the_first_head_shows_both_models_one_after_the_other() -> None:
    async with (
        open_real_viewer() as viewer,
        open_lossviewer(
            publish=viewer.ports["publish_port"],
            controller=viewer.ports["controller_port"],
            stop=never,
            warn=never,
        ) as bridge,
    ):
        await viewer.do("reset centroid")
        await wait_until_connected(bridge, viewer)
        replay(bridge, 0, "centroid_with_infinity")
        replay(bridge, 1, "single_3epochs")
        seen = await viewer.draws(6)
    first, gap, second = losses(seen["val_loss"])[:2], losses(seen["val_loss"])[2], losses(seen["val_loss"])[3:]
    assert (first, second) == (CENTROID_VAL, SINGLE_VAL)
    assert math.isnan(gap), "the line is not drawn on into the next model"
    assert losses(seen["val_loss_best"]) == [SINGLE_VAL[-1]]
    assert "nan" not in seen["title"]


async def test_a_viewer_that_comes_late_shows_the_model_from_its_beginning() -> None:
    with open_port() as controller, open_port() as publish:
        await show_to_a_late_viewer({"controller": controller, "publish": publish})


async def show_to_a_late_viewer(ports: dict[str, int]) -> None:
    async with open_lossviewer(**ports, stop=never, warn=never) as bridge:
        bridge.handle(JobStarted(JOB, HEADS))
        bridge.handle(ModelStarted(JOB, 0))
        for epoch in range(200):
            bridge.handle(Progress(JOB, 0, epoch, 10, loss=0.5))
            bridge.handle(Progress(JOB, 0, epoch, None, 0.5, 1 / epoch if epoch else None, 1 / (epoch + 1)))
        bridge.handle(Progress(JOB, 0, 200, 1, loss=0.5))
        async with open_real_viewer(**ports) as viewer:
            seen = await viewer.draws(200)
            assert seen["val_loss"] == [[10 * (epoch + 1), 1 / (epoch + 1)] for epoch in range(200)]
            assert seen["train_loss"] == [[10 * (epoch + 1), 1 / epoch] for epoch in range(1, 200)]
            bridge.handle(Progress(JOB, 0, 200, 10, loss=0.5))
            bridge.handle(Progress(JOB, 0, 200, None, 0.5, 1 / 200, 1 / 201))
            await viewer.draws(201)
            with trio.fail_after(HANG_TIME):
                while "{202}" not in (seen := await viewer.do("look"))["title"]:
                    # the viewer draws a batch only if it comes half a second after the one that it has drawn last
                    bridge.handle(Progress(JOB, 0, 201, 1, loss=0.5))
                    await trio.sleep(0.6)
            assert seen["val_loss"][-1] == [2010, 1 / 201]
            assert seen["axis"][0] < 10, "the whole line is visible"
            assert seen["axis"][1] >= 2010


async def test_its_stop_button_stops() -> None:
    stopped = trio.Event()
    async with (
        open_real_viewer() as viewer,
        open_lossviewer(
            publish=viewer.ports["publish_port"],
            controller=viewer.ports["controller_port"],
            stop=stopped.set,
            warn=never,
        ) as bridge,
    ):
        await wait_until_connected(bridge, viewer)
        assert (await viewer.do("stop"))["stop"] == "Stopping..."
        with trio.fail_after(HANG_TIME):
            await stopped.wait()
