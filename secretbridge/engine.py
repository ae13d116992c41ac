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
    queued    wanted, but the store is being tried with another document first
    fetching  a fetch is under way: whoever else wants the document waits for this one
    renewing  its lease is being extended
    waiting   the last call failed in a way that may pass; a retry has a time
    refused   the store said missing or denied: the value is withdrawn, asked again later

Two rules hold throughout. Only an answer of the store itself (missing, deleted, denied) withdraws a
value; anything else leaves the last good one in service until ``max_stale``. And a store that is away
gets one call in each backoff step until it has answered once, however many documents wait: they stand
in line (:mod:`._health`).
"""

from __future__ import annotations

from ._agenda import Agenda
from ._health import Store, is_outage
from ._retired import Retired
from ._states import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    DUE,
    EMPTY,
    EXPIRED,
    FETCHING,
    FRESH,
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
    asked_pause,
    believed,
    condition,
    delay,
    never_came_back,
    withdraws,
)
from .document import Document, Lease
from .errors import SecretBridgeError
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
    Unused,
    Want,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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


class Engine:
    """The state machine over all documents of one broker. Not thread-safe: the broker locks.

    ``random`` returns numbers in [0, 1); ``timeout`` is the time in seconds after which a call that
    was never answered counts as lost (its thread died, or the process was suspended); ``grace`` is how
    long in seconds a replaced lease is left alive for those who still use it, unless :class:`Unused`
    names it before.
    """

    def __init__(
        self, random: Callable[[], float], *, timeout: float = 60.0, grace: float = 30.0
    ) -> None:
        self._random = random
        self._timeout = timeout
        self._grace = grace
        self._retired = Retired(self._store, grace, random)
        self._entries: dict[DocumentId, Entry] = {}
        self._stores: dict[str, Store] = {}
        self.agenda: Agenda = Agenda(self._entries)

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

    def ids(self, store: str | None = None) -> list[DocumentId]:
        """Return the documents of ``store``, or all of them."""
        return list(self._entries if store is None else self._store(store).ids)

    @property
    def next_wake(self) -> float | None:
        """When :class:`Tick` is needed next, or None while nothing is held or retired."""
        probes = [store.next_probe() for store in self._stores.values()]
        times = (self.agenda.next_time(), self._retired.next_time(), *probes)
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
            answered = self._retired.answered(event, now)
            if answered is not None:
                self._follow(*answered, now, actions)
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
        elif isinstance(event, Unused):
            self._retired.let_go(event.leases, now)
        else:
            raise TypeError(f"unknown event {type(event).__name__}")
        return actions + self._retired.due(now)

    def leases(self) -> list[tuple[str, Lease]]:
        """Return every lease that has not been given back, with its store."""
        live = [(e.id.store, e.lease) for e in self._entries.values() if e.lease is not None]
        late = [(old.store, old.lease) for s in self._stores.values() for old in s.leases]
        return live + late + self._retired.leases()

    def replaced(self) -> list[str]:
        """Return the ids of the replaced leases that are left alive for those who use them."""
        return self._retired.waiting()

    def is_exchanging(self) -> bool:
        """Whether a call is under way after which there may be other leases than now."""
        busy = (FETCHING, RENEWING)
        return self._retired.is_busy() or any(
            entry.lease is not None and entry.activity in busy for entry in self._entries.values()
        )

    def after_fork(self) -> None:
        """Forget what was under way, and leases: both are the parent's."""
        self._retired = Retired(self._store, self._grace, self._random)
        for store in self._stores.values():
            store.after_fork()
        jitter = self._random()  # one draw: what is fetched together stays together
        for entry in self._entries.values():
            entry.after_fork(jitter)
            self.agenda.put(entry)

    # Reading and holding -------------------------------------------------------------------------

    def _is_needed(self, id: DocumentId, now: float) -> bool:
        entry = self._entries[id]
        if entry.activity == FETCHING and now < entry.in_flight_until:
            return False
        if entry.activity == QUEUED and not self._store(id.store).can_probe(now):
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
            self.agenda.put(self._entries[id])

    def _changed(self, ids: Sequence[DocumentId], now: float, actions: list[Action]) -> None:
        needed = []
        for id in ids:
            entry = self._entries.get(id)
            if entry is None or (entry.document is None and entry.activity != REFUSED):
                continue
            if entry.activity == REFUSED:
                entry.retry_at = now  # what was missing or denied may be there now
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
            store = self._store(id.store)
            store.ids.discard(id)
            store.leave(entry)
            self._retired.add(entry, now, is_in_use=False)

    def _need(self, ids: Sequence[DocumentId], now: float, actions: list[Action]) -> None:
        """Fetch ``ids``, one request for each store; have those of a store that is away line up."""
        batches: dict[str, list[DocumentId]] = {}
        patience: dict[str, float | None] = {}
        for id in ids:
            store = self._store(id.store)
            entry = self._entries[id]
            if store.lets(id):
                if entry.activity == WAITING and not store.take_token(now):
                    self._wait(entry, entry.error, now + BACKOFF_CAP, now)
                    continue
            elif store.can_probe(now):
                patience[id.store] = store.begin(id, now)
                store.stand_in_line(entry)
            else:
                self._line_up(entry, store, now)
                continue
            self._fetch(entry, now)
            batches.setdefault(id.store, []).append(id)
        actions.extend(Fetch(name, ids, patience.get(name)) for name, ids in batches.items())

    def _fetch(self, entry: Entry, now: float) -> None:
        self._store(entry.id.store).queued.pop(entry.id, None)
        entry.move("need")
        entry.in_flight_until = now + self._timeout
        self.agenda.put(entry)

    # Answers -------------------------------------------------------------------------------------

    def _fetched(self, event: Fetched, now: float, actions: list[Action]) -> None:
        store = self._store(event.store)
        # One draw for the whole answer: documents that were fetched together stay together, so that
        # a batch stays a batch, while different processes still spread.
        jitter = self._random()
        recovered = self._heard(store, dict(event.outcomes), now)
        for id, outcome in event.outcomes:
            entry = self._entries.get(id)
            if entry is None:
                continue
            outcome = believed(entry, outcome, now)
            store.queued.pop(id, None)
            if isinstance(outcome, Document):
                self._loaded(entry, outcome, jitter, now, actions)
            elif withdraws(outcome):
                self._refused(entry, outcome, now, actions)
            else:
                self._lost(entry, outcome, store, now)
            self.agenda.put(entry)
        self._follow(store, recovered, now, actions)

    def _heard(self, store: Store, outcomes: Mapping[DocumentId, object], now: float) -> bool:
        others = (self._entries[id] for id in store.ids if id not in outcomes)
        return store.heard(outcomes, others, now, self._random)

    def _loaded(
        self, entry: Entry, document: Document, jitter: float, now: float, actions: list[Action]
    ) -> None:
        entry.move("loaded")
        old = entry.document
        if document.lease is None or entry.lease is None or document.lease.id != entry.lease.id:
            self._retired.add(entry, now)
        entry.load(document, jitter, now)
        if old is None or old.held != document.held or old.version != document.version:
            actions.append(Notify(entry.id, document))

    def _refused(
        self, entry: Entry, error: SecretBridgeError, now: float, actions: list[Action]
    ) -> None:
        entry.move("refused")
        entry.error = error
        entry.failures += 1
        entry.retry_at = now + delay(REFUSED_BASE, REFUSED_CAP, entry.failures, self._random)
        self._retired.add(entry, now)
        if entry.document is not None:
            entry.document = None
            entry.stale_since = None
            actions.append(Notify(entry.id, None))

    def _lost(self, entry: Entry, error: SecretBridgeError, store: Store, now: float) -> None:
        if entry.activity in (IDLE, RENEWING):
            return  # a later call has brought the value meanwhile
        entry.failures += 1
        retry_at = store.retry_at
        if store.is_away:
            store.stand_in_line(entry)
        else:
            step = delay(BACKOFF_BASE, BACKOFF_CAP, entry.failures, self._random)
            retry_at = now + max(step, asked_pause(error))
        self._wait(entry, error, retry_at, now)

    def _wait(
        self, entry: Entry, error: SecretBridgeError | None, retry_at: float, now: float
    ) -> None:
        self._store(entry.id.store).queued.pop(entry.id, None)
        entry.wait(error, retry_at, now)
        self.agenda.put(entry)

    # The line of a store that is away --------------------------------------------------------------

    def _line_up(self, entry: Entry, store: Store, now: float) -> None:
        store.stand_in_line(entry)
        if store.is_tried(now):
            store.queue(entry, now + self._timeout)
        else:
            # The store is known to be away: fail now rather than add to its load.
            self._wait(entry, store.error, store.retry_at, now)

    def _probe(self, store: Store, now: float, actions: list[Action]) -> None:
        """Try a store that is away with whoever has waited longest for it."""
        if not store.can_probe(now):
            return
        entry = store.first_in_line(now)
        if entry is None:
            store.retry_at = now + BACKOFF_CAP
            store.leases = [old for old in store.leases if now < old.end]
            if store.leases:
                actions.append(self._retired.probe(store.leases.pop(0), store, now))
        elif entry.is_renewal_due(now) and now < entry.end_at:
            self._renew(entry, now, actions)
        else:
            self._need((entry.id,), now, actions)

    def _follow(self, store: Store, recovered: bool, now: float, actions: list[Action]) -> None:
        """Tell those in line how the store was found."""
        if store.failures:
            for entry in list(store.queued.values()):
                self._wait(entry, store.error, store.retry_at, now)
            return
        line, queued, leases = store.line, store.queued, store.leases
        store.line, store.queued, store.leases = {}, {}, []
        if recovered:
            line = {**line, **{id: self._entries[id] for id in store.ids}}
        resumed = [
            entry
            for entry in line.values()
            if entry.id in queued or self._resume(entry, recovered, now, actions)
        ]
        for entry in resumed:
            entry.is_in_line = False
            self._fetch(entry, now)
        if resumed:
            actions.append(Fetch(resumed[0].id.store, [entry.id for entry in resumed]))
        self._retired.resume(leases, now)

    def _resume(self, entry: Entry, recovered: bool, now: float, actions: list[Action]) -> bool:
        """Let ``entry`` leave the line; return whether it is to be fetched."""
        entry.is_in_line = False
        if recovered and entry.activity == FETCHING and entry.lease is None:
            return True  # what is under way was sent to a store that was away
        # A pause that the store asked for on account of this document is longer than a step.
        if recovered and entry.activity == WAITING and entry.retry_at <= now + BACKOFF_CAP:
            entry.move("recovered")
            entry.retry_at = 0.0
            if entry.holders and entry.is_renewal_due(now) and now < entry.end_at:
                # Even late: if what is granted is little, its replacement is fetched at once.
                self._renew(entry, now, actions)
            elif entry.holders and condition(entry, now) != FRESH:
                return True
        self.agenda.put(entry)
        return False

    # Leases --------------------------------------------------------------------------------------

    def _renew(self, entry: Entry, now: float, actions: list[Action]) -> None:
        store = self._store(entry.id.store)
        patience = None
        if not store.lets(entry.id):
            store.stand_in_line(entry)
            if not store.can_probe(now):
                return
            patience = store.begin(entry.id, now)
        entry.move("renew")
        entry.in_flight_until = now + self._timeout
        entry.renew_at = None
        assert entry.lease is not None
        actions.append(Renew(entry.id, entry.lease, patience))

    def _renewed(self, event: Renewed, now: float, actions: list[Action]) -> None:
        store = self._store(event.id.store)
        outcome = event.outcome
        recovered = self._heard(store, {event.id: outcome}, now)
        entry = self._entries.get(event.id)
        if entry is not None and entry.lease is not None:
            if event.lease is None or event.lease.id == entry.lease.id:
                self._take_terms(entry, outcome, store, now)
            self.agenda.put(entry)
        self._follow(store, recovered, now, actions)
        if entry is not None and entry.holders and now >= entry.due_at:
            self._need([id for id in (entry.id,) if self._is_needed(id, now)], now, actions)

    def _take_terms(
        self, entry: Entry, outcome: Lease | SecretBridgeError, store: Store, now: float
    ) -> None:
        if isinstance(outcome, Lease):
            # Also when it comes after it had been given up: the lease lives on all the same.
            store.queued.pop(entry.id, None)
            if entry.activity in (RENEWING, QUEUED, WAITING):
                entry.move("renewed")
            entry.extend(outcome, self._random(), now)
        elif entry.activity == RENEWING:
            entry.move("lost")
            if is_outage(outcome) or (outcome.is_transient and not withdraws(outcome)):
                entry.failures += 1
                entry.error = outcome
                wait = delay(BACKOFF_BASE, BACKOFF_CAP, entry.failures, self._random)
                entry.renew_at = store.retry_at if store.is_away else now + wait
                entry.retry_at = 0.0
                if store.is_away:
                    store.stand_in_line(entry)
            else:
                entry.due_at = entry.retry_at = now  # it is gone: only a new credential helps

    # Time ----------------------------------------------------------------------------------------

    def _tick(self, now: float, actions: list[Action]) -> None:
        needed: list[DocumentId] = []
        for entry in self.agenda.due(now):
            is_busy = entry.activity in (FETCHING, QUEUED, RENEWING)
            if is_busy and now >= entry.in_flight_until:
                self._abandoned(entry, now)
            elif self._is_needed(entry.id, now):
                needed.append(entry.id)
                continue
            elif entry.is_renewal_due(now):
                self._renew(entry, now, actions)
            self.agenda.put(entry)
        for name in {id.store for id in needed}:
            needed += self._stores[name].companions(self._entries, set(needed), now)
        self._need(needed, now, actions)
        for store in self._stores.values():
            if (at := store.next_probe()) is not None and now >= at:
                self._probe(store, now, actions)

    def _abandoned(self, entry: Entry, now: float) -> None:
        self._store(entry.id.store).ended(entry.id)
        pause = delay(BACKOFF_BASE, BACKOFF_CAP, 1, self._random)
        self._wait(entry, never_came_back(entry.id), now + pause, now)

    def _store(self, name: str) -> Store:
        return self._stores.get(name) or self._stores.setdefault(name, Store(self._timeout))
