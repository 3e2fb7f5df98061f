"""The settings in which the two-party model is explored: many small ones, and some large ones that take a minute."""

from attrs import evolve

from actors import events
from actors.client_data import ClientPhase
from actors.job_query import JOB_QUERY, QueryData
from protocol.ids import JobId, RoomId
from protocol.jobs import AskJob, CancelJob, JobKind, JobRequest, Outcome, ResultTaken, StopJob, SubmitJob
from protocol.status import Role

from .world import HERE, Budget, JobModel, Setting

ROOM = events.RoomCredentials(Role.CLIENT, RoomId("room-1"), "token")
SUBMIT = SubmitJob(JobKind.TRAIN, "flies.zip", 10)
NAMED, BEST, ASK = events.NamedWorker(HERE), events.BestWorker(), events.AskPerson()
CALLED, UNCALLED, ONLY = (
    events.WorkerCalled(HERE),
    events.WorkerCalled("no such worker"),
    events.AskPerson(take_only=True),
)
JOB, KEY = JobId("earlier"), "key of earlier"
STOP, CANCEL, DETACH = events.Interrupt.STOP, events.Interrupt.CANCEL, events.Interrupt.DETACH
INTERRUPT = (events.Interrupted(),)

TRAIN = events.JobWanted(ROOM, NAMED, SUBMIT)
BEST_TRAIN = evolve(TRAIN, choice=BEST)
WAIT = evolve(BEST_TRAIN, wait=60.0)
CHOOSE = evolve(TRAIN, choice=ASK)
ATTACH = events.JobWanted(ROOM, NAMED, credential=events.JobCredential(JOB, KEY))
LEAVE = evolve(TRAIN, detach=True)
LOOK = evolve(ATTACH, follow=False, fetch=False)

RUNS = JobModel(JOB, KEY, "running", news=1)
HAS_ENDED = JobModel(JOB, KEY, "ended", news=2, outcome=Outcome.DONE, result=True)
FETCHED = evolve(HAS_ENDED, result=False)
AWAY = evolve(RUNS, stage="elsewhere")
OTHER_RUNS = evolve(RUNS, job=JobId("another"), key="?")

SUBMITTING, UPLOADING = ClientPhase.SUBMITTING, ClientPhase.UPLOADING
RUNNING, DOWNLOADING, QUEUED = ClientPhase.RUNNING, ClientPhase.DOWNLOADING, ClientPhase.QUEUED


def ask(*requests: JobRequest) -> events.QueryWanted:
    """Return the wish to send requests about jobs."""
    return events.QueryWanted(ROOM, HERE, requests)


def query(name: str, requests: tuple[JobRequest, ...], budget: Budget, *jobs: JobModel, works: bool = True) -> Setting:
    """Return a setting with a JobQuery in the client's place."""
    return Setting(name, ask(*requests), budget, jobs, table=JOB_QUERY, data=QueryData(), succeeds=works)


QUICK = (
    # a new job, from the beginning
    Setting("train", TRAIN, Budget(breaks=1)),
    Setting("train, drained", TRAIN, Budget(drains=1), first_worlds=600),
    Setting("train, with mishaps", TRAIN, Budget(mishaps=1)),
    Setting("train, best of two", BEST_TRAIN, Budget(mishaps=1), two_workers=True),
    Setting("train, best of two, with a stranger", BEST_TRAIN, Budget(strangers=1), two_workers=True),
    Setting("train, best, with a stranger", BEST_TRAIN, Budget(strangers=1)),
    Setting("train, chosen", CHOOSE, Budget(mishaps=1), succeeds=False),
    Setting("train, the only one", evolve(TRAIN, choice=ONLY), Budget(mishaps=1), succeeds=False),
    Setting("train, called", evolve(TRAIN, choice=CALLED), Budget(mishaps=1)),
    Setting("train, called wrongly", evolve(TRAIN, choice=UNCALLED), Budget(), succeeds=False),
    Setting("train, with more GPUs than it has", evolve(TRAIN, min_gpus=2), Budget(), succeeds=False),
    Setting("train, chosen, with a stranger", evolve(CHOOSE, wait=60.0), Budget(strangers=1), succeeds=False),
    Setting("train, waiting for a name", evolve(TRAIN, wait=60.0), Budget(strangers=1)),
    Setting("train, waiting behind a job", WAIT, Budget(drains=1), (RUNS,), begin=QUEUED),
    Setting("train, would wait", WAIT, Budget(hurries=1), first_worlds=1500),
    Setting("train, would wait, with mishaps", WAIT, Budget(mishaps=1)),
    Setting("train, chosen in a hurry", evolve(CHOOSE, wait=60.0), Budget(hurries=1), succeeds=False),
    Setting("leave", LEAVE, Budget(breaks=1)),
    Setting("leave, with mishaps", LEAVE, Budget(mishaps=1), first_worlds=600),
    Setting("leave, drained", LEAVE, Budget(drains=1)),
    # an existing job
    Setting("attach to a running job", ATTACH, Budget(breaks=1), (RUNS,)),
    Setting("attach to a running job, interrupted", ATTACH, Budget(wishes=1), (RUNS,), first_worlds=1500),
    Setting("attach to a running job, with mishaps", ATTACH, Budget(mishaps=1), (RUNS,)),
    Setting("attach to a running job, killed", ATTACH, Budget(restarts=1), (RUNS,)),
    Setting(
        "attach to a running job, drained",
        ATTACH,
        Budget(drains=1, mishaps=1),
        (RUNS,),
        begin=RUNNING,
        first_worlds=1000,
    ),
    Setting("attach, drained, with a stranger", ATTACH, Budget(drains=1, strangers=1), (RUNS,), begin=RUNNING),
    Setting("attach to an ended job", ATTACH, Budget(breaks=1, mishaps=1), (HAS_ENDED,), first_worlds=1500),
    Setting("attach to an ended job, interrupted", ATTACH, Budget(breaks=1, wishes=1), (HAS_ENDED,), first_worlds=1000),
    Setting("attach to an ended job, drained", ATTACH, Budget(drains=1, mishaps=1), (HAS_ENDED,)),
    Setting("attach to a fetched job", ATTACH, Budget(), (FETCHED,), succeeds=False),
    Setting("attach to one of two jobs", ATTACH, Budget(drains=1), (RUNS, OTHER_RUNS)),
    Setting("attach to no job", ATTACH, Budget(breaks=1, wishes=1), succeeds=False),
    Setting("attach to a job elsewhere", ATTACH, Budget(breaks=1), (AWAY,), succeeds=False),
    Setting(
        "attach with a wrong key",
        evolve(ATTACH, credential=events.JobCredential(JOB, "?")),
        Budget(breaks=1),
        (RUNS,),
        succeeds=False,
    ),
    Setting("look at the log", LOOK, Budget(breaks=1), (RUNS,)),
    Setting("look at no log", LOOK, Budget(), (evolve(RUNS, news=0),)),
    # requests about jobs
    query("ask about two jobs", (AskJob(JobId("none"), "?"), AskJob(JOB, KEY)), Budget(breaks=1), RUNS),
    query("ask in a hurry", (AskJob(JOB, KEY),), Budget(hurries=1, mishaps=1), RUNS),
    query("stop and cancel", (StopJob(JOB, KEY), CancelJob(JOB, KEY)), Budget(drains=1), RUNS),
    query("say that a result was taken", (ResultTaken(JOB, KEY),), Budget(drains=1, mishaps=1), HAS_ENDED),
)
"""Each takes less than half a second."""

SLOW = (
    # a new job, from the beginning
    Setting("train, interrupted", TRAIN, Budget(wishes=1), wishes=INTERRUPT),
    Setting("train, killed", TRAIN, Budget(restarts=1)),
    Setting("train, chosen, given up", CHOOSE, Budget(wishes=1), succeeds=False),
    Setting(
        "train, waiting behind a job, with mishaps", WAIT, Budget(mishaps=1), (RUNS,), begin=QUEUED, first_worlds=4000
    ),
    # a new job, from the middle
    Setting("upload, with a stranger", TRAIN, Budget(breaks=1, strangers=1), begin=UPLOADING),
    Setting("upload in a hurry", TRAIN, Budget(breaks=1, hurries=1), begin=UPLOADING, first_worlds=3000),
    Setting("upload and leave, with mishaps", LEAVE, Budget(breaks=1, mishaps=1), begin=UPLOADING, first_worlds=3000),
    Setting("upload and leave, interrupted", LEAVE, Budget(breaks=1, wishes=1), begin=UPLOADING, first_worlds=1500),
    Setting("upload and leave in a hurry", LEAVE, Budget(breaks=1, hurries=1), begin=UPLOADING, first_worlds=3000),
    Setting("leave, killed", LEAVE, Budget(restarts=1)),
    Setting("upload, with mishaps", TRAIN, Budget(breaks=1, mishaps=1), begin=UPLOADING, first_worlds=600),
    Setting("upload, drained", TRAIN, Budget(breaks=1, drains=1), begin=UPLOADING),
    Setting("upload, killed", TRAIN, Budget(breaks=1, restarts=1), begin=UPLOADING, first_worlds=3000),
    Setting("predict", evolve(TRAIN, kind=JobKind.TRACK), Budget(breaks=1, wishes=1), begin=RUNNING, first_worlds=1500),
    Setting(
        "stop on interrupt",
        evolve(TRAIN, on_interrupt=STOP),
        Budget(breaks=1, wishes=1),
        begin=RUNNING,
        first_worlds=1500,
    ),
    Setting(
        "cancel on interrupt",
        evolve(TRAIN, on_interrupt=CANCEL),
        Budget(breaks=1, wishes=1),
        begin=RUNNING,
        first_worlds=1500,
    ),
    Setting(
        "leave on interrupt",
        evolve(TRAIN, on_interrupt=DETACH),
        Budget(breaks=1, wishes=1),
        begin=RUNNING,
        first_worlds=1500,
    ),
    # an existing job
    Setting(
        "attach to a job that expires", ATTACH, Budget(wishes=1, mishaps=1), (RUNS,), begin=RUNNING, first_worlds=4000
    ),
)
"""Each takes a second or two."""

LONG = (
    Setting("train, waiting behind a job, given up", WAIT, Budget(wishes=1), (RUNS,), begin=QUEUED),
    Setting("submit in a hurry", TRAIN, Budget(breaks=1, hurries=1), begin=SUBMITTING),
    Setting("upload, interrupted", TRAIN, Budget(breaks=1, wishes=1), begin=UPLOADING, first_worlds=1000),
    Setting("train, two links broken", TRAIN, Budget(breaks=2)),
    Setting("train, in a hurry", TRAIN, Budget(breaks=1, hurries=1)),
    Setting("train, interrupted and broken", evolve(TRAIN, on_interrupt=STOP), Budget(breaks=1, wishes=1)),
    Setting("train, interrupted twice", TRAIN, Budget(wishes=2), wishes=(*INTERRUPT, events.Drain())),
    Setting("train, drained and broken", TRAIN, Budget(breaks=1, drains=1)),
    Setting("train, killed and broken", TRAIN, Budget(breaks=1, restarts=1)),
    Setting("train, two mishaps", TRAIN, Budget(mishaps=2)),
    Setting("train, waiting", WAIT, Budget(strangers=1, hurries=1)),
    Setting("train, waiting, with mishaps", WAIT, Budget(strangers=1, mishaps=1)),
    Setting("train, waiting, interrupted", WAIT, Budget(strangers=1, wishes=1)),
    Setting("train, waiting and drained", WAIT, Budget(strangers=1, drains=1)),
    Setting("train, chosen, in a hurry", evolve(CHOOSE, wait=60.0), Budget(strangers=1, hurries=1), succeeds=False),
    Setting(
        "upload, cancelled in a hurry",
        TRAIN,
        Budget(breaks=1, wishes=1, hurries=1),
        begin=UPLOADING,
        wishes=(events.CancelWanted(),),
        first_worlds=3000,
    ),
    Setting("upload, three links broken", TRAIN, Budget(breaks=3), begin=UPLOADING),
    Setting("attach to a running job, broken and killed", ATTACH, Budget(breaks=1, restarts=1), (RUNS,)),
    Setting("attach to a running job, interrupted and broken", ATTACH, Budget(breaks=2, wishes=1), (RUNS,)),
    Setting("attach to a running job in a hurry", ATTACH, Budget(mishaps=1, hurries=1), (RUNS,), first_worlds=6000),
    Setting("look at the log, interrupted", LOOK, Budget(breaks=1, wishes=1), (RUNS,)),
    query(
        "ask about two jobs, with mishaps",
        (AskJob(JobId("none"), "?"), AskJob(JOB, KEY), CancelJob(JOB, KEY)),
        Budget(breaks=1, mishaps=1, drains=1),
        RUNS,
    ),
)
"""Each takes up to a minute."""

SETTINGS = (*QUICK, *SLOW, *LONG)
