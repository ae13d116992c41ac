"""Many secrets of one moment.

Fields of one document are always of one version. Documents are fetched at different times, though,
and a certificate in one file and its key in another have to be of one generation. Where a store reads
all documents of one fetch at the same moment, they are fetched together until that was the case.
"""

from __future__ import annotations

from .._states import FETCHING, QUEUED
from ..errors import DeadlineExceeded, SecretBridgeError
from ..events import Changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from ..engine import Entry
    from ..reference import DocumentId
    from .cache import Cache, Outcome, Target
    from .driver import Driver
    from .stores import Stores

__all__ = ["Moments"]


class Moments:
    """Looks at many secrets together. ``timeout`` is in seconds of ``clock``."""

    def __init__(
        self,
        driver: Driver,
        cache: Cache,
        stores: Stores,
        *,
        clock: Callable[[], float],
        timeout: float,
    ) -> None:
        self._driver = driver
        self._cache = cache
        self._stores = stores
        self._clock = clock
        self._timeout = timeout

    def of(
        self, keys: Iterable[str]
    ) -> Generator[tuple[int, float | None], None, dict[str, Outcome]]:
        """Yield what to wait for until ``keys``, which have been resolved, are of one moment."""
        outcomes, targets = self._cache.targets(keys)
        volumes = self._read_together(targets.values())
        end = self._clock() + self._timeout
        while True:
            with self._driver.lock:
                count = self._driver.turns.count
                apart = [ids for ids in volumes if len({e.fetched_at for e in self._held(ids)}) > 1]
                if not apart:
                    return self._cache.collect_under_lock(outcomes, targets)
                is_busy = any(
                    entry.activity in (FETCHING, QUEUED)
                    for ids in apart
                    for entry in self._held(ids)
                )
            left = end - self._clock()
            if left <= 0:
                raise self._late(apart[0])
            if not is_busy:
                self._driver.submit(Changed(id for ids in apart for id in ids))
            yield count, left

    def _read_together(self, targets: Iterable[Target]) -> list[list[DocumentId]]:
        by_store: dict[tuple[str, str], list[DocumentId]] = {}
        for _, id in targets:
            by_store.setdefault((id.store, id.scheme), []).append(id)
        found = []
        for (store, scheme), ids in by_store.items():
            try:
                if getattr(self._stores.get(store, scheme), "reads_together", False):
                    found.append(ids)
            except SecretBridgeError:
                continue  # each of its secrets says so
        return found

    def _held(self, ids: Iterable[DocumentId]) -> list[Entry]:
        entries = [self._driver.entry(id) for id in ids]
        return [entry for entry in entries if entry is not None and entry.document is not None]

    def _late(self, ids: list[DocumentId]) -> SecretBridgeError:
        for entry in self._held(ids):
            if entry.error is not None:
                return entry.error.about(str(entry.id), entry.id.store)
        return DeadlineExceeded(
            f"the documents did not come together within {self._timeout:g} s",
            store=ids[0].store,
            hint="check that the store is reachable and not overloaded",
        )
