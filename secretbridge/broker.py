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

from ._broker.cache import Cache, values
from ._broker.driver import Driver
from ._broker.exit import close, close_at_exit
from ._broker.fork import ensure_own_process, watch_forks
from ._broker.former import Former
from ._broker.stores import Stores
from .backends import Deadline
from .engine import Engine, Policy
from .errors import SecretBridgeError
from .events import Changed, Unused
from .reference import Reference
from .secret import Secret

TYPE_CHECKING = False
# What a first get does not need is imported by the methods that do: each module costs a tenth of a ms.
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from typing import Any, NoReturn, Self

    from ._broker.calls import Witness
    from ._broker.changes import Changes
    from ._broker.early import Early
    from ._broker.handle import Handle
    from ._broker.moments import Moments
    from ._broker.snapshot import Snapshot
    from ._broker.subscribers import Subscribers
    from .backends import Backend
    from .config import Config
    from .reference import DocumentId

    Progress = Callable[[int, int], object]

__all__ = ["Broker"]


_UNTIL_TOLD = 1e9
"""A grace in seconds that no lease outlives."""


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
    bounds every read that needs a store, in seconds. ``grace`` is how long after a rotation the
    former value counts as still accepted, and how long its lease is left alive, in seconds;
    ``refresh_floor`` the least time between two early refreshes of one document, in seconds. With
    ``keep_replaced`` a replaced lease lives until :meth:`give_back`, or nearly to its end.
    ``witness`` is told of each call to a store before anybody gets its result: an audit log, for
    instance (:class:`secretbridge.audit.LogWitness`).
    ``clock`` (monotonic seconds), ``wall`` (seconds since the epoch) and ``random`` are for tests.

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
        grace: float = 30.0,
        refresh_floor: float = 1.0,
        keep_replaced: bool = False,
        policies: Mapping[str, Policy] | None = None,
        configured: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
        witness: Witness | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        random: Callable[[], float] = _random,
    ) -> None:
        self._stores = Stores(stores or {}, configured or {})
        self._timeout = timeout
        self._clock = clock
        former = Former(grace)
        self._driver = Driver(
            Engine(random, grace=_UNTIL_TOLD if keep_replaced else grace),
            backend=self._stores.get,
            settled=lambda ids: self._cache.forget(ids),
            notify=self._notify,
            former=former,
            clock=clock,
            timeout=timeout,
            witness=witness,
        )
        self._cache = Cache(
            self._driver,
            self._stores,
            former,
            names={
                name: Reference.parse(ref) if isinstance(ref, str) else ref
                for name, ref in (secrets or {}).items()
            },
            policy=Policy(refresh, max_stale),
            policies=policies or {},
            clock=clock,
            wall=wall,
            timeout=timeout,
        )
        self._hot = self._cache.hot
        self._refresh_floor = refresh_floor
        self._subscribed: Subscribers | None = None
        self._refreshed_early: Early | None = None
        watch_forks(self)
        close_at_exit(self)

    @classmethod
    def from_config(
        cls,
        config: Config | str | os.PathLike[str] | None = None,
        *,
        store: str | None = None,
        keep_replaced: bool = False,
        witness: Witness | None = None,
    ) -> Broker:
        """Make a broker from a configuration: loaded, a path, or None for the usual places.

        ``store``: of that store's secrets alone. ``keep_replaced`` is as for the class. Raises
        :class:`ConfigError` that lists every mistake of the file.
        """
        from ._broker.configured import loaded, named

        config = loaded(config)
        names, policy, policies = named(config, store)
        return cls(
            secrets=names,
            refresh=policy.refresh,
            max_stale=policy.max_stale,
            grace=config.cache.grace,
            refresh_floor=config.cache.refresh_floor,
            keep_replaced=keep_replaced,
            policies=policies,
            configured={name: (s.backend, s.options) for name, s in config.stores.items()},
            witness=witness,
        )

    def reconfigure(
        self, config: Config | str | os.PathLike[str] | None, *, store: str | None = None
    ) -> Callable[[], None]:
        """Have the names and intervals of ``config``, whose stores are those of this broker.

        Documents that both have stay as they are: values, leases, calls under way. So does what no
        name leads to any more, until the function is called that this returns: then it is forgotten,
        and its leases are given back. ``store`` is as in :meth:`from_config`.
        """
        from ._broker.configured import loaded, named
        from ._broker.renaming import rename

        return rename(self._driver, self._cache, *named(loaded(config), store), self._clock())

    # Reading -------------------------------------------------------------------------------------

    def get(self, key: str) -> Secret:
        """Return the secret called ``key``: a name of the configuration, or a reference.

        Raises the :class:`SecretBridgeError` that says why there is none; a cached value is served
        while its store is away, within ``max_stale``.
        """
        try:
            secret = self._hot[key]
            if self._clock() < secret._until:
                return secret
        except KeyError:
            pass
        outcome = self.resolve((key,))[key]
        if isinstance(outcome, SecretBridgeError):
            raise outcome
        return outcome

    def get_many(self, keys: Iterable[str]) -> dict[str, Secret]:
        """Return several secrets; those of one document or one store are fetched together.

        A missing secret whose reference says ``optional`` is left out. Raises the first other error.
        """
        return values(self.resolve(keys))

    async def aget(self, key: str) -> Secret:
        """As :meth:`get`, for asyncio: a cached value without a thread, else without blocking."""
        hot = self._hot.get(key)
        if hot is not None and self._clock() < hot._until:
            return hot
        outcome = (await self.aresolve((key,)))[key]
        if isinstance(outcome, SecretBridgeError):
            raise outcome
        return outcome

    async def aget_many(self, keys: Iterable[str]) -> dict[str, Secret]:
        """As :meth:`get_many`, for asyncio."""
        return values(await self.aresolve(keys))

    def resolve(self, keys: Iterable[str]) -> dict[str, Secret | SecretBridgeError]:
        """Return for each key its secret or the error that explains why there is none."""
        outcomes, targets = self._cache.targets(keys)
        self._driver.read([id for _, id in targets.values()], self._timeout)
        return self._cache.collect(outcomes, targets)

    async def aresolve(self, keys: Iterable[str]) -> dict[str, Secret | SecretBridgeError]:
        """As :meth:`resolve`, for asyncio."""
        outcomes, targets = self._cache.targets(keys)
        await self._driver.aread([id for _, id in targets.values()], self._timeout)
        return self._cache.collect(outcomes, targets)

    def prefetch(self, keys: Iterable[str] | None = None, progress: Progress | None = None) -> None:
        """Fetch ``keys`` (default: every configured name) now, so that later reads find them cached.

        ``progress(done, total)`` is called first with 0, then whenever more of the keys are there or
        have failed. Raises the first error, after everything that can be fetched has been.
        """
        from ._broker.prefetch import rounds

        outcomes: dict[str, Secret | SecretBridgeError] = {}
        for part in rounds(self._cache, keys, progress, outcomes):
            outcomes |= self.resolve(part)
        values(outcomes)

    async def aprefetch(
        self, keys: Iterable[str] | None = None, progress: Progress | None = None
    ) -> None:
        """As :meth:`prefetch`, for asyncio."""
        from ._broker.prefetch import rounds

        outcomes: dict[str, Secret | SecretBridgeError] = {}
        for part in rounds(self._cache, keys, progress, outcomes):
            outcomes |= await self.aresolve(part)
        values(outcomes)

    def snapshot(self, keys: Iterable[str] | None = None) -> Snapshot:
        """Return ``keys`` (default: every configured name) as they are together at one moment.

        Fields of one document are of one version, and files of one volume of one generation: a
        certificate and its key always match, whatever rotates meanwhile. Raises the first error.
        """
        from ._broker.snapshot import Snapshot

        keys = list(self._cache.names if keys is None else keys)
        self.resolve(keys)
        return Snapshot(values(self._driver.turns.run(self._moments().of(keys))))

    async def asnapshot(self, keys: Iterable[str] | None = None) -> Snapshot:
        """As :meth:`snapshot`, for asyncio."""
        from ._broker.snapshot import Snapshot

        keys = list(self._cache.names if keys is None else keys)
        await self.aresolve(keys)
        return Snapshot(values(await self._driver.turns.arun(self._moments().of(keys))))

    def _moments(self) -> Moments:
        from ._broker.moments import Moments

        return Moments(
            self._driver, self._cache, self._stores, clock=self._clock, timeout=self._timeout
        )

    def handle(self, key: str) -> Handle:
        """Bind ``key`` once, for the parts of an application that live longer than one value.

        Asks no store. Raises :class:`SecretBridgeError` for an unknown name or a bad reference.
        """
        from ._broker.handle import Handle

        return Handle(self, key)

    def names(self) -> list[str]:
        """Return the configured names."""
        return list(self._cache.names)

    # Rotation ------------------------------------------------------------------------------------

    def on_change(
        self,
        key: str,
        callback: Callable[[Secret], object] | Callable[[Secret], Coroutine[Any, Any, object]],
    ) -> Callable[[], None]:
        """Call ``callback(secret)`` after each change of ``key``'s value; return the unsubscriber.

        The secret is kept fresh in the background from now on. A function is called in a thread of
        the broker, one after another; a coroutine function in the event loop that is running now
        (:class:`TypeError` without one), never twice at a time. A callback that raises is reported
        to the log by its type and does not disturb the others.
        """
        return self._subscribers.call(key, callback)

    def changes(self, keys: Iterable[str] | None = None) -> Changes:
        """Return a stream of the changes of ``keys`` (default: every configured name) from now on.

        For ``for`` and ``async for``; it keeps one :class:`Change` per name at most.
        """
        return self._subscribers.stream(list(self._cache.names) if keys is None else keys)

    def watch(self, keys: Iterable[str], wake: Callable[[], object]) -> Callable[[], None]:
        """Keep ``keys`` fresh and call ``wake()`` when one gets, changes or loses its value.

        All are fetched at once, in the background. ``wake`` runs in whatever thread has noticed and
        must only set a flag or write to a pipe. Returns the function that ends it. For one value and
        its new secret use :meth:`on_change`.
        """
        return self._subscribers.watch(keys, wake)

    def refresh(self, keys: Iterable[str] | None = None, *, timeout: float = 0.0) -> None:
        """Have ``keys`` (default: all that are cached) looked up again now, in the background.

        With ``timeout``, wait that many seconds at most until they have been.
        """
        if keys is None:
            with self._driver.lock:
                ids = self._cache.ids()
        else:
            ids = [self._cache.target(key)[1] for key in keys]
        self._driver.submit(Changed(ids))
        if timeout:
            self._driver.settle(ids, timeout)

    def report_rejected(self, key: str, rejected: Secret | None = None) -> bool:
        """Say that a login with ``key`` failed: a newer value is looked for, in the background.

        Returns whether that was started. It is not when ``rejected`` is no longer the current value,
        when the document was looked up early within ``refresh_floor``, or while its store is away:
        however often this is called, it can cause no storm.
        """
        return self._early.report(key, rejected)

    def replacement(self, key: str, rejected: Secret, timeout: float = 2.0) -> Secret:
        """Return the value that replaces ``rejected``, waiting ``timeout`` seconds for it at most.

        As :meth:`report_rejected`, and then waits until the value differs from ``rejected``; when
        the time is over the current one is returned as it is. Raises as :meth:`get` when there is
        none.
        """
        return self._driver.turns.run(self._early.replacement(key, rejected, timeout))

    async def areplacement(self, key: str, rejected: Secret, timeout: float = 2.0) -> Secret:
        """As :meth:`replacement`, for asyncio."""
        return await self._driver.turns.arun(self._early.replacement(key, rejected, timeout))

    def wait_for(
        self, key: str, version: str | int | None = None, timeout: float | None = None
    ) -> Secret:
        """Return the secret of ``key`` once it has ``version``, or a later one where they are counted.

        Without ``version``: once it has another value than now. The store is asked early meanwhile,
        at first each ``refresh_floor``, then ever more slowly. Raises :class:`DeadlineExceeded` after
        ``timeout`` seconds (None: never), or the error that says why there is no value at all.
        """
        return self._driver.turns.run(self._early.newer(key, version, timeout))

    async def await_for(
        self, key: str, version: str | int | None = None, timeout: float | None = None
    ) -> Secret:
        """As :meth:`wait_for`, for asyncio."""
        return await self._driver.turns.arun(self._early.newer(key, version, timeout))

    def replaced(self) -> list[str]:
        """Return the ids of leases that were replaced and live on for those who still use them.

        Whatever is read after this call holds none of them: they were replaced before.
        """
        with self._driver.lock:
            return self._driver.engine.replaced()

    def give_back(self, leases: Iterable[str]) -> None:
        """Say that nobody uses these replaced leases any more: they are given back, in the background.

        Those that have been already, or have ended, are passed over.
        """
        self._driver.submit(Unused(leases))

    @property
    def _subscribers(self) -> Subscribers:
        if self._subscribed is None:
            from ._broker.subscribers import Subscribers

            made = Subscribers(self._driver, self._cache)
            with self._driver.lock:
                self._subscribed = self._subscribed or made
        return self._subscribed

    @property
    def _early(self) -> Early:
        if self._refreshed_early is None:
            from ._broker.early import Early

            made = Early(self._driver, self._cache, floor=self._refresh_floor, clock=self._clock)
            with self._driver.lock:
                self._refreshed_early = self._refreshed_early or made
        return self._refreshed_early

    def _notify(self, ids: Sequence[DocumentId]) -> None:
        if self._subscribed is not None:
            self._subscribed.notify(ids)

    # What is going on ----------------------------------------------------------------------------

    def status(self) -> list[dict[str, object]]:
        """Return for each configured name what is known without asking any store. No values.

        Each row has ``name``, ``reference``, ``state`` (``fresh``, ``due``, ``stale``, ``expired`` or
        ``empty``), ``version``, ``age``, ``confirmed`` (since the store last gave or prolonged it),
        ``stale_for`` (overdue because the store fails), ``due_in`` and ``ends_in`` (seconds; the last
        one for leases and certificates only), ``activity``, ``held`` (kept fresh in the background)
        and ``error``.
        """
        from ._broker.status import secret_rows

        return secret_rows(self._driver, self._cache, self._clock())

    def stores(self) -> list[dict[str, object]]:
        """Return for each store in use who it takes us for, for how long, and what is due next.

        Logs in where that has not happened yet. ``who`` is never a credential; times in seconds.
        ``news`` says how changes are noticed, where a store can tell of them by itself.
        """
        from ._broker.status import store_rows

        deadline = Deadline(self._timeout, self._clock)
        return store_rows(self._driver, self._cache, self._stores, deadline, self._clock())

    def close(self, *, keep_leases: bool = False) -> None:
        """Stop refreshing, give leases back, close every connection and forget all values.

        With ``keep_leases`` dynamic credentials stay valid until their leases end, for those who
        still use what was handed to them (files, for instance).
        """
        close([self], keep_leases=keep_leases)

    def _stop(self, deadline: Deadline, *, keep_leases: bool, forget: bool) -> None:
        ensure_own_process()
        self._driver.close(deadline, keep_leases=keep_leases)
        if forget:
            self._cache.close()
            self._driver.forget_all()

    def _disconnect(self, deadline: Deadline, *, keep_leases: bool) -> None:
        self._stores.close(keep_leases=keep_leases, deadline=deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Broker of {len(self._cache.names)} names>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Broker cannot be copied into another process; make one there")

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
        if self._subscribed is not None:
            self._subscribed.after_fork_in_child()
