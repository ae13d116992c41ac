"""The engine: decides every fetch, renewal, refresh, retry and expiry, and does none of them.

Theory of operation
-------------------
The engine is a pure state machine, ``step(now, event) -> actions``. It has no clock, no thread and
no I/O: time comes in as a number (seconds of a monotonic clock), randomness as a function, answers
of stores as events; what should be done goes out as actions, which the broker performs. So every odd
schedule is a plain unit test.

A document has two independent sides. Its *condition* is a function of time and tells what readers
get:

    empty     no value yet                                   readers wait for the fetch
    fresh     younger than its refresh interval              served
    due       the interval has passed                        served at once, refreshed behind
    stale     a refresh failed since it became due           served, marked, bounded by max_stale
    expired   past max_stale or past the end of its lease    not served

Its *activity* tells what is going on with the store; :data:`TRANSITIONS` is the whole table:

    idle      nothing under way
    queued    wanted, but the store is being tried with one other document first
    fetching  a fetch is under way: whoever else wants the document waits for this one
    renewing  its lease is being extended
    waiting   the last call failed in a way that may pass; a retry has a time
    refused   the store said missing or denied: the value is withdrawn, asked again later

Two rules hold throughout. Only an answer of the store itself (missing, deleted, denied) withdraws a
value; anything else leaves the last good one in service until ``max_stale``. And a store that failed
gets one request at a time until it has answered once (half-open), however many documents wait.
"""

from __future__ import annotations

from ._agenda import Agenda
from ._states import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    DUE,
    EMPTY,
    EXPIRED,
    FETCHING,
    FRESH,
    GRACE_SHARE,
    IDLE,
    QUEUED,
    REFUSED,
    REFUSED_BASE,
    REFUSED_CAP,
    RENEWING,
    STALE,
    TRANSITIONS,
    WAITING,
    Entry,
    Policy,
    Retired,
    Store,
    asked_pause,
    believed,
    condition,
    delay,
    is_outage,
    withdraws,
)
from .document import Document, Lease
from .errors import DeadlineExceeded, SecretBridgeError
from .events import (
    Action,
    Changed,
    Event,
    Fetch,
    Fetched,
    Forget,
    Hold,
    Notify,
    Release,
    Renew,
    Renewed,
    Revoked,
    Tick,
    Want,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .reference import DocumentId

__all__ = [
    "DUE",
    "EMPTY",
    "EXPIRED",
    "FRESH",
    "STALE",
    "TRANSITIONS",
    "Engine",
    "Entry",
    "Policy",
    "condition",
]

COALESCE = 0.1
"""Share of the refresh interval: what is due this soon is refreshed along with what is due now."""


class Engine:
    """The state machine over all documents of one broker. Not thread-safe: the broker locks.

    ``random`` returns numbers in [0, 1); ``timeout`` is the time in seconds after which a call that
    was never answered counts as lost (its thread died, or the process was suspended); ``grace`` is how
    long in seconds a replaced lease is left alive for those who still use it.
    """

    def __init__(
        self, random: Callable[[], float], *, timeout: float = 60.0, grace: float = 30.0
    ) -> None:
        self._random = random
        self._timeout = timeout
        self._grace = grace
        self._retired = Retired()
        self._entries: dict[DocumentId, Entry] = {}
        self._stores: dict[str, Store] = {}
        self._agenda = Agenda(self._entries)

    def add(self, id: DocumentId, policy: Policy) -> Entry:
        """Make ``id`` known. Of several policies for one document the strictest holds."""
        entry = self._entries.get(id)
        if entry is None:
            entry = self._entries[id] = Entry(id, policy)
            self._store(id.store).ids.add(id)
        else:
            entry.policy = entry.policy.stricter(policy)
        return entry

    def entry(self, id: DocumentId) -> Entry | None:
        """Return what is known of ``id``, or None."""
        return self._entries.get(id)

    def ids(self, store: str) -> list[DocumentId]:
        """Return the documents of ``store``."""
        return list(self._store(store).ids)

    @property
    def next_wake(self) -> float | None:
        """When :class:`Tick` is needed next, or None while nothing is held or retired."""
        times = (self._agenda.next_time(), self._retired.next_time())
        return min((time for time in times if time is not None), default=None)

    def step(self, now: float, event: Event) -> list[Action]:
        """Take in ``event`` at time ``now`` and return what is to be done."""
        actions: list[Action] = []
        if isinstance(event, Want):
            self._want(event.ids, now, actions)
        elif isinstance(event, Fetched):
            self._fetched(event, now, actions)
        elif isinstance(event, Tick):
            self._tick(now, actions)
        elif isinstance(event, Renewed):
            self._renewed(event, now, actions)
        elif isinstance(event, Revoked):
            self._retired.answered(event.lease, event.error, now, self._random)
        elif isinstance(event, Hold):
            self._hold(event.ids, now, actions)
        elif isinstance(event, Release):
            for id in event.ids:
                entry = self._entries[id]
                entry.holders = max(0, entry.holders - 1)
        elif isinstance(event, Changed):
            self._changed(event.ids, now, actions)
        elif isinstance(event, Forget):
            self._forget(event.ids, now)
        else:
            raise TypeError(f"unknown event {type(event).__name__}")
        return actions + self._retired.due(now)

    def leases(self) -> list[tuple[str, Lease]]:
        """Return every lease that has not been given back, with its store."""
        live = [(e.id.store, e.lease) for e in self._entries.values() if e.lease is not None]
        return live + self._retired.leases()

    def is_exchanging(self) -> bool:
        """Whether a call is under way after which there may be other leases than now."""
        busy = (FETCHING, RENEWING)
        return self._retired.is_busy() or any(
            entry.lease is not None and entry.activity in busy for entry in self._entries.values()
        )

    def after_fork(self) -> None:
        """Forget what was under way, and leases: the threads and the leases are the parent's."""
        self._retired = Retired()
        for entry in self._entries.values():
            if entry.activity in (FETCHING, RENEWING, QUEUED):
                entry.activity = IDLE
                entry.retry_at = 0.0
            if entry.lease is not None:
                # The parent may give it back at any time, so the child soon gets one of its own.
                entry.lease = entry.renew_at = None
                entry.due_at = 0.0
        for store in self._stores.values():
            store.probing = False
            store.queued.clear()
        for entry in self._entries.values():
            # The time that was noted is that of a call in the parent, or of a lease of its own.
            self._agenda.put(entry)

    # Reading and holding -------------------------------------------------------------------------

    def _is_needed(self, id: DocumentId, now: float) -> bool:
        entry = self._entries[id]
        if entry.activity in (FETCHING, QUEUED) and now < entry.in_flight_until:
            return False
        return condition(entry, now) != FRESH and now >= entry.retry_at

    def _want(self, ids: Sequence[DocumentId], now: float, actions: list[Action]) -> None:
        needed = []
        for id in ids:
            entry = self._entries[id]
            if entry.is_renewal_due(now) and now < entry.end_at:
                self._renew(entry, now, actions)  # nobody holds it, so no tick did this
            elif self._is_needed(id, now):
                needed.append(id)
        self._need(needed, now, actions)

    def _hold(self, ids: Sequence[DocumentId], now: float, actions: list[Action]) -> None:
        for id in ids:
            self._entries[id].holders += 1
        self._need([id for id in ids if self._is_needed(id, now)], now, actions)
        for id in ids:
            self._agenda.put(self._entries[id])

    def _changed(self, ids: Sequence[DocumentId], now: float, actions: list[Action]) -> None:
        needed = []
        for id in ids:
            entry = self._entries.get(id)
            if entry is None or entry.document is None:
                continue
            entry.due_at = min(entry.due_at, now)
            entry.again = entry.activity == FETCHING  # what is under way may bring the old value
            if self._is_needed(id, now):
                needed.append(id)
        self._need(needed, now, actions)

    def _forget(self, ids: Sequence[DocumentId], now: float) -> None:
        for id in ids:
            entry = self._entries.pop(id, None)
            if entry is None:
                continue
            self._store(id.store).ids.discard(id)
            if entry.lease is not None:
                self._retired.add(id.store, entry.lease, now, entry.end_at)

    def _need(self, ids: Sequence[DocumentId], now: float, actions: list[Action]) -> None:
        """Fetch ``ids``, one request for each store; queue those of a store that is being tried."""
        batches: dict[str, list[DocumentId]] = {}
        for id in ids:
            store = self._store(id.store)
            entry = self._entries[id]
            if store.failures and (store.probing or now < store.retry_at):
                if store.probing:
                    self._move(entry, "queue")
                    entry.in_flight_until = now + self._timeout
                    store.queued.append(id)
                else:
                    # The store is known to be away: fail now rather than add to its load.
                    self._wait(entry, store.error, store.retry_at, now)
                continue
            if store.failures:
                store.probing = True
            elif entry.activity == WAITING and not store.take_token(now):
                self._wait(entry, entry.error, now + BACKOFF_CAP, now)
                continue
            self._move(entry, "need")
            entry.in_flight_until = now + self._timeout
            entry.wake_at = None
            self._agenda.put(entry)
            batches.setdefault(id.store, []).append(id)
        actions.extend(Fetch(name, batch) for name, batch in batches.items())

    # Answers -------------------------------------------------------------------------------------

    def _fetched(self, event: Fetched, now: float, actions: list[Action]) -> None:
        store = self._store(event.store)
        # One draw for the whole answer: documents that were fetched together stay together, so that
        # a batch stays a batch, while different processes still spread.
        jitter = self._random()
        errors = [o for _, o in event.outcomes if isinstance(o, SecretBridgeError) and is_outage(o)]
        is_away = len(errors) == len(event.outcomes)
        recovered = store.heard(errors[0] if is_away else None, now, self._random)
        for id, outcome in event.outcomes:
            entry = self._entries.get(id)
            if entry is None:
                continue
            outcome = believed(entry, outcome, now)
            if isinstance(outcome, Document):
                self._loaded(entry, outcome, jitter, now, actions)
            elif withdraws(outcome):
                self._refused(entry, outcome, now, actions)
            else:
                self._lost(entry, outcome, store, now)
            self._agenda.put(entry)
        self._follow(store, recovered, now, actions)

    def _loaded(
        self, entry: Entry, document: Document, jitter: float, now: float, actions: list[Action]
    ) -> None:
        if entry.activity == FETCHING:
            self._move(entry, "loaded")
        else:
            entry.activity = IDLE  # the answer of a call that had been given up
        old = entry.document
        if document.lease is None or entry.lease is None or document.lease.id != entry.lease.id:
            self._retire(entry, now)
        entry.load(document, jitter, now)
        if old is None or old.held != document.held or old.version != document.version:
            actions.append(Notify(entry.id, document))

    def _refused(
        self, entry: Entry, error: SecretBridgeError, now: float, actions: list[Action]
    ) -> None:
        if entry.activity == FETCHING:
            self._move(entry, "refused")
        else:
            entry.activity = REFUSED
        entry.error = error
        entry.failures += 1
        entry.retry_at = now + delay(REFUSED_BASE, REFUSED_CAP, entry.failures, self._random)
        self._retire(entry, now)
        if entry.document is not None:
            entry.document = None
            entry.stale_since = None
            actions.append(Notify(entry.id, None))

    def _lost(self, entry: Entry, error: SecretBridgeError, store: Store, now: float) -> None:
        entry.failures += 1
        retry_at = store.retry_at
        if not store.failures:
            step = delay(BACKOFF_BASE, BACKOFF_CAP, entry.failures, self._random)
            retry_at = now + max(step, asked_pause(error))
        self._wait(entry, error, retry_at, now)

    def _wait(
        self, entry: Entry, error: SecretBridgeError | None, retry_at: float, now: float
    ) -> None:
        if entry.activity in (FETCHING, QUEUED, RENEWING):
            self._move(entry, "lost")
        else:
            entry.activity = WAITING
        entry.error = error
        entry.retry_at = retry_at
        if entry.document is not None and entry.stale_since is None:
            entry.stale_since = now
        self._agenda.put(entry)

    def _follow(self, store: Store, recovered: bool, now: float, actions: list[Action]) -> None:
        """Let the documents follow that waited while the store was tried with one of them."""
        if store.failures:
            queued, store.queued = store.queued, []
            for id in queued:
                if id in self._entries:
                    self._wait(self._entries[id], store.error, store.retry_at, now)
            return
        resumed = [id for id in store.queued if id in self._entries]
        store.queued.clear()
        if recovered:
            for id in store.ids:
                entry = self._entries[id]
                if entry.activity == WAITING:
                    self._move(entry, "recovered")
                    entry.retry_at = 0.0
                    if entry.holders and condition(entry, now) != FRESH:
                        resumed.append(id)
        for id in resumed:
            self._entries[id].in_flight_until = now + self._timeout
            self._move(self._entries[id], "need")
            self._agenda.put(self._entries[id])
        if resumed:
            actions.append(Fetch(resumed[0].store, resumed))

    # Leases --------------------------------------------------------------------------------------

    def _renew(self, entry: Entry, now: float, actions: list[Action]) -> None:
        store = self._store(entry.id.store)
        if store.failures:
            if store.probing or now < store.retry_at:
                # One request at a time, also when a thousand leases are to be renewed.
                entry.renew_at = max(store.retry_at, now + BACKOFF_CAP if store.probing else now)
                return
            store.probing = True
        self._move(entry, "renew")
        entry.in_flight_until = now + self._timeout
        entry.renew_at = None
        assert entry.lease is not None
        actions.append(Renew(entry.id, entry.lease))

    def _renewed(self, event: Renewed, now: float, actions: list[Action]) -> None:
        store = self._store(event.id.store)
        outcome = event.outcome
        away = outcome if isinstance(outcome, SecretBridgeError) and is_outage(outcome) else None
        recovered = store.heard(away, now, self._random)
        entry = self._entries.get(event.id)
        if entry is not None and entry.lease is not None:
            if event.lease is None or event.lease.id == entry.lease.id:
                self._take_terms(entry, outcome, store, now)
            self._agenda.put(entry)
        self._follow(store, recovered, now, actions)
        if entry is not None and entry.holders and now >= entry.due_at:
            self._need([id for id in (entry.id,) if self._is_needed(id, now)], now, actions)

    def _take_terms(
        self, entry: Entry, outcome: Lease | SecretBridgeError, store: Store, now: float
    ) -> None:
        if isinstance(outcome, Lease):
            # Also when it comes after it had been given up: the lease lives on all the same.
            if entry.activity == QUEUED:
                store.queued.remove(entry.id)
            if entry.activity in (RENEWING, QUEUED, WAITING):
                self._move(entry, "renewed")
            entry.extend(outcome, self._random(), now)
        elif entry.activity == RENEWING:
            self._move(entry, "lost")
            if is_outage(outcome) or (outcome.is_transient and not withdraws(outcome)):
                entry.failures += 1
                entry.error = outcome
                wait = delay(BACKOFF_BASE, BACKOFF_CAP, entry.failures, self._random)
                entry.renew_at = store.retry_at if store.failures else now + wait
                entry.retry_at = 0.0
            else:
                entry.due_at = entry.retry_at = now  # it is gone: only a new credential helps

    def _retire(self, entry: Entry, now: float) -> None:
        """Have the lease of ``entry`` given back once nobody uses it any more."""
        if entry.lease is not None:
            grace = min(self._grace, max(0.0, entry.end_at - now) * GRACE_SHARE)
            self._retired.add(entry.id.store, entry.lease, now + grace, entry.end_at)
            entry.lease = entry.renew_at = None

    # Time ----------------------------------------------------------------------------------------

    def _tick(self, now: float, actions: list[Action]) -> None:
        needed: list[DocumentId] = []
        for entry in self._agenda.due(now):
            is_busy = entry.activity in (FETCHING, QUEUED, RENEWING)
            if is_busy and now >= entry.in_flight_until:
                self._abandoned(entry, now)
            elif self._is_needed(entry.id, now):
                needed.append(entry.id)
                continue
            elif entry.is_renewal_due(now):
                self._renew(entry, now, actions)
            self._agenda.put(entry)
        needed += self._companions({id.store for id in needed}, now, set(needed))
        self._need(needed, now, actions)

    def _companions(
        self, stores: Iterable[str], now: float, chosen: set[DocumentId]
    ) -> list[DocumentId]:
        """Return documents that are due soon anyway, to go along in the same request."""
        found = []
        for name in stores:
            for id in self._stores[name].ids:
                entry = self._entries[id]
                if (
                    id not in chosen
                    and entry.holders
                    and entry.activity == IDLE
                    and entry.document is not None
                    and entry.lease is None
                    and entry.due_at <= now + (entry.due_at - entry.fetched_at) * COALESCE
                ):
                    entry.due_at = now
                    found.append(id)
        return found

    def _abandoned(self, entry: Entry, now: float) -> None:
        store = self._store(entry.id.store)
        store.probing = False
        self._wait(
            entry,
            DeadlineExceeded(
                "the call to the store never came back",
                reference=str(entry.id),
                store=entry.id.store,
                hint="it is tried again by itself",
            ),
            now + delay(BACKOFF_BASE, BACKOFF_CAP, 1, self._random),
            now,
        )

    # Small things --------------------------------------------------------------------------------

    def _move(self, entry: Entry, happening: str) -> None:
        entry.activity = TRANSITIONS[entry.activity, happening]

    def _store(self, name: str) -> Store:
        return self._stores.get(name) or self._stores.setdefault(name, Store())
