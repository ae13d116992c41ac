"""Other names for a broker that goes on: what both configurations have stays as it is.

A document that is still wanted keeps its value, its lease, its times and whatever call is under way for
it. One that no name leads to any more stays too, until whoever used it says that nobody does: its
credential may still be in a file.
"""

from __future__ import annotations

from ..events import Forget, Tick

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..engine import Policy
    from ..reference import DocumentId, Reference
    from .cache import Cache
    from .driver import Driver

__all__ = ["rename"]


def rename(
    driver: Driver,
    cache: Cache,
    names: Mapping[str, Reference],
    policy: Policy,
    policies: Mapping[str, Policy],
    now: float,
) -> Callable[[], None]:
    """Let ``cache`` have ``names``. Returns the function that forgets what no name leads to."""
    wanted: dict[DocumentId, Policy] = {}
    for name, reference in names.items():
        asked = policies.get(name, policy)
        known = wanted.get(reference.document)
        wanted[reference.document] = asked if known is None else known.stricter(asked)
    with driver.lock:
        cache.rename(names, policy, policies)
        for id, asked in wanted.items():
            entry = driver.entry(id)
            if entry is not None:
                entry.follow(asked, now)
                driver.engine.agenda.put(entry)
    driver.submit(Tick())  # something may be due earlier than time is being kept for

    def forget() -> None:
        # Looked at now: names that were given since may have brought one of them back.
        with driver.lock:
            if driver.closed:
                return
            used = cache.wanted()
            gone = [id for id in driver.engine.ids() if id not in used]
        if gone:
            driver.submit(Forget(gone))

    return forget
