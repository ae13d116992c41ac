"""Everything that can go wrong, as one tree.

    SecretBridgeError
    ├── ReferenceSyntaxError        the text is no reference; names the position
    ├── ConfigError                 the configuration is wrong, or names what is not there
    ├── SecretMissing               the store answered: there is no such secret
    │   ├── VersionMissing          the secret exists, this version or stage does not
    │   ├── FieldMissing            the document exists, the selected field does not (or is null)
    │   └── SecretDeleted           it was there and has been deleted, destroyed or scheduled for it
    ├── AccessDenied                the store knows us and says no
    ├── AuthenticationFailed        the store does not know us: login refused, token revoked
    ├── BackendUnavailable          no usable answer: refused, reset, 5xx, sealed, nonsense (transient)
    │   ├── RateLimited             the store asks us to slow down; ``retry_after`` in seconds
    │   └── DeadlineExceeded        no complete answer in the time that was given
    ├── SecretExpired               the last good value is older than its lease or ``max_stale`` allows
    ├── IntegrityError              what came back is not what was stored, or is not what it claims to be
    ├── UnsafeTarget                the directory to materialize into would expose the files
    └── SecretTooLarge              a value beyond the size cap

Rules of the tree: a message says what happened, why, and what to do; no error holds a value, nor a
cause or a frame that does (raise ``from None`` where a library's error could carry one). Missing,
denied and unreachable are never mixed up, because only a missing secret may have a default.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from .reference import Reference

__all__ = [
    "AccessDenied",
    "AuthenticationFailed",
    "BackendUnavailable",
    "ConfigError",
    "DeadlineExceeded",
    "FieldMissing",
    "IntegrityError",
    "RateLimited",
    "ReferenceSyntaxError",
    "SecretBridgeError",
    "SecretDeleted",
    "SecretExpired",
    "SecretMissing",
    "SecretTooLarge",
    "UnsafeTarget",
    "VersionMissing",
]


class SecretBridgeError(Exception):
    """Base of all errors of secretbridge.

    Attributes: ``message`` (what happened and why), ``reference`` (the reference concerned, parsed
    or as text, or None), ``store`` (name of the configured store, or None), ``hint`` (what to do).
    ``is_transient`` says whether trying again later may help by itself; ``exit_code`` is what the
    commands end with.
    """

    is_transient = False
    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        reference: Reference | str | None = None,
        store: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reference = reference
        self.store = store
        self.hint = hint

    def __str__(self) -> str:
        parts = []
        if self.reference is not None:
            parts.append(f"{self.reference}: ")
        elif self.store is not None:
            parts.append(f"store {self.store}: ")
        parts.append(self.message)
        if self.hint:
            parts.append(f"; {self.hint}")
        return "".join(parts)

    def about(self, reference: Reference | str | None, store: str | None = None) -> Self:
        """Return a fresh copy that names ``reference`` (and ``store``), without a traceback.

        One failed fetch is raised to many waiting readers, and a stored exception that is raised
        again grows its traceback with every reader and keeps their frames alive.
        """
        copy = type(self).__new__(type(self))
        copy.args = self.args
        copy.__dict__.update(self.__dict__)
        copy.reference = reference if reference is not None else self.reference
        copy.store = store if store is not None else self.store
        return copy

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))


def _rebuild(
    kind: type[SecretBridgeError], args: tuple[object, ...], state: dict[str, object]
) -> SecretBridgeError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class ReferenceSyntaxError(SecretBridgeError):
    """The text is no valid reference. ``position`` counts characters from 0."""

    exit_code = 2

    def __init__(
        self, message: str, *, position: int, reference: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(f"{message} at position {position}", reference=reference, hint=hint)
        self.position = position


class ConfigError(SecretBridgeError):
    """The configuration is wrong. ``problems`` lists every mistake found, one line of text each."""

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        problems: tuple[str, ...] = (),
        reference: Reference | str | None = None,
        store: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, reference=reference, store=store, hint=hint)
        self.problems = problems


class SecretMissing(SecretBridgeError):
    """The store answered that there is no such secret. The only error that ``optional`` covers."""

    exit_code = 3


class VersionMissing(SecretMissing):
    """The secret exists, the version or stage that was asked for does not."""


class FieldMissing(SecretMissing):
    """The document exists; the selected field is absent or null."""


class SecretDeleted(SecretMissing):
    """The secret was deleted, destroyed, or is scheduled for deletion."""


class AccessDenied(SecretBridgeError):
    """The store knows who we are and refuses. Never treated as missing, never as transient."""

    exit_code = 3


class AuthenticationFailed(SecretBridgeError):
    """Login was refused, or our credential is no longer accepted."""

    exit_code = 3


class BackendUnavailable(SecretBridgeError):
    """The store gave no usable answer. Transient: the last good value is served meanwhile.

    ``concerns_store``: False when it is surely about this document alone (its key is disabled, the
    database behind it is down) and says nothing about the others.
    """

    is_transient = True
    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        concerns_store: bool = True,
        reference: Reference | str | None = None,
        store: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, reference=reference, store=store, hint=hint)
        self.concerns_store = concerns_store


class RateLimited(BackendUnavailable):
    """The store asks for fewer requests. ``retry_after``: seconds it named, or None."""

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        reference: Reference | str | None = None,
        store: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, reference=reference, store=store, hint=hint)
        self.retry_after = retry_after


class DeadlineExceeded(BackendUnavailable):
    """No complete answer within the deadline of the call."""


class SecretExpired(SecretBridgeError):
    """The last good value may no longer be served: its lease ended or ``max_stale`` has passed."""

    exit_code = 4


class IntegrityError(SecretBridgeError):
    """Data is damaged, was tampered with, or is not in the form that it must have."""


class UnsafeTarget(SecretBridgeError):
    """The target directory cannot keep files secret, or somebody else writes to it."""

    exit_code = 5


class SecretTooLarge(SecretBridgeError):
    """A value, document or response is larger than the cap."""
