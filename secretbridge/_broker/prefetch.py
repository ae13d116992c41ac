"""Prefetching in rounds, so that somebody who waits for many secrets sees them come."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sized

    from .cache import Cache

__all__ = ["rounds"]

_ROUND = 50
"""Documents of one store that are asked for in one round: backends serve this many well at once."""


def rounds(
    cache: Cache,
    keys: Iterable[str] | None,
    progress: Callable[[int, int], object] | None,
    outcomes: Sized,
) -> Iterator[list[str]]:
    """Divide ``keys`` (None: every name) into rounds, telling ``progress`` of those that are done.

    ``outcomes`` has one item for each key that is. All stores take part in each round; keys of one
    document stay together. Without ``progress`` there is one round.
    """
    wanted = list(dict.fromkeys(cache.names if keys is None else keys))
    if progress is None:
        yield wanted
        return
    progress(0, len(wanted))
    for part in _parts(cache, wanted):
        yield part
        progress(len(outcomes), len(wanted))


def _parts(cache: Cache, keys: list[str]) -> list[list[str]]:
    failed, targets = cache.targets(keys)
    counts: dict[str, int] = {}
    numbers: dict[object, int] = {}
    parts: list[list[str]] = [list(failed)] if failed else []
    for key, (_, id) in targets.items():
        if id not in numbers:
            counts[id.store] = counts.get(id.store, 0) + 1
            numbers[id] = (counts[id.store] - 1) // _ROUND
        while len(parts) <= numbers[id]:
            parts.append([])
        parts[numbers[id]].append(key)
    return parts
