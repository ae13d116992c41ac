"""The broker: names and references in, secrets out. The only place that performs the engine's actions.

Reading is lock-free while a value is fresh: one look-up and one comparison with the clock. What is
due is served at once and refreshed behind; what is missing is fetched once, however many readers ask.

A forked child starts over. The lock is taken around ``fork``, so the engine is never copied half
changed; in the child every backend drops its connections, because a socket shared with the parent
can hand out another process's answer, and the refreshing thread is started again if it is needed.
"""

from __future__ import annotations

import os
import time

from ._driver import EXIT_SECONDS, SERVABLE, Driver
from ._fork import watch_forks
from ._stores import Stores
from ._subscribers import Subscriber
from .backends import Deadline
from .document import Document, select_held
from .engine import FRESH, STALE, Engine, Entry, Policy, condition
from .errors import ConfigError, DeadlineExceeded, SecretBridgeError, SecretExpired, SecretMissing
from .events import Changed
from .reference import Reference
from .secret import Secret
from .snapshot import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, NoReturn, Self

    from .backends import Backend
    from .config import Config
    from .reference import DocumentId

__all__ = ["Broker"]

_MAX_HOT = 100_000
"""Cached keys at most. References that an application builds at run time must not grow without end."""


def _random() -> float:
    # The module `random` costs more to import than everything a first get needs.
    return int.from_bytes(os.urandom(7), "big") / (1 << 56)


class Broker:
    """Resolves names and references, caches what it gets, and keeps it fresh.

    ``stores`` are backends by store name, ``configured`` the backend name and options of stores that
    are made when they are first used; a backend's default store works without being listed.
    ``secrets`` maps names to references, parsed or as text. ``refresh`` and ``max_stale`` are in
    seconds: how old a value may become before it is fetched again, and how long after that it is
    still served while its store is away; ``policies`` gives single names their own. ``timeout``
    bounds every read that needs a store, in seconds. ``clock`` (monotonic seconds), ``wall``
    (seconds since the epoch) and ``random`` are there for tests.

    >>> from secretbridge.testing import FakeBackend
    >>> store = FakeBackend()
    >>> store.put("app/db", "hunter2")
    '1'
    >>> with Broker({"fake": store}, {"db_password": "fake:app/db"}) as broker:
    ...     broker.get("db_password").reveal()
    'hunter2'
    """

    def __init__(
        self,
        stores: Mapping[str, Backend] | None = None,
        secrets: Mapping[str, Reference | str] | None = None,
        *,
        refresh: float = 300.0,
        max_stale: float = 3600.0,
        timeout: float = 10.0,
        policies: Mapping[str, Policy] | None = None,
        configured: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        random: Callable[[], float] = _random,
    ) -> None:
        self._stores = Stores(stores or {}, configured or {})
        self._names = {
            name: Reference.parse(ref) if isinstance(ref, str) else ref
            for name, ref in (secrets or {}).items()
        }
        self._policy = Policy(refresh, max_stale)
        self._policies = dict(policies or {})
        self._timeout = timeout
        self._clock = clock
        self._wall = wall
        self._hot: dict[str, tuple[Secret, float]] = {}
        self._known: dict[str, tuple[Reference, DocumentId]] = {}
        self._keys: dict[DocumentId, set[str]] = {}
        self._subscribers: dict[DocumentId, list[Subscriber]] = {}
        self._watchers: dict[DocumentId, list[Callable[[], object]]] = {}
        self._closed = False
        self._driver = Driver(
            Engine(random),
            backend=self._stores.get,
            settled=self._settled,
            notify=self._notified,
            clock=clock,
            timeout=timeout,
        )
        watch_forks(self)

    @classmethod
    def from_config(cls, config: Config | str | os.PathLike[str] | None = None) -> Broker:
        """Make a broker from a configuration: loaded, a path, or None for the usual places.

        Raises :class:`ConfigError` that lists every mistake of the file.
        """
        if config is None or isinstance(config, (str, os.PathLike)):
            from .config import load_config

            config = load_config(config)
        return cls(
            secrets={name: entry.reference for name, entry in config.secrets.items()},
            refresh=config.cache.refresh,
            max_stale=config.cache.max_stale,
            policies={
                name: Policy(
                    config.cache.refresh if entry.refresh is None else entry.refresh,
                    config.cache.max_stale if entry.max_stale is None else entry.max_stale,
                )
                for name, entry in config.secrets.items()
            },
            configured={name: (s.backend, s.options) for name, s in config.stores.items()},
        )

    # Reading -------------------------------------------------------------------------------------

    def get(self, key: str) -> Secret:
        """Return the secret called ``key``: a name of the configuration, or a reference.

        Raises the :class:`SecretBridgeError` that says why there is none; a cached value is served
        while its store is away, within ``max_stale``.
        """
        hot = self._hot.get(key)
        if hot is not None and self._clock() < hot[1]:
            return hot[0]
        outcome = self.resolve((key,))[key]
        if isinstance(outcome, SecretBridgeError):
            raise outcome
        return outcome

    def get_many(self, keys: Iterable[str]) -> dict[str, Secret]:
        """Return several secrets; those of one document or one store are fetched together.

        A missing secret whose reference says ``optional`` is left out. Raises the first other error.
        """
        return _values(self.resolve(keys))

    async def aget(self, key: str) -> Secret:
        """As :meth:`get`, for asyncio: a cached value without a thread, else without blocking."""
        hot = self._hot.get(key)
        if hot is not None and self._clock() < hot[1]:
            return hot[0]
        outcome = (await self.aresolve((key,)))[key]
        if isinstance(outcome, SecretBridgeError):
            raise outcome
        return outcome

    async def aget_many(self, keys: Iterable[str]) -> dict[str, Secret]:
        """As :meth:`get_many`, for asyncio."""
        return _values(await self.aresolve(keys))

    def resolve(self, keys: Iterable[str]) -> dict[str, Secret | SecretBridgeError]:
        """Return for each key its secret or the error that explains why there is none."""
        outcomes, targets = self._targets(keys)
        self._driver.read([id for _, id in targets.values()], self._timeout)
        return self._collect(outcomes, targets)

    async def aresolve(self, keys: Iterable[str]) -> dict[str, Secret | SecretBridgeError]:
        """As :meth:`resolve`, for asyncio."""
        outcomes, targets = self._targets(keys)
        await self._driver.aread([id for _, id in targets.values()], self._timeout)
        return self._collect(outcomes, targets)

    def prefetch(self, keys: Iterable[str] | None = None) -> None:
        """Fetch ``keys`` (default: every configured name) now, so that later reads find them cached.

        Raises the first error, after everything that can be fetched has been.
        """
        _values(self.resolve(self._names if keys is None else keys))

    def snapshot(self) -> Snapshot:
        """Return all configured secrets, each document in one version, as a context manager.

        Within it a certificate and its key are always from one issue, whatever rotates meanwhile.
        Raises the first error.
        """
        return Snapshot(_values(self.resolve(self._names)))

    def names(self) -> list[str]:
        """Return the configured names."""
        return list(self._names)

    # Rotation ------------------------------------------------------------------------------------

    def on_change(self, key: str, callback: Callable[[Secret], object]) -> Callable[[], None]:
        """Call ``callback(secret)`` after each change of ``key``'s value; return the unsubscriber.

        The secret is kept fresh in the background from now on. Callbacks run one after another in
        the refreshing thread; one that raises is reported to the log by its type and does not
        disturb the others.
        """
        reference, id = self._target(key)
        subscriber = Subscriber(key, reference, callback)
        with self._driver.lock:
            entry = self._driver.entry(id)
            assert entry is not None
            if entry.document is not None:
                subscriber.is_news(entry.document)
            self._subscribers.setdefault(id, []).append(subscriber)
        self._driver.hold([id])

        def unsubscribe() -> None:
            with self._driver.lock:
                remaining = self._subscribers.get(id, [])
                if subscriber not in remaining:
                    return
                remaining.remove(subscriber)
            self._driver.release([id])

        return unsubscribe

    def watch(self, keys: Iterable[str], wake: Callable[[], object]) -> Callable[[], None]:
        """Keep ``keys`` fresh and call ``wake()`` when one gets, changes or loses its value.

        All are fetched at once, in the background. ``wake`` runs in the refreshing thread and must
        only set a flag or write to a pipe. Returns the function that ends it. For one value and its
        new secret use :meth:`on_change`.
        """
        ids = list(dict.fromkeys(self._target(key)[1] for key in keys))
        with self._driver.lock:
            for id in ids:
                self._watchers.setdefault(id, []).append(wake)
        self._driver.hold(ids)

        def unwatch() -> None:
            with self._driver.lock:
                held = [id for id in ids if wake in self._watchers.get(id, ())]
                for id in held:
                    self._watchers[id].remove(wake)
            self._driver.release(held)

        return unwatch

    def refresh(self, keys: Iterable[str] | None = None) -> None:
        """Have ``keys`` (default: all that are cached) looked up again soon, in the background."""
        with self._driver.lock:
            if keys is None:
                ids = list(self._keys)
        if keys is not None:
            ids = [self._target(key)[1] for key in keys]
        self._driver.submit(Changed(ids))

    def status(self) -> list[dict[str, object]]:
        """Return for each configured name what is known without asking any store. No values."""
        now = self._clock()
        rows = []
        for name, reference in self._names.items():
            with self._driver.lock:
                entry = self._driver.entry(reference.document) or Entry(
                    reference.document, self._policy
                )
                rows.append({"name": name, "reference": str(reference), **entry.describe(now)})
        return rows

    def stores(self) -> list[dict[str, object]]:
        """Return for each store in use who it takes us for, for how long, and what is due next.

        Logs in where that has not happened yet. ``who`` is never a credential; times in seconds.
        """
        schemes = {ref.store: ref.scheme for ref in self._names.values()}
        return [self._store_row(store, scheme) for store, scheme in sorted(schemes.items())]

    def _store_row(self, store: str, scheme: str) -> dict[str, object]:
        row: dict[str, object] = {"store": store, "backend": scheme, "who": None, "until": None}
        error: SecretBridgeError | None = None
        try:
            found = self._stores.identity(store, scheme, Deadline(self._timeout, self._clock))
            if found is not None:
                row |= {"who": found.who, "until": found.until}
        except SecretBridgeError as caught:
            error = caught
        now = self._clock()
        with self._driver.lock:
            entries = [self._driver.entry(id) for id in self._driver.engine.ids(store)]
            times = [e.next_time() - now for e in entries if e is not None and e.document]
        row["due_in"] = min(times, default=None)
        row["error"] = error.message if error is not None else None
        return row

    def close(self, *, keep_leases: bool = False) -> None:
        """Stop refreshing, give leases back, close every connection and forget all values.

        With ``keep_leases`` dynamic credentials stay valid until their leases end, for those who
        still use what was handed to them (files, for instance).
        """
        self._closed = True
        self._driver.close(keep_leases=keep_leases)
        deadline = Deadline(EXIT_SECONDS, self._clock)
        self._stores.close(keep_leases=keep_leases, deadline=deadline)
        self._hot.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Broker of {len(self._names)} names>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Broker cannot be copied into another process; make one there")

    # Names to documents --------------------------------------------------------------------------

    def _target(self, key: str) -> tuple[Reference, DocumentId]:
        """Return the reference and document of ``key``, making both known."""
        known = self._known.get(key)
        if known is not None:
            return known
        if self._closed:
            raise ConfigError("this broker is closed", hint="keep it open as long as it is used")
        reference = self._names.get(key)
        if reference is None:
            if ":" not in key:
                # The key is not repeated: what is neither a name nor a reference may be a value.
                raise ConfigError("no secret of this name is configured", hint=self._suggest(key))
            reference = Reference.parse(key)
        id = reference.document
        self._stores.check(reference)
        with self._driver.lock:
            if len(self._known) >= _MAX_HOT:
                self._known.clear()
                self._hot.clear()
            self._driver.engine.add(id, self._policies.get(key, self._policy))
            self._keys.setdefault(id, set()).add(key)
            self._known[key] = reference, id
        return reference, id

    def _targets(
        self, keys: Iterable[str]
    ) -> tuple[dict[str, Secret | SecretBridgeError], dict[str, tuple[Reference, DocumentId]]]:
        outcomes: dict[str, Secret | SecretBridgeError] = {}
        targets: dict[str, tuple[Reference, DocumentId]] = {}
        for key in keys:
            try:
                targets[key] = self._target(key)
            except SecretBridgeError as error:
                outcomes[key] = error
        return outcomes, targets

    def _suggest(self, name: str) -> str:
        from difflib import get_close_matches

        close = get_close_matches(name, self._names, n=1)
        if close:
            return f"did you mean {close[0]!r}?"
        return "add it under 'secrets:' in the configuration, or pass a reference"

    # Documents to secrets ------------------------------------------------------------------------

    def _collect(
        self,
        outcomes: dict[str, Secret | SecretBridgeError],
        targets: Mapping[str, tuple[Reference, DocumentId]],
    ) -> dict[str, Secret | SecretBridgeError]:
        """Turn what the engine knows into secrets, all under one lock: one version per document."""
        with self._driver.lock:
            now = self._clock()
            for key, (reference, id) in targets.items():
                entry = self._driver.entry(id)
                assert entry is not None
                state = condition(entry, now)
                if state in SERVABLE and entry.document is not None:
                    outcomes[key] = self._secret(key, reference, entry, entry.document, state, now)
                else:
                    outcomes[key] = self._explain(reference, entry, now)
        return outcomes

    def _secret(
        self,
        key: str,
        reference: Reference,
        entry: Entry,
        document: Document,
        state: str,
        now: float,
    ) -> Secret | SecretBridgeError:
        hot = self._hot.get(key)
        is_stale = state == STALE
        if hot is not None and now < hot[1]:
            return hot[0]
        try:
            value = select_held(document, reference)
        except SecretBridgeError as error:
            return error.about(reference, reference.store)
        is_leased = entry.lease is not None or document.lifetime is not None
        secret = Secret(
            value,
            name=key,
            reference=reference,
            version=document.version,
            expires=self._wall() + entry.end_at - now if is_leased else None,
            stale=is_stale,
            is_line=document.is_line and reference.selector is None,
        )
        # Until then the answer stays the same: a call that ends earlier removes the cached secret.
        until = entry.due_at if state == FRESH else max(entry.retry_at, entry.in_flight_until)
        self._hot[key] = secret, min(until, entry.end_at)
        return secret

    def _explain(self, reference: Reference, entry: Entry, now: float) -> SecretBridgeError:
        """Return why there is no value to serve, as an error of its own for this reader."""
        if entry.document is not None and now >= entry.end_at:
            because = f" ({entry.error.message})" if entry.error is not None else ""
            return SecretExpired(
                f"the last good value is too old to be served{because}",
                reference=reference,
                store=reference.store,
                hint="bring the store back; raise cache.max_stale to bridge longer outages",
            )
        if entry.error is not None:
            return entry.error.about(reference, reference.store)
        return DeadlineExceeded(
            f"no answer within {self._timeout:g} s",
            reference=reference,
            store=reference.store,
            hint="check that the store is reachable and not overloaded",
        )

    # What the driver calls -----------------------------------------------------------------------

    def _settled(self, ids: Iterable[DocumentId]) -> None:
        for id in ids:
            for key in self._keys.get(id, ()):
                self._hot.pop(key, None)

    def _notified(self, id: DocumentId, document: Document | None) -> None:
        with self._driver.lock:
            subscribers = list(self._subscribers.get(id, ()))
            watchers = list(self._watchers.get(id, ()))
        for wake in watchers:
            wake()
        if document is None:
            return  # withdrawn: readers get the error, and subscribers the next value
        for subscriber in subscribers:
            if subscriber.is_news(document):
                outcome = self.resolve((subscriber.key,))[subscriber.key]
                if isinstance(outcome, Secret):
                    subscriber.call(outcome)

    # Fork ----------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Take every lock, so that the child's copy is between two decisions."""
        self._stores.before_fork()
        self._driver.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._driver.after_fork_in_parent()
        self._stores.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Start over: fresh locks, no connections, no calls under way."""
        self._stores.after_fork_in_child()
        self._hot.clear()
        self._driver.after_fork_in_child()


def _values(outcomes: Mapping[str, Secret | SecretBridgeError]) -> dict[str, Secret]:
    found: dict[str, Secret] = {}
    for key, outcome in outcomes.items():
        if isinstance(outcome, Secret):
            found[key] = outcome
        elif not (
            isinstance(outcome, SecretMissing)
            and isinstance(outcome.reference, Reference)
            and outcome.reference.optional
        ):
            raise outcome
    return found
