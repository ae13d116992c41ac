"""secretbridge: applications read secrets from stores, never from environment variables.

    import secretbridge

    password = secretbridge.get("db_password")   # a name of the configuration, or a reference
    password.reveal()                             # the only way to the text

Importing this package loads almost nothing: each public name brings its module when it is first
used, and the libraries of a store are loaded when that store is first asked.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._protected import MemoryProtection, memory_protection
    from ._version import __version__
    from .broker import Broker
    from .errors import (
        AccessDenied,
        AuthenticationFailed,
        BackendUnavailable,
        ConfigError,
        DeadlineExceeded,
        FieldMissing,
        IntegrityError,
        RateLimited,
        ReferenceSyntaxError,
        SecretBridgeError,
        SecretDeleted,
        SecretExpired,
        SecretMissing,
        SecretTooLarge,
        UnsafeTarget,
        VersionMissing,
    )
    from .harden import Hardening, harden_process
    from .reference import Reference
    from .secret import Secret
    from .snapshot import Snapshot

__all__ = [
    "AccessDenied",
    "AuthenticationFailed",
    "BackendUnavailable",
    "Broker",
    "ConfigError",
    "DeadlineExceeded",
    "FieldMissing",
    "Hardening",
    "IntegrityError",
    "MemoryProtection",
    "RateLimited",
    "Reference",
    "ReferenceSyntaxError",
    "Secret",
    "SecretBridgeError",
    "SecretDeleted",
    "SecretExpired",
    "SecretMissing",
    "SecretTooLarge",
    "Snapshot",
    "UnsafeTarget",
    "VersionMissing",
    "__version__",
    "aget",
    "get",
    "get_many",
    "harden_process",
    "memory_protection",
]

_HOMES = {
    "Broker": "broker",
    "Hardening": "harden",
    "harden_process": "harden",
    "MemoryProtection": "_protected",
    "memory_protection": "_protected",
    "Snapshot": "snapshot",
    "Reference": "reference",
    "Secret": "secret",
    "__version__": "_version",
}

_default: Broker | None = None


def get(key: str) -> Secret:
    """Return the secret called ``key``: a name of the configuration, or a reference.

    Uses one broker for the whole process, made at the first call from the configuration that is
    found (``$SECRETBRIDGE_CONFIG``, ``./secretbridge.yaml``, ``/etc/secretbridge/secretbridge.yaml``).
    Raises :class:`SecretBridgeError`.
    """
    return (_default or _default_broker()).get(key)


def get_many(keys: Iterable[str]) -> dict[str, Secret]:
    """Return several secrets at once; those of one document are fetched once."""
    return (_default or _default_broker()).get_many(keys)


async def aget(key: str) -> Secret:
    """As :func:`get`, for asyncio."""
    return await (_default or _default_broker()).aget(key)


def _default_broker() -> Broker:
    global _default
    from . import _start

    if _default is None:
        _default = _start.default_broker()
    return _default


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOMES.get(name, 'errors')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
