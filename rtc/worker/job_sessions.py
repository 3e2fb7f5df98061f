"""The worker's window: every link over which somebody asks about a job, with a Visit before each.

It looks into the records, tells what happens in a job as its keeper writes it down, and hands results out. It has no
part in the worker's promise, and is open whatever the worker is.
"""

import logging
import os
from typing import Any

import trio
from attrs import define, field

from actors.actor import Actor
from actors.events import (
    Authenticated,
    CloseLink,
    Drain,
    ForwardToSession,
    JobLookedUp,
    LinkLost,
    LookUpJob,
    OpenSession,
    PeerMessage,
    ResultSendEnded,
    SendResult,
    StreamEnded,
    StreamEvents,
)
from actors.job_session import JOB_SESSION, JobSessionData
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import JobEnded, JobStage, JobState
from rtc.common.errors import RtcError
from rtc.runner.journal import JournalWatcher
from rtc.transport.files import send_file
from rtc.transport.links.manager import LinkManager
from rtc.worker.job import Job
from rtc.worker.job_database import JobDatabase, JobRecord
from rtc.worker.job_manager import JobManager, unwatched

log = logging.getLogger("rtc.worker.job_sessions")

FETCHED = "Its result was fetched, and is not kept any more."
UNKNOWN = "The worker has no such job of yours."
ELSEWHERE = "The job is with another worker of that machine, or was left there when its end could not be written down."
GONE = Fault(FaultCode.LINK_LOST, "The link was gone before the result could be sent; it is kept on the worker.")
TAKEN = Fault(FaultCode.NO_SUCH_JOB, "The result is not on the worker any more; it was fetched, or kept long enough.")


@define
class _Session:
    """One link, and the nursery of all that is done for it."""

    actor: Actor[JobSessionData]
    nursery: trio.Nursery | None = None

    async def stay(self) -> None:
        """Until the link is over."""
        async with trio.open_nursery() as self.nursery:
            await self.actor.run()
            self.nursery.cancel_scope.cancel()


@define
class JobSessions:
    """Sync methods are the router's doors; the work is done in the nursery of `run`."""

    job_manager: JobManager
    links: LinkManager
    router: Router
    job_database: JobDatabase
    chunk_size: int
    _sessions: dict[LinkId, _Session] = field(factory=dict)
    _nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def has(self, link: LinkId) -> bool:
        """Whether what is heard over this link is for us."""
        return link in self._sessions

    # -------- the router's doors

    def open_session(self, effect: OpenSession) -> None:
        """Somebody comes; or has sent a job, and may be gone again."""
        assert self._nursery is not None, "the window is asked while it is open"
        if effect.credential is not None and self.links.link(effect.link) is None:
            return
        guest = _Session(Actor(JOB_SESSION, JobSessionData(effect.link), self.router.outbox))
        self._sessions[effect.link] = guest
        self._nursery.start_soon(guest.stay)
        guest.actor.inbox.put(effect)

    def receive(self, event: Authenticated | PeerMessage | JobLookedUp | StreamEnded | ResultSendEnded) -> None:
        """What concerns one link goes to its Visit."""
        guest = self._sessions.get(event.link)
        if guest is not None:
            guest.actor.inbox.put(event)

    def forwarded(self, effect: ForwardToSession) -> None:
        """Said before we had its speaker."""
        self.receive(effect.message)

    def lost(self, event: LinkLost) -> None:
        """Somebody is gone, and with them what was being done for them."""
        guest = self._sessions.pop(event.link, None)
        if guest is not None:
            guest.actor.inbox.put(event)
            guest.actor.inbox.finish()

    def drain(self, event: Drain) -> None:
        """Each Visit knows what it means."""
        for guest in self._sessions.values():
            guest.actor.inbox.put(event)

    def look_up(self, effect: LookUpJob) -> None:
        """Whose job is it, and where does it stand?"""
        self._serve(effect.link, self._look_up, effect)

    def follow(self, effect: StreamEvents) -> None:
        """Tell what happens in it."""
        self._serve(effect.link, self._follow, effect)

    def deliver(self, effect: SendResult) -> None:
        """Hand out what it made."""
        self._serve(effect.link, self._deliver, effect)

    # -------- the work

    def _serve(self, link: LinkId, work: Any, effect: object) -> None:
        guest = self._sessions.get(link)
        if guest is not None:
            assert guest.nursery is not None, "its actor has spoken"
            guest.nursery.start_soon(work, effect)

    async def _look_up(self, effect: LookUpJob) -> None:
        request = effect.request
        try:
            record = await self.job_database.find(request.job, request.key)
            state = JobState(request.job, JobStage.UNKNOWN, UNKNOWN) if record is None else await self._state(record)
        except RtcError as error:
            self.router.outbox.put(CloseLink(effect.link, error.fault))
            return
        self.router.outbox.put(JobLookedUp(effect.link, request, state))

    async def _state(self, record: JobRecord) -> JobState:
        """Where a job stands, by its record and by what its keeper has written."""
        job, live = record.job, self.job_manager.jobs.get(record.job)
        events = await self._watcher(job).last_seq()
        if record.stage is JobStage.ENDED:
            return JobState(job, record.stage, _told(record), events, record.outcome, record.waits)
        if live is None:
            return JobState(job, JobStage.ELSEWHERE, ELSEWHERE, events)
        text = live.status_line.text if live.begun else "Its package is on the way."
        return JobState(job, JobStage.RUNNING if live.begun else JobStage.PREPARING, text, events)

    def _watcher(self, job: JobId) -> JournalWatcher:
        live = self.job_manager.jobs.get(job)
        if live is not None and live.watcher is not None:
            return live.watcher
        return JournalWatcher(job, self.job_database.journal_of(job), over=True)

    async def _follow(self, effect: StreamEvents) -> None:
        """All that happens in the job, at the link's own pace; then how it ended."""
        live = self.job_manager.jobs.get(effect.job)
        async for event in self._watcher(effect.job).follow(effect.seen):
            link = self.links.link(effect.link)
            if link is None:
                return
            await link.wait_below_threshold()
            link.send(event)
        try:
            ended = await self._end_of(effect.job, live)
        except RtcError as error:
            self.router.outbox.put(CloseLink(effect.link, error.fault))
            return
        self.router.outbox.put(StreamEnded(effect.link, ended))

    async def _end_of(self, job: JobId, live: Job | None) -> JobEnded:
        if live is not None:
            await live.over.wait()
            assert live.ended is not None, "that is what over means"
            return live.ended
        record = await self.job_database.get(job)
        if record is None or record.outcome is None:
            raise RtcError(FaultCode.LINK_LOST, ELSEWHERE)  # its owner comes back, and is told what we know then
        return JobEnded(job, record.outcome, _told(record), record.waits)

    async def _deliver(self, effect: SendResult) -> None:
        """Send the result. It is kept until the other side says that it is in its place."""
        file_channel = self.links.file_channel(effect.link)
        archive = self.job_database.archive_of(effect.job)
        fault: Fault | None = None
        try:
            if file_channel is None:
                raise RtcError.of(GONE)
            if not await trio.to_thread.run_sync(os.path.exists, archive):
                raise RtcError.of(TAKEN)
            await send_file(
                file_channel, archive, name=f"{effect.job}.zip", progress=unwatched, chunk_size=self.chunk_size
            )
        except RtcError as error:
            fault = error.fault
            log.warning("the result of %s was not taken (%s); it is kept", effect.job, fault.code.value)
        self.router.outbox.put(ResultSendEnded(effect.job, effect.link, fault))


def _told(record: JobRecord) -> str:
    """How it ended, and why its result is not here any more if it is not."""
    why = record.why or (FETCHED if record.fetched is not None else "")
    return f"{record.text} {why}".strip()[:2000]
