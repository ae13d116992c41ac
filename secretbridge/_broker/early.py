"""Early refreshes: a value was refused somewhere, or somebody waits for the next one.

However many readers report the same refusal, each document is asked for early at most once per
``floor``; in between, and while its store is away, the engine's own times hold. A login that fails a
thousand times a second so costs the store one request a second.
"""

from __future__ import annotations

from ..errors import DeadlineExceeded
from ..events import Changed, Want
from ..secret import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ..reference import DocumentId
    from .cache import Cache
    from .driver import Driver

    Steps = Generator[tuple[int, float | None], None, Secret]
    """Yields what to wait for: a turn, and seconds at most."""

__all__ = ["Early"]

_LEAST = 0.02
"""Seconds between two questions of one who waits, also without a floor: a store is no spinning lock."""


class Early:
    """The early refreshes of one broker. ``floor`` is in seconds, ``clock`` monotonic."""

    def __init__(
        self, driver: Driver, cache: Cache, *, floor: float, clock: Callable[[], float]
    ) -> None:
        self._driver = driver
        self._cache = cache
        self._floor = floor
        self._clock = clock
        self._last: dict[DocumentId, float] = {}

    def report(self, key: str, rejected: Secret | None) -> bool:
        """Look for a newer value of ``key`` unless that was just done; return whether it is done.

        Nothing is started for a value that is no longer the current one.
        """
        id = self._cache.target(key)[1]
        if rejected is not None:
            current = self._cache.look(key)
            if isinstance(current, Secret) and current != rejected:
                return False
        return self._refresh(id, self._floor)

    def _refresh(self, id: DocumentId, interval: float) -> bool:
        now = self._clock()
        with self._driver.lock:
            if now < self._last.get(id, now - interval) + interval:
                return False
            if len(self._last) > 1000:
                self._last = {i: at for i, at in self._last.items() if now < at + self._floor}
            self._last[id] = now
        return self._driver.submit(Changed([id]))

    def replacement(self, key: str, rejected: Secret, timeout: float) -> Steps:
        """Wait until ``key`` has another value than ``rejected``; return what it has then."""
        id = self._cache.target(key)[1]
        end = self._clock() + timeout
        while True:
            count = self._driver.turns.count
            current = self._cache.look(key)
            left = end - self._clock()
            if isinstance(current, Secret) and (current != rejected or left <= 0):
                return current
            if left <= 0:
                assert not isinstance(current, Secret)
                raise current
            interval = max(self._floor, _LEAST)
            self._refresh(id, interval)
            yield count, min(left, self._ask(id, interval))

    def newer(self, key: str, version: str | int | None, timeout: float | None) -> Steps:
        """Wait until ``key`` has ``version`` or a later one; without, another value than now."""
        version = None if version is None else str(version)
        id = self._cache.target(key)[1]
        end = None if timeout is None else self._clock() + timeout
        first = self._cache.look(key)
        interval = max(self._floor, _LEAST)
        self._driver.hold([id])
        try:
            while True:
                count = self._driver.turns.count
                current = self._cache.look(key)
                if isinstance(current, Secret) and _is_reached(current, version, first):
                    return current
                left = None if end is None else end - self._clock()
                if left is not None and left <= 0:
                    if not isinstance(current, Secret):
                        raise current
                    raise DeadlineExceeded(
                        f"no newer version than {current.version} within {timeout:g} s",
                        reference=current.reference,
                        store=current.reference.store,
                        hint="wait longer, or look why nothing newer was written",
                    )
                # Nobody knows when it will come: ask soon, then ever more slowly.
                if self._refresh(id, interval):
                    interval = min(2 * interval, max(self._floor, self._cache.policy.refresh))
                wait = self._ask(id, interval)
                yield count, wait if left is None else min(left, wait)
        finally:
            self._driver.release([id])

    def _ask(self, id: DocumentId, interval: float) -> float:
        """Have ``id`` fetched if it is due; return the seconds until it may be asked for early."""
        self._driver.submit(Want([id]))
        with self._driver.lock:
            return max(_LEAST, self._last.get(id, 0.0) + interval - self._clock())


def _is_reached(current: Secret, version: str | None, first: object) -> bool:
    if version is None:
        return not isinstance(first, Secret) or current != first
    if current.version == version:
        return True
    is_counted = current.version is not None and current.version.isdecimal()
    return is_counted and version.isdecimal() and int(current.version or "0") > int(version)
