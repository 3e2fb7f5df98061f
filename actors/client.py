"""The Client: gets one job run by a worker and its result downloaded, or attaches to an existing job.

It alone decides for a client. What the person wants comes as an event; how much of the job's story was seen is among
its data; what is shown follows from its turns. Each `JobWanted` ends with exactly one `Finished`.

- available: no job is wanted.
- reserved: the client joins the room, chooses a worker or waits in the queue for one, opens a link, submits its job and
  uploads the package, or attaches to an existing job.
- busy: the worker has the package. The job runs; the client receives its events, reconnects when the link breaks, and
  downloads the result.
"""

from actors import client_actions as do
from actors import client_guards as guard
from actors import events as on
from actors.client_data import ClientData, ClientPhase
from actors.phase import BUSY
from actors.table import SAME, Table, ignore, row
from protocol.faults import Fault
from protocol.jobs import JobAccepted, JobEnded, JobEvent, JobState
from protocol.signaling import WorkerAssigned

IDLE, JOINING, CHOOSING, QUEUED, CONNECTING, RETRY_WAIT, SUBMITTING = tuple(ClientPhase)[:7]
ATTACHING, UPLOADING, UPLOAD_AWAY, UPLOAD_RETURN, RUNNING, RECONNECT_WAIT, RECONNECTING = tuple(ClientPhase)[7:14]
DOWNLOADING, UNPACKING, UNPACKING_OFFLINE, CONFIRMING = tuple(ClientPhase)[14:]

BEFORE_JOB = (JOINING, CHOOSING, QUEUED, CONNECTING, RETRY_WAIT, SUBMITTING)
LEAVING = (on.Interrupted, on.CancelWanted, on.Drain)
"""The person's wishes that end a client whose job does not run."""
AWAY = (UPLOAD_AWAY, UPLOAD_RETURN, RECONNECT_WAIT, RECONNECTING)
AT_UPLOAD = (UPLOADING, UPLOAD_AWAY, UPLOAD_RETURN)
AT_JOB = (RUNNING, RECONNECT_WAIT, RECONNECTING)
WITH_JOB = (ATTACHING, *AT_UPLOAD, *AT_JOB)
WITH_RESULT = (DOWNLOADING, UNPACKING, UNPACKING_OFFLINE, CONFIRMING)
ON_LINK = (SUBMITTING, ATTACHING, UPLOADING, UPLOAD_RETURN, RUNNING, RECONNECTING, DOWNLOADING, UNPACKING, CONFIRMING)
"""Phases in which messages of the worker come."""


def can_be(phase: ClientPhase, data: ClientData) -> None:
    """Raise AssertionError if a Client can never be in this phase with this data."""
    without_link = (IDLE, JOINING, CHOOSING, QUEUED, RETRY_WAIT, RECONNECT_WAIT, UNPACKING_OFFLINE)
    assert (data.wanted is None) == (phase is IDLE), "a job is wanted in every phase but IDLE"
    assert phase not in without_link or data.link is None, "a link that is not needed is closed"
    assert phase in (*without_link, UPLOAD_AWAY) or data.link is not None, "it needs a link"
    assert data.peer is not None or phase in (IDLE, JOINING, CHOOSING, QUEUED)
    begun = phase.status is BUSY or phase in (UPLOADING, UPLOAD_AWAY, UPLOAD_RETURN, ATTACHING)
    assert data.job is not None or not begun, "a job that is on its way has an id"
    assert data.ended is not None or phase not in (DOWNLOADING, UNPACKING, UNPACKING_OFFLINE, CONFIRMING)


CLIENT: Table[ClientData] = Table("client", IDLE, (
    #   in                 event               next             action                guard
    row(IDLE,              on.JobWanted,       JOINING,         do.join_room),

    # the room
    row(JOINING,           on.WorkersChanged,  IDLE,            do.fail_too_few_gpus, when=guard.has_too_few_gpus),
    row(JOINING,           on.WorkersChanged,  CONNECTING,      do.connect_to_named,  when=guard.names_worker),
    row(JOINING,           on.WorkersChanged,  CONNECTING,      do.connect_to_called, when=guard.one_is_called_so),
    row(JOINING,           on.WorkersChanged,  IDLE,            do.fail_not_called,   when=guard.calls_worker),
    row(JOINING,           on.WorkersChanged,  CONNECTING,      do.connect_to_only,   when=guard.only_one_fits),
    row(JOINING,           on.WorkersChanged,  CHOOSING,        do.show_choice,       when=guard.person_chooses),
    row(JOINING,           on.WorkersChanged,  CONNECTING,      do.connect_to_best,   when=guard.one_fits),
    row(JOINING,           on.WorkersChanged,  QUEUED,          do.join_queue,        when=guard.one_may_come_free),
    row(JOINING,           on.WorkersChanged,  IDLE,            do.fail_no_worker),
    row(CHOOSING,          on.WorkersChanged,  SAME,            do.show_choice),
    row(CHOOSING,          on.WorkerPicked,    IDLE,            do.give_up,           when=guard.nobody_picked),
    row(CHOOSING,          on.WorkerPicked,    CONNECTING,      do.connect_to_picked),
    row(CHOOSING,          on.ChoiceFailed,    IDLE,            do.fail),
    row(QUEUED,            WorkerAssigned,     CONNECTING,      do.connect_to_assigned),
    row(QUEUED,            on.JoinedRoom,      SAME,            do.rejoin_queue),
    row(QUEUED,            on.WorkersChanged,  IDLE,            do.fail_no_worker,    when=guard.all_are_leaving),
    row(QUEUED,            on.WorkersChanged,  SAME,            do.update_workers),
    row(QUEUED,            on.WaitExpired,     IDLE,            do.fail_wait_expired),
    row((*AT_UPLOAD, *AT_JOB, *WITH_RESULT), WorkerAssigned, SAME, do.leave_queue),
    row(BEFORE_JOB[:5],    on.JoinFailed,      IDLE,            do.fail),

    # the link
    row((CONNECTING, RETRY_WAIT, SUBMITTING), on.WorkersChanged, SAME, do.update_workers),
    row((JOINING, CHOOSING, CONNECTING, RETRY_WAIT, SUBMITTING), on.WaitExpired, SAME, do.end_patience),
    row(CONNECTING,        on.Authenticated,   ATTACHING,       do.request_attach,    when=guard.job_exists),
    row(CONNECTING,        on.Authenticated,   SUBMITTING,      do.submit_job),
    row(CONNECTING,        on.LinkLost,        RETRY_WAIT,      do.wait_to_retry,     when=guard.server_was_away),
    row((CONNECTING, SUBMITTING), on.LinkLost, CONNECTING,      do.connect_to_next,   when=guard.others_fit),
    row((CONNECTING, SUBMITTING), on.LinkLost, QUEUED,          do.return_to_queue,   when=guard.may_queue),
    row((CONNECTING, SUBMITTING), on.LinkLost, CHOOSING,        do.show_other_choices, when=guard.may_choose_again),
    row(CONNECTING,        on.LinkLost,        IDLE,            do.fail_job_gone,     when=guard.job_is_unknown),
    row((CONNECTING, SUBMITTING, ATTACHING), on.LinkLost, RETRY_WAIT, do.wait_to_retry, when=guard.may_try_again),
    row((CONNECTING, SUBMITTING, ATTACHING), on.LinkLost, IDLE, do.fail_link_lost),
    row(RETRY_WAIT,        on.TimedOut,        CONNECTING,      do.retry),

    # the job
    row(SUBMITTING,        JobAccepted,        UPLOADING,       do.send_package),
    row(SUBMITTING,        Fault,              CONNECTING,      do.connect_to_next,   when=guard.others_fit),
    row(SUBMITTING,        Fault,              QUEUED,          do.return_to_queue,   when=guard.may_queue),
    row(SUBMITTING,        Fault,              CHOOSING,        do.show_other_choices, when=guard.may_choose_again),
    row((SUBMITTING, ATTACHING), Fault,        IDLE,            do.fail),
    row(ATTACHING,         JobState,           IDLE,            do.fail_job_gone,     when=guard.job_is_unknown),
    row(ATTACHING,         JobState,           IDLE,            do.fail_job_elsewhere, when=guard.job_is_elsewhere),
    row(ATTACHING,         JobState,           IDLE,            do.finish_caught_up,  when=guard.nothing_to_show),
    row(ATTACHING,         JobState,           RUNNING,         do.note_attached),
    row(UPLOADING,         on.PackageSent,     IDLE,            do.leave_begun,       when=guard.leaves_begun_job),
    row(UPLOADING,         on.PackageSent,     RUNNING,         do.note_package_sent),
    row(UPLOADING,         (on.UploadFailed, Fault), IDLE,      do.fail_upload),
    ignore(RUNNING, JobEvent, when=guard.is_repeated, because="a worker may repeat what came over an earlier link"),
    row(RUNNING,           JobEvent,           IDLE,            do.finish_caught_up,  when=guard.all_is_shown),
    row(UPLOADING,         JobEvent,           IDLE,            do.leave_begun,       when=guard.leaves_begun_job),
    row((UPLOADING, RUNNING), JobEvent,        RUNNING,         do.note_event),
    row(UPLOADING,         JobEnded,           IDLE,            do.leave_ended,       when=guard.leaves_result),
    row((UPLOADING, RUNNING), JobEnded,        DOWNLOADING,     do.fetch_result,      when=guard.result_is_wanted),
    row((UPLOADING, RUNNING), JobEnded,        IDLE,            do.fail_job_gone,     when=guard.result_is_gone),
    row((UPLOADING, RUNNING), JobEnded,        IDLE,            do.finish_without_result),
    row(RUNNING,           JobState,           IDLE,            do.fail_job_gone,     when=guard.job_is_unknown),
    ignore((RUNNING, DOWNLOADING, UNPACKING), JobState, because="it answers a stop or a cancel"),
    ignore(
        (RUNNING, DOWNLOADING, UNPACKING, CONFIRMING), on.PackageSent,
        because="the job's first event, or its end, was faster",
    ),
    ignore((UNPACKING, CONFIRMING), JobEnded, because="the result had come over the link before, and is told of again"),

    # a lost link, while the job continues
    row(UPLOADING,         on.LinkLost,        IDLE,            do.fail_upload,       when=guard.package_is_dropped),
    row(UPLOADING,         on.LinkLost,        UPLOAD_AWAY,     do.keep_link),
    row(UPLOAD_AWAY,       on.PackageSent,     IDLE,            do.leave_begun,       when=guard.leaves_begun_job),
    row(UPLOAD_AWAY,       on.PackageSent,     RECONNECT_WAIT,  do.note_package_arrived),
    row(UPLOAD_AWAY,       on.TimedOut,        UPLOAD_RETURN,   do.reconnect),
    row(UPLOAD_RETURN,     on.Authenticated,   SAME,            do.request_return),
    row(UPLOAD_RETURN,     JobState,           UPLOADING,       do.resume_upload,     when=guard.package_is_wanted),
    row(UPLOAD_RETURN,     JobState,           CONNECTING,      do.resubmit,          when=guard.may_resubmit),
    row(UPLOAD_RETURN,     JobState,           IDLE,            do.fail_not_started,  when=guard.job_is_unknown),
    row((UPLOAD_RETURN, RECONNECTING), JobState, IDLE,          do.fail_job_elsewhere, when=guard.job_is_elsewhere),
    row(UPLOAD_RETURN,     JobState,           IDLE,            do.leave_begun,       when=guard.leaves_begun_job),
    row(UPLOAD_RETURN,     JobState,           IDLE,            do.leave_ended,       when=guard.leaves_result),
    row(UPLOAD_RETURN,     JobState,           RUNNING,         do.resume_job),
    row(UPLOAD_RETURN,     on.LinkLost,        CONNECTING,      do.resubmit,          when=guard.may_resubmit),
    row(UPLOAD_RETURN,     on.LinkLost,        IDLE,            do.fail_not_started,  when=guard.job_is_unknown),
    row((UPLOAD_RETURN, RECONNECTING), on.LinkLost, IDLE,       do.fail_job,          when=guard.worker_stopped),
    row((UPLOAD_RETURN, RECONNECTING), on.LinkLost, IDLE,       do.fail_refused,      when=guard.is_refused_for_good),
    row(UPLOAD_RETURN,     on.LinkLost,        IDLE,            do.fail_returns,      when=guard.tries_are_over),
    row(UPLOAD_RETURN,     on.LinkLost,        UPLOAD_AWAY,     do.wait_to_return),
    row(RUNNING,           on.LinkLost,        IDLE,            do.fail_job,          when=guard.worker_stopped),
    row((RUNNING, DOWNLOADING), on.LinkLost,   RECONNECT_WAIT,  do.wait_to_return),
    row(RECONNECT_WAIT,    on.TimedOut,        RECONNECTING,    do.reconnect),
    row(RECONNECTING,      on.Authenticated,   SAME,            do.request_reattach),
    row(RECONNECTING,      JobState,           IDLE,            do.fail_job_gone,     when=guard.job_is_unknown),
    row(RECONNECTING,      JobState,           RUNNING,         do.resume_job),
    row(RECONNECTING,      on.LinkLost,        IDLE,            do.fail_job_gone,     when=guard.job_is_unknown),
    row(RECONNECTING,      on.LinkLost,        IDLE,            do.fail_reconnects,   when=guard.tries_are_over),
    row(RECONNECTING,      on.LinkLost,        RECONNECT_WAIT,  do.wait_to_return),

    # the result
    row((RUNNING, DOWNLOADING), on.ResultDownloaded, UNPACKING, do.note_downloaded),
    row((RECONNECT_WAIT, RECONNECTING), on.ResultDownloaded, UNPACKING_OFFLINE, do.unpack_offline),
    row((DOWNLOADING, UNPACKING, UNPACKING_OFFLINE), on.DownloadFailed, IDLE, do.fail_job),
    row(UNPACKING,         on.LinkLost,        UNPACKING_OFFLINE, do.unpack_offline),
    row(UNPACKING,         on.ResultUnpacked,  CONFIRMING,      do.confirm_receipt),
    row(UNPACKING_OFFLINE, on.ResultUnpacked,  IDLE,            do.finish),
    row(CONFIRMING,        (JobState, on.LinkLost, on.TimedOut), IDLE, do.finish),
    row(CONFIRMING,        (on.Interrupted, on.Drain), IDLE,    do.finish),

    # what the person wants
    row((UPLOADING, UPLOAD_AWAY), on.TicketNotSaved, SAME,      do.stay),
    row(BEFORE_JOB,        LEAVING,            IDLE,            do.give_up),
    row(ATTACHING,         LEAVING,            IDLE,            do.leave_unattached),
    row(UPLOADING,         LEAVING,            IDLE,            do.give_up_upload),
    row((UPLOAD_AWAY, UPLOAD_RETURN), (on.Interrupted, on.Drain), IDLE, do.leave_unsure),
    row(AT_JOB,            on.StopWanted,      SAME,            do.tell_nothing_to_stop, when=guard.nothing_to_stop),
    row(RUNNING,           on.StopWanted,      SAME,            do.request_stop),
    row(RUNNING,           on.CancelWanted,    SAME,            do.request_cancel),
    row((RECONNECT_WAIT, RECONNECTING), on.StopWanted, SAME,    do.save_stop),
    row(AWAY,              on.CancelWanted,    SAME,            do.save_cancel),
    row(AT_JOB,            on.Interrupted,     SAME,            do.stop_once,         when=guard.stops_on_interrupt),
    row(AT_JOB,            on.Interrupted,     SAME,            do.cancel_once,       when=guard.cancels_on_interrupt),
    row(AT_JOB,            on.Interrupted,     IDLE,            do.detach,            when=guard.leaves_on_interrupt),
    row(AT_JOB,            on.Interrupted,     SAME,            do.ask_person),
    row(AT_JOB,            on.Drain,           IDLE,            do.detach),
    row(DOWNLOADING,       LEAVING,            IDLE,            do.leave_result),
    row((UNPACKING, UNPACKING_OFFLINE), (on.Interrupted, on.Drain), SAME, do.let_next_signal_cancel),

    # what comes although nothing waits for it
    ignore(JOINING, on.JoinedRoom, because="the list of the room's workers follows, and that is what it waits for"),
    ignore(
        (CHOOSING, CONNECTING, RETRY_WAIT, SUBMITTING, *WITH_JOB, *WITH_RESULT), on.JoinedRoom,
        because="Discovery is in the room again after a lost line; links need no server",
    ),
    ignore((SUBMITTING, *WITH_JOB, *WITH_RESULT), on.JoinFailed, because="a link needs no server"),
    ignore((*WITH_JOB, *WITH_RESULT), on.WorkersChanged, because="the job has its worker"),
    ignore(
        (CONNECTING, RETRY_WAIT, SUBMITTING), WorkerAssigned,
        because="another worker is asked already; the server's promise lapses, or ends with LeaveQueue",
    ),
    ignore((JOINING, CHOOSING, ATTACHING), WorkerAssigned, because="it is not in the queue, so the server is wrong"),
    ignore(
        (*BEFORE_JOB, ATTACHING, *AT_UPLOAD), on.StopWanted,
        because="no job runs that could stop early",
    ),
    ignore(WITH_RESULT, on.StopWanted, because="the job has ended"),
    ignore((UNPACKING, UNPACKING_OFFLINE, CONFIRMING), on.CancelWanted, because="the job has ended"),
    ignore(
        ON_LINK, on.UnexpectedMessage,
        because="a word that fits nowhere changes nothing; a time-out notices what is missing",
    ),
    ignore(
        RUNNING, Fault, because="it is about one message of ours; what ends the job or the link says so itself",
    ),
    ignore(
        IDLE, on.Interrupted, on.Drain, on.CancelWanted, on.StopWanted, on.WorkerPicked,
        on.ChoiceFailed, on.WorkersChanged, on.JoinedRoom, on.JoinFailed, WorkerAssigned,
        on.ResultDownloaded, on.ResultUnpacked, on.DownloadFailed, on.TicketNotSaved,
        because="the client has ended, and its program is about to end",
    ),
), own=lambda data: {data.link} - {None}, invariant=can_be)  # fmt: skip
