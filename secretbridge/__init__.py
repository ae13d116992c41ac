"""secretbridge: applications read secrets from stores, never from environment variables.

    import secretbridge

    password = secretbridge.get("db_password")   # a name of the configuration, or a reference
    password.reveal()                             # the only way to the text

Importing this package loads almost nothing: each public name brings its module when it is first
used, and the libraries of a store are loaded when that store is first asked.
"""

from __future__ import annotations

import atexit
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from typing import Any

    from ._broker.changes import Change, Changes
    from ._broker.handle import Handle
    from ._broker.snapshot import Snapshot
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

__all__ = [
    "AccessDenied",
    "AuthenticationFailed",
    "BackendUnavailable",
    "Broker",
    "Change",
    "Changes",
    "ConfigError",
    "DeadlineExceeded",
    "FieldMissing",
    "Handle",
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
    "aget_many",
    "aprefetch",
    "areplacement",
    "asnapshot",
    "await_for",
    "changes",
    "get",
    "get_many",
    "handle",
    "harden_process",
    "memory_protection",
    "on_change",
    "prefetch",
    "replacement",
    "report_rejected",
    "snapshot",
    "status",
    "wait_for",
]

_HOMES = {
    "Broker": "broker",
    "Change": "_broker.changes",
    "Changes": "_broker.changes",
    "Handle": "_broker.handle",
    "Hardening": "harden",
    "harden_process": "harden",
    "MemoryProtection": "_protected",
    "memory_protection": "_protected",
    "Snapshot": "_broker.snapshot",
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


async def aget_many(keys: Iterable[str]) -> dict[str, Secret]:
    """As :func:`get_many`, for asyncio."""
    return await (_default or _default_broker()).aget_many(keys)


def handle(key: str) -> Handle:
    """Bind ``key`` once; what the handle reveals is always current. See :meth:`Broker.handle`."""
    return (_default or _default_broker()).handle(key)


def on_change(
    key: str,
    callback: Callable[[Secret], object] | Callable[[Secret], Coroutine[Any, Any, object]],
) -> Callable[[], None]:
    """Call ``callback`` after each change of ``key``; see :meth:`Broker.on_change`."""
    return (_default or _default_broker()).on_change(key, callback)


def changes(keys: Iterable[str] | None = None) -> Changes:
    """Return a stream of changes; see :meth:`Broker.changes`."""
    return (_default or _default_broker()).changes(keys)


def prefetch(
    keys: Iterable[str] | None = None, progress: Callable[[int, int], object] | None = None
) -> None:
    """Fetch ``keys`` (default: every configured name) now; see :meth:`Broker.prefetch`."""
    (_default or _default_broker()).prefetch(keys, progress)


async def aprefetch(
    keys: Iterable[str] | None = None, progress: Callable[[int, int], object] | None = None
) -> None:
    """As :func:`prefetch`, for asyncio."""
    await (_default or _default_broker()).aprefetch(keys, progress)


def snapshot(keys: Iterable[str] | None = None) -> Snapshot:
    """Return ``keys`` as they are together at one moment; see :meth:`Broker.snapshot`."""
    return (_default or _default_broker()).snapshot(keys)


async def asnapshot(keys: Iterable[str] | None = None) -> Snapshot:
    """As :func:`snapshot`, for asyncio."""
    return await (_default or _default_broker()).asnapshot(keys)


def report_rejected(key: str, rejected: Secret | None = None) -> bool:
    """Say that a login with ``key`` failed; see :meth:`Broker.report_rejected`."""
    return (_default or _default_broker()).report_rejected(key, rejected)


def replacement(key: str, rejected: Secret, timeout: float = 2.0) -> Secret:
    """Return what replaces ``rejected``; see :meth:`Broker.replacement`."""
    return (_default or _default_broker()).replacement(key, rejected, timeout)


async def areplacement(key: str, rejected: Secret, timeout: float = 2.0) -> Secret:
    """As :func:`replacement`, for asyncio."""
    return await (_default or _default_broker()).areplacement(key, rejected, timeout)


def wait_for(key: str, version: str | int | None = None, timeout: float | None = None) -> Secret:
    """Return ``key`` once it has ``version`` or a later one; see :meth:`Broker.wait_for`."""
    return (_default or _default_broker()).wait_for(key, version, timeout)


async def await_for(
    key: str, version: str | int | None = None, timeout: float | None = None
) -> Secret:
    """As :func:`wait_for`, for asyncio."""
    return await (_default or _default_broker()).await_for(key, version, timeout)


def status() -> list[dict[str, object]]:
    """Return what is known of each configured name, no values; see :meth:`Broker.status`."""
    return (_default or _default_broker()).status()


@atexit.register
def _close_all() -> None:
    exit = sys.modules.get(f"{__name__}._broker.exit")
    if exit is not None:
        exit.close_all()


def _default_broker() -> Broker:
    global _default
    from ._broker import start

    if _default is None:
        _default = start.default_broker()
    return _default


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not importlib.import_module: the module importlib takes longer to import than this one.
    home = __import__(f"{__name__}.{_HOMES.get(name, 'errors')}", fromlist=(name,))
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
