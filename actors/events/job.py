"""Jobs: their packages, their runs, the sessions about them, and their results."""

from attrs import field, frozen

from protocol.faults import Fault
from protocol.ids import JobId, LinkId
from protocol.jobs import JobEnded, JobRequest, JobState, Outcome, StopScope, SubmitJob


@frozen
class JobCredential:
    """A job's id, and its key. A client that has the key owns the job."""

    job: JobId
    key: str = field(repr=False)


@frozen
class JobSubmitted:
    """To the Worker: an authenticated peer submits a job; `credential` is new, for use if the job is accepted."""

    link: LinkId
    submit: SubmitJob
    credential: JobCredential


@frozen
class ReceivePackage:
    """To the job manager: receive this job's package over this link."""

    link: LinkId
    credential: JobCredential
    submit: SubmitJob


@frozen
class StartJob:
    """To the job manager: unpack this job's package, which is complete, and run the job."""

    job: JobId


@frozen
class OpenSession:
    """To the job sessions: this link is about this job from now on; its client sends the job's package over it."""

    link: LinkId
    job: JobId


@frozen
class FollowJob:
    """To the job sessions: the job's package is complete; send the job's events over the link that it came over."""

    link: LinkId
    job: JobId


@frozen
class EndSessions:
    """To the job sessions: the worker leaves. Open no more sessions, and answer `SessionsEnded` when none is left."""


@frozen
class SessionsEnded:
    """To the Worker: no session is left, after `EndSessions`."""


@frozen
class DiscardJob:
    """To the job manager: this job will not run; remove it and what was received of its package."""

    job: JobId


@frozen
class StreamEvents:
    """To the job sessions: send the job's events over this link, from number `seen` + 1 until the job ends."""

    link: LinkId
    job: JobId
    seen: int = 0


@frozen
class SupplyPackage:
    """To the Worker and the job manager: the job's owner sends the rest of the package over this new link."""

    new_link: LinkId
    job: JobId


@frozen
class StopEarly:
    """To the job manager: stop the job's training early, and keep the models."""

    job: JobId
    scope: StopScope


@frozen
class Cancel:
    """To the job manager: cancel this job now."""

    job: JobId


@frozen
class SendResult:
    """To the job sessions: send the job's result over this link."""

    job: JobId
    link: LinkId


@frozen
class ReleaseResult:
    """To the job manager: the owner has the result of this job, so it need not be kept."""

    job: JobId


@frozen
class JobAdopted:
    """A job that an earlier worker started still runs, and this worker has adopted it."""

    new_job: JobId


@frozen
class PackageReceived:
    """The package of this job is complete on the worker; from now on the job needs no link."""

    job: JobId


@frozen
class PackageFailed:
    """The package of this job could not be received, or its owner cancelled the job before the package was complete."""

    job: JobId
    fault: Fault


@frozen
class JobFinished:
    """The job has ended with this outcome, and its result is packed if there is one."""

    job: JobId
    outcome: Outcome
    text: str
    """One sentence for people: what the job produced, or what went wrong."""
    result: bool
    """Whether there is a result to send."""


@frozen
class JobLookedUp:
    """The client of a session has sent this request, and this is the state of the request's job.

    Its stage is UNKNOWN if there is no such job or the key is wrong.
    """

    link: LinkId
    request: JobRequest
    state: JobState


@frozen
class StreamEnded:
    """All events of the job are sent over this link, and the job has ended as `ended` says."""

    link: LinkId
    ended: JobEnded


@frozen
class ResultSendEnded:
    """Sending the result over this link has succeeded, or failed with a fault. The result is kept in both cases."""

    job: JobId
    link: LinkId
    fault: Fault | None = None


@frozen
class SendPackage:
    """To the file transfers: send the package over this link."""

    link: LinkId
    job: JobId


@frozen
class FetchResult:
    """To the file transfers: receive the result, which the worker now sends over this link."""

    link: LinkId


@frozen
class PackageSent:
    """The worker has the whole package; from now on the job needs no link."""

    link: LinkId


@frozen
class UploadFailed:
    """The package could not be sent, for another reason than the end of the link."""

    link: LinkId
    fault: Fault


@frozen
class ResultDownloaded:
    """The archive with the result is completely on this machine."""


@frozen
class ResultUnpacked:
    """The result is unpacked into its folder."""


@frozen
class DownloadFailed:
    """The result could not be downloaded or unpacked, for another reason than the end of the link.

    The worker keeps it."""

    fault: Fault
