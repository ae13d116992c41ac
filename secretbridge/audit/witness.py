"""Turns what a broker does at its stores into events of a log."""

from __future__ import annotations

import os

from ..errors import AccessDenied, AuthenticationFailed, SecretBridgeError
from .line import Actor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..document import Document, Lease
    from ..reference import DocumentId
    from .log import AuditLog

__all__ = ["LogWitness", "reason_of"]


def reason_of(error: SecretBridgeError) -> str:
    """Return the code of an error's kind, such as ``access_denied``."""
    name = type(error).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class LogWitness:
    """A broker's ``witness`` that logs each look at a store, each rotation, and each lease's end.

    >>> import os
    >>> from secretbridge.audit import AuditLog, Keys, LogWitness, StreamSink
    >>> from secretbridge.testing import FakeBackend
    >>> from secretbridge import Broker
    >>> store = FakeBackend()
    >>> store.put("app/db", "hunter2")
    '1'
    >>> log = AuditLog(StreamSink(os.open(os.devnull, os.O_WRONLY)), Keys(bytes(32)))
    >>> with Broker({"fake": store}, {"db": "fake:app/db"}, witness=LogWitness(log)) as broker:
    ...     secret = broker.get("db")
    >>> log.head.seq
    2
    """

    def __init__(self, log: AuditLog, actor: Actor | None = None) -> None:
        self._log = log
        self._actor = actor or Actor(os.geteuid(), os.getegid(), os.getpid())

    def fetched(
        self,
        ids: Sequence[DocumentId],
        outcomes: Sequence[Document | SecretBridgeError],
        before: Mapping[DocumentId, Document | None],
        seconds: float,
    ) -> None:
        """Log what looking up ``ids`` came to, and which of them are no longer what they were."""
        entries: list[tuple[str, dict[str, Any]]] = []
        for id, outcome in zip(ids, outcomes, strict=True):
            fields = {
                "actor": self._actor,
                "reference_id": str(id),
                "provider": id.scheme,
                "duration_ms": seconds * 1000,
            }
            if isinstance(outcome, SecretBridgeError):
                is_denied = isinstance(outcome, (AccessDenied, AuthenticationFailed))
                told = {
                    "outcome": "denied" if is_denied else "failure",
                    "reason_code": reason_of(outcome),
                }
                entries.append(("deny" if is_denied else "resolve", {**told, **fields}))
                continue
            former = before.get(id)
            reason = _change(former, outcome)
            fields["backend_version"] = outcome.version
            fields["lease_ttl"] = outcome.lease.duration if outcome.lease else None
            told = {"outcome": "success", "reason_code": reason}
            entries.append(("resolve", {**told, **fields}))
            if reason == "changed":
                del fields["duration_ms"]
                entries.append(("rotate", {"outcome": "success", **fields}))
        self._log.record_all(entries)

    def revoked(
        self, store: str, lease: Lease, error: SecretBridgeError | None, seconds: float
    ) -> None:
        """Log that ``lease`` was given back; it stands for itself as ``reference_id``."""
        self._log.record(
            "revoke",
            outcome="success" if error is None else "failure",
            reason_code=None if error is None else reason_of(error),
            actor=self._actor,
            reference_id=lease.id,
            provider=store,
            duration_ms=seconds * 1000,
        )


def _change(before: Document | None, after: Document) -> str:
    if before is None:
        return "new"
    is_same = before is after or (before.version == after.version and before.held == after.held)
    return "unchanged" if is_same else "changed"
