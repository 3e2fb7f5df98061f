"""Auth: the authentication of one link. There is one such actor for each link, at both ends.

Until this actor sends `Authenticated`, no other part of the program receives a message of the link. `protocol/trust.py`
describes the messages and the proof. First both ends say which versions of the protocol they speak (`Hello`). Then the
worker requires a proof from the client. The client gives it, and requires the worker's proof in return. Before the link
is open, and after its authentication has failed, the actor is available; while the authentication runs, reserved, for
`PROOF_TIME` at each step; while the peer is trusted, busy, until the link ends.
"""

from typing import get_args

from attrs import evolve, field, frozen

from actors import events
from actors.offer_tags import SECRET_MISSING, SECRET_WRONG
from actors.phase import AVAILABLE, BUSY, RESERVED, Phase
from actors.table import Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.link import Hello
from protocol.trust import (
    PROOF_TIME,
    AuthChallenge,
    AuthFailure,
    AuthMessage,
    AuthResponse,
    AuthSuccess,
    Denial,
    RoomKeys,
    VersionAgreement,
    prove,
    same_proof,
)
from protocol.version import VERSIONS, no_common_version


class WorkerAuthPhase(Phase):
    """How far the worker's end is with a client."""

    CLOSED = "closed", AVAILABLE
    """The link is not open yet, or its authentication has failed and it is being closed."""
    GREETING = "greeting", RESERVED
    """The client's versions of the protocol are awaited."""
    CHALLENGED = "challenged", RESERVED
    """The client was asked for its proof."""
    TRUSTED = "trusted", BUSY
    """The client is authenticated."""


class ClientAuthPhase(Phase):
    """How far the client's end is with a worker."""

    CLOSED = "closed", AVAILABLE
    """The link is not open yet, or its authentication has failed and it is being closed."""
    GREETING = "greeting", RESERVED
    """The worker's versions of the protocol are awaited."""
    WAITING = "waiting", RESERVED
    """The worker's next message is awaited: a challenge, or the news that it needs no proof."""
    PROVING = "proving", RESERVED
    """The worker's challenge is answered; its verdict and its own proof are awaited."""
    TRUSTED = "trusted", BUSY
    """The worker is authenticated."""


@frozen
class AuthData:
    """The data of the authentication of one link, at one end."""

    keys: RoomKeys | None
    """The keys of the room; None when this program knows no secret for it."""
    opened: events.LinkOpened | None = None
    """The link; None in the phase CLOSED."""
    agreement: VersionAgreement | None = None
    """The versions that both ends speak; None in the phases CLOSED and GREETING."""
    their_nonce: bytes = field(default=b"", repr=False)
    """At the client's end, the nonce of the worker's challenge, in the phase PROVING."""


def check(phase: Phase, data: AuthData) -> None:
    """Raise AssertionError if an Auth actor can never be in this phase with this data."""
    assert (data.opened is None) == (phase.status is AVAILABLE), "there is a link in every phase but CLOSED"
    greeted = phase not in (W.CLOSED, W.GREETING, C.CLOSED, C.GREETING)
    assert (data.agreement is not None) == greeted, "the versions are agreed on before anything else"
    assert bool(data.their_nonce) == (phase is ClientAuthPhase.PROVING), "a challenge is kept while it is answered"


def _proof(data: AuthData, speaker: str, their_nonce: bytes) -> bytes:
    """Return the valid proof of `speaker` ("worker" or "client") for this link, given the peer's nonce.

    The binding shows at which end this program is. The result is empty without a secret.
    """
    opened = _opened_link(data)
    if data.keys is None:
        return b""
    our_nonce = opened.nonce
    worker_nonce, client_nonce = (our_nonce, their_nonce) if _is_at_worker(data) else (their_nonce, our_nonce)
    return prove(data.keys, speaker, opened.binding, _agreement(data), worker_nonce, client_nonce)


def _opened_link(data: AuthData) -> events.LinkOpened:
    assert data.opened is not None, "in every phase but CLOSED there is a link"
    return data.opened


def _is_at_worker(data: AuthData) -> bool:
    """Return whether this program is the worker of the link."""
    opened = _opened_link(data)
    return opened.peer == opened.binding.client


def _agreement(data: AuthData) -> VersionAgreement:
    assert data.agreement is not None, "after the phase GREETING the versions are agreed on"
    return data.agreement


def _version(data: AuthData) -> int:
    version = _agreement(data).chosen
    assert version is not None, "the guard has looked for a common version"
    return version


def _hear(data: AuthData, event: Hello) -> AuthData:
    """Return the data with the versions that both ends speak."""
    at_worker = _is_at_worker(data)
    worker, client = (VERSIONS, event.versions) if at_worker else (event.versions, VERSIONS)
    return evolve(data, agreement=VersionAgreement(worker, client))


def _fail(data: AuthData, code: FaultCode, text: str, *before: events.TellPeer, note: str = "") -> Step[AuthData]:
    """End the authentication, and close the link for this reason, after the effects `before`; the log says `note`."""
    failed = events.AuthenticationFailed(_opened_link(data).link, Fault(code, text), note)
    return Step(AuthData(data.keys), (*before, failed))


# -------- guards


def has_no_common_version(_data: AuthData, event: Hello) -> bool:
    """Return whether the peer speaks no version of the protocol that this program speaks."""
    return VERSIONS.common(event.versions) is None


def has_no_secret(data: AuthData, _event: Hello | AuthChallenge | AuthSuccess) -> bool:
    """Return whether this program knows no room secret."""
    return data.keys is None


def proof_is_missing(_data: AuthData, event: AuthResponse) -> bool:
    """Return whether the client has answered the challenge without a proof, because it has no secret."""
    return event.proof is None


def proof_is_valid(data: AuthData, event: AuthResponse) -> bool:
    """Return whether the client has proven that it knows the secret, on this link."""
    return event.proof is not None and same_proof(_proof(data, "client", event.nonce), event.proof)


def workers_proof_is_valid(data: AuthData, event: AuthSuccess) -> bool:
    """Return whether the worker has proven that it knows the secret, on this link."""
    return event.proof is not None and same_proof(_proof(data, "worker", data.their_nonce), event.proof)


# -------- both ends


def reset(data: AuthData, _event: events.LinkLost) -> Step[AuthData]:
    """Discard the data of the link and its authentication because the link has ended."""
    return Step(AuthData(data.keys))


# -------- the worker's end


def greet_client(data: AuthData, event: events.LinkOpened) -> Step[AuthData]:
    """Say which versions of the protocol this worker speaks; the client must do the same within `PROOF_TIME`."""
    greeting = events.TellPeer(event.link, Hello())
    return Step(evolve(data, opened=event), (greeting, events.StateTimeout(PROOF_TIME)))


def refuse_versions(data: AuthData, event: Hello) -> Step[AuthData]:
    """Close the link because there is no common version; the reason names both ranges and what to install."""
    text = no_common_version(VERSIONS, event.versions, us="the worker", our_place="on the worker's machine")
    return _fail(data, FaultCode.VERSION, text)


def accept_without_secret(data: AuthData, event: Hello) -> Step[AuthData]:
    """Authenticate the client without a proof, because this worker has no secret (the documented legacy mode)."""
    data, opened = _hear(data, event), _opened_link(data)
    authenticated = events.Authenticated(opened.link, opened.peer, proven=False, version=_version(data))
    return Step(data, (authenticated, events.TellPeer(opened.link, AuthSuccess())))


def send_challenge(data: AuthData, event: Hello) -> Step[AuthData]:
    """Send a challenge; the client must give a proof for this nonce and this link within `PROOF_TIME`."""
    opened = _opened_link(data)
    challenge = events.TellPeer(opened.link, AuthChallenge(opened.nonce))
    return Step(_hear(data, event), (challenge, events.StateTimeout(PROOF_TIME)))


def lose_silent_client(data: AuthData, _event: events.TimedOut) -> Step[AuthData]:
    """Close the link because the client has said nothing since it opened; no proof was asked of it yet."""
    text = f"The link opened, but then the client was silent for {PROOF_TIME} seconds. Try again."
    return _fail(data, FaultCode.LINK_LOST, text)


def accept_proof(data: AuthData, event: AuthResponse) -> Step[AuthData]:
    """Authenticate the client, and send it the worker's own proof."""
    opened = _opened_link(data)
    success = AuthSuccess(_proof(data, "worker", event.nonce))
    # `Authenticated` comes first: the client may send its next message as soon as it has received `AuthSuccess`, and by
    # then this link must accept the messages of authenticated peers
    return Step(
        data,
        (
            events.Authenticated(opened.link, opened.peer, proven=True, version=_version(data)),
            events.TellPeer(opened.link, success),
        ),
    )


OTHER_CERTIFICATES = (
    "The offer showed that the client knows the secret, so it sees another certificate of this worker than the real "
    "one, or it is broken: somebody may be in between."
)
"""What the log says of a client whose offer had a right tag (otherwise there would be no link), and whose proof is
wrong. The client is not told."""


def _deny(data: AuthData, reason: Denial, fault: Fault, note: str = "") -> Step[AuthData]:
    failure = events.TellPeer(_opened_link(data).link, AuthFailure(reason, fault.text))
    return _fail(data, fault.code, fault.text, failure, note=note)


def deny_invalid_proof(data: AuthData, _event: AuthResponse) -> Step[AuthData]:
    """Deny the client because its proof is invalid; it gets no second try on this link."""
    return _deny(data, Denial.INVALID, SECRET_WRONG, OTHER_CERTIFICATES)


def deny_missing_proof(data: AuthData, _event: AuthResponse) -> Step[AuthData]:
    """Deny the client because it has no secret."""
    return _deny(data, Denial.MISSING, SECRET_MISSING)


def deny_silent_client(data: AuthData, _event: events.TimedOut) -> Step[AuthData]:
    """Deny the client because it gave no proof within `PROOF_TIME`."""
    text = f"The client sent no proof of the room secret within {PROOF_TIME} seconds. Try again."
    return _deny(data, Denial.TIMEOUT, Fault(FaultCode.AUTH_TIMEOUT, text))


def refuse_on_drain(data: AuthData, _event: events.Drain) -> Step[AuthData]:
    """End the authentication because the worker is stopping, and close the link with that reason."""
    return _fail(data, FaultCode.WORKER_LEAVING, "The worker is stopping. Pick another one from the room.")


W = WorkerAuthPhase
WORKER_AUTH: Table[AuthData] = Table("auth, worker's side", W.CLOSED, (
    #   in                       event              next          action
    row(W.CLOSED,                events.LinkOpened, W.GREETING,   greet_client),
    row(W.GREETING,              Hello,             W.CLOSED,     refuse_versions, when=has_no_common_version),
    row(W.GREETING,              Hello,             W.TRUSTED,    accept_without_secret, when=has_no_secret),
    row(W.GREETING,              Hello,             W.CHALLENGED, send_challenge),
    row(W.GREETING,              events.TimedOut,   W.CLOSED,     lose_silent_client),
    row(W.CHALLENGED,            AuthResponse,      W.CLOSED,     deny_missing_proof, when=proof_is_missing),
    row(W.CHALLENGED,            AuthResponse,      W.TRUSTED,    accept_proof, when=proof_is_valid),
    row(W.CHALLENGED,            AuthResponse,      W.CLOSED,     deny_invalid_proof),
    row(W.CHALLENGED,            events.TimedOut,   W.CLOSED,     deny_silent_client),
    row((W.GREETING, W.CHALLENGED), events.Drain,   W.CLOSED,     refuse_on_drain),
    row((W.GREETING, W.CHALLENGED, W.TRUSTED), events.LinkLost, W.CLOSED, reset),

    ignore(W.CLOSED, events.UnexpectedMessage, because="there is one try per link, and this link is being closed"),
    ignore(W.GREETING, events.UnexpectedMessage, because="nothing counts before the client's versions are known"),
    ignore(W.CHALLENGED, events.UnexpectedMessage, because="only the client's proof counts, and its time runs"),
    ignore(W.TRUSTED, events.UnexpectedMessage, because="a client that is trusted has nothing to prove"),
    ignore(W.CLOSED, events.LinkLost, because="the authentication has failed, and that has closed the link"),
    ignore(W.CLOSED, events.Drain, because="the link is not open yet, or is being closed"),
    ignore(W.TRUSTED, events.Drain, because="who uses the link ends it"),
), from_outside=(Hello, *get_args(AuthMessage)), invariant=check)  # fmt: skip


# -------- the client's end

PROOF_DEADLINE = "proof"
"""The name of the deadline that bounds the whole authentication at the client's end."""


def greet_worker(data: AuthData, event: events.LinkOpened) -> Step[AuthData]:
    """Say which versions of the protocol this client speaks; the whole authentication may last `PROOF_TIME`."""
    deadline = events.Deadline(PROOF_DEADLINE, PROOF_TIME, events.TimedOut())
    return Step(evolve(data, opened=event), (events.TellPeer(event.link, Hello()), deadline))


def fail_versions(data: AuthData, event: Hello) -> Step[AuthData]:
    """Close the link because there is no common version, with the sentence that the worker sends too."""
    text = no_common_version(event.versions, VERSIONS, us="the worker", our_place="on the worker's machine")
    return _fail(data, FaultCode.VERSION, text)


def await_challenge(data: AuthData, event: Hello) -> Step[AuthData]:
    """Wait for the worker's next message, a challenge or `AuthSuccess`."""
    return Step(_hear(data, event))


def send_proof(data: AuthData, event: AuthChallenge) -> Step[AuthData]:
    """Send the client's proof and nonce."""
    opened = _opened_link(data)
    response = AuthResponse(opened.nonce, _proof(data, "client", event.nonce))
    return Step(evolve(data, their_nonce=event.nonce), (events.TellPeer(opened.link, response),))


def respond_without_secret(data: AuthData, event: AuthChallenge) -> Step[AuthData]:
    """Answer the challenge without a proof, because this client has no secret; the worker then denies it."""
    opened = _opened_link(data)
    response = events.TellPeer(opened.link, AuthResponse(opened.nonce))
    return Step(evolve(data, their_nonce=event.nonce), (response,))


def _trust(data: AuthData, *, proven: bool) -> Step[AuthData]:
    opened = _opened_link(data)
    authenticated = events.Authenticated(opened.link, opened.peer, proven=proven, version=_version(data))
    return Step(evolve(data, their_nonce=b""), (events.cancel_deadline(PROOF_DEADLINE), authenticated))


def trust_worker(data: AuthData, _event: AuthSuccess) -> Step[AuthData]:
    """Authenticate the worker, because both peers have proven that they know the secret."""
    return _trust(data, proven=True)


def trust_worker_without_secret(data: AuthData, _event: AuthSuccess) -> Step[AuthData]:
    """Authenticate the worker without a proof, because neither peer has a secret (the documented legacy mode)."""
    return _trust(data, proven=False)


def reject_worker(data: AuthData, _event: AuthSuccess) -> Step[AuthData]:
    """Close the link because the worker has not proven that it knows the secret; it has received no job and no file."""
    text = "The worker could not prove that it knows the room secret, so nothing was sent. Somebody may be in between."
    return _fail(data, FaultCode.AUTH_UNPROVEN_WORKER, text)


def reject_worker_without_secret(data: AuthData, _event: AuthSuccess) -> Step[AuthData]:
    """Close the link because the worker requires no secret although this client has one.

    Otherwise a man in the middle could leave out the challenge to avoid the proof (a downgrade attack).
    """
    text = (
        "A room secret was given, but this worker asks for none, so it cannot prove that it is the one you mean. "
        "Nothing was sent. Start the worker with the secret, or leave the secret out here."
    )
    return _fail(data, FaultCode.AUTH_UNPROVEN_WORKER, text)


CODES = {
    Denial.INVALID: FaultCode.AUTH_INVALID,
    Denial.MISSING: FaultCode.AUTH_MISSING,
    Denial.TIMEOUT: FaultCode.AUTH_TIMEOUT,
}


def fail_denied(data: AuthData, event: AuthFailure) -> Step[AuthData]:
    """Close the link because the worker denied this client; report the worker's reason."""
    return _fail(data, CODES[event.reason], event.text)


def lose_before_challenge(data: AuthData, _event: events.TimedOut) -> Step[AuthData]:
    """Close the link because the worker has said nothing since the link opened.

    It is a lost worker, and no failed proof: whether a secret is needed is not known yet.
    """
    text = f"The link opened, but then the worker was silent for {PROOF_TIME} seconds; it may be gone. Try again."
    return _fail(data, FaultCode.LINK_LOST, text)


def lose_before_verdict(data: AuthData, _event: events.TimedOut) -> Step[AuthData]:
    """Close the link because the worker has not answered the client's proof.

    It is a lost worker: a worker that does not accept a proof says so.
    """
    text = f"The worker did not answer the proof of the room secret within {PROOF_TIME} seconds; it may be gone."
    return _fail(data, FaultCode.LINK_LOST, text)


def close_on_drain(data: AuthData, _event: events.Drain) -> Step[AuthData]:
    """Close the link because the program is stopping."""
    return Step(AuthData(data.keys), (events.CloseLink(_opened_link(data).link),))


C = ClientAuthPhase
UNDECIDED = C.GREETING, C.WAITING, C.PROVING
CLIENT_AUTH: Table[AuthData] = Table("auth, client's side", C.CLOSED, (
    #   in                       event              next       action
    row(C.CLOSED,                events.LinkOpened, C.GREETING, greet_worker),
    row(C.GREETING,              Hello,             C.CLOSED,  fail_versions, when=has_no_common_version),
    row(C.GREETING,              Hello,             C.WAITING, await_challenge),
    row(C.WAITING,               AuthChallenge,     C.PROVING, respond_without_secret, when=has_no_secret),
    row(C.WAITING,               AuthChallenge,     C.PROVING, send_proof),
    row(C.WAITING,               AuthSuccess,       C.TRUSTED, trust_worker_without_secret, when=has_no_secret),
    row(C.WAITING,               AuthSuccess,       C.CLOSED,  reject_worker_without_secret),
    row(C.PROVING,               AuthSuccess,       C.TRUSTED, trust_worker, when=workers_proof_is_valid),
    row(C.PROVING,               AuthSuccess,       C.CLOSED,  reject_worker),
    row(C.PROVING,               AuthFailure,       C.CLOSED,  fail_denied),
    row((C.GREETING, C.WAITING), events.TimedOut,   C.CLOSED,  lose_before_challenge),
    row(C.PROVING,               events.TimedOut,   C.CLOSED,  lose_before_verdict),
    row(UNDECIDED,               events.Drain,      C.CLOSED,  close_on_drain),
    row((*UNDECIDED, C.TRUSTED), events.LinkLost,   C.CLOSED,  reset),

    ignore(C.CLOSED, events.UnexpectedMessage, because="the authentication is over, and this link is being closed"),
    ignore(C.GREETING, events.UnexpectedMessage, because="nothing counts before the worker's versions are known"),
    ignore(C.WAITING, events.UnexpectedMessage, because="a worker begins with a challenge, or needs no proof"),
    ignore(C.PROVING, events.UnexpectedMessage, because="one challenge is answered on each link, and then the verdict"),
    ignore(C.TRUSTED, events.UnexpectedMessage, because="the worker has proven already what it had to"),
    ignore(C.CLOSED, events.LinkLost, because="the authentication has failed, and that has closed the link"),
    ignore(C.CLOSED, events.Drain, because="the link is not open yet, or is being closed"),
    ignore(C.TRUSTED, events.Drain, because="who uses the link ends it"),
), from_outside=(Hello, *get_args(AuthMessage)), invariant=check)  # fmt: skip
