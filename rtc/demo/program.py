"""The demo: server, worker and client in one process, real sleap-nn, on a data set that it draws itself."""

import sys
import tempfile
from pathlib import Path

import trio
from attrs import evolve

from actors.events import NamedWorker
from protocol.faults import FaultCode
from rtc.client.program import ClientOptions, run_client
from rtc.common.errors import RtcError
from rtc.common.nurseries import open_background_nursery
from rtc.config.load import Config, load_config
from rtc.runtime.root import stop_when
from rtc.server import open_server
from rtc.sleap_nn.commands import find_sleap_nn, python_of
from rtc.terminal import open_view
from rtc.terminal.interface import ClientView, Mode
from rtc.transport.webrtc import AsyncioLoop
from rtc.worker.program import WorkerOptions, run_worker
from rtc.worker.room_membership import WorkerReady


async def show(output: Path | None, asyncio_loop: AsyncioLoop, drain: trio.Event, *, verbose: bool) -> None:
    """Run the demo in a terminal, or to a pipe. Asked to stop, it stops at once: nothing of it outlives it.

    Raises:
        RtcError: CANCELLED, or whatever a client may hear.
    """
    config = load_config(server=None, environ={"SLEAP_RTC_ENV": "development"}, cwd=Path("/"), home=Path("/"))
    scope = trio.CancelScope()
    mode = Mode.VERBOSE if verbose else Mode.NORMAL
    async with (
        open_view(terminal=sys.stdout.isatty(), mode=mode, out=sys.stdout, asks=False) as view,
        open_background_nursery() as background,
    ):
        background.start_soon(stop_when, drain, scope)
        with scope:
            await run_demo(config, output, asyncio_loop=asyncio_loop, view=view)
    if scope.cancelled_caught:
        raise RtcError(FaultCode.CANCELLED, "The demo was stopped, and its job with it.")


async def run_demo(config: Config, output: Path | None, *, asyncio_loop: AsyncioLoop, view: ClientView) -> Path:
    """From nothing to a trained model and its predictions; returns their folder.

    Raises:
        RtcError: sleap-nn is missing, or whatever a client may hear.
    """
    sleap_nn = find_sleap_nn(None)
    with tempfile.TemporaryDirectory(prefix="sleap-rtc-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        package = folder / "demo.zip"
        view.step("Drawing a small data set: one bug, three points, sixteen frames")
        await _draw(python_of(sleap_nn), package)
        async with (
            open_server(host="127.0.0.1", ws_port=0, http_port=0, data=folder / "server") as server,
            open_background_nursery() as background,
        ):
            view.step(f"Server at {server.ws_url}")
            config = evolve(config, signaling_websocket=server.ws_url, signaling_http=server.http_url)
            options = WorkerOptions(
                config, name="demo-worker", work=folder / "work", results=folder / "results", jobs_end_too=True
            )
            ready: WorkerReady = await background.start(_worker, options, asyncio_loop)
            view.step(f"Worker {ready.session.peer} ({ready.facts.gpu})")
            there = ready.session
            wish = ClientOptions(config, package, there.room, there.token, NamedWorker(there.peer), output=output)
            return await run_client(wish, asyncio_loop=asyncio_loop, view=view, drain=trio.Event())


async def _worker(
    options: WorkerOptions,
    asyncio_loop: AsyncioLoop,
    *,
    task_status: trio.TaskStatus[WorkerReady] = trio.TASK_STATUS_IGNORED,
) -> None:
    await run_worker(options, asyncio_loop=asyncio_loop, drain=trio.Event(), say=_unsaid, task_status=task_status)


def _unsaid(_text: str) -> None:
    """The demo shows the client's side; what the worker says is in the log."""


async def _draw(python: Path, package: Path) -> None:
    """In a process of its own: drawing needs sleap-io, which is slow to import and belongs to the worker's side."""
    script = Path(__file__).with_name("data.py")
    done = await trio.run_process(
        # -P: the script's own folder must not come first on the path, where our rooms would hide packages of their name
        [str(python), "-P", str(script), str(package)],
        check=False,
        capture_stdout=True,
        capture_stderr=True,
    )
    if done.returncode or not await trio.Path(package).exists():
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        text = f"The demo's data set could not be drawn: {''.join(last) or 'no reason given'}"
        raise RtcError(FaultCode.JOB_FAILED, text[:400])
