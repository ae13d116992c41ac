"""Words for how calls to stores ended, and counting them."""

from __future__ import annotations

from .._tally import process
from ..errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    DeadlineExceeded,
    RateLimited,
    SecretBridgeError,
    SecretMissing,
)
from ..events import Fetched, Renewed, Revoked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..reference import DocumentId

__all__ = ["count_answers", "count_retries", "word_of"]

_WORDS: tuple[tuple[type[SecretBridgeError], str], ...] = (
    (SecretMissing, "missing"),
    (AccessDenied, "denied"),
    (AuthenticationFailed, "login_refused"),
    (RateLimited, "rate_limited"),
    (DeadlineExceeded, "timeout"),
    (BackendUnavailable, "unavailable"),
)


def word_of(error: SecretBridgeError) -> str:
    """Return the one word that counts ``error``."""
    return next((word for kind, word in _WORDS if isinstance(error, kind)), "error")


def count_answers(event: Fetched | Renewed | Revoked, changed: Iterable[DocumentId]) -> None:
    """Count how a call ended for each document that it was about; ``changed`` have a new value."""
    if isinstance(event, Fetched):
        fresh = frozenset(changed)
        for id, outcome in event.outcomes:
            if isinstance(outcome, SecretBridgeError):
                word = word_of(outcome)
                if word in ("denied", "login_refused"):
                    process.add("denied", f"store_{word}")
            else:
                word = "changed" if id in fresh else "unchanged"
            process.add("refresh", id.scheme, word)
    elif isinstance(event, Renewed):
        renewed = event.outcome
        word = word_of(renewed) if isinstance(renewed, SecretBridgeError) else "renewed"
        process.add("lease_renewals", event.id.scheme, word)
    else:
        process.add("lease_returns", "returned" if event.error is None else word_of(event.error))


def count_retries(ids: Iterable[DocumentId]) -> None:
    """Count calls for ``ids`` that were made because the one before had failed."""
    for id in ids:
        process.add("retries", id.scheme)
