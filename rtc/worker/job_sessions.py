"""Serves the links over which the owners of jobs ask about them, with one JobSession actor for each link.

It looks up jobs in the database, streams their events as the supervisors write them, and sends results. It is
independent of the Worker actor: sessions are served whether the worker is available, reserved or busy.
"""

import logging
import os
import time
from functools import partial
from typing import Any

import trio
from attrs import define, evolve, field

from actors.actor import Actor
from actors.events import (
    Authenticated,
    CloseLink,
    EndSessions,
    FollowJob,
    JobLookedUp,
    LinkLost,
    OpenSession,
    PeerMessage,
    RejectLink,
    ResultSendEnded,
    SendResult,
    SessionRequested,
    SessionsEnded,
    StreamEnded,
    StreamEvents,
)
from actors.job_session import JOB_SESSION, JobSessionData, refusal
from actors.mailbox import Mailbox
from actors.router import Router
from protocol.faults import Fault, FaultCode
from protocol.ids import JobId, LinkId
from protocol.jobs import JobEnded, JobEvent, JobRequest, JobStage, JobState, LogLines
from protocol.wire import is_known
from rtc.common.errors import RtcError
from rtc.common.nurseries import open_background_nursery
from rtc.common.stories import BUG_FAULT, make_actor
from rtc.runner.journal import JournalWatcher
from rtc.runtime.peer_runtime import Routes
from rtc.transport.files import send_file
from rtc.transport.links.manager import LinkManager
from rtc.worker.job import Job
from rtc.worker.job_database import JobDatabase, JobRecord
from rtc.worker.job_manager import JobManager, ignore_progress

log = logging.getLogger("rtc.worker.job_sessions")

FETCHED_TEXT = "Its result was fetched, and is not kept any more."
UNKNOWN_TEXT = "The worker has no such job of yours."
ELSEWHERE_TEXT = (
    "The job is with another worker of that machine, or was left there when its end could not be written down."
)
LINK_LOST_FAULT = Fault(
    FaultCode.LINK_LOST, "The link was gone before the result could be sent; it is kept on the worker."
)
RESULT_REMOVED_FAULT = Fault(
    FaultCode.NO_SUCH_JOB, "The result is not on the worker any more; it was fetched, or kept long enough."
)


@define
class _Session:
    """The actor of one link, and the nursery of the work that is done for it."""

    actor: Actor[JobSessionData]
    nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Run the actor until its link is closed, then cancel the work."""
        async with trio.open_nursery() as self.nursery:
            await self.actor.run()
            self.nursery.cancel_scope.cancel()


@define
class JobSessions:
    """The sessions of a worker. The router calls the sync methods; they start their work in the nursery of `run`.

    What a session's client says, and what the work finds, goes directly to the inbox of the session's actor.
    """

    job_manager: JobManager
    links: LinkManager
    router: Router
    job_database: JobDatabase
    chunk_size: int
    """Bytes of one piece of a result on the data channel."""
    _sessions: dict[LinkId, _Session] = field(factory=dict)
    _leaving: bool = False
    """Whether the Worker has sent `EndSessions`."""
    _nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the tasks of the sessions until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def routes(self) -> Routes:
        """Return the methods to call for each event and effect."""
        return {
            SessionRequested: (self.answer_offer,),
            OpenSession: (self.open_session,),
            Authenticated: (self.forward,),
            FollowJob: (self.forward,),
            LinkLost: (self.close_session,),
            EndSessions: (self.end_sessions,),
            StreamEvents: (self.stream_events,),
            SendResult: (self.send_result,),
        }

    # -------- called by the router

    def answer_offer(self, offer: SessionRequested) -> None:
        """Open a session for a client that asks about a job, or refuse its offer."""
        fault = refusal(
            known=offer.job in self.job_manager.known_jobs,
            sessions=len(self._sessions),
            leaving=self._leaving,
        )
        if fault is not None:
            self.router.outbox.put(RejectLink(offer.peer, fault, number=offer.number))
        else:
            self._open(offer.new_link, offer.job, offer)

    def open_session(self, effect: OpenSession) -> None:
        """Open a session on the link of a client whose job was accepted, unless the link is closed already."""
        if self.links.link(effect.link) is not None:
            self._open(effect.link, effect.job, effect)

    def forward(self, event: Authenticated | FollowJob) -> None:
        """Pass an event of a link to its session; without a session the event is dropped."""
        session = self._sessions.get(event.link)
        if session is not None:
            session.actor.inbox.put(event)

    def close_session(self, event: LinkLost) -> None:
        """End the session of a link that is closed, and cancel its work."""
        session = self._sessions.pop(event.link, None)
        if session is not None:
            session.actor.inbox.put(event)
            session.actor.inbox.finish()
            self._report_if_ended()

    def end_sessions(self, effect: EndSessions) -> None:
        """Open no more sessions, end those that follow no job, and report when none is left."""
        self._leaving = True
        for session in self._sessions.values():
            session.actor.inbox.put(effect)
        self._report_if_ended()

    def stream_events(self, effect: StreamEvents) -> None:
        """Send the events of a job over the link, until the job has ended."""
        self._serve(effect.link, self._stream_events, effect)

    def send_result(self, effect: SendResult) -> None:
        """Send the result of a job over the link."""
        self._serve(effect.link, self._send_result, effect)

    # -------- the work

    def _open(self, link: LinkId, job: JobId, first: SessionRequested | OpenSession) -> None:
        """Open a session with its first event. From now on all messages of its link go to it."""
        assert self._nursery is not None, "the router calls this only while `run` runs"
        ends_with = CloseLink(link, BUG_FAULT)
        data = JobSessionData(link, job)
        session = _Session(make_actor(JOB_SESSION, data, self.router.outbox, ends_with=ends_with))
        self._sessions[link] = session
        self.links.set_receiver(link, partial(self._receive, link, session.actor.inbox))
        self._nursery.start_soon(session.run)
        session.actor.inbox.put(first)

    def _report_if_ended(self) -> None:
        if self._leaving and not self._sessions:
            self.router.outbox.put(SessionsEnded())

    def _serve(self, link: LinkId, work: Any, effect: object) -> None:
        """Start `work(session, effect)` in the nursery of the link's session; without a session do nothing."""
        session = self._sessions.get(link)
        if session is not None:
            assert session.nursery is not None, "its actor runs, as this effect is from it"
            session.nursery.start_soon(work, session.actor.inbox, effect)

    async def _receive(self, link: LinkId, inbox: Mailbox[Any], message: Any) -> None:
        """Give a session what its client says; a request together with the state of its job.

        The link reads the next message only then. So what a client has requested is done even if it leaves at once.
        """
        if not isinstance(message, JobRequest):
            await inbox.admit(PeerMessage(link, message))
            return
        try:
            state = await self._look_up(message)
        except RtcError as error:
            self.router.outbox.put(CloseLink(link, error.fault))
        else:
            await inbox.admit(JobLookedUp(link, message, state))

    async def _look_up(self, request: JobRequest) -> JobState:
        """Compare the key of a request with that of its job, and return the job's state.

        Raises:
            RtcError: DISK_FULL: the database cannot be used now.
        """
        live = self.job_manager.jobs.get(request.job)
        if live is not None:
            await live.recorded.wait()
        record = await self.job_database.find(request.job, request.key)
        return JobState(request.job, JobStage.UNKNOWN, UNKNOWN_TEXT) if record is None else await self._state(record)

    async def _state(self, record: JobRecord) -> JobState:
        """Return the state of a job, from its record and from the events that its supervisor has written."""
        job, live = record.job, self.job_manager.jobs.get(record.job)
        events = await self._watcher(job).last_seq()
        if record.stage is JobStage.ENDED:
            return JobState(job, record.stage, _end_text(record), events, record.outcome, record.is_fetchable)
        if live is None:
            return JobState(job, JobStage.ELSEWHERE, ELSEWHERE_TEXT, events)
        text = live.status_line.text if live.started else "Its package is on the way."
        return JobState(job, JobStage.RUNNING if live.started else JobStage.PREPARING, text, events)

    def _watcher(self, job: JobId) -> JournalWatcher:
        """Return the watcher of a job's journal: of this worker's job, or of the stored journal of an ended job."""
        live = self.job_manager.jobs.get(job)
        if live is not None and live.watcher is not None:
            return live.watcher
        return JournalWatcher(job, self.job_database.journal_path(job), over=True)

    async def _stream_events(self, inbox: Mailbox[Any], effect: StreamEvents) -> None:
        """Send the events after number `effect.seen`, no faster than the link accepts them, then report how the job
        ended.
        """
        live = self.job_manager.jobs.get(effect.job)
        async for event in self._watcher(effect.job).follow(effect.seen):
            link = self.links.link(effect.link)
            if link is None:
                return
            await link.wait_below_threshold()
            link.send(_in_version(event, link.version))
        try:
            async with open_background_nursery() as background:
                if live is not None:
                    background.start_soon(self._send_notice, effect.link, live)
                ended = await self._wait_end(effect.job, live)
        except RtcError as error:
            self.router.outbox.put(CloseLink(effect.link, error.fault))
            return
        inbox.put(StreamEnded(effect.link, ended))

    async def _send_notice(self, link_id: LinkId, live: Job) -> None:
        """Send what the worker has to say about a job whose end is delayed, as soon as there is something."""
        await live.noticed.wait()
        link = self.links.link(link_id)
        if link is not None and live.notice is not None:
            link.send(_in_version(JobEvent(live.notice, time.time()), link.version))

    async def _wait_end(self, job: JobId, live: Job | None) -> JobEnded:
        """Wait until the job has ended, and return how.

        Raises:
            RtcError: LINK_LOST: another worker may have the job; the owner reconnects and asks for it again. DISK_FULL:
                the database cannot be used now.
        """
        if live is not None:
            await live.over.wait()
            assert live.ended is not None, "it is set together with `over`"
            return live.ended
        record = await self.job_database.get(job)
        if record is None or record.outcome is None:
            raise RtcError(FaultCode.LINK_LOST, ELSEWHERE_TEXT)  # the owner reconnects, and then gets the job's state
        return JobEnded(job, record.outcome, _end_text(record), record.is_fetchable)

    async def _send_result(self, inbox: Mailbox[Any], effect: SendResult) -> None:
        """Send the result. It stays stored until the owner has confirmed that it is unpacked (`ReleaseResult`)."""
        file_channel = self.links.file_channel(effect.link)
        archive = self.job_database.archive_path(effect.job)
        fault: Fault | None = None
        try:
            if file_channel is None:
                raise RtcError.of(LINK_LOST_FAULT)
            if not await trio.to_thread.run_sync(os.path.exists, archive):
                raise RtcError.of(RESULT_REMOVED_FAULT)
            await send_file(
                file_channel, archive, name=f"{effect.job}.zip", progress=ignore_progress, chunk_size=self.chunk_size
            )
        except RtcError as error:
            fault = error.fault
            log.warning("the result of %s could not be sent (%s); it is kept", effect.job, fault.code.value)
        inbox.put(ResultSendEnded(effect.job, effect.link, fault))


def _end_text(record: JobRecord) -> str:
    """Return how a job ended, and why its result is not stored any more if it was removed or fetched."""
    reason = record.why or (FETCHED_TEXT if record.fetched is not None else "")
    return f"{record.text} {reason}".strip()


def _in_version(event: JobEvent, version: int) -> JobEvent:
    """Return the event as a client of this version hears it: news that it does not know are replaced by no log lines.

    So the numbers of the events have no gaps, and a client that waits for the newest number goes on waiting for none.
    """
    if event.seq is None or is_known(event, version):
        return event
    return evolve(event, news=LogLines(event.news.job, ()))
