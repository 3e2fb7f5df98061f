"""The Python API in plain calls, for scripts and notebooks: no trio, no await.

An open room has a thread of its own, which follows the jobs and fetches their results while the program does something
else. All objects may be used from any thread. Ctrl-C interrupts the call that waits; jobs run on.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from protocol.jobs import StopScope
from protocol.signaling import WorkerPresent
from rtc.api.arguments import path_of, seconds_of
from rtc.api.documented import with_arguments_of
from rtc.api.errors import UsageError, usage_error
from rtc.api.job import NO_COPY, Job, checked, read_scope
from rtc.api.job_info import JobInfo
from rtc.api.result import Result
from rtc.api.room import OnExit, Room, read_on_exit
from rtc.api.room import connect as connect_under_trio
from rtc.api.trio_thread import TrioThread
from rtc.common.size_limits import RESULT_MAX
from rtc.terminal.json_events import JsonEvent

if TYPE_CHECKING:
    from rtc.api.submission import PathText
    from rtc.config.load import Config

RUNS_ON = (
    "Interrupted; the job {job} runs on. job.wait() waits again; room.attach({job!r}), or sleap-rtc attach {job} in a "
    "terminal, comes back to it later."
)


__all__ = ["BlockingJob", "BlockingRoom", "connect"]


def _seconds_until(end: float) -> float | None:
    """Return the seconds until a moment of the monotonic clock; None for a moment that never comes."""
    return None if end == math.inf else max(0.0, end - time.monotonic())


class BlockingJob:
    """A job on a worker, followed from here. `BlockingRoom.submit` and `BlockingRoom.attach` make it.

    The job does not need this object: it runs on when the program ends, and `BlockingRoom.attach` comes back to it.
    """

    def __init__(self, thread: TrioThread[Room], room: "BlockingRoom", job: Job) -> None:
        self._thread = thread
        self._room = room  # an open room is closed when nobody has it any more
        self._job = job

    @property
    def id(self) -> str:
        """The job's id, with which any program of this user comes back to it."""
        return self._job.id

    @property
    def worker(self) -> str:
        """The id of the worker that has the job."""
        return self._job.worker

    @property
    def has_ended(self) -> bool:
        """Whether `wait` would return, or raise, at once."""
        return self._job.has_ended

    def events(self) -> Iterator[JsonEvent]:
        """Iterate over the job's events, from its first one to its last one, which is an `EndedEvent`.

        Any number of threads may do so at a time, at any speed; see `rtc.api.Job.events`.

        >>> from rtc.api import blocking, events
        >>> with blocking.connect() as room:
        ...     job = room.submit("bugs.zip", output="doctest-2")
        ...     epochs = [event.epoch for event in job.events() if isinstance(event, events.EpochEvent)]
        >>> epochs[:3]
        [1, 2, 3]

        Raises:
            KeyboardInterrupt: Ctrl-C; the job runs on.
        """
        return self._events(math.inf)

    def _events(self, end: float) -> Iterator[JsonEvent]:
        """Iterate over the job's events until a moment of the monotonic clock, at which TimeoutError is raised."""
        history = self._job._run.history
        number = 0
        while True:
            with self._interruptible():
                events, number = self._call_or_read(
                    partial(history.after, number), partial(history.take, number), timeout=_seconds_until(end)
                )
            if not events:
                return
            yield from events

    def wait(self, *, timeout: float | None = None, progress: bool = False) -> Result:
        """Wait until the job has ended and its result is here, and return the result: also of a job that failed.

        Args:
            timeout: seconds to wait.
            progress: show how far the job is: drawn in a notebook, as lines elsewhere (`show`).

        Raises:
            KeyboardInterrupt: Ctrl-C; the job runs on.
            TimeoutError: it has not ended in that time; it runs on.
            RtcError: what became of the job, or of its result, is not known here: `Detached`, `NetworkError`, ….
        """
        seconds = seconds_of("timeout", timeout)
        end = math.inf if seconds is None else time.monotonic() + seconds
        if progress:
            self._show(end)
        with self._interruptible():
            result: Result = self._call_or_read(self._job.wait, self._job._result, timeout=_seconds_until(end))
        return result

    def result(self, *, timeout: float | None = None, progress: bool = False) -> Result:
        """Wait as `wait` does, and return the result of a job that did what it was to do.

        Raises:
            JobFailed: the job failed.
            JobCancelled: the job was cancelled.
            RtcError: as for `wait`, and the other exceptions of it.
        """
        return checked(self.wait(timeout=timeout, progress=progress))

    def show(self) -> None:
        """Show how far the job is until it has ended: drawn in a notebook, as lines elsewhere.

        Raises:
            KeyboardInterrupt: Ctrl-C; the job runs on.
        """
        self._show(math.inf)

    def _show(self, end: float) -> None:
        from rtc.api.show_progress import show_events

        with self._interruptible():
            show_events(self._events(end))

    def stop(self, scope: str = StopScope.THIS.value) -> None:
        """Ask the worker to stop the training early, and to keep what was learned; see `rtc.api.Job.stop`.

        Args:
            scope: "this": the model that trains now; "all": the whole job.

        Raises:
            UsageError: there is no such scope.
        """
        read_scope(scope)
        if not self.has_ended:
            self._thread.call(self._job.stop, scope)

    def cancel(self) -> None:
        """Ask the worker to end the job now; `wait` then returns what was made until then."""
        if not self.has_ended:
            self._thread.call(self._job.cancel)

    def detach(self) -> None:
        """Stop following the job, which runs on; while the package is still sent, this waits until it is sent."""
        if not self.has_ended:
            self._thread.call(self._job.detach)

    def _call_or_read(self, function: Callable[[], Any], read: Callable[[], Any], *, timeout: float | None) -> Any:
        """Call an async function in the room's thread; when the room is closed, read in place of that what is known."""
        try:
            if self._thread.is_open:
                return self._thread.call(function, timeout=timeout)
        except UsageError:
            if self._thread.is_open:
                raise
        self._thread.wait_ended(timeout)
        return read()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Say in the exception of a Ctrl-C how to come back to the job.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(RUNS_ON.format(job=self.id)) from None

    def __repr__(self) -> str:
        return repr(self._job)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied.

        Raises:
            TypeError: always.
        """
        raise TypeError(NO_COPY.format("Job"))


class BlockingRoom:
    """A room that is open, from `connect`; `close`, or the end of a `with` block, closes it."""

    def __init__(self, thread: TrioThread[Room]) -> None:
        self._thread = thread
        self._room = thread.open()

    @property
    def id(self) -> str:
        """The room's id."""
        return self._room.id

    @property
    def name(self) -> str | None:
        """The name under which the room is remembered; None if it is not."""
        return self._room.name

    @property
    def server(self) -> str:
        """The address of the room's signalling server."""
        return self._room.server

    @with_arguments_of(Room.submit)
    def submit(
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
    ) -> BlockingJob:
        """Submit a job, and return it as soon as a worker has accepted it. Then its package is sent.

        Ctrl-C while this waits gives the job up.

        Raises:
            RtcError: the job cannot be submitted; the class and `exit_code` tell why. Nothing of it is left then.
        """
        submit = partial(
            self._room.submit,
            package,
            labels=labels,
            configs=configs,
            pipeline=pipeline,
            data=data,
            models=models,
            overrides=overrides,
            output=output,
            worker=worker,
            auto_select=auto_select,
            min_gpu_memory=min_gpu_memory,
            wait=wait,
            max_result=max_result,
            gpus=gpus,
            give_up_after=give_up_after,
            **predict_options,
        )
        return BlockingJob(self._thread, self, self._thread.call(submit))

    def attach(self, job: str | None = None, *, output: "PathText | None" = None) -> BlockingJob:
        """Come back to a job that was started by this user, from any program or from the command line.

        Args:
            job: its id, or a part of it that no other job has; None: the newest one.
            output: as for `submit`; None: what was named when the job was submitted.

        Raises:
            RtcError: there is no such job, or its worker cannot be reached.
        """
        attach = partial(self._room.attach, job, output=output)
        return BlockingJob(self._thread, self, self._thread.call(attach))

    def jobs(self) -> tuple[JobInfo, ...]:
        """Return the jobs that this user has started and not fetched yet, oldest first, of all rooms."""
        return self._thread.call(self._room.jobs)

    def workers(self) -> tuple[WorkerPresent, ...]:
        """Return the workers of the room, most GPU memory first.

        Raises:
            RtcError: the room cannot be joined.
        """
        return self._thread.call(self._room.workers)

    def close(self) -> None:
        """Close the room. What happens to jobs that have not ended, `on_exit` of `connect` has said.

        Ctrl-C while this waits: it leaves at once; jobs that run, run on, and packages on their way are given up.
        """
        self._thread.close()

    def __enter__(self) -> "BlockingRoom":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        with suppress(Exception):  # what the block has raised is what matters
            self._thread.close(failed=True)

    async def __aenter__(self) -> NoReturn:
        """Say how a room of this module is used.

        Raises:
            UsageError: always.
        """
        raise usage_error("A room of rtc.api.blocking is used without async: with blocking.connect(…) as room.")

    async def __aexit__(self, *error: object) -> None:
        """Exist, so that `async with` gets as far as `__aenter__`."""

    def __del__(self) -> None:
        """Let the thread of a room that nobody has any more end by itself."""
        if hasattr(self, "_thread"):  # it is missing if a Ctrl-C came as the room was made
            self._thread.ask_close()

    def __repr__(self) -> str:
        return repr(self._room)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied.

        Raises:
            TypeError: always.
        """
        raise TypeError(NO_COPY.format("Room"))


@with_arguments_of(connect_under_trio)
def connect(
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
) -> BlockingRoom:
    """Open a room, after checking that it can be joined; to be used in a `with` block, or closed with `close`.

    >>> from rtc.api import blocking
    >>> with blocking.connect() as room:
    ...     result = room.submit("bugs.zip", output="doctest-1").result()
    >>> result.outcome
    <Outcome.DONE: 'done'>

    Raises:
        RtcError: the room is not known, or cannot be joined; the class and `exit_code` tell why.
    """
    read_on_exit(on_exit)
    make_manager = partial(
        connect_under_trio,
        room=room,
        session_string=session_string,
        room_id=room_id,
        token=token,
        server=server,
        room_secret=room_secret,
        config=config,
        on_exit=on_exit,
        log=path_of("log", log),
    )
    return BlockingRoom(TrioThread(make_manager))
