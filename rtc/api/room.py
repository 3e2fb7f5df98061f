"""A room in which a program works, and its jobs: for programs that run under trio."""

import os
import warnings
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from protocol.signaling import WorkerPresent
from rtc.api.arguments import check_texts, path_of, whole_number_of
from rtc.api.connection import only_under_trio
from rtc.api.errors import OTHER_PROCESS, ROOM_CLOSED, api_error, api_errors, usage_error
from rtc.api.job import NO_COPY, Job
from rtc.api.job_info import JobInfo
from rtc.api.log_output import open_output
from rtc.common.nurseries import is_cancellation, open_background_nursery
from rtc.common.size_limits import RESULT_MAX

if TYPE_CHECKING:  # slow to import, and needed only once a room is open
    from rtc.api.access import RoomAccess
    from rtc.api.job_run import JobRun
    from rtc.api.submission import PathText, Submission
    from rtc.config.load import Config
    from rtc.transport.webrtc import AsyncioLoop

FOLLOWED = (
    "The job {job} is followed by this program already, and its result goes where that was said first. Leave out "
    "output=…."
)
LEAVE_TIME = 5.0
"""Seconds that the jobs' clients have to say goodbye when the program is cancelled."""


class OnExit(Enum):
    """What happens to jobs that have not ended when a program leaves their room."""

    DETACH = "detach"
    """They run on; packages that are on their way are sent first."""
    WAIT = "wait"
    """The program waits for them, and for their results."""
    CANCEL = "cancel"
    """They are cancelled, and what they have made is fetched."""


class Room:
    """A room that is open, from `connect`."""

    def __init__(self, access: "RoomAccess", asyncio_loop: "AsyncioLoop", nursery: trio.Nursery) -> None:
        self._access = access
        self._loop = asyncio_loop
        self._nursery = nursery
        self._runs: set[JobRun] = set()
        self._known: weakref.WeakSet[JobRun] = weakref.WeakSet()
        self._is_open = True
        self._process = os.getpid()

    @property
    def id(self) -> str:
        """The room's id."""
        return self._access.target.room

    @property
    def name(self) -> str | None:
        """The name under which the room is remembered; None if it is not."""
        return self._access.target.name

    @property
    def server(self) -> str:
        """The address of the room's signalling server."""
        return self._access.config.signaling_websocket

    # -------- jobs

    async def submit(
        self,
        package: "PathText | None" = None,
        *,
        labels: "PathText | None" = None,
        configs: "Iterable[PathText] | None" = None,
        pipeline: str | None = None,
        data: "PathText | None" = None,
        models: "Iterable[PathText]" = (),
        overrides: Iterable[str] = (),
        output: "PathText | None" = None,
        worker: str | WorkerPresent | None = None,
        auto_select: bool = True,
        min_gpu_memory: int = 0,
        wait: float | bool | None = None,
        max_result: int = RESULT_MAX,
        gpus: int = 0,
        give_up_after: float | None = None,
        **predict_options: Any,
    ) -> Job:
        """Submit a job, and return it as soon as a worker has accepted it. Then its package is sent.

        Args:
            package: a job package (.zip), for a training or for inference; or, in its place:
            labels, configs: labels (.slp) to train on, and a training configuration of sleap-nn for each model. Without
                configurations sleap-nn writes them on the worker, and they come back with the models.
            pipeline: with labels and no configs: what sleap-nn writes them for ("bottomup"); None: it chooses.
            data, models: a video, a folder of images, or labels to predict on, and the folders of trained models.
            overrides: settings of the training changed for this job: `["trainer_config.max_epochs=50"]`.
            output: the folder for a training's result, or the .slp file for predictions; None: a new one in the working
                folder, named after the package.
            worker: the worker's id or name, or one of `workers()`; None: the one of the session string, else the best
                (see `auto_select`).
            auto_select: without `worker`, take the available worker with most GPU memory; False: take one only where
                there is no choice.
            min_gpu_memory: least GPU memory of the worker, in MB (2**20 bytes).
            wait: seconds to wait in the room's queue when every worker that fits is taken; True: without a limit.
            max_result: bytes of the largest result that is accepted.
            gpus: least number of GPUs that the worker gives to this job.
            give_up_after: seconds after which the job is ended if sleap-nn says nothing and uses neither processor nor
                GPU all the time; None: never.
            predict_options: with `data`: options of `sleap-nn predict` (`tracking=True, max_instances=2`).

        Raises:
            RtcError: the job cannot be submitted; the class and `exit_code` tell why. Nothing of it is left then.
        """
        from rtc.api import submission

        self._check()
        with api_errors():
            wanted = submission.Submission(
                choice=submission.choose_worker(self._access, worker, auto_select=auto_select),
                output=path_of("output", output),
                min_gpu_memory=whole_number_of("min_gpu_memory", min_gpu_memory),
                wait=submission.check_wait(wait),
                max_result=whole_number_of("max_result", max_result),
                gpus=whole_number_of("gpus", gpus),
                give_up_after=submission.check_give_up_after(give_up_after),
                source=await self._in_thread(
                    partial(
                        submission.find_source,
                        package,
                        labels,
                        configs,
                        data,
                        models,
                        overrides,
                        predict_options,
                        pipeline,
                    )
                ),
            )
            run: JobRun = await self._nursery.start(self._submit, wanted)
            return await self._accepted(run)

    async def attach(self, job: str | None = None, *, output: "PathText | None" = None) -> Job:
        """Come back to a job that was started by this user, from any program or from the command line.

        Args:
            job: its id, or a part of it that no other job has; None: the newest one. A job that this room follows
                already is followed once: what comes back is the same job.
            output: as for `submit`; None: what was named when the job was submitted.

        Raises:
            RtcError: there is no such job, or its worker cannot be reached.
        """
        from rtc.api.job_run import JobRun
        from rtc.client.jobs import client_options_to_attach
        from rtc.common.errors import RtcError

        self._check()
        with api_errors():
            check_texts(job=job)
            path = path_of("output", output)
            options = self._access.jobs_options
            followed = self._followed(job)
            if followed is None:
                try:
                    ticket = await self._in_thread(lambda: options.ticket(job))
                except RtcError:
                    if (ended := self._ended(job)) is not None:
                        return Job(ended)
                    raise
                followed = self._followed(ticket.job)
            if followed is not None:
                if path not in (None, followed.options.output):
                    raise usage_error(FOLLOWED.format(job=followed.job))
                return Job(followed)
            run = JobRun(client_options_to_attach(options, ticket, output=path))
            self._nursery.start_soon(self._follow, run)
            return await self._accepted(run)

    async def jobs(self) -> tuple[JobInfo, ...]:
        """Return the jobs that this user has started and not fetched yet, oldest first, as their workers report them.

        Those of all rooms are among them. Of a ticket that cannot be read, a warning tells.
        """
        from rtc.client.jobs import query_all

        self._check()
        options = self._access.jobs_options
        tickets, errors = await self._in_thread(options.read_tickets)
        for text in errors:
            warnings.warn(text, stacklevel=2)
        rows = await query_all(options, tickets, self._loop)
        return tuple(
            JobInfo(
                id=row.ticket.job,
                worker=row.ticket.worker,
                package=row.ticket.package,
                kind=row.ticket.kind,
                stage=None if row.state is None else row.state.stage,
                outcome=None if row.state is None else row.state.outcome,
                text=row.text,
                has_result=row.state is not None and row.state.result,
            )
            for row in rows
        )

    async def workers(self) -> tuple[WorkerPresent, ...]:
        """Return the workers of the room, most GPU memory first.

        Raises:
            RtcError: the room cannot be joined.
        """
        from rtc.client.list_workers import list_workers

        self._check()
        target = self._access.target
        with api_errors():
            return await list_workers(self._access.config, target.room, target.token)

    # -------- inside

    def _followed(self, job: str | None) -> "JobRun | None":
        """Return what follows the job with this id here. A second one would fetch the result into the same folder."""
        return next((run for run in self._runs if job is not None and run.job == job), None)

    def _ended(self, job: str | None) -> "JobRun | None":
        """Return what has followed the job with this id and has its result, as long as somebody has the `Job`."""
        return next((run for run in tuple(self._known) if run.job == job and run.result is not None), None)

    async def _submit(self, wanted: "Submission", *, task_status: trio.TaskStatus["JobRun"]) -> None:
        """Build the package if there is none, and run the client that submits it."""
        from rtc.api.job_run import JobRun
        from rtc.client.result_folder import choose_result_folder

        with wanted.source.open() as package:
            run = JobRun(wanted.options(self._access, package))
            if wanted.source.build is not None:
                await self._in_thread(lambda: choose_result_folder(run.options))
                await self._in_thread(partial(wanted.source.build, package, partial(_step_from_thread, run)))
            task_status.started(run)
            await self._follow(run)

    async def _follow(self, run: "JobRun") -> None:
        """Run a client until it ends; how it has ended, the run knows."""
        from rtc.common.errors import RtcError

        self._runs.add(run)
        self._known.add(run)
        try:
            await run.run(self._loop)
        except RtcError:
            pass
        finally:
            run.end()
            self._runs.discard(run)

    async def _accepted(self, run: "JobRun") -> Job:
        """Wait until a worker has the job.

        Raises:
            RtcError: no worker has taken it, or the earlier job was not found.
        """
        try:
            await run.accepted.wait()
        except trio.Cancelled:
            run.drain.set()
            raise
        if run.error is not None:
            raise api_error(run.error)
        return Job(run)

    @staticmethod
    async def _in_thread(work: Callable[[], Any]) -> Any:
        return await trio.to_thread.run_sync(work)

    def _check(self) -> None:
        """Check that the room can be used.

        Raises:
            UsageError: it is closed, or belongs to another process.
        """
        if os.getpid() != self._process:
            raise usage_error(OTHER_PROCESS)
        if not self._is_open:
            raise usage_error(ROOM_CLOSED)

    async def _leave(self, on_exit: OnExit) -> None:
        """Do with the jobs that have not ended what `on_exit` says, and wait for the end of their clients."""
        self._is_open = False
        async with trio.open_nursery() as nursery:
            for run in tuple(self._runs):
                if on_exit is OnExit.CANCEL:
                    run.cancel()
                nursery.start_soon(run.leave if on_exit is OnExit.DETACH else run.ended.wait)

    async def _leave_at_once(self) -> None:
        """Leave the jobs because of a cancellation: those that run, run on; packages on their way are given up."""
        self._is_open = False
        with trio.move_on_after(LEAVE_TIME, shield=True):
            for run in tuple(self._runs):
                run.drain.set()
            for run in tuple(self._runs):
                await run.ended.wait()

    def __repr__(self) -> str:
        return f"<Room {self.name or self.id}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied.

        Raises:
            TypeError: always.
        """
        raise TypeError(NO_COPY.format("Room"))


@only_under_trio
@asynccontextmanager
async def connect(
    *,
    room: str | None = None,
    session_string: str | None = None,
    room_id: str | None = None,
    token: str | None = None,
    server: str | None = None,
    room_secret: str | None = None,
    config: "Config | None" = None,
    on_exit: str = OnExit.DETACH.value,
    log: "PathText | None" = None,
) -> AsyncGenerator[Room, None]:
    """Open a room for the duration of the block, after checking that it can be joined. For programs under trio.

    If no room is named, it is the remembered one (`sleap-rtc join`): the default, or the only one.

    >>> import trio
    >>> import rtc.api
    >>> async def train():
    ...     async with rtc.api.connect() as room:
    ...         job = await room.submit("bugs.zip", output="doctest-3")
    ...         return await job.result()
    >>> trio.run(train).outcome
    <Outcome.DONE: 'done'>

    Args:
        room: the name of a remembered room, or its id.
        session_string: the text that a worker prints; jobs then go to that worker, unless `submit` says otherwise.
        room_id, token: a room, and the token for it.
        server: the address of the signalling server; None: that of the room, or the configured one.
        room_secret: the room secret; None: looked for where the command line looks.
        config: the settings, from `rtc.api.read_settings`; None: read as the command line does.
        on_exit: what happens to jobs that have not ended when the block ends: "detach": they run on, "wait" or
            "cancel". If the block ends with an exception, they run on in every case. Packages that are on their way
            are sent first, unless the block is cancelled.
        log: a folder for a log file, in which tokens and secrets are hidden; None: no log is written.

    Raises:
        RtcError: the room is not known, or cannot be joined; the class and `exit_code` tell why.
    """
    from rtc.api.access import find_access
    from rtc.transport.webrtc import open_asyncio_loop

    leaving = read_on_exit(on_exit)
    check_texts(
        room=room, session_string=session_string, room_id=room_id, token=token, server=server, room_secret=room_secret
    )
    with open_output(path_of("log", log), session_string, token, room_secret):
        with api_errors():
            find = partial(
                find_access,
                room=room,
                session_string=session_string,
                room_id=room_id,
                token=token,
                server=server,
                room_secret=room_secret,
                config=config,
            )
            access = await trio.to_thread.run_sync(find)
        async with open_asyncio_loop() as asyncio_loop, open_room(access, asyncio_loop, leaving) as opened:
            await opened.workers()
            yield opened


@asynccontextmanager
async def open_room(access: "RoomAccess", asyncio_loop: "AsyncioLoop", on_exit: OnExit) -> AsyncGenerator[Room, None]:
    """Give the room of `access` for the duration of the block.

    What the block raises leaves as itself, not in an exception group: it has nothing to do with our nursery.
    """
    problem: BaseException | None = None
    async with open_background_nursery() as nursery:
        opened = Room(access, asyncio_loop, nursery)
        try:
            yield opened
        except BaseException as error:  # noqa: BLE001 (it is raised below)
            problem = error
        if problem is None or not is_cancellation(problem):
            try:
                await opened._leave(on_exit if problem is None else OnExit.DETACH)
            except BaseException as error:  # noqa: BLE001 (it is raised below)
                problem = problem or error
        await opened._leave_at_once()
    if problem is not None:
        raise problem


def _step_from_thread(run: "JobRun", text: str) -> None:
    """Tell of a step in the building of a package, which is done in a thread."""
    trio.from_thread.run_sync(run.view.step, text)


def read_on_exit(on_exit: str) -> OnExit:
    """Return what happens to jobs when a program leaves their room.

    Raises:
        UsageError: there is no such word.
    """
    known = {each.value: each for each in OnExit}
    if not isinstance(on_exit, str) or on_exit not in known:
        raise usage_error(f"on_exit=… is one of {', '.join(known)}.")
    return known[on_exit]
