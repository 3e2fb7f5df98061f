"""A complete system in one test: a real server, workers and clients on loopback, and a stand-in for sleap-nn."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import define, evolve, field

from actors.events import Interrupt, NamedWorker, WorkerChoice
from protocol.faults import Fault
from protocol.ids import JobId, PeerId
from protocol.jobs import JobNews, JobStarted
from protocol.signaling import WorkerPresent
from protocol.trust import Secret
from rtc.client.options import ClientOptions
from rtc.client.program import run_client
from rtc.common.errors import RtcError
from rtc.common.stories import Stories
from rtc.config.load import Config, load_config
from rtc.runtime.room_keys import SecretFinder
from rtc.server import Server, open_server
from rtc.server.turn_credentials import NO_TURN, TurnCredentials
from rtc.terminal.base_view import BaseView
from rtc.terminal.interface import Changed, JobSummary, Workers
from rtc.testing.stand_in import install_stand_in
from rtc.transport.webrtc import AsyncioLoop
from rtc.worker.program import WorkerOptions, run_worker
from rtc.worker.room_membership import WorkerReady

TRACE = "trace.jsonl"
"""The file in a lab's folder into which the lab writes every turn of every actor; see `rtc.testing.replay`."""


@define
class RecordingView(BaseView):
    """A view (`rtc.terminal.interface`) that records what is shown, and answers questions from prepared lists."""

    texts: list[str] = field(factory=list)
    """The texts shown."""
    job_events: list[JobNews] = field(factory=list)
    """The job events shown."""
    answers: list[Interrupt] = field(factory=list)
    """Answers to the question after Ctrl-C, in order; after the last one, the answer is to detach."""
    ending: JobSummary | None = None
    uploaded: int = 0
    """Bytes uploaded, as last shown."""
    downloaded: int = 0
    """Bytes downloaded, as last shown."""
    offered: list[tuple[WorkerPresent, ...]] = field(factory=list)
    """The workers offered at each choice."""
    picks: list[PeerId | None] = field(factory=list)
    """The workers to choose, in order; after the last one, the first worker offered is chosen."""
    training: trio.Event = field(factory=trio.Event)
    """Set when the job has started."""
    _changed: trio.Event = field(factory=trio.Event)

    async def until(self, part: str) -> None:
        """Wait until a text that contains `part` has been shown."""
        while not any(part in line for line in self.texts):
            await self._changed.wait()

    def step(self, text: str) -> None:
        """Record a text."""
        self.texts.append(text)
        self._changed.set()
        self._changed = trio.Event()

    def warn(self, text: str) -> None:
        """Record a warning, as a text."""
        self.step(f"warning: {text}")

    def upload(self, done: int, total: int) -> None:
        """Record the bytes uploaded."""
        self.uploaded = done

    def download(self, done: int, total: int) -> None:
        """Record the bytes downloaded."""
        self.downloaded = done

    def accepted(self, job: JobId, worker: PeerId) -> None:
        """Record that the job was accepted, as a text."""
        self.step(f"accepted {job} by {worker}")

    def news(self, news: JobNews, at: float) -> None:
        """Record a job event; the start of the job also as a text."""
        self.job_events.append(news)
        if isinstance(news, JobStarted):
            self.step(f"training {', '.join(news.models)}")
            self.training.set()
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for_event(self, kind: type, times: int = 1) -> None:
        """Wait until `times` job events of this type have been shown."""
        while sum(isinstance(news, kind) for news in self.job_events) < times:
            await self._changed.wait()

    def finished(self, summary: JobSummary) -> None:
        """Record the summary of the job and its text."""
        self.ending = summary
        self.step(summary.text)

    def failed(self, fault: Fault, partial: JobSummary | None) -> None:
        """Record the error's text, and the summary of the job if there is one."""
        self.ending = partial
        self.step(fault.text)

    async def ask_interrupt(self, *, stoppable: bool) -> Interrupt:
        """Return the next of `answers`."""
        await trio.lowlevel.checkpoint()
        return self.answers.pop(0) if self.answers else Interrupt.DETACH

    async def choose(self, workers: Workers, changed: Changed | None = None) -> PeerId | None:
        """Return the next of `picks`; when there is none, wait for a worker and return the first."""
        while not workers() and not self.picks and changed is not None:
            await changed()
        self.offered.append(tuple(workers()))
        await trio.lowlevel.checkpoint()
        return self.picks.pop(0) if self.picks else workers()[0].peer


@define
class LabWorker:
    """A running worker of the lab."""

    ready: WorkerReady
    """The room that the worker has joined, its token, and the session string."""
    log: "RecordedLog"
    """The lines that the worker prints."""
    drain: trio.Event
    """Setting it is the worker's first Ctrl-C."""
    scope: trio.CancelScope
    """Cancelling it is the worker's second Ctrl-C."""
    ended: trio.Event
    """Set when the worker has ended."""
    options: WorkerOptions
    failed: Fault | None = None
    """The error with which the worker has ended, if any."""

    @property
    def peer(self) -> PeerId:
        """The worker's name in the room."""
        return self.ready.session.peer


@define
class RecordedLog:
    """A list of lines; a test can wait for a line."""

    lines: list[str] = field(factory=list)
    _changed: trio.Event = field(factory=trio.Event)

    def add(self, line: str) -> None:
        """Append a line and wake the waiting tests."""
        self.lines.append(line)
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, part: str, times: int = 1) -> str:
        """Wait until `times` lines contain `part`; return the newest of them."""
        while True:
            found = [line for line in self.lines if part in line]
            if len(found) >= times:
                return found[-1]
            await self._changed.wait()


@define
class ClientRun:
    """The outcome of one run of the client."""

    view: RecordingView
    output: Path | None = None
    """The result folder, or the file; None after an error."""
    fault: Fault | None = None
    """The error, if the run has failed."""


@define
class Lab:
    """A running server, on which a test can start workers and clients; made by `open_lab`."""

    asyncio_loop: AsyncioLoop
    nursery: trio.Nursery
    folder: Path
    server: Server
    config: Config
    _count: int = 0

    async def start_worker(
        self, *, like: LabWorker | None = None, secret: str | None = None, **options: Any
    ) -> LabWorker:
        """Start a worker and wait until it has joined its room: a new room, or the room of the worker `like`.

        Args:
            like: a worker whose room to join.
            secret: the room secret.
            options: other fields of `WorkerOptions`, by name.
        """
        self._count += 1
        base = self.folder / f"worker-{self._count}"
        defaults: dict[str, Any] = {
            "config": self.config,
            "name": f"bench-{self._count}",
            "work": base / "work",
            "results": base / "results",
            "sleap_nn": str(install_stand_in(base / "bin")),
            "room": like.ready.room if like else None,
            "token": like.ready.token if like else None,
            "find_secret": _finder(secret),
            "stop_jobs_on_exit": True,
        } | options
        worker: LabWorker = await self.nursery.start(self._work, WorkerOptions(**defaults))
        return worker

    async def _work(self, options: WorkerOptions, *, task_status: trio.TaskStatus[LabWorker]) -> None:
        log = RecordedLog()
        drain, scope, ended = trio.Event(), trio.CancelScope(), trio.Event()
        worker: LabWorker | None = None

        def joined(ready: WorkerReady) -> None:
            nonlocal worker
            worker = LabWorker(ready, log, drain, scope, ended, options)
            task_status.started(worker)

        with scope:
            try:
                await run_worker(options, asyncio_loop=self.asyncio_loop, drain=drain, say=log.add, joined=joined)
            except RtcError as error:
                if worker is None:
                    raise
                worker.failed = error.fault
        ended.set()

    async def run_client(
        self,
        worker: LabWorker,
        package: Path,
        *,
        choice: WorkerChoice | None = None,
        secret: str | None = None,
        drain: trio.Event | None = None,
        view: RecordingView | None = None,
        **options: Any,
    ) -> ClientRun:
        """Run a client that sends a package to the room of `worker`, and wait until it ends.

        Args:
            worker: the worker to use, unless `choice` names another way to choose one.
            package: the package file.
            choice: how to choose the worker.
            secret: the room secret.
            drain: an event; setting it is the client's Ctrl-C.
            view: records what is shown.
            options: other fields of `ClientOptions`, by name.
        """
        self._count += 1
        view = view or RecordingView()
        client_options = ClientOptions(
            config=self.config,
            package=package,
            room=worker.ready.room,
            token=worker.ready.token,
            choice=choice or NamedWorker(worker.peer),
            find_secret=_finder(secret),
            output=self.folder / f"client-{self._count}" / "out",
        )
        try:
            output = await run_client(
                evolve(client_options, **options),
                asyncio_loop=self.asyncio_loop,
                view=view,
                drain=drain if drain is not None else trio.Event(),
            )
        except RtcError as error:
            return ClientRun(view, fault=error.fault)
        return ClientRun(view, output=output)


def _finder(secret: str | None) -> SecretFinder:
    """Return a function that finds this secret for any room."""
    return lambda _room: None if secret is None else Secret(secret)


@asynccontextmanager
async def open_lab(
    asyncio_loop: AsyncioLoop, folder: Path, *, turn_credentials: TurnCredentials = NO_TURN, **settings: Any
) -> AsyncGenerator[Lab, None]:
    """Run a signalling server on free ports and a nursery for workers; both end with this context.

    `settings` are fields of `Config` to change. All actors are strict, and write a trace into `folder`.
    """
    config = load_config(server=None, environ={"SLEAP_RTC_ENV": "development"}, cwd=folder, settings=folder)
    with Stories(folder / TRACE).in_use():
        async with (
            open_server(
                host="127.0.0.1", ws_port=0, http_port=0, data=folder / "server", turn_credentials=turn_credentials
            ) as server,
            trio.open_nursery() as nursery,
        ):
            config = evolve(config, signaling_websocket=server.ws_url, signaling_http=server.http_url, **settings)
            yield Lab(asyncio_loop, nursery, folder, server, config)
            nursery.cancel_scope.cancel()
