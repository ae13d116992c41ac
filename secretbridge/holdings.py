"""What a broker has, for another process that goes on with it: documents, leases, and how old they are.

A lease that a former process was granted is good until it ends. Whoever knows its id and what came
with it can serve it, renew it and give it back; asking for a new one would leave a credential behind
that nobody uses.
"""

from __future__ import annotations

from ._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .backends import Backend
    from .broker import Broker
    from .document import Document, Lease
    from .engine import Entry
    from .reference import DocumentId

__all__ = ["Holding", "adopt", "backend_of", "held"]


class Holding(Value):
    """A document that a broker has. Its repr shows no value.

    ``lease`` has the terms that it has now. ``age``: seconds since it was fetched. ``ends_in``: seconds
    until it ends, or None for one without an end of its own.
    """

    __slots__ = ("age", "document", "ends_in", "id", "lease")

    id: DocumentId
    document: Document
    lease: Lease | None
    age: float
    ends_in: float | None

    def __init__(
        self,
        id: DocumentId,
        document: Document,
        lease: Lease | None,
        age: float,
        ends_in: float | None,
    ) -> None:
        assign(self, "id", id)
        assign(self, "document", document)
        assign(self, "lease", lease)
        assign(self, "age", age)
        assign(self, "ends_in", ends_in)


def held(broker: Broker, *, plain: bool = False) -> list[Holding]:
    """Return the documents that ``broker`` keeps fresh and that are good now.

    Without ``plain``, those alone of which another fetch would make another credential.
    """
    driver, now = broker._driver, broker._clock()
    with driver.lock:
        entries = [driver.entry(id) for id in driver.engine.ids()]
        return [
            _holding(entry, now)
            for entry in entries
            if entry is not None
            and entry.document is not None
            and entry.holders
            and now < entry.end_at
            and (plain or not entry.is_plain)
        ]


def _holding(entry: Entry, now: float) -> Holding:
    assert entry.document is not None
    ends_in = None if entry.is_plain else entry.end_at - now
    return Holding(entry.id, entry.document, entry.lease, now - entry.fetched_at, ends_in)


def adopt(broker: Broker, found: Iterable[Holding], *, is_stale: bool = False) -> list[DocumentId]:
    """Let ``broker`` go on with those of ``found`` that its names lead to, instead of fetching them.

    Returns which. What is fetched already, or has ended, is passed over. Leases are renewed at once,
    which shows whether they are still there. ``is_stale``: it is known that there may be newer ones, so
    it is marked, and asked for at once.
    """
    driver, cache, now = broker._driver, broker._cache, broker._clock()
    by_id = {holding.id: holding for holding in found}
    names = [name for name, reference in cache.names.items() if reference.document in by_id]
    for name in names:
        cache.target(name)
    taken = []
    with driver.lock:
        for id, holding in by_id.items():
            entry = driver.entry(id)
            if entry is None or entry.document is not None:
                continue
            entry.resume(holding.document, holding.lease, holding.age, holding.ends_in, now)
            if now >= entry.end_at:
                entry.document = entry.lease = entry.renew_at = None
                continue
            if is_stale:
                entry.stale_since, entry.due_at = now, min(entry.due_at, now)
            driver.engine.agenda.put(entry)
            taken.append(id)
        cache.forget(taken)
    return taken


def backend_of(broker: Broker, store: str) -> Backend:
    """Return the client of ``store``, which goes on belonging to ``broker``."""
    return broker._stores.get(store, broker._stores.scheme(store))
