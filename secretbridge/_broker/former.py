"""Former documents: what a rotation replaced, for as long as it may still be accepted."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..document import Document
    from ..reference import DocumentId

__all__ = ["Former"]


class _Kept:
    __slots__ = ("document", "until")

    def __init__(self, document: Document, until: float) -> None:
        self.document = document
        self.until = until


class Former:
    """The document before the current one, by id, until its time is over.

    Systems differ in when they take a new password: a replica that has not heard of it, a pool that
    is being replaced. Whoever was refused with the new value may try the former one meanwhile.
    ``grace`` is in seconds. The broker's driver locks.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._kept: dict[DocumentId, _Kept] = {}

    def put(self, id: DocumentId, document: Document, end_at: float, now: float) -> None:
        """Keep ``document``, which has just been replaced and by itself ends at ``end_at``."""
        until = min(end_at, now + self._grace)
        if until > now:
            self._kept[id] = _Kept(document, until)

    def get(self, id: DocumentId, now: float) -> _Kept | None:
        """Return what was kept of ``id``, with the time until which it is, or None."""
        kept = self._kept.get(id)
        return kept if kept is not None and now < kept.until else None

    def drop(self, id: DocumentId) -> None:
        """Forget ``id``: its value was withdrawn, so the one before it is no better."""
        self._kept.pop(id, None)

    def expire(self, now: float) -> None:
        """Forget what is over, so that old values do not stay in memory."""
        for id in [id for id, kept in self._kept.items() if now >= kept.until]:
            del self._kept[id]

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def next_time(self) -> float | None:
        """When there is something to forget next, or None."""
        return min((kept.until for kept in self._kept.values()), default=None)
