"""Looking before fetching: a large document that is still in its version is not sent again.

Where a store tells versions cheaply, what it saves depends on the size. Measured with OpenBao on the
same machine, looking at a key-value secret (its metadata, and whether we may still read the value)
takes 1.8 ms whatever its size; reading it takes 1.0 ms up to 16 KB, 1.8 ms with 64 KB, and 15 to 25
ms with 1 MB. So small documents, which nearly all are, are read, and only large ones looked at first.
Their values then also cross the wire, and stand in the store's audit log, only when they changed.

A document with an end of its own is never only looked at: its fetch is what prolongs it.
"""

from __future__ import annotations

from .._health import is_outage
from ..errors import SecretBridgeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..backends import Backend, Deadline, Outcome
    from ..document import Document
    from ..reference import DocumentId

__all__ = ["PROBED_SIZE", "look_up"]

PROBED_SIZE = 64 * 1024
"""Size in bytes from which a known document is looked at before it is fetched."""


def look_up(
    backend: Backend,
    ids: Sequence[DocumentId],
    known: Mapping[DocumentId, Document | None],
    deadline: Deadline,
) -> Sequence[Outcome]:
    """Return what :meth:`Backend.fetch` returns, without fetching large documents that are the same.

    ``known``: the documents that we have.
    """
    # Looking at one document and then fetching another is reading at two moments.
    is_apart = not getattr(backend, "reads_together", False)
    looked_at = [id for id in ids if is_apart and _is_worth_it(known.get(id))]
    found = _unchanged(backend, looked_at, known, deadline) if looked_at else {}
    rest = [id for id in ids if id not in found]
    if not rest:
        return [found[id] for id in ids]
    fetched = backend.fetch(rest, deadline)
    if not found:
        return fetched  # also one with too few answers, which the caller finds out about
    answers = dict(zip(rest, fetched, strict=True)) | found
    return [answers[id] for id in ids]


def _unchanged(
    backend: Backend,
    ids: Sequence[DocumentId],
    known: Mapping[DocumentId, Document | None],
    deadline: Deadline,
) -> dict[DocumentId, Outcome]:
    """Return the documents that are as we know them, and why the store can't be asked now."""
    found: dict[DocumentId, Outcome] = {}
    for id, told in zip(ids, backend.probe(ids, deadline), strict=True):
        document = known.get(id)
        if isinstance(told, SecretBridgeError):
            # Missing or denied is what the fetch has to say; it may be the metadata alone.
            if is_outage(told):
                found[id] = told
        elif document is not None and told is not None and told == document.version:
            found[id] = document
    return found


def _is_worth_it(document: Document | None) -> bool:
    return (
        document is not None
        and document.version is not None
        and document.size >= PROBED_SIZE
        and document.lease is None
        and document.lifetime is None
        and document.refresh_after is None
    )
