"""How one store has been answering, and who waits for it while it does not.

A store that is away is tried with one call of one document in each backoff step, until it has answered
once (half-open). Three things follow from what was met:

- One document that fails says little about its store: the database behind it may be down, or its key
  disabled. Only when a second one fails as well, or all of a call for several, is the store away. (A
  refused login and a request to slow down concern all documents by themselves.)
- Whoever waits stands in line, and each step tries the one that was tried longest ago. So documents that
  always fail cannot keep the others from finding out that the store is well.
- A call that hangs does not hold up the next step's: after a partition what was sent before is lost, and
  waiting for it would notice the store's return only when the call is given up.
"""

from __future__ import annotations

from ._states import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    QUEUED,
    REFUSED_BASE,
    REFUSED_CAP,
    asked_pause,
    delay,
)
from .errors import AuthenticationFailed, BackendUnavailable, RateLimited, SecretBridgeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ._retired import OldLease
    from ._states import Entry
    from .document import Document
    from .reference import DocumentId

    Key = DocumentId | str
    """What a call is about: a document, or the id of a lease that is given back."""

__all__ = ["Store", "is_outage"]

RETRY_TOKENS = 10.0
RETRY_RATE = 1.0
"""Retries of single documents that a store may get at once, and per second after that."""

MAX_PROBES = 6
"""Calls that may hang at once while a store is tried."""

OVERLAP_PATIENCE = 4.0
"""Seconds that a call is given which begins while an earlier one hangs. That one has its whole time, so
that a store which has become slow is found to be back as well."""


class Store:
    """What the engine knows of one store. Times are on the engine's clock, in seconds."""

    __slots__ = (
        "_concerns_all",
        "_logins",
        "_probes",
        "_suspects",
        "_timeout",
        "_tokens",
        "_tokens_at",
        "error",
        "failures",
        "ids",
        "leases",
        "line",
        "queued",
        "retry_at",
    )

    def __init__(self, timeout: float) -> None:
        """``timeout``: seconds after which a call that was never answered counts as lost."""
        self.ids: set[DocumentId] = set()
        self.failures = 0
        self.retry_at = 0.0
        self.error: SecretBridgeError | None = None
        self.line: dict[DocumentId, Entry] = {}
        """Documents that wait for the store, the one that was tried longest ago first."""
        self.queued: dict[DocumentId, Entry] = {}
        """Those of them whose readers wait for the call that is under way."""
        self.leases: list[OldLease] = []
        """Leases that are to be given back when the store answers again."""
        self._timeout = timeout
        self._probes: list[tuple[float, Key]] = []
        self._suspects: set[Key] = set()
        self._concerns_all = False
        self._logins = 0
        self._tokens = RETRY_TOKENS
        self._tokens_at = 0.0

    @property
    def is_away(self) -> bool:
        """Whether the store gives no usable answer to anybody, as far as is known."""
        return self.failures > 0 and (self._concerns_all or len(self._suspects) > 1)

    def lets(self, key: Key) -> bool:
        """Whether ``key`` may be asked for as if the store were well."""
        return not self.is_away and key not in self._suspects

    def is_tried(self, now: float) -> bool:
        """Whether a call is under way that will tell whether the store is back."""
        self._probes = [probe for probe in self._probes if now < probe[0]]
        return bool(self._probes)

    def can_probe(self, now: float) -> bool:
        """Whether it is time to try a store that does not let everybody."""
        self.is_tried(now)
        return now >= self.retry_at and len(self._probes) < MAX_PROBES

    def begin(self, key: Key, now: float) -> float | None:
        """Note that the store is tried with ``key``; return the call's patience, None for all."""
        patience = OVERLAP_PATIENCE if self._probes else None
        self._probes.append((now + self._timeout, key))
        self.retry_at = now + BACKOFF_CAP
        return patience

    def ended(self, key: Key) -> None:
        """Note that a call for ``key`` is not under way any more."""
        found = next((probe for probe in self._probes if probe[1] == key), None)
        if found is not None:
            self._probes.remove(found)

    def next_probe(self) -> float | None:
        """When the store is to be tried again for those who wait, or None when nobody does."""
        if not self.line and not self.leases:
            return None
        return self.retry_at if len(self._probes) < MAX_PROBES else self._probes[0][0]

    def stand_in_line(self, entry: Entry) -> None:
        """Let ``entry`` wait at the end, if anybody holds it."""
        if entry.holders:
            entry.is_in_line = True
            self.line.pop(entry.id, None)
            self.line[entry.id] = entry

    def queue(self, entry: Entry, until: float) -> None:
        """Let readers of ``entry`` wait for the call that is under way, and ``until`` at the most."""
        if entry.activity != QUEUED:
            entry.move("queue")
            entry.in_flight_until = until
            self.line.setdefault(entry.id, entry)
            self.queued[entry.id] = entry

    def first_in_line(self, now: float) -> Entry | None:
        """Return whom to try next, or None when each one's own call is under way."""
        first: Entry | None = None
        gone: list[Entry] = []
        for entry in self.line.values():
            if not entry.holders and entry.activity != QUEUED:
                gone.append(entry)
            elif entry.is_plain or not entry.is_under_way(now):
                first = entry
                break
        for entry in gone:
            self.leave(entry)
        return first

    def companions(
        self, entries: Mapping[DocumentId, Entry], chosen: set[DocumentId], now: float
    ) -> list[DocumentId]:
        """Return documents that are due soon anyway, to go along with those that are now."""
        known = (entries[id] for id in self.ids if not self.failures and id not in chosen)
        found = [entry for entry in known if entry.goes_along(now)]
        for entry in found:
            entry.due_at = now
        return [entry.id for entry in found]

    def leave(self, entry: Entry) -> None:
        """Let ``entry`` wait no more: it is not asked for again."""
        entry.is_in_line = False
        self.line.pop(entry.id, None)
        self.queued.pop(entry.id, None)

    def heard(
        self,
        outcomes: Mapping[DocumentId, object],
        others: Iterable[Entry],
        now: float,
        random: Callable[[], float],
    ) -> bool:
        """Take in what a call brought for each document; return whether the store is back now.

        ``others`` are the store's documents that the call was not about.
        """
        for id in outcomes:
            self.ended(id)
        errors = [o for o in outcomes.values() if isinstance(o, SecretBridgeError) and is_outage(o)]
        if len(errors) < len(outcomes):
            return self.well()
        is_local = not any(getattr(error, "concerns_store", True) for error in errors)
        if is_local and any(e.document is not None and not e.failures for e in others):
            return self.well()
        self.failed(outcomes, errors[0], now, random)
        return False

    def well(self) -> bool:
        """Note that the store answered; return whether it was away."""
        was_away = self.is_away
        self.failures = self._logins = 0
        self.error = None
        self._suspects.clear()
        self._concerns_all = False
        return was_away

    def failed(
        self,
        keys: Iterable[Key],
        error: SecretBridgeError,
        now: float,
        random: Callable[[], float],
    ) -> None:
        """Note that a call for ``keys`` got no usable answer, and when the store is tried again."""
        self.failures += 1
        self.error = error
        self._suspects.update(keys)
        is_login = isinstance(error, AuthenticationFailed)
        self._concerns_all = is_login or isinstance(error, RateLimited)
        self._logins = self._logins + 1 if is_login else 0
        if is_login:
            pause = delay(REFUSED_BASE, REFUSED_CAP, self._logins, random)
        elif self._probes:
            pause = 0.0  # another call is under way, whose successor has its time already
        else:
            pause = delay(BACKOFF_BASE, BACKOFF_CAP, self.failures, random)
        least = self.retry_at if self._probes else 0.0
        self.retry_at = max(least, now + max(pause, asked_pause(error)))

    def take_token(self, now: float) -> bool:
        """Whether one more retry of a single document is within the store's budget."""
        self._tokens = min(RETRY_TOKENS, self._tokens + (now - self._tokens_at) * RETRY_RATE)
        self._tokens_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def after_fork(self) -> None:
        """Forget the calls that are under way, and those who wait: all are the parent's."""
        self._probes.clear()
        self.line.clear()
        self.queued.clear()
        self.leases.clear()


def is_outage(outcome: Document | SecretBridgeError) -> bool:
    """Whether this may say something about the store and not about one document alone."""
    return isinstance(outcome, (BackendUnavailable, AuthenticationFailed))
