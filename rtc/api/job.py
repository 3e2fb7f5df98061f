"""A job, as a program sees it."""

from collections import deque
from typing import TYPE_CHECKING, NoReturn

from protocol.faults import FaultCode
from protocol.jobs import Outcome, StopScope
from rtc.api.errors import JobCancelled, JobFailed, api_error, usage_error
from rtc.api.event_history import EventHistory
from rtc.api.result import Result
from rtc.terminal.json_events import JsonEvent

if TYPE_CHECKING:  # slow to import, and needed only once a job runs
    from rtc.api.job_run import JobRun

NO_COPY = (
    "A {} belongs to the program that made it, and cannot be copied or sent to another one. Send job.id, and attach."
)


class Job:
    """A job on a worker, followed from here. `Room.submit` and `Room.attach` make it.

    The job does not need this object: it runs on when the program ends, and `Room.attach` comes back to it. While the
    room is open, the job is followed and its result is fetched, whether or not anybody waits for it.
    """

    def __init__(self, run: "JobRun") -> None:
        self._run = run

    @property
    def id(self) -> str:
        """The job's id, with which any program of this user comes back to it. It changes if a broken upload had to be
        begun once more."""
        return self._run.job or ""

    @property
    def worker(self) -> str:
        """The id of the worker that has the job."""
        return self._run.worker or ""

    @property
    def has_ended(self) -> bool:
        """Whether `wait` would return, or raise, at once."""
        return self._run.ended.is_set()

    def events(self) -> "EventReader":
        """Iterate over the job's events, from its first one to its last one, which is an `EndedEvent`.

        Any number of tasks may do so at a time, at any speed. Of what only reports progress (bytes sent, batches,
        frames, use of the GPU), a reader that comes later gets the newest only.
        """
        return EventReader(self._run.history)

    async def wait(self) -> Result:
        """Wait until the job has ended and its result is here, and return the result: also of a job that failed.

        Raises:
            RtcError: what became of the job, or of its result, is not known here: `Detached`, `NetworkError`, ….
        """
        await self._run.ended.wait()
        return self._result()

    async def result(self) -> Result:
        """Wait as `wait` does, and return the result of a job that did what it was to do.

        Raises:
            JobFailed: the job failed.
            JobCancelled: the job was cancelled.
            RtcError: as for `wait`.
        """
        return checked(await self.wait())

    async def stop(self, scope: str = StopScope.THIS.value) -> None:
        """Ask the worker to stop the training early, and to keep what was learned.

        While the package is still sent, this waits until it is sent. A job that has ended is left as it is.

        Args:
            scope: "this": the model that trains now; "all": the whole job.

        Raises:
            UsageError: there is no such scope.
        """
        await self._run.stop(read_scope(scope))

    async def cancel(self) -> None:
        """Ask the worker to end the job now; `wait` then returns what was made until then.

        A job that has ended is left as it is.
        """
        self._run.cancel()

    async def detach(self) -> None:
        """Stop following the job, which runs on; while the package is still sent, this waits until it is sent.

        `wait` raises `Detached` from then on; `Room.attach(job.id)` comes back.
        """
        await self._run.leave()

    def _result(self) -> Result:
        run = self._run
        if run.result is not None:
            return run.result
        assert run.error is not None, "a run that has ended has one of the two"
        raise api_error(run.error) from None

    def __repr__(self) -> str:
        return f"<Job {self.id} on {self.worker}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied.

        Raises:
            TypeError: always.
        """
        raise TypeError(NO_COPY.format("Job"))


class EventReader:
    """An async iterator over a job's events; unlike an async generator, it may be left at any moment."""

    def __init__(self, history: EventHistory) -> None:
        self._history = history
        self._number = 0
        self._ready: deque[JsonEvent] = deque()

    def __aiter__(self) -> "EventReader":
        return self

    async def __anext__(self) -> JsonEvent:
        """Wait for the next event.

        Raises:
            StopAsyncIteration: there is none any more.
        """
        if not self._ready:
            events, self._number = await self._history.after(self._number)
            self._ready.extend(events)
        if not self._ready:
            raise StopAsyncIteration
        return self._ready.popleft()


def read_scope(scope: str) -> StopScope:
    """Return what an early stop ends.

    Raises:
        UsageError: there is no such scope.
    """
    known = {each.value: each for each in StopScope}
    if not isinstance(scope, str) or scope not in known:
        raise usage_error(f"scope=… is one of {', '.join(known)}.")
    return known[scope]


def checked(result: Result) -> Result:
    """Return the result of a job that did what it was to do.

    Raises:
        JobFailed: the job failed.
        JobCancelled: the job was cancelled.
    """
    if result.outcome is Outcome.DONE:
        return result
    if result.outcome is Outcome.CANCELLED:
        raise JobCancelled(FaultCode.CANCELLED, result.text)
    raise JobFailed(FaultCode.JOB_FAILED, result.text)
