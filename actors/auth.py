"""Auth: one per link, on both ends. Until it says `Authenticated`, a link is heard by nobody else.

available: nobody to prove · reserved: a challenge is out, the clock runs · busy: trusted until the link ends.
The worker's end guards; the client's end proves, and wants the worker's proof in return.
"""

from attrs import evolve, frozen

from actors.events import (
    Authenticated,
    AuthenticationFailed,
    CloseLink,
    Drain,
    LinkLost,
    LinkOpened,
    StateTimeout,
    TellPeer,
    TimedOut,
)
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
from protocol.faults import Fault, FaultCode
from protocol.trust import (
    PROOF_TIME,
    AuthChallenge,
    AuthFailure,
    AuthResponse,
    AuthSuccess,
    Denial,
    Secret,
    prove,
    same_proof,
)


@frozen
class AuthData:
    """What one end of one link knows of its peer."""

    secret: Secret | None
    up: LinkOpened | None = None
    their_nonce: bytes = b""


# -------- narrower events: the comparisons are made here, once, so that the rows can say what follows


@frozen
class NoSecretNeeded:
    """A link to a worker that has no secret."""

    up: LinkOpened


@frozen
class ProofRight:
    """The client's proof fits."""

    nonce: bytes


@frozen
class ProofWrong:
    """The client's proof does not fit: another secret, or somebody in the middle."""


@frozen
class ProofMissing:
    """The client has no secret to prove."""


@frozen
class ChallengedWithoutSecret:
    """The worker wants a proof, and we have no secret."""


@frozen
class WorkerProofRight:
    """The worker's own proof fits."""


@frozen
class WorkerProofWrong:
    """The worker says we are trusted but cannot prove that it knows the secret."""


@frozen
class WorkerWithoutSecret:
    """The worker asks for no secret, and we have none."""


@frozen
class SecretNotAsked:
    """We have a secret, and the worker asks for none: then nothing shows that it is the worker that was meant."""


def classify_worker_end(data: AuthData, event: object) -> object:
    """Worker's end: weigh the proof."""
    if isinstance(event, LinkOpened) and data.secret is None:
        return NoSecretNeeded(event)
    if isinstance(event, AuthResponse):
        if event.proof is None:
            return ProofMissing()
        fits = same_proof(_proof(data, "client", event.nonce), event.proof)
        return ProofRight(event.nonce) if fits else ProofWrong()
    return event


def classify_client_end(data: AuthData, event: object) -> object:
    """Client's end: weigh what the worker says of itself. A worker that challenged us must prove itself too."""
    if isinstance(event, AuthChallenge) and data.secret is None:
        return ChallengedWithoutSecret()
    if isinstance(event, AuthSuccess):
        if not data.their_nonce:
            return WorkerWithoutSecret() if data.secret is None else SecretNotAsked()
        fits = event.proof is not None and same_proof(_proof(data, "worker", data.their_nonce), event.proof)
        return WorkerProofRight() if fits else WorkerProofWrong()
    return event


def _proof(data: AuthData, speaker: str, their_nonce: bytes) -> bytes:
    """The proof `speaker` must give on this link; who is who follows from the binding."""
    if data.secret is None or data.up is None:
        return b""
    ours, guarding = data.up.nonce, data.up.peer == data.up.binding.client
    worker_nonce, client_nonce = (ours, their_nonce) if guarding else (their_nonce, ours)
    return prove(data.secret, speaker, data.up.binding, worker_nonce, client_nonce)


def _link(data: AuthData) -> LinkOpened:
    assert data.up is not None, "a state beyond available has a link"
    return data.up


# -------- the worker's end


def trust_without_secret(data: AuthData, event: NoSecretNeeded) -> Step[AuthData]:
    """The documented legacy mode: no secret here, so nothing to prove."""
    effects = (Authenticated(event.up.link, event.up.peer, proven=False), TellPeer(event.up.link, AuthSuccess()))
    return Step(evolve(data, up=event.up), effects)


def challenge(data: AuthData, event: LinkOpened) -> Step[AuthData]:
    """Ask for a proof, bound to this nonce and this link, within the time."""
    effects = (TellPeer(event.link, AuthChallenge(event.nonce)), StateTimeout(PROOF_TIME))
    return Step(evolve(data, up=event), effects)


def give_proof(data: AuthData, event: ProofRight) -> Step[AuthData]:
    """Trust, and give our own proof in return."""
    up = _link(data)
    success = AuthSuccess(_proof(data, "worker", event.nonce))
    # Trusted first: the client speaks as soon as it hears of it, and must meet the new vocabulary
    return Step(data, (Authenticated(up.link, up.peer, proven=True), TellPeer(up.link, success)))


def _deny(data: AuthData, reason: Denial, code: FaultCode, text: str) -> Step[AuthData]:
    up = _link(data)
    effects = (TellPeer(up.link, AuthFailure(reason, text)), AuthenticationFailed(up.link, Fault(code, text)))
    return Step(AuthData(data.secret), effects)


def deny_wrong(data: AuthData, _event: ProofWrong) -> Step[AuthData]:
    """One try per link."""
    text = "The room secret is not the worker's. Check --room-secret, or ask whoever runs the worker for the right one."
    return _deny(data, Denial.INVALID, FaultCode.AUTH_INVALID, text)


def deny_missing(data: AuthData, _event: ProofMissing) -> Step[AuthData]:
    """The client came without a secret."""
    text = "This worker wants the room secret and none was given. Pass it with --room-secret."
    return _deny(data, Denial.MISSING, FaultCode.AUTH_MISSING, text)


def deny_late(data: AuthData, _event: TimedOut) -> Step[AuthData]:
    """No proof within the time."""
    text = f"No proof of the room secret came within {PROOF_TIME} seconds. Try again."
    return _deny(data, Denial.TIMEOUT, FaultCode.AUTH_TIMEOUT, text)


def refuse_on_drain(data: AuthData, _event: Drain) -> Step[AuthData]:
    """The program is stopping; an unproven peer is told so."""
    fault = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping. Pick another one from the room.")
    return Step(AuthData(data.secret), (AuthenticationFailed(_link(data).link, fault),))


def forget(data: AuthData, _event: object) -> Step[AuthData]:
    """The link is over, and all trust with it."""
    return Step(AuthData(data.secret))


WORKER_AUTH: Table[AuthData] = Table("auth, worker's side", AVAILABLE, (
    #   in         event         next       action
    row(AVAILABLE, NoSecretNeeded,    BUSY,      trust_without_secret),
    ignore(NoSecretNeeded, RESERVED, BUSY),
    row(AVAILABLE, LinkOpened,       RESERVED,  challenge),
    ignore(LinkOpened, RESERVED, BUSY),
    row(RESERVED,  ProofRight,   BUSY,      give_proof),
    ignore(ProofRight, AVAILABLE, BUSY),
    row(RESERVED,  ProofWrong,   AVAILABLE, deny_wrong),
    ignore(ProofWrong, AVAILABLE, BUSY),
    row(RESERVED,  ProofMissing, AVAILABLE, deny_missing),
    ignore(ProofMissing, AVAILABLE, BUSY),
    row(RESERVED,  TimedOut,       AVAILABLE, deny_late),
    ignore(TimedOut, AVAILABLE, BUSY),

    # words that only a worker says mean nothing when a client says them
    ignore(AuthChallenge, AVAILABLE, RESERVED, BUSY),
    ignore(AuthSuccess, AVAILABLE, RESERVED, BUSY),
    ignore(AuthFailure, AVAILABLE, RESERVED, BUSY),

    row(RESERVED,  LinkLost,     AVAILABLE, forget),
    row(BUSY,      LinkLost,     AVAILABLE, forget),
    ignore(LinkLost, AVAILABLE),
    row(RESERVED,  Drain,        AVAILABLE, refuse_on_drain),
    ignore(Drain, AVAILABLE, BUSY),
), classify_worker_end)  # fmt: skip


# -------- the client's end


def await_worker(data: AuthData, event: LinkOpened) -> Step[AuthData]:
    """The worker speaks first: a challenge, or a welcome."""
    return Step(evolve(data, up=event), (StateTimeout(PROOF_TIME),))


def respond(data: AuthData, event: AuthChallenge) -> Step[AuthData]:
    """Prove that we know the secret, and hand over our own nonce; once per link."""
    up = _link(data)
    if data.their_nonce:
        return Step(data)
    proof = _proof(data, "client", event.nonce)
    return Step(evolve(data, their_nonce=event.nonce), (TellPeer(up.link, AuthResponse(up.nonce, proof)),))


def respond_without_secret(data: AuthData, _event: ChallengedWithoutSecret) -> Step[AuthData]:
    """Say honestly that we have no secret; the worker's answer follows."""
    up = _link(data)
    return Step(data, (TellPeer(up.link, AuthResponse(up.nonce)),))


def trust(data: AuthData, _event: WorkerProofRight) -> Step[AuthData]:
    """Both ends have proven themselves."""
    up = _link(data)
    return Step(data, (Authenticated(up.link, up.peer, proven=True),))


def trust_unproven(data: AuthData, _event: WorkerWithoutSecret) -> Step[AuthData]:
    """The documented legacy mode, seen from the other end."""
    up = _link(data)
    return Step(data, (Authenticated(up.link, up.peer, proven=False),))


def reject_worker(data: AuthData, _event: WorkerProofWrong) -> Step[AuthData]:
    """Whoever answers does not know the secret: send it nothing."""
    text = "The worker could not prove that it knows the room secret, so nothing was sent. Somebody may be in between."
    return Step(
        AuthData(data.secret), (AuthenticationFailed(_link(data).link, Fault(FaultCode.AUTH_UNPROVEN_WORKER, text)),)
    )


def reject_worker_without_secret(data: AuthData, _event: SecretNotAsked) -> Step[AuthData]:
    """Dropping the challenge must not be a way around it (a downgrade), so who has a secret insists on it."""
    text = (
        "A room secret was given, but this worker asks for none, so it cannot prove that it is the one you mean. "
        "Nothing was sent. Start the worker with the secret, or leave the secret out here."
    )
    return Step(
        AuthData(data.secret), (AuthenticationFailed(_link(data).link, Fault(FaultCode.AUTH_UNPROVEN_WORKER, text)),)
    )


CODES = {
    Denial.INVALID: FaultCode.AUTH_INVALID,
    Denial.MISSING: FaultCode.AUTH_MISSING,
    Denial.TIMEOUT: FaultCode.AUTH_TIMEOUT,
}


def accept_denial(data: AuthData, event: AuthFailure) -> Step[AuthData]:
    """The worker does not trust us, and says why."""
    return Step(
        AuthData(data.secret), (AuthenticationFailed(_link(data).link, Fault(CODES[event.reason], event.text)),)
    )


def time_out(data: AuthData, _event: TimedOut) -> Step[AuthData]:
    """The worker says nothing."""
    text = f"The worker did not finish the proof of the room secret within {PROOF_TIME} seconds. Try again."
    return Step(AuthData(data.secret), (AuthenticationFailed(_link(data).link, Fault(FaultCode.AUTH_TIMEOUT, text)),))


def leave_on_drain(data: AuthData, _event: Drain) -> Step[AuthData]:
    """The person has had enough."""
    return Step(AuthData(data.secret), (CloseLink(_link(data).link),))


CLIENT_AUTH: Table[AuthData] = Table("auth, client's side", AVAILABLE, (
    #   in         event              next       action
    row(AVAILABLE, LinkOpened,            RESERVED,  await_worker),
    ignore(LinkOpened, RESERVED, BUSY),
    row(RESERVED,  AuthChallenge,     RESERVED,  respond),
    ignore(AuthChallenge, AVAILABLE, BUSY),
    row(RESERVED,  ChallengedWithoutSecret, RESERVED,  respond_without_secret),
    ignore(ChallengedWithoutSecret, AVAILABLE, BUSY),
    row(RESERVED,  WorkerProofRight,      BUSY,      trust),
    ignore(WorkerProofRight, AVAILABLE, BUSY),
    row(RESERVED,  WorkerProofWrong,      AVAILABLE, reject_worker),
    ignore(WorkerProofWrong, AVAILABLE, BUSY),
    row(RESERVED,  WorkerWithoutSecret,       BUSY,      trust_unproven),
    ignore(WorkerWithoutSecret, AVAILABLE, BUSY),
    row(RESERVED,  SecretNotAsked,    AVAILABLE, reject_worker_without_secret),
    ignore(SecretNotAsked, AVAILABLE, BUSY),
    row(RESERVED,  AuthFailure,       AVAILABLE, accept_denial),
    ignore(AuthFailure, AVAILABLE, BUSY),
    row(RESERVED,  TimedOut,            AVAILABLE, time_out),
    ignore(TimedOut, AVAILABLE, BUSY),

    # a client guards nothing
    ignore(AuthResponse, AVAILABLE, RESERVED, BUSY),

    row(RESERVED,  LinkLost,          AVAILABLE, forget),
    row(BUSY,      LinkLost,          AVAILABLE, forget),
    ignore(LinkLost, AVAILABLE),
    row(RESERVED,  Drain,             AVAILABLE, leave_on_drain),
    ignore(Drain, AVAILABLE, BUSY),
), classify_client_end)  # fmt: skip
