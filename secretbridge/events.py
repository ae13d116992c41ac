"""What the engine is told, and what it asks for: the events and actions of :mod:`.engine`."""

from __future__ import annotations

from ._value import Value, assign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .document import Document, Lease
    from .errors import SecretBridgeError
    from .reference import DocumentId

__all__ = [
    "Action",
    "Changed",
    "Event",
    "Fetch",
    "Fetched",
    "Forget",
    "Hold",
    "Notify",
    "Release",
    "Renew",
    "Renewed",
    "Revoke",
    "Revoked",
    "Tick",
    "Unused",
    "Want",
]


class Event(Value):
    """Something that happened."""

    __slots__ = ()


class _Concerning(Event):
    __slots__ = ("ids",)

    ids: tuple[DocumentId, ...]

    def __init__(self, ids: Iterable[DocumentId]) -> None:
        assign(self, "ids", tuple(dict.fromkeys(ids)))


class Want(_Concerning):
    """Somebody reads these documents now."""

    __slots__ = ()


class Hold(_Concerning):
    """Keep these documents fresh from now on, whether or not anybody reads them."""

    __slots__ = ()


class Release(_Concerning):
    """One holder fewer for each of these documents."""

    __slots__ = ()


class Changed(_Concerning):
    """There is reason to believe that these documents have a newer version."""

    __slots__ = ()


class Forget(_Concerning):
    """Nobody will ask for these documents again: drop values, give leases back."""

    __slots__ = ()


class Fetched(Event):
    """A :class:`Fetch` ended: a document or an error for each id that it named."""

    __slots__ = ("outcomes", "store")

    store: str
    outcomes: tuple[tuple[DocumentId, Document | SecretBridgeError], ...]

    def __init__(
        self,
        store: str,
        outcomes: Iterable[tuple[DocumentId, Document | SecretBridgeError]],
    ) -> None:
        assign(self, "store", store)
        assign(self, "outcomes", tuple(outcomes))


class Renewed(Event):
    """A :class:`Renew` of ``lease`` ended with its new terms or with an error.

    Without ``lease`` the document's current one is meant.
    """

    __slots__ = ("id", "lease", "outcome")

    id: DocumentId
    outcome: Lease | SecretBridgeError
    lease: Lease | None

    def __init__(
        self, id: DocumentId, outcome: Lease | SecretBridgeError, lease: Lease | None = None
    ) -> None:
        assign(self, "id", id)
        assign(self, "outcome", outcome)
        assign(self, "lease", lease)


class Revoked(Event):
    """A :class:`Revoke` ended: ``error`` says why the lease may still be there, or None."""

    __slots__ = ("error", "lease")

    lease: Lease
    error: SecretBridgeError | None

    def __init__(self, lease: Lease, error: SecretBridgeError | None = None) -> None:
        assign(self, "lease", lease)
        assign(self, "error", error)


class Unused(Event):
    """Nobody uses the replaced leases with these ids any more."""

    __slots__ = ("leases",)

    leases: tuple[str, ...]

    def __init__(self, leases: Iterable[str]) -> None:
        assign(self, "leases", tuple(leases))


class Tick(Event):
    """Time has passed; :attr:`Engine.next_wake` said when to come back."""

    __slots__ = ()


class Action(Value):
    """Something to be done."""

    __slots__ = ()


class Fetch(Action):
    """Fetch these documents of one store, and answer with :class:`Fetched`.

    ``patience``: seconds after which the call is given up, when that is less than usual.
    """

    __slots__ = ("ids", "patience", "store")

    store: str
    ids: tuple[DocumentId, ...]
    patience: float | None

    def __init__(
        self, store: str, ids: Iterable[DocumentId], patience: float | None = None
    ) -> None:
        assign(self, "store", store)
        assign(self, "ids", tuple(ids))
        assign(self, "patience", patience)


class Renew(Action):
    """Extend the lease of a document, and answer with :class:`Renewed`.

    ``patience``: as of :class:`Fetch`.
    """

    __slots__ = ("id", "lease", "patience")

    id: DocumentId
    lease: Lease
    patience: float | None

    def __init__(self, id: DocumentId, lease: Lease, patience: float | None = None) -> None:
        assign(self, "id", id)
        assign(self, "lease", lease)
        assign(self, "patience", patience)


class Revoke(Action):
    """Give a lease back that nothing uses any more, and answer with :class:`Revoked`.

    ``patience``: as of :class:`Fetch`.
    """

    __slots__ = ("lease", "patience", "store")

    store: str
    lease: Lease
    patience: float | None

    def __init__(self, store: str, lease: Lease, patience: float | None = None) -> None:
        assign(self, "store", store)
        assign(self, "lease", lease)
        assign(self, "patience", patience)


class Notify(Action):
    """A document has a new value (``document``), or its value was withdrawn (None)."""

    __slots__ = ("document", "id")

    id: DocumentId
    document: Document | None

    def __init__(self, id: DocumentId, document: Document | None) -> None:
        assign(self, "id", id)
        assign(self, "document", document)
