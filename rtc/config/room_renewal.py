"""What a person can do when a remembered room cannot be used any more.

Nothing is forgotten by itself: a server that is away comes back, and so may a room. Joining again under the same name
renews what is remembered.
"""

from protocol.faults import FaultCode
from rtc.common.errors import RtcError

ADVICE = {
    FaultCode.ROOM_DENIED: (
        "If the remembered room {name} is gone or has another token now, renew it with the short code or session "
        "string that a worker of it shows: {join}"
    ),
    FaultCode.SERVER_LOST: (
        "Check that it runs. If the remembered room {name} is on another server now, renew it: {join}"
    ),
    FaultCode.AUTH_INVALID: (
        "If the remembered room {name} has another secret now, renew it with the short code of a worker: {join}"
    ),
    FaultCode.AUTH_MISSING: "The short code of a worker brings the secret of the remembered room {name} along: {join}",
    FaultCode.AUTH_UNPROVEN_WORKER: (
        "If the remembered room {name} has no secret any more, remove it here: sleap-rtc secrets remove {name}"
    ),
}
"""What is said after the reason, by its code."""
ADVICE_FOR_JOB = {
    FaultCode.ROOM_DENIED: (
        "If the room is gone or has another token now, join it again, and its jobs are found by themselves: {join}"
    ),
    FaultCode.SERVER_LOST: (
        "Check that it runs. If it has another address now, join the room there, and its jobs are found by themselves: "
        "{join}"
    ),
    FaultCode.AUTH_MISSING: "The short code of a worker of the room brings the secret along: {join}",
}
"""The same about a job in a room that is not remembered."""
REASON_ONLY = (FaultCode.ROOM_DENIED, FaultCode.SERVER_LOST)
"""Faults of which only the first sentence is kept: the next ones are for a person who has typed room or server."""


def explain_for_room(error: RtcError, name: str | None) -> RtcError:
    """Return the error to report about a room: what can be done is added to the reason.

    Args:
        error: why the room, or a worker in it, cannot be used.
        name: the name of the remembered room; None if it is no remembered one.
    """
    advice = None if name is None else ADVICE.get(error.fault.code)
    return _with_advice(error, advice, name)


def explain_for_job_in(error: RtcError, name: str | None) -> RtcError:
    """Return the error to report about the room of an earlier job, whether it is a remembered one or not.

    Args:
        error: why the room, or the job's worker in it, cannot be used.
        name: as for `explain_for_room`.
    """
    if name is not None:
        return explain_for_room(error, name)
    return _with_advice(error, ADVICE_FOR_JOB.get(error.fault.code), None)


def _with_advice(error: RtcError, advice: str | None, name: str | None) -> RtcError:
    if advice is None:
        return error
    code, text = error.fault.code, error.fault.text
    reason = text.partition(". ")[0] if code in REASON_ONLY else text
    join = "sleap-rtc join WHAT" if name is None else f"sleap-rtc join WHAT --name {name}"
    return RtcError(code, f"{reason.removesuffix('.')}. {advice.format(name=name, join=join)}")
