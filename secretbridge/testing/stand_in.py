"""A stand-in for every store of the process: what the fixture ``secretbridge_fake`` is.

While it stands in, every broker that is made gets its documents from fakes, whatever its
configuration says about stores, and reads the test's clock: the one behind ``secretbridge.get`` and
those that an application makes for itself. Names and references stay as they are. What a test
changes is news: each broker that had the old value has taken in the new one, and has called back
whoever wanted to know, when the changing method returns. Nothing here depends on luck or sleeps.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from secrets import token_hex
from typing import Any, Self

import secretbridge

from .._broker import start
from .._find import find_config
from ..backends import Backend, backend_names
from ..broker import Broker
from ..errors import BackendUnavailable, SecretBridgeError
from ..reference import Reference
from ._bodies import changed
from ._settling import settle, wait_until_seen
from ._stand_in_client import Client
from .clock import FakeClock
from .fake import FakeBackend

__all__ = ["FakeSecrets"]

_PAUSE = 7.0
"""Seconds after which a broker has asked again in any case, whatever a store had answered."""

_STEPS = 1000
"""Events that :meth:`FakeClock.advance` lets happen one after another, at most."""


class FakeSecrets:
    """Every store of the process, as a test says. Use the fixture, a ``with`` block, or :meth:`start`.

    A key is a name or a reference. The value of a name that no configuration has is kept at
    ``fake:NAME``; with a selector a value is one field of its document.

    >>> import secretbridge
    >>> from secretbridge.testing import FakeSecrets
    >>> with FakeSecrets() as fake:
    ...     fake["db_password"] = "one"
    ...     fake["vault:kv/app/mail#password"] = "two"
    ...     first = [secretbridge.get("db_password").reveal()]
    ...     version = fake.rotate("db_password", "three")
    ...     [*first, secretbridge.get("db_password").reveal(), version]
    ['one', 'three', '2']
    """

    def __init__(self) -> None:
        self.clock: FakeClock = FakeClock(self._advance)
        self._stores: dict[str, FakeBackend] = {}
        self._names: dict[str, Reference] = {}
        self._clients: weakref.WeakKeyDictionary[Broker, Client] = weakref.WeakKeyDictionary()
        self._others: set[threading.Thread] = set()
        self._is_quiet = False
        self._undo = ExitStack()

    # What a test says of values.

    def put(
        self, key: str, value: str | bytes | None = None, *, lifetime: float | None = None
    ) -> str:
        """Give ``key`` a value (a made-up one by default) and return the new version.

        ``lifetime``: seconds for which the value is valid from when it is fetched.
        """
        reference = self._reference(key)
        store = self.store(reference.store)
        old = store.body(reference.locator)
        body = changed(old, reference, f"made-up-{token_hex(16)}" if value is None else value)
        with self._telling(reference):
            return store.put(reference.locator, body, lifetime=lifetime)

    def __setitem__(self, key: str, value: str | bytes) -> None:
        self.put(key, value)

    def rotate(self, key: str, value: str | bytes | None = None) -> str:
        """As :meth:`put`, for what has a value already. Raises :class:`KeyError` otherwise."""
        reference = self._reference(key)
        if self.store(reference.store).body(reference.locator) is None:
            raise KeyError(f"{key} has no value that could be rotated; put one first")
        return self.put(key, value)

    def remove(self, key: str) -> None:
        """Have no document for ``key``, as if there had never been one."""
        self._change(key, "remove")

    def delete(self, key: str) -> None:
        """Mark the document as deleted: :class:`SecretDeleted`."""
        self._change(key, "delete")

    def deny(self, key: str) -> None:
        """Refuse access: :class:`AccessDenied`, until :meth:`allow`."""
        self._change(key, "deny")

    def allow(self, key: str) -> None:
        """Undo :meth:`deny`."""
        self._change(key, "allow")

    def lease(self, key: str, duration: float, *, renewable: bool = True) -> None:
        """Hand out ``key`` under a lease of ``duration`` seconds from now on."""
        reference = self._reference(key)
        with self._telling(reference):
            self.store(reference.store).lease(reference.locator, duration, renewable=renewable)

    def expire(self, key: str) -> None:
        """End what was handed out: its leases, or where there are none the validity of the value.

        With a lease the next fetch brings a new one. Without, reading raises
        :class:`SecretExpired` until there is a new value.
        """
        reference = self._reference(key)
        store = self.store(reference.store)
        body = store.body(reference.locator)
        if body is None:
            raise KeyError(f"{key} has no value that could expire; put one first")
        with self._telling(reference):
            if store.is_leased(reference.locator):
                store.expire(reference.locator)
            else:
                store.put(reference.locator, body, lifetime=1e-9)

    def quietly(self) -> AbstractContextManager[None]:
        """Return a block in which changes are no news: who has a value keeps it until it is due.

        ``clock.advance`` then brings the change to light, as time does with a store that tells
        nobody.
        """
        return self._quietly()

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        before, self._is_quiet = self._is_quiet, True
        try:
            yield
        finally:
            self._is_quiet = before

    # What a test says of calls.

    def fail(
        self,
        key: str | SecretBridgeError | type[SecretBridgeError] | None = None,
        error: SecretBridgeError | type[SecretBridgeError] = BackendUnavailable,
        times: int | None = None,
    ) -> None:
        """Answer the next ``times`` calls (all, until :meth:`heal`) with ``error``.

        Concerns the store of ``key``, or every store; the key may be left out before the error, as in
        ``fail(AccessDenied, times=1)``. What is cached is served meanwhile; see ``clock.advance``.
        """
        chosen = error if key is None or isinstance(key, str) else key
        if isinstance(chosen, type):
            chosen = chosen("the fake fails", hint="call heal() in the test")
        for store in self._stores_of(key if isinstance(key, str) else None):
            store.fail(chosen, times)

    def delay(self, seconds: float, key: str | None = None) -> None:
        """Take ``seconds`` of the test's clock for each call to the store of ``key``, or to any."""
        for store in self._stores_of(key):
            store.delay(seconds)

    def heal(self, key: str | None = None) -> None:
        """End what :meth:`fail` and :meth:`delay` began."""
        stores = list(self._stores_of(key))
        for store in stores:
            store.heal()
        self.clock.skip(_PAUSE)
        self._look_again(
            document
            for client in self._clients.values()
            for document in client.asked
            if Reference.parse(document).store in {store.store for store in stores}
        )

    @contextmanager
    def hold(self, key: str | None = None) -> Iterator[None]:
        """Let no call to the store of ``key``, or to any, end within the block."""
        with ExitStack() as held:
            for store in self._stores_of(key):
                held.enter_context(store.hold())
            yield

    def fetches(self, key: str) -> int:
        """Return how often the document of ``key`` was fetched, by all brokers together."""
        reference = self._reference(key)
        return self.store(reference.store).fetched[reference.locator]

    def store(self, name: str = "fake") -> FakeBackend:
        """Return the fake that stands in for the store ``name``, for what has no method here."""
        if name not in self._stores:
            self._stores[name] = FakeBackend(name, clock=self.clock, sleep=self.clock.skip)
        return self._stores[name]

    def settle(self) -> None:
        """Return when no broker is busy: calls have ended, callbacks have been called.

        The methods here do this themselves; it is for what the application has begun.
        Raises :class:`TimeoutError` after ten seconds.
        """
        if not self._is_held():
            settle(self._others)

    def _is_held(self) -> bool:
        return any(store.is_held for store in self._stores.values())

    # Standing in.

    def start(self) -> Self:
        """Stand in from now on, until :meth:`stop`; for test classes that have no fixtures.

        >>> import secretbridge
        >>> from secretbridge.testing import FakeSecrets
        >>> fake = FakeSecrets().start()
        >>> fake["db_password"] = "one"
        >>> secretbridge.get("db_password").reveal()
        'one'
        >>> fake.stop()
        """
        return self.__enter__()

    def stop(self) -> None:
        """Undo everything; every broker that was made meanwhile is closed."""
        self._undo.close()

    def __enter__(self) -> Self:
        self._others = set(threading.enumerate())  # what brokers before this one are doing
        self._undo.callback(self._close)
        self._replace(Broker, "__init__", self._faked(Broker.__init__))
        self._replace(start, "default_broker", self._default_broker)
        self._replace(secretbridge, "_default", None)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<FakeSecrets of {len(self._stores)} stores>"

    def _replace(self, owner: Any, name: str, value: object) -> None:
        self._undo.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)

    def _close(self) -> None:
        for store in self._stores.values():
            store.heal()
        for broker in list(self._clients):
            broker.close(keep_leases=True)

    def _faked(self, original: Callable[..., None]) -> Callable[..., None]:
        """Return a constructor that has every store of the broker faked."""

        @functools.wraps(original)
        def make(
            broker: Broker,
            stores: Mapping[str, Backend | FakeSecrets] | None = None,
            secrets: Mapping[str, Reference | str] | None = None,
            *,
            configured: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
            **options: Any,
        ) -> None:
            names = {
                name: Reference.parse(reference) if isinstance(reference, str) else reference
                for name, reference in (secrets or {}).items()
            }
            self._learn(names)
            client = Client(self.store)
            own = {name: store for name, store in (stores or {}).items() if store is not self}
            clients = {name: client.of(name) for name in {*_default_stores(), *(configured or {})}}
            # References to stores that are given but are this fake: `Broker({"fake": fake}, ...)`.
            clients |= {name: client.of(name) for name in (stores or {}) if name not in own}
            options = {
                "clock": self.clock,
                "wall": self.clock.wall,
                "random": lambda: 0.0,  # no chance in when something is due
                **options,
            }
            original(broker, {**clients, **own}, names, configured=configured, **options)
            client.attach(broker, self.clock)
            self._clients[broker] = client

        return make

    def _default_broker(self) -> Broker:
        """Return the broker behind the module's functions: the configured names, and the test's own."""
        if find_config() is None:
            return Broker(secrets=self._names)
        from ..config import Config, SecretConfig, load_config

        found = load_config()
        own = {n: SecretConfig(n, r) for n, r in self._names.items() if n not in found.secrets}
        return Broker.from_config(
            Config(found.path, found.stores, {**own, **found.secrets}, found.cache)
        )

    # Names.

    def _reference(self, key: str) -> Reference:
        if ":" in key:
            return Reference.parse(key)
        known = self._names.get(key)
        if known is None:
            known = self._names[key] = Reference("fake", "fake", key)
            # The broker behind the module's functions does not know it: the next call makes another.
            secretbridge._default = None
        return known

    def _learn(self, names: Mapping[str, Reference]) -> None:
        """Keep values of ``names`` where a broker that has just been made will look for them."""
        for name, reference in names.items():
            known = self._names.get(name)
            if known is None:
                self._names[name] = reference
            elif known != reference and known == Reference("fake", "fake", name):
                self._names[name] = reference
                change = functools.partial(changed, None, reference)
                target = self.store(reference.store)
                self.store(known.store).move(known.locator, target, reference.locator, change)

    # News.

    def _change(self, key: str, verb: str) -> None:
        reference = self._reference(key)
        with self._telling(reference):
            getattr(self.store(reference.store), verb)(reference.locator)

    @contextmanager
    def _telling(self, reference: Reference) -> Iterator[None]:
        """Do what the block does, then have everybody who had the document look at it again."""
        self.settle()  # what is under way still brings the old value
        yield
        if not self._is_quiet:
            self._look_again([str(reference.document)])

    def _look_again(self, documents: Iterable[str]) -> None:
        if self._is_held():
            return  # a test acts while calls are under way
        documents = list(documents)
        for broker, client in list(self._clients.items()):
            known = [document for document in documents if document in client.asked]
            broker.refresh(known)
            self.settle()
            broker.resolve(known)  # asks for what the store had refused
        self.settle()

    def _stores_of(self, key: str | None) -> Iterable[FakeBackend]:
        if key is not None:
            return [self.store(self._reference(key).store)]
        for name in _default_stores():
            self.store(name)
        return list(self._stores.values())

    # Time.

    def _advance(self, seconds: float) -> None:
        """Put the clock ahead from one event to the next, each time as if somebody read everything."""
        end = self.clock() + seconds
        while (left := end - self.clock()) > 0:
            due = min(self._times(), default=left)
            self.clock.skip(min(left, max(due, seconds / _STEPS)))
            self._let_happen()

    def _times(self) -> list[float]:
        """Return in how many seconds something is due next, for each broker and store."""
        rows = [row for broker in list(self._clients) for row in broker.stores()]
        times = [row["due_in"] for row in rows]
        return [time + 1e-3 for time in times if isinstance(time, float) and time > 0]

    def _let_happen(self) -> None:
        wait_until_seen(self.clock.looks, list(self._clients))
        self.settle()
        for broker, client in list(self._clients.items()):
            broker.resolve(list(client.asked))
        self.settle()


@functools.cache
def _default_stores() -> frozenset[str]:
    return frozenset({"fake", *backend_names()})
