"""Order the ICE checks: direct candidate pairs first, then TURN over UDP, then TURN over TCP or TLS.

aioice nominates the first pair that answers, and near a relay that is often a relayed pair. Therefore the controlling
side (the offerer) delays the checks of each tier until the tiers before it have had their time. The TURN allocations
exist from the start, and the peer's checks through them have installed the permissions already, so a later tier
answers within one round trip. Everything here is asyncio-flavoured; a test checks that the private names of aioice that
are used here exist.
"""

import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from aioice.candidate import Candidate
from aioice.ice import CandidatePair

from rtc.transport.webrtc.ice_gathering import TCP_PREFERENCE

DIRECT_TIME = 2.0
"""Seconds for direct pairs alone: the first check and two retransmissions (RFC 8489, 6.2.1)."""
UDP_TIME = 1.5
"""Seconds for relays over UDP after that, before relays over TCP are tried."""
IN_PROGRESS = CandidatePair.State.IN_PROGRESS
UNCHECKED = (CandidatePair.State.WAITING, CandidatePair.State.FROZEN)


class PairTier(IntEnum):
    """The tier of a candidate pair, by the worse of its two candidates; lower tiers are checked first."""

    DIRECT = 0
    RELAY_UDP = 1
    RELAY_TCP = 2


def tier_of(candidate: Candidate) -> PairTier:
    """Return the tier of one candidate, from its type and local preference (see `TCP_PREFERENCE`)."""
    if candidate.type != "relay":
        return PairTier.DIRECT
    return PairTier.RELAY_UDP if candidate.priority >> 8 & 0xFFFF > TCP_PREFERENCE else PairTier.RELAY_TCP


class IceChecks:
    """The ordered checks of one aioice connection; made by `order_checks`."""

    def __init__(self, connection: Any, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._connection = connection
        self._start_check = connection.check_start_task
        self._check_incoming = connection.check_incoming
        self._started_at: float | None = None
        self._restarted: set[int] = set()
        """The `id` of each pair whose check was restarted; the pairs exist as long as the connection."""
        self.check_received = False
        """Whether a check of the peer has arrived."""
        connection.check_incoming = self.receive_check
        connection.check_start_task = self.start_if_due
        connection._check_periodic = self.start_next

    def start_if_due(self, pair: CandidatePair) -> None:
        """Start the check of a pair if its tier is allowed now; otherwise the pair stays in the check list."""
        if not self._connection.ice_controlling or self._tier(pair) <= self._allowed_tier():
            self._start_check(pair)

    def receive_check(self, message: Any, source: tuple[str, int], protocol: Any) -> None:
        """Handle a check of the peer, whose message integrity is verified.

        Our own check of the same pair may be waiting, for seconds, before its next retransmission: its first packets
        were lost while the peer's NAT or firewall was closed for them, and now it is open. So our check is
        restarted (triggered check, RFC 8445, 7.3.1.4), which aioice does not do; but only once for each pair, because
        otherwise two sides could keep restarting and never receive an answer.
        """
        self.check_received = True
        for pair in self._connection._check_list:
            if pair.protocol is protocol and pair.remote_addr == source and self._may_restart(pair):
                self._restarted.add(id(pair))
                pair.task.cancel()
                pair.task = None
                self._connection.check_state(pair, CandidatePair.State.WAITING)
        self._check_incoming(message, source, protocol)

    def _may_restart(self, pair: CandidatePair) -> bool:
        return pair.state is IN_PROGRESS and pair.task is not None and id(pair) not in self._restarted

    def start_next(self) -> bool:
        """Start the first check in the list whose tier is allowed; return false when no more checks can follow.

        aioice calls this every 20 ms.
        """
        connection = self._connection
        if connection._check_list_done:
            return False
        allowed = self._allowed_tier() if connection.ice_controlling else PairTier.RELAY_TCP
        work_left = False
        for state in UNCHECKED:
            for pair in connection._check_list:
                if pair.state is state and self._tier(pair) <= allowed:
                    self._start_check(pair)
                    return True
                work_left = work_left or pair.state is state
        return work_left or bool(connection._remote_candidates_expected())

    def _tier(self, pair: CandidatePair) -> PairTier:
        """Return the worse tier of the two candidates of a pair."""
        return max(tier_of(pair.local_candidate), tier_of(pair.remote_candidate))

    def _allowed_tier(self) -> PairTier:
        """Return the highest tier that may be checked now.

        It rises with time, and at once when no pair of a lower tier exists or all of them have failed.
        """
        now = self._clock()
        if self._started_at is None:
            self._started_at = now
        elapsed = now - self._started_at
        by_time = PairTier((elapsed >= DIRECT_TIME) + (elapsed >= DIRECT_TIME + UDP_TIME))
        pairs = self._connection._check_list
        open_pairs = [self._tier(pair) for pair in pairs if pair.state is not CandidatePair.State.FAILED]
        return max(by_time, min(open_pairs, default=PairTier.DIRECT))


def order_checks(connection: Any, clock: Callable[[], float] = time.monotonic) -> IceChecks:
    """Make aioice's `connection` check its candidate pairs in the order of their tiers."""
    return IceChecks(connection, clock)
