"""Paths are tried in order: direct, through TURN over UDP, through TURN over TCP or TLS.

ICE as aioice does it takes the first path that answers, and near a relay that is often the relay. So the side that
decides (the offerer) holds the checks of each rung back until those below have had their time. The relays themselves
are allocated from the start, and the other side's checks through them have opened their doors, so a rung that is
climbed to answers within a round trip. All of it is asyncio-flavoured; the private names that it leans on are tested
for.
"""

import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from aioice.candidate import Candidate
from aioice.ice import CandidatePair

from rtc.transport.webrtc.ice_gathering import TCP_PREFERENCE

DIRECT_TIME = 2.0
"""Seconds for direct paths alone: the first check and two repetitions (RFC 8489, 6.2.1)."""
UDP_TIME = 1.5
"""Seconds for relays over UDP after that."""
IN_PROGRESS = CandidatePair.State.IN_PROGRESS
UNCHECKED = (CandidatePair.State.WAITING, CandidatePair.State.FROZEN)


class PairTier(IntEnum):
    """How far from the other side we have to go."""

    DIRECT = 0
    RELAY_UDP = 1
    RELAY_TCP = 2


def tier_of(candidate: Candidate) -> PairTier:
    """The rung of one end of a path."""
    if candidate.type != "relay":
        return PairTier.DIRECT
    return PairTier.RELAY_UDP if candidate.priority >> 8 & 0xFFFF > TCP_PREFERENCE else PairTier.RELAY_TCP


class IceChecks:
    """Holds one aioice connection's checks back; made by `order_checks`."""

    def __init__(self, connection: Any, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._connection = connection
        self._start_check = connection.check_start_task
        self._check_incoming = connection.check_incoming
        self._started_at: float | None = None
        self._restarted: set[int] = set()
        """Pairs (by `id`, they live as long as the connection) whose check was begun afresh."""
        self.check_received = False
        """Whether a check of the other side has arrived."""
        connection.check_incoming = self.receive_check
        connection.check_start_task = self.start_if_due
        connection._check_periodic = self.start_next

    def start_if_due(self, pair: CandidatePair) -> None:
        """Start a pair's check, unless its rung's time has not come: then it stays in the list."""
        if not self._connection.ice_controlling or self._tier(pair) <= self._allowed_tier():
            self._start_check(pair)

    def receive_check(self, message: Any, source: tuple[str, int], protocol: Any) -> None:
        """A check of the other side, its password proven.

        Our own check of that path may be pausing before its next repetition, for seconds: it was lost while the other
        side's door was shut, and now it is open. So it starts afresh (RFC 8445, 7.3.1.4), which aioice leaves out; but
        only once, lest two sides keep each other from ever hearing an answer.
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
        """Start the best check that is due; false when there will be none any more. Called every 20 ms."""
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
        return max(tier_of(pair.local_candidate), tier_of(pair.remote_candidate))

    def _allowed_tier(self) -> PairTier:
        """The rung that may be tried now: by time, or at once when there is nothing below it (left) to wait for."""
        now = self._clock()
        if self._started_at is None:
            self._started_at = now
        elapsed = now - self._started_at
        by_time = PairTier((elapsed >= DIRECT_TIME) + (elapsed >= DIRECT_TIME + UDP_TIME))
        pairs = self._connection._check_list
        open_pairs = [self._tier(pair) for pair in pairs if pair.state is not CandidatePair.State.FAILED]
        return max(by_time, min(open_pairs, default=PairTier.DIRECT))


def order_checks(connection: Any, clock: Callable[[], float] = time.monotonic) -> IceChecks:
    """Let aioice's `connection` try its paths in order."""
    return IceChecks(connection, clock)
