"""The cache: names to documents, documents to secrets, and which answers can be given at once.

What is kept for the fast path is one dictionary, ``hot``: key -> secret, which has the time until
which it is the answer. Whoever changes what is known of a document removes its keys from there, under
the driver's lock; readers look without one.
"""

from __future__ import annotations

from .._announce import announce
from ..document import Document, select_held
from ..engine import FRESH, STALE, Policy, condition
from ..errors import (
    ConfigError,
    DeadlineExceeded,
    SecretBridgeError,
    SecretExpired,
    SecretMissing,
)
from ..reference import Reference
from ..secret import Secret
from .fork import ensure_own_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..engine import Entry
    from ..reference import DocumentId
    from .driver import Driver
    from .former import Former
    from .stores import Stores

    Outcome = Secret | SecretBridgeError
    Target = tuple[Reference, DocumentId]

__all__ = ["Cache", "values"]

_MAX_KNOWN = 100_000
"""Known documents at most: what an application builds at run time must not grow without end."""


class Cache:
    """What one broker knows, by key: a configured name or the text of a reference.

    ``policies`` gives single names their own policy; ``clock`` and ``wall`` are seconds, monotonic
    and since the epoch; ``timeout`` is what a reader that got no answer has waited, for the message.
    """

    def __init__(
        self,
        driver: Driver,
        stores: Stores,
        former: Former,
        *,
        names: Mapping[str, Reference],
        policy: Policy,
        policies: Mapping[str, Policy],
        clock: Callable[[], float],
        wall: Callable[[], float],
        timeout: float,
    ) -> None:
        self.hot: dict[str, Secret] = {}
        self.names = names
        self.policy = policy
        self.closed = False
        self._policies = dict(policies)
        self._driver = driver
        self._stores = stores
        self._former = former
        self._clock = clock
        self._wall = wall
        self._timeout = timeout
        self._parsed: dict[str, Reference] = {}
        self._keys: dict[DocumentId, str | tuple[str, ...]] = {}
        """Who reads a document; nearly always it is one, and a tuple for it would be memory for none."""

    # Names to documents --------------------------------------------------------------------------

    def target(self, key: str) -> Target:
        """Return the reference and document of ``key``, making both known.

        Raises :class:`SecretBridgeError` when it is neither a configured name nor a reference to a
        store that there is.
        """
        ensure_own_process()
        return self._target(key)

    def _target(self, key: str) -> Target:
        reference = self.names.get(key) or self._parsed.get(key)
        if reference is None or self.closed:
            reference = self._parse(key)
        id = reference.document
        if key not in self._readers(id):
            self._stores.check(reference)
            self._add(key, reference, id)
        return reference, id

    def _parse(self, key: str) -> Reference:
        if self.closed:
            raise _closed()
        if ":" not in key:
            # The key is not repeated: what is neither a name nor a reference may be a value.
            raise ConfigError("no secret of this name is configured", hint=self._suggest(key))
        return Reference.parse(key)

    def _add(self, key: str, reference: Reference, id: DocumentId) -> None:
        with self._driver.lock:
            if len(self._keys) >= _MAX_KNOWN:
                self._parsed.clear()
                self._keys.clear()
                self.hot.clear()
                self._driver.forget_idle()
            self._driver.engine.add(id, self._policies.get(key, self.policy))
            readers = self._readers(id)
            self._keys[id] = (*readers, key) if readers else key
            if key not in self.names:
                self._parsed[key] = reference

    def targets(self, keys: Iterable[str]) -> tuple[dict[str, Outcome], dict[str, Target]]:
        """Return the errors and the targets of ``keys``."""
        ensure_own_process()
        outcomes: dict[str, Outcome] = {}
        targets: dict[str, Target] = {}
        for key in keys:
            try:
                targets[key] = self._target(key)
            except SecretBridgeError as error:
                outcomes[key] = error
        return outcomes, targets

    def close(self) -> None:
        """Forget everything; whoever asks from now on is told that the broker is closed."""
        with self._driver.lock:
            self.closed = True
            self._parsed.clear()
            self._keys.clear()
            self.hot.clear()

    def ids(self) -> list[DocumentId]:
        """Return every document that somebody has asked for. Lock held."""
        return list(self._keys)

    def _suggest(self, name: str) -> str:
        from difflib import get_close_matches

        close = get_close_matches(name, self.names, n=1)
        if close:
            return f"did you mean {close[0]!r}?"
        return "add it under 'secrets:' in the configuration, or pass a reference"

    def rename(
        self, names: Mapping[str, Reference], policy: Policy, policies: Mapping[str, Policy]
    ) -> None:
        """Have these names instead of the former ones. Lock held."""
        former, self.names = self.names, names
        self.policy, self._policies = policy, dict(policies)
        for id, keys in [(id, self._readers(id)) for id in self._keys]:
            others = tuple(key for key in keys if key not in former)
            if others:
                self._keys[id] = others
            else:
                del self._keys[id]  # whoever asks by name makes it known again
        self.hot.clear()

    def wanted(self) -> set[DocumentId]:
        """Return every document that a name or a reference in use leads to. Lock held."""
        references = (*self.names.values(), *self._parsed.values())
        return {reference.document for reference in references}

    # Documents to secrets ------------------------------------------------------------------------

    def collect(
        self, outcomes: dict[str, Outcome], targets: Mapping[str, Target]
    ) -> dict[str, Outcome]:
        """Turn what the engine knows into secrets, all under one lock: one version per document."""
        with self._driver.lock:
            return self.collect_under_lock(outcomes, targets)

    def collect_under_lock(
        self, outcomes: dict[str, Outcome], targets: Mapping[str, Target]
    ) -> dict[str, Outcome]:
        """As :meth:`collect`, by one who holds the lock."""
        now = self._clock()
        for key, target in targets.items():
            outcomes[key] = self.outcome(key, target, now)
        return outcomes

    def look(self, key: str) -> Outcome:
        """Return what is known of ``key``, without asking any store."""
        outcomes, targets = self.targets((key,))
        return self.collect(outcomes, targets)[key]

    def outcome(self, key: str, target: Target, now: float) -> Outcome:
        """Return the secret of ``key``, or why there is none to serve. Lock held."""
        reference, id = target
        entry = self._driver.entry(id)
        if entry is None or entry.document is None or now >= entry.end_at:
            return self._explain(reference, entry, now)
        hot = self.hot.get(key)
        if hot is not None and now < hot._until:
            return hot
        state = condition(entry, now)
        is_leased = entry.lease is not None or entry.document.lifetime is not None
        # Until then the answer stays the same: a call that ends earlier removes it from here.
        until = entry.due_at if state == FRESH else max(entry.retry_at, entry.in_flight_until)
        secret = self._secret(
            key,
            reference,
            entry.document,
            expires=self._wall() + entry.end_at - now if is_leased else None,
            stale=state == STALE,
            until=min(until, entry.end_at),
        )
        if isinstance(secret, Secret):
            self.hot[key] = secret
        return secret

    def held(self, key: str, target: Target) -> Secret | None:
        """Return the last known secret of ``key``, servable or not, if there is one. Lock held."""
        entry = self._driver.entry(target[1])
        if entry is None or entry.document is None:
            return None
        secret = self._secret(key, target[0], entry.document, expires=None)
        return secret if isinstance(secret, Secret) else None

    def former(self, key: str) -> Secret | None:
        """Return the value of ``key`` before the current one, while it may still be accepted."""
        reference, id = self.target(key)
        with self._driver.lock:
            now = self._clock()
            found = self._former.get(id, now)
            entry = self._driver.entry(id)
            if found is None or entry is None:
                return None
            expires = self._wall() + found.until - now
            before = self._secret(key, reference, found.document, expires=expires)
            if not isinstance(before, Secret) or self.outcome(key, (reference, id), now) == before:
                return None  # the document has changed, but not the part that this key names
            return before

    def age(self, key: str) -> float | None:
        """Return the seconds since ``key`` was last confirmed by its store, or None without value."""
        _, id = self.target(key)
        with self._driver.lock:
            entry = self._driver.entry(id)
            if entry is None or entry.document is None:
                return None
            return self._clock() - entry.fetched_at

    def _secret(
        self,
        key: str,
        reference: Reference,
        document: Document,
        *,
        expires: float | None,
        stale: bool = False,
        until: float = 0.0,
    ) -> Outcome:
        try:
            value = select_held(document, reference)
        except SecretBridgeError as error:
            return error.about(reference, reference.store)
        secret = Secret(
            value,
            name=key,
            reference=reference,
            version=document.version,
            expires=expires,
            stale=stale,
            is_line=document.is_line and reference.selector is None,
            until=until,
        )
        announce(secret)
        return secret

    def _explain(self, reference: Reference, entry: Entry | None, now: float) -> SecretBridgeError:
        """Return why there is no value to serve, as an error of its own for this reader."""
        if self.closed:
            return _closed()
        if entry is not None and entry.document is not None:
            because = f" ({entry.error.message})" if entry.error is not None else ""
            return SecretExpired(
                f"the last good value is too old to be served{because}",
                reference=reference,
                store=reference.store,
                hint="bring the store back; raise cache.max_stale to bridge longer outages",
            )
        if entry is not None and entry.error is not None:
            return entry.error.about(reference, reference.store)
        return DeadlineExceeded(
            f"no answer within {self._timeout:g} s",
            reference=reference,
            store=reference.store,
            hint="check that the store is reachable and not overloaded",
        )

    def forget(self, ids: Iterable[DocumentId]) -> None:
        """Have the next reader of ``ids`` look at what is known now. Lock held."""
        for id in ids:
            for key in self._readers(id):
                self.hot.pop(key, None)

    def _readers(self, id: DocumentId) -> tuple[str, ...]:
        found = self._keys.get(id, ())
        return (found,) if isinstance(found, str) else found


def _closed() -> ConfigError:
    return ConfigError("this broker is closed", hint="keep it open as long as it is used")


def values(outcomes: Mapping[str, Secret | SecretBridgeError]) -> dict[str, Secret]:
    """Return the secrets; leave out what may be missing. Raises the first other error."""
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
