"""What people want to know of a broker: a row for each name and each store, no values."""

from __future__ import annotations

from ..backends import Deadline
from ..engine import Entry
from ..errors import SecretBridgeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .cache import Cache
    from .driver import Driver
    from .stores import Stores

__all__ = ["secret_rows", "store_rows"]


def secret_rows(driver: Driver, cache: Cache, now: float) -> list[dict[str, object]]:
    """Return for each configured name what is known of it at ``now``, without asking any store."""
    rows = []
    for name, reference in cache.names.items():
        with driver.lock:
            entry = driver.entry(reference.document) or Entry(reference.document, cache.policy)
            row = {"name": name, "reference": str(reference), **entry.describe(now)}
            rows.append(row | {"ends_in": _ends_in(entry, now), "held": entry.holders > 0})
    return rows


def store_rows(
    driver: Driver, cache: Cache, stores: Stores, deadline: Deadline, now: float
) -> list[dict[str, object]]:
    """Return for each store in use who it takes us for, for how long, and what is due next.

    Logs in where that has not happened yet. ``who`` is never a credential; times in seconds.
    ``news`` says how changes are noticed, where a store can tell of them by itself.
    """
    schemes = {reference.store: reference.scheme for reference in cache.names.values()}
    rows: list[dict[str, object]] = []
    for store, scheme in sorted(schemes.items()):
        row: dict[str, object] = {"store": store, "backend": scheme, "who": None, "until": None}
        error: SecretBridgeError | None = None
        try:
            found = stores.identity(store, scheme, deadline)
            if found is not None:
                row |= {"who": found.who, "until": found.until}
        except SecretBridgeError as caught:
            error = caught
        with driver.lock:
            entries = [driver.entry(id) for id in driver.engine.ids(store)]
            times = [e.next_time() - now for e in entries if e is not None and e.document]
        row["due_in"] = min(times, default=None)
        row["news"] = stores.news(store)
        row["error"] = error.message if error is not None else None
        rows.append(row)
    return rows


def _ends_in(entry: Entry, now: float) -> float | None:
    """Return the seconds until the lease or certificate ends, or None when there is no end."""
    document = entry.document
    if document is None or (entry.lease is None and document.lifetime is None):
        return None
    return entry.end_at - now
