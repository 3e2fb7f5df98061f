"""The demo: server, worker and client in one process, with real sleap-nn, on a data set that the demo draws."""

import sys
import tempfile
from pathlib import Path

import trio
from attrs import evolve

from actors.events import NamedWorker
from protocol.faults import FaultCode
from rtc.client.options import ClientOptions
from rtc.client.program import run_client
from rtc.common.errors import RtcError
from rtc.common.nurseries import open_background_nursery
from rtc.config.load import Config, load_config
from rtc.runtime.root import cancel_when
from rtc.server import open_server
from rtc.sleap_nn.commands import find_sleap_nn, python_of
from rtc.terminal import open_view
from rtc.terminal.interface import ClientView, Mode
from rtc.transport.webrtc import AsyncioLoop
from rtc.worker.program import WorkerOptions, run_worker
from rtc.worker.room_membership import WorkerReady


async def run_in_terminal(output: Path | None, asyncio_loop: AsyncioLoop, drain: trio.Event, *, verbose: bool) -> None:
    """Run the demo, and show its progress in the terminal, or as lines if standard output is none.

    When `drain` is set, the demo stops at once, and its job, worker and server with it.

    Args:
        output: the folder for the model; None: `demo` in the working folder.

    Raises:
        RtcError: CANCELLED: the demo was stopped; or any failure that a client may have.
    """
    config = load_config(server=None, environ={"SLEAP_RTC_ENV": "development"}, cwd=Path("/"), settings=Path("/"))
    scope = trio.CancelScope()
    mode = Mode.VERBOSE if verbose else Mode.NORMAL
    async with (
        open_view(terminal=sys.stdout.isatty(), mode=mode, out=sys.stdout, asks=False) as view,
        open_background_nursery() as background,
    ):
        background.start_soon(cancel_when, drain, scope)
        with scope:
            await run_demo(config, output, asyncio_loop=asyncio_loop, view=view)
    if scope.cancelled_caught:
        raise RtcError(FaultCode.CANCELLED, "The demo was stopped, and its job with it.")


async def run_demo(config: Config, output: Path | None, *, asyncio_loop: AsyncioLoop, view: ClientView) -> Path:
    """Draw the data, start a server and a worker, and train and predict there; return the folder with the results.

    Raises:
        RtcError: sleap-nn is missing; or any failure that a client may have.
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
                config, name="demo-worker", work=folder / "work", results=folder / "results", stop_jobs_on_exit=True
            )
            ready: WorkerReady = await background.start(_worker, options, asyncio_loop)
            view.step(f"Worker {ready.session.peer} ({ready.facts.gpu})")
            session = ready.session
            client_options = ClientOptions(
                config, package, session.room, session.token, NamedWorker(session.peer), output=output
            )
            return await run_client(client_options, asyncio_loop=asyncio_loop, view=view, drain=trio.Event())


async def _worker(
    options: WorkerOptions,
    asyncio_loop: AsyncioLoop,
    *,
    task_status: trio.TaskStatus[WorkerReady] = trio.TASK_STATUS_IGNORED,
) -> None:
    await run_worker(options, asyncio_loop=asyncio_loop, drain=trio.Event(), say=_discard_text, task_status=task_status)


def _discard_text(_text: str) -> None:
    """Discard a text of the worker: the demo shows only the client's output, and the worker's is in the log."""


async def _draw(python: Path, package: Path) -> None:
    """Write the demo's package with the Python of sleap-nn.

    It runs in a process of its own: it needs sleap-io, which is slow to import and belongs to sleap-nn's environment.

    Raises:
        RtcError: JOB_FAILED: the process failed; the text contains its last line.
    """
    script = Path(__file__).with_name("data.py")
    process = await trio.run_process(
        # -P: the script's folder must not come first on the path: our modules could hide packages of the same name
        [str(python), "-P", str(script), str(package)],
        check=False,
        capture_stdout=True,
        capture_stderr=True,
    )
    if process.returncode or not await trio.Path(package).exists():
        last_line = process.stderr.decode(errors="replace").strip().splitlines()[-1:]
        text = f"The demo's data set could not be drawn: {''.join(last_line) or 'no reason given'}"
        raise RtcError(FaultCode.JOB_FAILED, text[:400])
