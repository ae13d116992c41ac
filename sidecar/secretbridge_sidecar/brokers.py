"""A broker for each store, so that a store whose configuration stays the same goes on as it is.

A new configuration takes over the brokers of unchanged stores, with their logins, caches, leases and
the calls under way, and makes new ones for the others. What the former configuration had besides stays
with it until nobody reads it in a file any more; then it is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from secretbridge.broker import Broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from secretbridge.audit import LogWitness
    from secretbridge.config import Config
    from secretbridge.errors import SecretBridgeError
    from secretbridge.secret import Secret

    ReplacedLease = tuple[Broker, str]

__all__ = ["Brokers"]


class _Part:
    """The broker of one store. ``key`` is what it was made with, ``names`` those that are watched."""

    __slots__ = ("broker", "key", "names", "unwatch")

    def __init__(self, key: object, broker: Broker) -> None:
        self.key = key
        self.broker = broker
        self.names: list[str] = []
        self.unwatch: Callable[[], None] = lambda: None

    def watch(self, names: Iterable[str], wake: Callable[[], object]) -> None:
        self.names = list(names)
        self.unwatch = self.broker.watch(self.names, wake)

    def succeed(
        self, config: Config, store: str, names: Iterable[str], wake: Callable[[], object]
    ) -> tuple[_Part, Callable[[], None]]:
        """Return the part that goes on, and the function that lets go of what only this one has."""
        forget = self.broker.reconfigure(config, store=store)
        part = _Part(self.key, self.broker)
        part.watch(names, wake)
        unwatch = self.unwatch

        def let_go() -> None:
            unwatch()
            forget()

        return part, let_go


class Brokers:
    """The brokers of one configuration. ``names`` are kept fresh, ``wake`` is called when one changes.

    ``former`` are those of the configuration before, ``witness`` is told of what new ones do, ``begin``
    is called with each store and its new broker before anything is fetched. Raises
    :class:`ConfigError` for a store that cannot be used; then ``former`` is as it was.
    """

    def __init__(
        self,
        config: Config,
        names: Iterable[str],
        wake: Callable[[], object],
        former: Brokers | None = None,
        witness: LogWitness | None = None,
        begin: Callable[[str, Broker], object] = lambda store, broker: None,
    ) -> None:
        wanted: dict[str, list[str]] = {}
        for name in names:
            wanted.setdefault(config.secrets[name].reference.store, []).append(name)
        self._order = list(config.secrets)
        self._parts: dict[str, _Part] = {}
        self._left: list[Callable[[], None]] = []
        keys = {
            store: (config.stores.get(store), config.cache.grace, config.cache.refresh_floor)
            for store in wanted
        }
        known = {} if former is None else former._parts
        kept = [store for store in wanted if store in known and known[store].key == keys[store]]
        try:
            for store in wanted.keys() - set(kept):
                part = _Part(keys[store], _made(config, store, witness))
                self._parts[store] = part
                begin(store, part.broker)
                part.watch(wanted[store], wake)
        except BaseException:
            self.close()
            raise
        for store in kept:
            assert former is not None
            part = former._parts.pop(store)
            self._parts[store], let_go = part.succeed(config, store, wanted[store], wake)
            former._left.append(let_go)

    def of(self, store: str) -> Broker | None:
        """Return the broker of ``store``, or None when no file needs it."""
        part = self._parts.get(store)
        return None if part is None else part.broker

    def by_store(self) -> Mapping[str, Broker]:
        """Return the brokers by store."""
        return {store: part.broker for store, part in self._parts.items()}

    def resolve(self, names: Iterable[str]) -> dict[str, Secret | SecretBridgeError]:
        """Return for each of ``names``, all of which are watched, its secret or why there is none."""
        wanted = set(names)
        found: dict[str, Secret | SecretBridgeError] = {}
        # One after another: watching has begun all calls at once, and here they are waited for.
        for part in self._parts.values():
            found |= part.broker.resolve([name for name in part.names if name in wanted])
        return found

    def replaced(self) -> frozenset[ReplacedLease]:
        """Return the leases that were replaced and live on for those who still use them.

        Whatever is read after this call holds none of them: they were replaced before.
        """
        return frozenset(
            (part.broker, lease)
            for part in self._parts.values()
            for lease in part.broker.replaced()
        )

    def status(self) -> list[dict[str, object]]:
        """Return a row for each name, as :meth:`Broker.status`."""
        rows = {
            str(row["name"]): row for part in self._parts.values() for row in part.broker.status()
        }
        return [rows[name] for name in self._order if name in rows]

    def stores(self) -> list[dict[str, object]]:
        """Return a row for each store, as :meth:`Broker.stores`."""
        return [row for _, part in sorted(self._parts.items()) for row in part.broker.stores()]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left here, all having gone over to another configuration."""
        return not self._parts and not self._left

    def close(self, *, keep_leases: bool = False) -> None:
        """Close what no other configuration has taken over, and let go of what only this one had.

        With ``keep_leases`` every credential stays valid, for those who still use it.
        """
        left, self._left = self._left, []
        for let_go in left if not keep_leases else ():
            let_go()
        for part in self._parts.values():
            part.broker.close(keep_leases=keep_leases)


def _made(config: Config, store: str, witness: LogWitness | None) -> Broker:
    return Broker.from_config(config, store=store, witness=witness, keep_replaced=True)
