"""Auth: the authentication of one link. There is one such actor for each link, at both ends.

Until this actor sends `Authenticated`, no other part of the program receives a message of the link. `protocol/trust.py`
describes the messages and the proof.

- available: there is no open link.
- reserved: the link is open and its authentication runs, for at most `PROOF_TIME`. The worker has sent a challenge; the
  client waits for the worker's messages.
- busy: the peer is authenticated, until the link ends.

The worker requires a proof from the client. The client gives it, and requires the worker's proof in return.
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
from actors.old_table import AVAILABLE, BUSY, RESERVED, Step, Table, ignore, row
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
    """The data of the authentication of one link, at one end."""

    secret: Secret | None
    """The room secret; None when this program was given none."""
    opened: LinkOpened | None = None
    """The link; None in the state available."""
    their_nonce: bytes = b""
    """At the client's end, the nonce of the worker's challenge; empty before the challenge comes."""


# -------- narrower events: `classify_…` checks the proofs, so that each result can have a row of its own


@frozen
class NoSecretNeeded:
    """A link is open, and this worker has no secret."""

    opened: LinkOpened


@frozen
class ProofValid:
    """The client's proof is valid."""

    nonce: bytes
    """The client's nonce."""


@frozen
class ProofInvalid:
    """The client's proof is invalid: it has another secret, or there is a man in the middle."""


@frozen
class ProofMissing:
    """The client has answered the challenge without a proof, because it has no secret."""


@frozen
class ChallengedWithoutSecret:
    """The worker requires a proof, and this client has no secret."""


@frozen
class WorkerProofValid:
    """The worker's own proof is valid."""


@frozen
class WorkerProofInvalid:
    """The worker has accepted this client, but has not proven that it knows the secret itself."""


@frozen
class WorkerWithoutSecret:
    """The worker requires no secret, and this client has none."""


@frozen
class SecretNotAsked:
    """The worker requires no secret, but this client has one; so it is not proven that this is the intended worker."""


def classify_worker_end(data: AuthData, event: object) -> object:
    """Return the narrower event for the worker's end: check the client's proof."""
    if isinstance(event, LinkOpened) and data.secret is None:
        return NoSecretNeeded(event)
    if isinstance(event, AuthResponse):
        if event.proof is None:
            return ProofMissing()
        valid = same_proof(_proof(data, "client", event.nonce), event.proof)
        return ProofValid(event.nonce) if valid else ProofInvalid()
    return event


def classify_client_end(data: AuthData, event: object) -> object:
    """Return the narrower event for the client's end: check the worker's proof, which every challenge must bring."""
    if isinstance(event, AuthChallenge) and data.secret is None:
        return ChallengedWithoutSecret()
    if isinstance(event, AuthSuccess):
        if not data.their_nonce:
            return WorkerWithoutSecret() if data.secret is None else SecretNotAsked()
        valid = event.proof is not None and same_proof(_proof(data, "worker", data.their_nonce), event.proof)
        return WorkerProofValid() if valid else WorkerProofInvalid()
    return event


def _proof(data: AuthData, speaker: str, their_nonce: bytes) -> bytes:
    """Return the valid proof of `speaker` ("worker" or "client") for this link, given the peer's nonce.

    The binding shows at which end this program is. The result is empty without a secret or a link.
    """
    if data.secret is None or data.opened is None:
        return b""
    our_nonce, at_worker_end = data.opened.nonce, data.opened.peer == data.opened.binding.client
    worker_nonce, client_nonce = (our_nonce, their_nonce) if at_worker_end else (their_nonce, our_nonce)
    return prove(data.secret, speaker, data.opened.binding, worker_nonce, client_nonce)


def _opened_link(data: AuthData) -> LinkOpened:
    assert data.opened is not None, "in every state but available there is a link"
    return data.opened


# -------- the worker's end


def accept_without_secret(data: AuthData, event: NoSecretNeeded) -> Step[AuthData]:
    """Authenticate the client without a proof, because this worker has no secret (the documented legacy mode)."""
    effects = (
        Authenticated(event.opened.link, event.opened.peer, proven=False),
        TellPeer(event.opened.link, AuthSuccess()),
    )
    return Step(evolve(data, opened=event.opened), effects)


def send_challenge(data: AuthData, event: LinkOpened) -> Step[AuthData]:
    """Send a challenge; the client must give a proof for this nonce and this link within `PROOF_TIME`."""
    effects = (TellPeer(event.link, AuthChallenge(event.nonce)), StateTimeout(PROOF_TIME))
    return Step(evolve(data, opened=event), effects)


def accept_proof(data: AuthData, event: ProofValid) -> Step[AuthData]:
    """Authenticate the client, and send it the worker's own proof."""
    opened = _opened_link(data)
    success = AuthSuccess(_proof(data, "worker", event.nonce))
    # `Authenticated` comes first: the client may send its next message as soon as it has received `AuthSuccess`, and by
    # then this link must accept the messages of authenticated peers
    return Step(data, (Authenticated(opened.link, opened.peer, proven=True), TellPeer(opened.link, success)))


def _deny(data: AuthData, reason: Denial, code: FaultCode, text: str) -> Step[AuthData]:
    opened = _opened_link(data)
    effects = (TellPeer(opened.link, AuthFailure(reason, text)), AuthenticationFailed(opened.link, Fault(code, text)))
    return Step(AuthData(data.secret), effects)


def deny_invalid_proof(data: AuthData, _event: ProofInvalid) -> Step[AuthData]:
    """Deny the client because its proof is invalid; it gets no second try on this link."""
    text = "The room secret is not the worker's. Check --room-secret, or ask whoever runs the worker for the right one."
    return _deny(data, Denial.INVALID, FaultCode.AUTH_INVALID, text)


def deny_missing_proof(data: AuthData, _event: ProofMissing) -> Step[AuthData]:
    """Deny the client because it has no secret."""
    text = "This worker wants the room secret and none was given. Pass it with --room-secret."
    return _deny(data, Denial.MISSING, FaultCode.AUTH_MISSING, text)


def deny_timeout(data: AuthData, _event: TimedOut) -> Step[AuthData]:
    """Deny the client because it gave no proof within `PROOF_TIME`."""
    text = f"No proof of the room secret came within {PROOF_TIME} seconds. Try again."
    return _deny(data, Denial.TIMEOUT, FaultCode.AUTH_TIMEOUT, text)


def refuse_on_drain(data: AuthData, _event: Drain) -> Step[AuthData]:
    """End the authentication because the worker is stopping, and close the link with that reason."""
    fault = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping. Pick another one from the room.")
    return Step(AuthData(data.secret), (AuthenticationFailed(_opened_link(data).link, fault),))


def reset(data: AuthData, _event: object) -> Step[AuthData]:
    """Discard the data of the link and its authentication because the link has ended."""
    return Step(AuthData(data.secret))


WORKER_AUTH: Table[AuthData] = Table("auth, worker's side", AVAILABLE, (
    #   in         event           next       action
    row(AVAILABLE, NoSecretNeeded, BUSY,      accept_without_secret),
    ignore(NoSecretNeeded, RESERVED, BUSY),
    row(AVAILABLE, LinkOpened,     RESERVED,  send_challenge),
    ignore(LinkOpened, RESERVED, BUSY),
    row(RESERVED,  ProofValid,     BUSY,      accept_proof),
    ignore(ProofValid, AVAILABLE, BUSY),
    row(RESERVED,  ProofInvalid,   AVAILABLE, deny_invalid_proof),
    ignore(ProofInvalid, AVAILABLE, BUSY),
    row(RESERVED,  ProofMissing,   AVAILABLE, deny_missing_proof),
    ignore(ProofMissing, AVAILABLE, BUSY),
    row(RESERVED,  TimedOut,       AVAILABLE, deny_timeout),
    ignore(TimedOut, AVAILABLE, BUSY),

    # messages that only a worker sends
    ignore(AuthChallenge, AVAILABLE, RESERVED, BUSY),
    ignore(AuthSuccess, AVAILABLE, RESERVED, BUSY),
    ignore(AuthFailure, AVAILABLE, RESERVED, BUSY),

    row(RESERVED,  LinkLost,       AVAILABLE, reset),
    row(BUSY,      LinkLost,       AVAILABLE, reset),
    ignore(LinkLost, AVAILABLE),
    row(RESERVED,  Drain,          AVAILABLE, refuse_on_drain),
    ignore(Drain, AVAILABLE, BUSY),
), classify_worker_end)  # fmt: skip


# -------- the client's end


def await_challenge(data: AuthData, event: LinkOpened) -> Step[AuthData]:
    """Wait for the worker's first message, a challenge or `AuthSuccess`; the authentication may last `PROOF_TIME`."""
    return Step(evolve(data, opened=event), (StateTimeout(PROOF_TIME),))


def send_proof(data: AuthData, event: AuthChallenge) -> Step[AuthData]:
    """Send the client's proof and nonce; ignore a second challenge on the same link."""
    opened = _opened_link(data)
    if data.their_nonce:
        return Step(data)
    proof = _proof(data, "client", event.nonce)
    return Step(evolve(data, their_nonce=event.nonce), (TellPeer(opened.link, AuthResponse(opened.nonce, proof)),))


def respond_without_secret(data: AuthData, _event: ChallengedWithoutSecret) -> Step[AuthData]:
    """Answer the challenge without a proof, because this client has no secret; the worker then denies it."""
    opened = _opened_link(data)
    return Step(data, (TellPeer(opened.link, AuthResponse(opened.nonce)),))


def trust_worker(data: AuthData, _event: WorkerProofValid) -> Step[AuthData]:
    """Authenticate the worker, because both peers have proven that they know the secret."""
    opened = _opened_link(data)
    return Step(data, (Authenticated(opened.link, opened.peer, proven=True),))


def trust_worker_without_secret(data: AuthData, _event: WorkerWithoutSecret) -> Step[AuthData]:
    """Authenticate the worker without a proof, because neither peer has a secret (the documented legacy mode)."""
    opened = _opened_link(data)
    return Step(data, (Authenticated(opened.link, opened.peer, proven=False),))


def reject_worker(data: AuthData, _event: WorkerProofInvalid) -> Step[AuthData]:
    """Close the link because the worker has not proven that it knows the secret; it has received no job and no file."""
    text = "The worker could not prove that it knows the room secret, so nothing was sent. Somebody may be in between."
    return Step(
        AuthData(data.secret),
        (AuthenticationFailed(_opened_link(data).link, Fault(FaultCode.AUTH_UNPROVEN_WORKER, text)),),
    )


def reject_worker_without_secret(data: AuthData, _event: SecretNotAsked) -> Step[AuthData]:
    """Close the link because the worker requires no secret although this client has one.

    Otherwise a man in the middle could leave out the challenge to avoid the proof (a downgrade attack).
    """
    text = (
        "A room secret was given, but this worker asks for none, so it cannot prove that it is the one you mean. "
        "Nothing was sent. Start the worker with the secret, or leave the secret out here."
    )
    return Step(
        AuthData(data.secret),
        (AuthenticationFailed(_opened_link(data).link, Fault(FaultCode.AUTH_UNPROVEN_WORKER, text)),),
    )


CODES = {
    Denial.INVALID: FaultCode.AUTH_INVALID,
    Denial.MISSING: FaultCode.AUTH_MISSING,
    Denial.TIMEOUT: FaultCode.AUTH_TIMEOUT,
}


def fail_denied(data: AuthData, event: AuthFailure) -> Step[AuthData]:
    """Close the link because the worker denied this client; report the worker's reason."""
    return Step(
        AuthData(data.secret), (AuthenticationFailed(_opened_link(data).link, Fault(CODES[event.reason], event.text)),)
    )


def fail_timeout(data: AuthData, _event: TimedOut) -> Step[AuthData]:
    """Close the link because the authentication did not end within `PROOF_TIME`."""
    text = f"The worker did not finish the proof of the room secret within {PROOF_TIME} seconds. Try again."
    return Step(
        AuthData(data.secret), (AuthenticationFailed(_opened_link(data).link, Fault(FaultCode.AUTH_TIMEOUT, text)),)
    )


def close_on_drain(data: AuthData, _event: Drain) -> Step[AuthData]:
    """Close the link because the program is stopping."""
    return Step(AuthData(data.secret), (CloseLink(_opened_link(data).link),))


CLIENT_AUTH: Table[AuthData] = Table("auth, client's side", AVAILABLE, (
    #   in         event                    next       action
    row(AVAILABLE, LinkOpened,              RESERVED,  await_challenge),
    ignore(LinkOpened, RESERVED, BUSY),
    row(RESERVED,  AuthChallenge,           RESERVED,  send_proof),
    ignore(AuthChallenge, AVAILABLE, BUSY),
    row(RESERVED,  ChallengedWithoutSecret, RESERVED,  respond_without_secret),
    ignore(ChallengedWithoutSecret, AVAILABLE, BUSY),
    row(RESERVED,  WorkerProofValid,        BUSY,      trust_worker),
    ignore(WorkerProofValid, AVAILABLE, BUSY),
    row(RESERVED,  WorkerProofInvalid,      AVAILABLE, reject_worker),
    ignore(WorkerProofInvalid, AVAILABLE, BUSY),
    row(RESERVED,  WorkerWithoutSecret,     BUSY,      trust_worker_without_secret),
    ignore(WorkerWithoutSecret, AVAILABLE, BUSY),
    row(RESERVED,  SecretNotAsked,          AVAILABLE, reject_worker_without_secret),
    ignore(SecretNotAsked, AVAILABLE, BUSY),
    row(RESERVED,  AuthFailure,             AVAILABLE, fail_denied),
    ignore(AuthFailure, AVAILABLE, BUSY),
    row(RESERVED,  TimedOut,                AVAILABLE, fail_timeout),
    ignore(TimedOut, AVAILABLE, BUSY),

    # a message that only a client sends
    ignore(AuthResponse, AVAILABLE, RESERVED, BUSY),

    row(RESERVED,  LinkLost,                AVAILABLE, reset),
    row(BUSY,      LinkLost,                AVAILABLE, reset),
    ignore(LinkLost, AVAILABLE),
    row(RESERVED,  Drain,                   AVAILABLE, close_on_drain),
    ignore(Drain, AVAILABLE, BUSY),
), classify_client_end)  # fmt: skip
