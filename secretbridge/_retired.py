"""Leases that were replaced: each is given back after its grace, and again until that is done."""

from __future__ import annotations

from heapq import heappop, heappush

from ._health import is_outage
from ._states import GRACE_SHARE, REFUSED_BASE, REFUSED_CAP, delay
from .events import Revoke, Revoked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._health import Store
    from ._states import Entry
    from .document import Lease

__all__ = ["OldLease", "Retired"]


class OldLease:
    """A lease of ``store`` that nothing uses any more and that ends by itself at ``end``."""

    __slots__ = ("end", "failures", "lease", "place", "store")

    def __init__(self, store: str, lease: Lease, end: float) -> None:
        self.store = store
        self.lease = lease
        self.end = end
        self.failures = 0
        self.place = 0


class Retired:
    """Replaced leases of all stores. ``grace``: seconds that each lives on for those who use it.

    :meth:`let_go` ends it before. None lives on until it ends by itself.
    ``store`` returns how a store is; ``random`` returns numbers in [0, 1).
    """

    __slots__ = ("_going", "_grace", "_heap", "_random", "_sequence", "_store")

    def __init__(
        self, store: Callable[[str], Store], grace: float, random: Callable[[], float]
    ) -> None:
        self._store = store
        self._grace = grace
        self._random = random
        self._heap: list[tuple[float, int, OldLease]] = []
        self._going: dict[str, OldLease] = {}
        self._sequence = 0

    def add(self, entry: Entry, now: float, *, is_in_use: bool = True) -> None:
        """Have the lease of ``entry`` given back once nobody uses it any more."""
        if entry.lease is not None:
            grace = 0.0
            if is_in_use:
                grace = min(self._grace, max(0.0, entry.end_at - now) * GRACE_SHARE)
            self._put(OldLease(entry.id.store, entry.lease, entry.end_at), now + grace)
            entry.lease = entry.renew_at = None

    def waiting(self) -> list[str]:
        """Return the ids of those that still live on for whoever uses them."""
        return [old.lease.id for _, place, old in self._heap if place == old.place]

    def let_go(self, ids: Iterable[str], now: float) -> None:
        """Give those of ``ids`` back now that still wait."""
        wanted = set(ids)
        for old in [old for _, place, old in self._heap if place == old.place]:
            if old.lease.id in wanted:
                self._put(old, now)

    def next_time(self) -> float | None:
        """When the next one is to be given back, or None."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[Revoke]:
        """Return the calls to make now; each is to be answered."""
        calls = []
        while self._heap and self._heap[0][0] <= now:
            _, place, old = heappop(self._heap)
            if place != old.place:
                continue  # it was put to another time
            store = self._store(old.store)
            if store.lets(old.lease.id):
                calls.append(self._going_now(old, None))
            elif not store.line and store.can_probe(now):
                calls.append(self.probe(old, store, now))
            else:
                store.leases.append(old)
        return calls

    def probe(self, old: OldLease, store: Store, now: float) -> Revoke:
        """Try a store that is away by giving ``old`` back."""
        return self._going_now(old, store.begin(old.lease.id, now))

    def answered(self, event: Revoked, now: float) -> tuple[Store, bool] | None:
        """Take in an answer; return its store and whether that is back now, None if nobody asked."""
        old = self._going.pop(event.lease.id, None)
        if old is None:
            return None
        store = self._store(old.store)
        store.ended(old.lease.id)
        if event.error is None or not is_outage(event.error):
            return store, store.well()
        store.failed((old.lease.id,), event.error, now, self._random)
        if store.is_away:
            store.leases.append(old)
            return store, False
        old.failures += 1
        at = now + delay(REFUSED_BASE, REFUSED_CAP, old.failures, self._random)
        if at < old.end:
            self._put(old, at)
        return store, False

    def resume(self, leases: Iterable[OldLease], now: float) -> None:
        """Give ``leases`` back now, whose store is back."""
        for old in leases:
            if now < old.end:
                self._put(old, now)

    def is_busy(self) -> bool:
        """Whether a lease is being given back."""
        return bool(self._going)

    def leases(self) -> list[tuple[str, Lease]]:
        """Return those that were not given back yet, with their stores."""
        old = [old for _, place, old in self._heap if place == old.place]
        old += self._going.values()
        return [(each.store, each.lease) for each in old]

    def _going_now(self, old: OldLease, patience: float | None) -> Revoke:
        self._going[old.lease.id] = old
        return Revoke(old.store, old.lease, patience)

    def _put(self, old: OldLease, at: float) -> None:
        self._sequence += 1
        old.place = self._sequence
        heappush(self._heap, (at, self._sequence, old))
