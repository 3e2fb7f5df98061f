"""Places of limited number, those of the server and those of each room: no address takes the last ones from others.

While fewer than `crowded_percent` of the places are taken, everybody gets one. After that an address that has more than
`max_share_percent` of them gets no new one. A peer that was there before, and proves it, is no new one: it gets its
place back, if its address had as many a short time ago. A proof alone is not enough, because whoever joins and leaves
again and again can collect any number of them.

Pure: the caller passes in the time.
"""

from collections import Counter
from collections.abc import Hashable

from attrs import define, field, frozen

PEAK_TIME = 600.0
"""Seconds for which an address may get back by proof the places that it had."""
SPARE_PARTS = 50
"""By proof an address gets a fiftieth of the places more than it had, and one at least: after a restart of the server,
or when others at the address have taken the places since."""
PEAKS_MAX = 10_000
"""Addresses whose earlier number of places is remembered."""


@frozen
class PlaceHolder:
    """An address, in the server (`group` is None) or in one room."""

    group: Hashable
    address: str


@frozen
class _Peak:
    """The most places that an address had, and until when that counts, once it has fewer."""

    count: int
    expires: float


@define
class Places:
    """Who has which places."""

    crowded_percent: int
    max_share_percent: int
    _taken: Counter[Hashable] = field(factory=Counter, init=False)
    """Of each group, the number of places taken."""
    _held: Counter[PlaceHolder] = field(factory=Counter, init=False)
    _peaks: dict[PlaceHolder, _Peak] = field(factory=dict, init=False)

    def take(self, holder: PlaceHolder, size: int, now: float, *, returns: bool) -> bool:
        """Give this address one more place of its group, if it may have one; return whether it has got it.

        Args:
            size: the number of places in the group.
            returns: whether the peer has proven that it was there before.
        """
        taken, held = self._taken[holder.group], self._held[holder]
        is_shared = 100 * taken >= self.crowded_percent * size
        is_free = not is_shared or 100 * held <= self.max_share_percent * size
        had = self._had(holder, now)
        if taken >= size or not (is_free or (returns and held < had + max(1, size // SPARE_PARTS))):
            return False
        self._taken[holder.group] += 1
        self._held[holder] += 1
        if is_free and held + 1 > had:
            self._remember(holder, held + 1, now)
        elif had == held:  # what it gets by proof from now on is on top of that
            self._remember(holder, held, now)
        return True

    def leave(self, holder: PlaceHolder, now: float) -> None:
        """Count a place of this address as free again."""
        had = self._had(holder, now)
        if self._held[holder] >= had:
            self._remember(holder, had, now)
        self._taken[holder.group] -= 1
        self._held[holder] -= 1
        for counter, key in ((self._taken, holder.group), (self._held, holder)):
            if counter[key] <= 0:  # type: ignore[index]
                del counter[key]

    def _had(self, holder: PlaceHolder, now: float) -> int:
        """Return how many places the address had a short time ago, without those that it has by proof on top."""
        peak, held = self._peaks.get(holder), self._held[holder]
        return peak.count if peak is not None and (peak.expires > now or peak.count <= held) else held

    def _remember(self, holder: PlaceHolder, count: int, now: float) -> None:
        self._peaks.pop(holder, None)
        if len(self._peaks) >= PEAKS_MAX:
            self._peaks = {one: old for one, old in self._peaks.items() if old.expires > now}
            for one in list(self._peaks)[: len(self._peaks) - PEAKS_MAX // 2]:
                del self._peaks[one]
        self._peaks[holder] = _Peak(count, now + PEAK_TIME)
