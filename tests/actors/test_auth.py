"""Tests of Auth: both ends prove that they know the secret, and a man in the middle cannot."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.auth import CLIENT_AUTH, WORKER_AUTH, AuthData, ClientAuthPhase, WorkerAuthPhase
from actors.events import Authenticated, AuthenticationFailed, Drain, LinkLost, LinkOpened, TellPeer
from actors.phase import Phase
from actors.table import Row, Table
from protocol.faults import FaultCode
from protocol.ids import LinkId, PeerId, RoomId
from protocol.link import Hello
from protocol.trust import (
    PROOF_TIME,
    AuthChallenge,
    AuthFailure,
    AuthResponse,
    AuthSuccess,
    Binding,
    Denial,
    RoomKeys,
    VersionAgreement,
    prove,
)
from protocol.version import VERSIONS, VersionRange
from rtc.testing.embedding import Embedded
from rtc.testing.plugin import THE_KEYS
from rtc.testing.state_space import ActorState, start_of

Auth = Embedded[AuthData]
Embed = Callable[..., Awaitable[Auth]]

pytestmark = pytest.mark.usefixtures("autojump_clock")

LINK = LinkId(1)
WORKER, CLIENT = PeerId("worker-1"), PeerId("client-1")
BINDING = Binding(RoomId("room-1"), WORKER, CLIENT, b"W" * 32, b"C" * 32)
AT_WORKER = LinkOpened(LINK, CLIENT, BINDING, b"w" * 32)
AT_CLIENT = LinkOpened(LINK, WORKER, BINDING, b"c" * 32)
OTHER_KEYS = RoomKeys(b"something else entirely", b"and another")
HELLO = Hello(VERSIONS)
AGREED = VersionAgreement(VERSIONS, VERSIONS)


def messages_of(effects: list[Any]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, TellPeer)]


async def exchange(
    worker_auth: Auth, client_auth: Auth, at_worker: LinkOpened = AT_WORKER, at_client: LinkOpened = AT_CLIENT
) -> list[Any]:
    """Pass the messages between both ends until there are no more; return all other effects."""
    from_worker, from_client = await worker_auth.after(at_worker), await client_auth.after(at_client)
    return await converse(worker_auth, client_auth, from_worker, from_client)


async def converse(worker_auth: Auth, client_auth: Auth, from_worker: list[Any], from_client: list[Any]) -> list[Any]:
    """Pass these effects' messages on, and the answers to them, until there are no more; return all other effects."""
    others: list[Any] = []
    while from_worker or from_client:
        others += [effect for effect in (*from_worker, *from_client) if not isinstance(effect, TellPeer)]
        from_worker, from_client = (
            await worker_auth.after(*messages_of(from_client)),
            await client_auth.after(*messages_of(from_worker)),
        )
    return others


def both_invalid(verdicts: list[Any]) -> bool:
    """Return whether both ends have found the client's proof invalid, and done nothing else."""
    codes = [verdict.fault.code if isinstance(verdict, AuthenticationFailed) else None for verdict in verdicts]
    return codes == [FaultCode.AUTH_INVALID] * 2


async def test_two_ends_that_know_the_secret_trust_each_other(worker_auth: Auth, client_auth: Auth) -> None:
    verdicts = await exchange(worker_auth, client_auth)
    assert set(verdicts) == {
        Authenticated(LINK, CLIENT, proven=True, version=VERSIONS.newest),
        Authenticated(LINK, WORKER, proven=True, version=VERSIONS.newest),
    }


async def test_a_client_with_another_secret_is_denied(worker_auth: Auth, embedded: Embed) -> None:
    stranger = await embedded(CLIENT_AUTH, AuthData(OTHER_KEYS))
    assert both_invalid(await exchange(worker_auth, stranger))


async def test_a_client_without_a_secret_is_denied_with_that_reason(worker_auth: Auth, embedded: Embed) -> None:
    bare = await embedded(CLIENT_AUTH, AuthData(None))
    verdicts = await exchange(worker_auth, bare)
    assert {verdict.fault.code for verdict in verdicts} == {FaultCode.AUTH_MISSING}


async def test_a_worker_without_a_secret_authenticates_clients_at_once(embedded: Embed) -> None:
    worker_auth, client_auth = await embedded(WORKER_AUTH, AuthData(None)), await embedded(CLIENT_AUTH, AuthData(None))
    verdicts = await exchange(worker_auth, client_auth)
    assert set(verdicts) == {
        Authenticated(LINK, CLIENT, proven=False, version=VERSIONS.newest),
        Authenticated(LINK, WORKER, proven=False, version=VERSIONS.newest),
    }


async def test_a_client_with_a_secret_does_not_trust_a_worker_that_asks_for_none(
    client_auth: Auth, embedded: Embed
) -> None:
    worker_auth = await embedded(WORKER_AUTH, AuthData(None))
    verdicts = await exchange(worker_auth, client_auth)
    [ours] = [verdict for verdict in verdicts if isinstance(verdict, AuthenticationFailed)]
    assert ours.fault.code is FaultCode.AUTH_UNPROVEN_WORKER


@pytest.mark.parametrize("swapped", ["worker_fingerprint", "client_fingerprint"])
async def test_a_server_that_swaps_a_certificate_is_detected(
    worker_auth: Auth, client_auth: Auth, swapped: str
) -> None:
    in_between = evolve(AT_CLIENT, binding=evolve(BINDING, **{swapped: b"X" * 32}))
    assert both_invalid(await exchange(worker_auth, client_auth, at_client=in_between))


@pytest.mark.parametrize("field", ["room", "worker", "client"])
async def test_a_proof_for_another_room_or_peer_is_invalid(worker_auth: Auth, client_auth: Auth, field: str) -> None:
    elsewhere = evolve(AT_CLIENT, binding=evolve(BINDING, **{field: "other"}))
    assert both_invalid(await exchange(worker_auth, client_auth, at_client=elsewhere))


async def test_a_proof_cannot_be_replayed_on_another_link(worker_auth: Auth, embedded: Embed) -> None:
    proof = prove(THE_KEYS, "client", BINDING, AGREED, AT_WORKER.nonce, b"c" * 32)
    await worker_auth.after(AT_WORKER, HELLO)
    assert Authenticated(LINK, CLIENT, proven=True, version=VERSIONS.newest) in await worker_auth.after(
        AuthResponse(b"c" * 32, proof)
    )
    second = await embedded(WORKER_AUTH, AuthData(THE_KEYS))
    await second.after(evolve(AT_WORKER, nonce=b"fresh nonce of thirty-two bytes."), HELLO)
    effects = await second.after(AuthResponse(b"c" * 32, proof))
    assert messages_of(effects) == [AuthFailure(Denial.INVALID, messages_of(effects)[0].text)]


async def test_the_workers_own_proof_cannot_be_made_by_reflecting_the_clients(client_auth: Auth) -> None:
    await client_auth.after(AT_CLIENT, HELLO)
    [response] = messages_of(await client_auth.after(AuthChallenge(b"w" * 32)))
    [verdict] = await client_auth.after(AuthSuccess(response.proof))
    assert isinstance(verdict, AuthenticationFailed)
    assert verdict.fault.code is FaultCode.AUTH_UNPROVEN_WORKER


async def test_a_worker_that_says_success_without_proof_is_not_trusted(client_auth: Auth) -> None:
    await client_auth.after(AT_CLIENT, HELLO, AuthChallenge(b"w" * 32))
    [verdict] = await client_auth.after(AuthSuccess())
    assert isinstance(verdict, AuthenticationFailed)


async def test_there_is_one_try_per_link(worker_auth: Auth) -> None:
    await worker_auth.after(AT_WORKER, HELLO)
    await worker_auth.after(AuthResponse(b"c" * 32, b"guess" + b"\0" * 27))
    right = prove(THE_KEYS, "client", BINDING, AGREED, AT_WORKER.nonce, b"c" * 32)
    assert await worker_auth.after(AuthResponse(b"c" * 32, right)) == []
    assert worker_auth.phase is WorkerAuthPhase.CLOSED


async def test_one_challenge_is_answered_and_no_second_one(client_auth: Auth) -> None:
    await client_auth.after(AT_CLIENT, HELLO, AuthChallenge(b"w" * 32))
    assert await client_auth.after(AuthChallenge(b"v" * 32)) == []


async def test_a_client_that_stays_silent_is_timed_out(worker_auth: Auth, autojump_clock: MockClock) -> None:
    await worker_auth.after(AT_WORKER, HELLO)
    autojump_clock.jump(PROOF_TIME + 0.1)
    effects = await worker_auth.after()
    assert messages_of(effects)[0].reason is Denial.TIMEOUT
    assert effects[-1].fault.code is FaultCode.AUTH_TIMEOUT


async def test_a_worker_that_falls_silent_in_mid_proof_is_lost_and_no_failed_proof(
    client_auth: Auth, autojump_clock: MockClock
) -> None:
    await client_auth.after(AT_CLIENT, HELLO)
    autojump_clock.jump(PROOF_TIME - 1)
    await client_auth.after(AuthChallenge(b"w" * 32))
    autojump_clock.jump(1.1)
    [verdict] = await client_auth.after()
    assert verdict.fault.code is FaultCode.LINK_LOST
    assert "The worker did not answer the proof" in verdict.fault.text


async def test_a_worker_that_says_nothing_is_lost_and_a_secret_is_not_mentioned(
    client_auth: Auth, autojump_clock: MockClock
) -> None:
    await client_auth.after(AT_CLIENT, HELLO)
    autojump_clock.jump(PROOF_TIME + 0.1)
    [verdict] = await client_auth.after()
    assert verdict.fault.code is FaultCode.LINK_LOST
    assert "the worker was silent" in verdict.fault.text
    assert "secret" not in verdict.fault.text


async def test_the_time_for_the_whole_proof_does_not_begin_again_with_the_challenge(
    client_auth: Auth, autojump_clock: MockClock
) -> None:
    await client_auth.after(AT_CLIENT, HELLO)
    autojump_clock.jump(PROOF_TIME - 1)
    await client_auth.after(AuthChallenge(b"w" * 32))
    autojump_clock.jump(1.1)
    [verdict] = await client_auth.after()
    assert isinstance(verdict, AuthenticationFailed)


async def test_a_link_that_is_trusted_has_no_time_limit(
    worker_auth: Auth, client_auth: Auth, autojump_clock: MockClock
) -> None:
    await exchange(worker_auth, client_auth)
    autojump_clock.jump(24 * 3600)
    assert (await worker_auth.after(), await client_auth.after()) == ([], [])


async def test_trust_ends_with_the_link(worker_auth: Auth, client_auth: Auth) -> None:
    await exchange(worker_auth, client_auth)
    assert (worker_auth.phase, client_auth.phase) == (WorkerAuthPhase.TRUSTED, ClientAuthPhase.TRUSTED)
    await worker_auth.after(LinkLost(LINK))
    assert (worker_auth.phase, worker_auth.data) == (WorkerAuthPhase.CLOSED, AuthData(THE_KEYS))


async def test_an_unauthenticated_peer_is_notified_when_the_worker_stops(worker_auth: Auth) -> None:
    await worker_auth.after(AT_WORKER, HELLO)
    [verdict] = await worker_auth.after(Drain())
    assert verdict.fault.code is FaultCode.WORKER_LEAVING


# -------- versions


async def test_both_ends_use_the_highest_version_that_both_speak(worker_auth: Auth, client_auth: Auth) -> None:
    """The other end speaks newer versions as well; what each has said is part of both proofs."""
    newer = VersionRange(VERSIONS.oldest, VERSIONS.newest + 2)
    await worker_auth.after(AT_WORKER)
    agreed = VersionAgreement(worker=VERSIONS, client=newer)
    proof = prove(THE_KEYS, "client", BINDING, agreed, AT_WORKER.nonce, b"c" * 32)
    [authenticated, _success] = (await worker_auth.after(Hello(newer), AuthResponse(b"c" * 32, proof)))[1:]
    assert authenticated == Authenticated(LINK, CLIENT, proven=True, version=VERSIONS.newest)


@pytest.mark.parametrize("at", ["worker", "client"])
@pytest.mark.parametrize(
    "theirs", [VersionRange(VERSIONS.newest + 1, VERSIONS.newest + 2), VersionRange(1, VERSIONS.oldest - 1)]
)
async def test_without_a_common_version_the_link_is_closed_with_both_ranges(
    worker_auth: Auth, client_auth: Auth, at: str, theirs: VersionRange
) -> None:
    auth, opened = (worker_auth, AT_WORKER) if at == "worker" else (client_auth, AT_CLIENT)
    await auth.after(opened)
    [verdict] = await auth.after(Hello(theirs))
    assert isinstance(verdict, AuthenticationFailed)
    assert verdict.fault.code is FaultCode.VERSION
    assert str(theirs) in verdict.fault.text
    assert str(VERSIONS) in verdict.fault.text
    older_is_worker = (theirs.newest < VERSIONS.oldest) == (at == "client")
    assert ("on the worker's machine" if older_is_worker else "on this computer") in verdict.fault.text
    assert auth.phase.status.value == "available"


async def test_nobody_in_between_can_change_the_versions(worker_auth: Auth, client_auth: Auth) -> None:
    """Both ends would use the same version all the same, but one of them was told another range."""
    lied = Hello(VersionRange(VERSIONS.oldest, VERSIONS.newest + 1))
    await worker_auth.after(AT_WORKER)
    await client_auth.after(AT_CLIENT)
    from_worker, from_client = await worker_auth.after(HELLO), await client_auth.after(lied)
    assert both_invalid(await converse(worker_auth, client_auth, from_worker, from_client))


@pytest.mark.parametrize("at", ["worker", "client"])
async def test_an_end_that_never_says_its_versions_is_lost(
    worker_auth: Auth, client_auth: Auth, at: str, autojump_clock: MockClock
) -> None:
    auth, opened = (worker_auth, AT_WORKER) if at == "worker" else (client_auth, AT_CLIENT)
    await auth.after(opened, AuthResponse(b"c" * 32), AuthChallenge(b"w" * 32))
    assert auth.phase.value == "greeting"
    autojump_clock.jump(PROOF_TIME + 0.1)
    [verdict] = await auth.after()
    assert verdict.fault.code is FaultCode.LINK_LOST


def test_no_repr_shows_a_secret_a_nonce_or_a_proof() -> None:
    shown = repr((AuthData(THE_KEYS, AT_WORKER), AuthSuccess(b"p" * 32)))
    assert "both ends" not in shown
    assert "wwww" not in shown
    assert "pppp" not in shown


# -------- every state that an end can reach, and random walks


PROOF = prove(THE_KEYS, "client", BINDING, AGREED, AT_WORKER.nonce, b"c" * 32)
WORKERS_PROOF = prove(THE_KEYS, "worker", BINDING, AGREED, b"w" * 32, AT_CLIENT.nonce)
MESSAGES: list[Any] = [
    *(Hello(versions) for versions in (VERSIONS, VersionRange(VERSIONS.oldest, 9), VersionRange(9, 9))),
    AuthChallenge(b"w" * 32),
    *(AuthResponse(b"c" * 32, proof) for proof in (None, b"p" * 32, PROOF)),
    *(AuthSuccess(proof) for proof in (None, b"p" * 32, WORKERS_PROOF)),
    *(AuthFailure(reason, "No.") for reason in Denial),
]
ENDS = pytest.mark.parametrize(
    ("table", "opened"), [(WORKER_AUTH, AT_WORKER), (CLIENT_AUTH, AT_CLIENT)], ids=["worker", "client"]
)


@frozen
class End:
    """One end of a link: its actor, and what the link manager has told it."""

    auth: ActorState[AuthData]
    opened: bool = False
    lost: bool = False

    def next_ends(self, table: Table[AuthData], opened: LinkOpened, reached: Callable[..., None]) -> Iterator["End"]:
        """Yield what each thing that can happen next leads to; the peer may say anything while the link is open."""

        def after(auth: ActorState[AuthData], event: Any) -> ActorState[AuthData]:
            return auth.turn(table, event, reached)[0]

        yield evolve(self, auth=after(self.auth, Drain()))
        if not self.opened:
            yield evolve(self, auth=after(self.auth, opened), opened=True)
        elif not self.lost:
            yield evolve(self, auth=after(self.auth, LinkLost(LINK)), lost=True)
            for message in MESSAGES:
                yield evolve(self, auth=after(self.auth, message))
        for auth, event in self.auth.due:
            yield evolve(self, auth=after(auth, event))


@ENDS
def test_each_row_and_each_ignored_event_can_happen_and_nothing_else(
    table: Table[AuthData], opened: LinkOpened
) -> None:
    answers: set[tuple[Phase, Row[Any]]] = set()
    todo = [End(start_of(table, AuthData(secret))) for secret in (THE_KEYS, None)]
    seen = set(todo)
    while todo:
        ends = set(todo.pop().next_ends(table, opened, lambda phase, found: answers.add((phase, found)))) - seen
        seen |= ends
        todo += ends
    missing = [f"{phase.value} × {found}" for phase, found in table.answers() if (phase, found) not in answers]
    assert not missing
    assert {end.auth.phase for end in seen if end.lost} == {table.start}, "a lost link leaves nothing behind"


GUESSES = [message for message in MESSAGES if getattr(message, "proof", None) not in (PROOF, WORKERS_PROOF)]


@ENDS
@given(st.data())
def test_without_the_secret_no_walk_leads_to_authentication(
    table: Table[AuthData], opened: LinkOpened, data: st.DataObject
) -> None:
    auth = start_of(table, AuthData(THE_KEYS)).turn(table, opened, lambda _phase, _found: None)[0]
    auth = auth.turn(table, HELLO, lambda _phase, _found: None)[0]
    for message in data.draw(st.lists(st.sampled_from([*GUESSES, Drain()]), max_size=20)):
        auth, effects = auth.turn(table, message, lambda _phase, _found: None)
        assert not any(isinstance(effect, Authenticated) for effect in effects)
        assert auth.phase.status.value != "busy"
