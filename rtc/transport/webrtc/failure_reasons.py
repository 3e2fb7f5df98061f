"""Explain to people why ICE found no path between the peers, from what ICE has observed. Pure functions."""

import ipaddress

from attrs import frozen

from rtc.transport.webrtc.ice_gathering import GatheredCandidates
from rtc.transport.webrtc.turn_allocate import IceServerOutcome

TRY_TURN = "Configure a TURN server on both sides (docs/turn.md), or have the lab's server hand one out."


@frozen
class IceDiagnostics:
    """What ICE on one side of a connection has observed."""

    gathered: GatheredCandidates
    relay_only: bool = False
    local_candidates: int = 0
    """Number of our own candidates, of any type."""
    remote_candidates: int = 0
    """Number of the peer's candidates that could be paired."""
    check_received: bool = False
    """Whether a connectivity check of the peer has arrived here."""
    nominated: bool = False
    """Whether ICE has nominated a pair; then a later step (DTLS or SCTP) has failed."""
    seconds: float = 0.0
    """Seconds waited for a path."""


def why_no_candidates(diagnostics: IceDiagnostics) -> str | None:
    """Return why this side has no candidate; None when it has one."""
    if diagnostics.local_candidates:
        return None
    if diagnostics.relay_only:
        return (
            f"Only relayed paths may be used (--relay-only), and there is none: {_why_no_relay(diagnostics.gathered)}"
        )
    return "This machine has no network address to be reached at. Connect it to a network, then try again."


def why_no_path(diagnostics: IceDiagnostics) -> str:
    """Return why the two peers did not connect, and what a person can try."""
    gave_up = f" Gave up after {diagnostics.seconds:.0f} seconds."
    if diagnostics.nominated:
        return (
            f"A path to the other side was found, but the secure handshake on it did not complete.{gave_up} Try again."
        )
    if not diagnostics.remote_candidates:
        return "The other side told no address that it can be reached at. It may have no network, or no relay to use."
    if (
        not diagnostics.relay_only
        and diagnostics.gathered.hosts
        and all(_is_loopback(host) for host in diagnostics.gathered.hosts)
    ):
        return f"This machine has no network but its own loopback.{gave_up} Connect it to a network, then try again."
    if diagnostics.check_received:
        return (
            "The other side's packets arrive here, but nothing of ours gets through to it: a firewall lets UDP pass in "
            f"one direction only.{gave_up} {_turn_advice(diagnostics.gathered)}"
        )
    return f"{_why_nothing_answered(diagnostics)}{gave_up} {_turn_advice(diagnostics.gathered)}"


def _why_nothing_answered(diagnostics: IceDiagnostics) -> str:
    stun, turn = diagnostics.gathered.stun, diagnostics.gathered.turn
    if any(request.outcome is IceServerOutcome.FOUND for request in turn):
        return "Nothing of the other side answered, neither directly nor through the relay."
    if stun and all(request.outcome is IceServerOutcome.SILENT for request in stun):
        return "Nothing answered, and the STUN server did not either: UDP is probably blocked here."
    if stun:
        return "Nothing of the other side answered, though UDP leaves this network: there is no common route to it."
    return "Nothing of the other side answered: there is no common route to it, or UDP is blocked on the way."


def _turn_advice(gathered: GatheredCandidates) -> str:
    if not gathered.turn:
        return TRY_TURN
    if any(request.outcome is IceServerOutcome.FOUND for request in gathered.turn):
        return "Check the other side's network, and that the TURN server may reach it."
    return _why_no_relay(gathered)


def _why_no_relay(gathered: GatheredCandidates) -> str:
    """Return why no TURN server gave a relayed address; of several outcomes, the most informative."""
    outcomes = [request.outcome for request in gathered.turn]
    if not outcomes:
        return f"no TURN server is known. {TRY_TURN}"
    if IceServerOutcome.REFUSED in outcomes:
        return (
            "The TURN server refused the credentials: they are wrong or have expired. Check them, and both machines' "
            "clocks; those of the lab's server are new after every rejoin."
        )
    if IceServerOutcome.UNHELPFUL in outcomes:
        return "The TURN server answered but gave no relay; it may be full, or not allow it. Ask who runs it."
    if IceServerOutcome.SILENT in outcomes:
        return "The TURN server did not answer. Check its address, and that UDP may leave, or add ?transport=tcp to it."
    return "The TURN server cannot be reached: its name, port or certificate is not right. Check its address."


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback
