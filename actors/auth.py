"""Auth: one per link, on both ends. Until it says `Trusted`, a link is heard by nobody else.

available: nobody to prove · reserved: a challenge is out, the clock runs · busy: trusted until the link ends.
The worker's end guards; the client's end proves, and wants the worker's proof in return.
"""

from attrs import evolve, frozen

from actors.events import CloseLink, Distrusted, Drain, Lapsed, LinkLost, LinkUp, StateTimeout, TellLink, Trusted
from actors.table import AVAILABLE, BUSY, RESERVED, Step, Table, quiet, row
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
class Post:
    """What one end of one link knows of its peer."""

    secret: Secret | None
    up: LinkUp | None = None
    their_nonce: bytes = b""


# -------- narrower events: the comparisons are made here, once, so that the rows can say what follows


@frozen
class OpenHouse:
    """A link to a worker that has no secret."""

    up: LinkUp


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
class ChallengedUnarmed:
    """The worker wants a proof, and we have no secret."""


@frozen
class VouchedRight:
    """The worker's own proof fits."""


@frozen
class VouchedWrong:
    """The worker says we are trusted but cannot prove that it knows the secret."""


@frozen
class VouchedOpen:
    """The worker asks for no secret, and we have none."""


@frozen
class VouchedUnasked:
    """We have a secret, and the worker asks for none: then nothing shows that it is the worker that was meant."""


def classify_guard(post: Post, event: object) -> object:
    """Worker's end: weigh the proof."""
    if isinstance(event, LinkUp) and post.secret is None:
        return OpenHouse(event)
    if isinstance(event, AuthResponse):
        if event.proof is None:
            return ProofMissing()
        fits = same_proof(_proof(post, "client", event.nonce), event.proof)
        return ProofRight(event.nonce) if fits else ProofWrong()
    return event


def classify_prover(post: Post, event: object) -> object:
    """Client's end: weigh what the worker says of itself. A worker that challenged us must prove itself too."""
    if isinstance(event, AuthChallenge) and post.secret is None:
        return ChallengedUnarmed()
    if isinstance(event, AuthSuccess):
        if not post.their_nonce:
            return VouchedOpen() if post.secret is None else VouchedUnasked()
        fits = event.proof is not None and same_proof(_proof(post, "worker", post.their_nonce), event.proof)
        return VouchedRight() if fits else VouchedWrong()
    return event


def _proof(post: Post, speaker: str, their_nonce: bytes) -> bytes:
    """The proof `speaker` must give on this link; who is who follows from the binding."""
    if post.secret is None or post.up is None:
        return b""
    ours, guarding = post.up.nonce, post.up.peer == post.up.binding.client
    worker_nonce, client_nonce = (ours, their_nonce) if guarding else (their_nonce, ours)
    return prove(post.secret, speaker, post.up.binding, worker_nonce, client_nonce)


def _link(post: Post) -> LinkUp:
    assert post.up is not None, "a state beyond available has a link"
    return post.up


# -------- the worker's end


def admit(post: Post, event: OpenHouse) -> Step[Post]:
    """The documented legacy mode: no secret here, so nothing to prove."""
    effects = (Trusted(event.up.link, event.up.peer, proven=False), TellLink(event.up.link, AuthSuccess()))
    return Step(evolve(post, up=event.up), effects)


def challenge(post: Post, event: LinkUp) -> Step[Post]:
    """Ask for a proof, bound to this nonce and this link, within the time."""
    effects = (TellLink(event.link, AuthChallenge(event.nonce)), StateTimeout(PROOF_TIME))
    return Step(evolve(post, up=event), effects)


def vouch(post: Post, event: ProofRight) -> Step[Post]:
    """Trust, and give our own proof in return."""
    up = _link(post)
    success = AuthSuccess(_proof(post, "worker", event.nonce))
    # Trusted first: the client speaks as soon as it hears of it, and must meet the new vocabulary
    return Step(post, (Trusted(up.link, up.peer, proven=True), TellLink(up.link, success)))


def _deny(post: Post, reason: Denial, code: FaultCode, text: str) -> Step[Post]:
    up = _link(post)
    effects = (TellLink(up.link, AuthFailure(reason, text)), Distrusted(up.link, Fault(code, text)))
    return Step(Post(post.secret), effects)


def deny_wrong(post: Post, _event: ProofWrong) -> Step[Post]:
    """One try per link."""
    text = "The room secret is not the worker's. Check --room-secret, or ask whoever runs the worker for the right one."
    return _deny(post, Denial.INVALID, FaultCode.AUTH_INVALID, text)


def deny_missing(post: Post, _event: ProofMissing) -> Step[Post]:
    """The client came without a secret."""
    text = "This worker wants the room secret and none was given. Pass it with --room-secret."
    return _deny(post, Denial.MISSING, FaultCode.AUTH_MISSING, text)


def deny_late(post: Post, _event: Lapsed) -> Step[Post]:
    """No proof within the time."""
    text = f"No proof of the room secret came within {PROOF_TIME} seconds. Try again."
    return _deny(post, Denial.TIMEOUT, FaultCode.AUTH_TIMEOUT, text)


def turn_out(post: Post, _event: Drain) -> Step[Post]:
    """The program is stopping; an unproven peer is told so."""
    fault = Fault(FaultCode.WORKER_LEAVING, "The worker is stopping. Pick another one from the room.")
    return Step(Post(post.secret), (Distrusted(_link(post).link, fault),))


def forget(post: Post, _event: object) -> Step[Post]:
    """The link is over, and all trust with it."""
    return Step(Post(post.secret))


GUARD: Table[Post] = Table("auth, worker's end", AVAILABLE, (
    #   in         event         next       action
    row(AVAILABLE, OpenHouse,    BUSY,      admit),
    quiet(OpenHouse, RESERVED, BUSY),
    row(AVAILABLE, LinkUp,       RESERVED,  challenge),
    quiet(LinkUp, RESERVED, BUSY),
    row(RESERVED,  ProofRight,   BUSY,      vouch),
    quiet(ProofRight, AVAILABLE, BUSY),
    row(RESERVED,  ProofWrong,   AVAILABLE, deny_wrong),
    quiet(ProofWrong, AVAILABLE, BUSY),
    row(RESERVED,  ProofMissing, AVAILABLE, deny_missing),
    quiet(ProofMissing, AVAILABLE, BUSY),
    row(RESERVED,  Lapsed,       AVAILABLE, deny_late),
    quiet(Lapsed, AVAILABLE, BUSY),

    # words that only a worker says mean nothing when a client says them
    quiet(AuthChallenge, AVAILABLE, RESERVED, BUSY),
    quiet(AuthSuccess, AVAILABLE, RESERVED, BUSY),
    quiet(AuthFailure, AVAILABLE, RESERVED, BUSY),

    row(RESERVED,  LinkLost,     AVAILABLE, forget),
    row(BUSY,      LinkLost,     AVAILABLE, forget),
    quiet(LinkLost, AVAILABLE),
    row(RESERVED,  Drain,        AVAILABLE, turn_out),
    quiet(Drain, AVAILABLE, BUSY),
), classify_guard)  # fmt: skip


# -------- the client's end


def await_word(post: Post, event: LinkUp) -> Step[Post]:
    """The worker speaks first: a challenge, or a welcome."""
    return Step(evolve(post, up=event), (StateTimeout(PROOF_TIME),))


def respond(post: Post, event: AuthChallenge) -> Step[Post]:
    """Prove that we know the secret, and hand over our own nonce; once per link."""
    up = _link(post)
    if post.their_nonce:
        return Step(post)
    proof = _proof(post, "client", event.nonce)
    return Step(evolve(post, their_nonce=event.nonce), (TellLink(up.link, AuthResponse(up.nonce, proof)),))


def respond_unarmed(post: Post, _event: ChallengedUnarmed) -> Step[Post]:
    """Say honestly that we have no secret; the worker's answer follows."""
    up = _link(post)
    return Step(post, (TellLink(up.link, AuthResponse(up.nonce)),))


def trust(post: Post, _event: VouchedRight) -> Step[Post]:
    """Both ends have proven themselves."""
    up = _link(post)
    return Step(post, (Trusted(up.link, up.peer, proven=True),))


def trust_open(post: Post, _event: VouchedOpen) -> Step[Post]:
    """The documented legacy mode, seen from the other end."""
    up = _link(post)
    return Step(post, (Trusted(up.link, up.peer, proven=False),))


def distrust(post: Post, _event: VouchedWrong) -> Step[Post]:
    """Whoever answers does not know the secret: send it nothing."""
    text = "The worker could not prove that it knows the room secret, so nothing was sent. Somebody may be in between."
    return Step(Post(post.secret), (Distrusted(_link(post).link, Fault(FaultCode.AUTH_UNPROVEN_WORKER, text)),))


def distrust_unasked(post: Post, _event: VouchedUnasked) -> Step[Post]:
    """Dropping the challenge must not be a way around it (a downgrade), so who has a secret insists on it."""
    text = (
        "A room secret was given, but this worker asks for none, so it cannot prove that it is the one you mean. "
        "Nothing was sent. Start the worker with the secret, or leave the secret out here."
    )
    return Step(Post(post.secret), (Distrusted(_link(post).link, Fault(FaultCode.AUTH_UNPROVEN_WORKER, text)),))


CODES = {
    Denial.INVALID: FaultCode.AUTH_INVALID,
    Denial.MISSING: FaultCode.AUTH_MISSING,
    Denial.TIMEOUT: FaultCode.AUTH_TIMEOUT,
}


def accept_denial(post: Post, event: AuthFailure) -> Step[Post]:
    """The worker does not trust us, and says why."""
    return Step(Post(post.secret), (Distrusted(_link(post).link, Fault(CODES[event.reason], event.text)),))


def tire(post: Post, _event: Lapsed) -> Step[Post]:
    """The worker says nothing."""
    text = f"The worker did not finish the proof of the room secret within {PROOF_TIME} seconds. Try again."
    return Step(Post(post.secret), (Distrusted(_link(post).link, Fault(FaultCode.AUTH_TIMEOUT, text)),))


def withdraw(post: Post, _event: Drain) -> Step[Post]:
    """The person has had enough."""
    return Step(Post(post.secret), (CloseLink(_link(post).link),))


PROVER: Table[Post] = Table("auth, client's end", AVAILABLE, (
    #   in         event              next       action
    row(AVAILABLE, LinkUp,            RESERVED,  await_word),
    quiet(LinkUp, RESERVED, BUSY),
    row(RESERVED,  AuthChallenge,     RESERVED,  respond),
    quiet(AuthChallenge, AVAILABLE, BUSY),
    row(RESERVED,  ChallengedUnarmed, RESERVED,  respond_unarmed),
    quiet(ChallengedUnarmed, AVAILABLE, BUSY),
    row(RESERVED,  VouchedRight,      BUSY,      trust),
    quiet(VouchedRight, AVAILABLE, BUSY),
    row(RESERVED,  VouchedWrong,      AVAILABLE, distrust),
    quiet(VouchedWrong, AVAILABLE, BUSY),
    row(RESERVED,  VouchedOpen,       BUSY,      trust_open),
    quiet(VouchedOpen, AVAILABLE, BUSY),
    row(RESERVED,  VouchedUnasked,    AVAILABLE, distrust_unasked),
    quiet(VouchedUnasked, AVAILABLE, BUSY),
    row(RESERVED,  AuthFailure,       AVAILABLE, accept_denial),
    quiet(AuthFailure, AVAILABLE, BUSY),
    row(RESERVED,  Lapsed,            AVAILABLE, tire),
    quiet(Lapsed, AVAILABLE, BUSY),

    # a client guards nothing
    quiet(AuthResponse, AVAILABLE, RESERVED, BUSY),

    row(RESERVED,  LinkLost,          AVAILABLE, forget),
    row(BUSY,      LinkLost,          AVAILABLE, forget),
    quiet(LinkLost, AVAILABLE),
    row(RESERVED,  Drain,             AVAILABLE, withdraw),
    quiet(Drain, AVAILABLE, BUSY),
), classify_prover)  # fmt: skip
