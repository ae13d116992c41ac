"""When the engine has to look at which document again."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._states import Entry
    from .reference import DocumentId

__all__ = ["Agenda"]

_SPARE = 64
"""Appointments that were moved and may stay, however few documents there are."""


class Agenda:
    """Held documents by the time of their next decision; ``entries`` are all that are known.

    An appointment that was moved stays in the heap and is passed over when its time comes: moving
    one is frequent, and searching the heap for the old place would cost more.
    """

    def __init__(self, entries: Mapping[DocumentId, Entry]) -> None:
        self._entries = entries
        self._heap: list[tuple[float, int, DocumentId]] = []
        self._sequence = 0

    def put(self, entry: Entry) -> None:
        """Note when ``entry`` needs the next decision, if it is held and not in its store's line."""
        if not entry.holders or entry.is_in_line:
            entry.wake_at = None
            return
        at = entry.next_time()
        if entry.wake_at != at:
            entry.wake_at = at
            self._sequence += 1
            heappush(self._heap, (at, self._sequence, entry.id))
            if len(self._heap) > _SPARE + 2 * len(self._entries):
                self._tidy()

    def _tidy(self) -> None:
        """Drop the appointments that were moved: where values change far more often than they are
        looked up, each would stay for a whole interval."""
        self._heap = [
            kept
            for kept in self._heap
            if (entry := self._entries.get(kept[2])) is not None and entry.wake_at == kept[0]
        ]
        heapify(self._heap)

    def next_time(self) -> float | None:
        """Return when the first decision is needed, or None."""
        while self._heap:
            at, _, id = self._heap[0]
            entry = self._entries.get(id)
            if entry is not None and entry.wake_at == at:
                return at
            heappop(self._heap)
        return None

    def due(self, now: float) -> list[Entry]:
        """Return the entries whose time has come; each has to be put again afterwards."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            at, _, id = heappop(self._heap)
            entry = self._entries.get(id)
            if entry is not None and entry.wake_at == at:
                entry.wake_at = None
                if entry.holders:
                    due.append(entry)
        return due
