"""The stores of one broker: made when they are first used, closed with it."""

from __future__ import annotations

from _thread import allocate_lock

from ..backends import backend_class
from ..errors import ConfigError, SecretBridgeError
from ..reference import Reference
from .fork import REST_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..backends import Backend, Deadline, Identity

__all__ = ["Stores"]


class Stores:
    """Backends by store name.

    ``backends`` are ready-made ones. ``configured`` gives for a store name its backend's name and
    options. Any other backend's default store, which has the backend's own name, is made without
    options.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        configured: Mapping[str, tuple[str, Mapping[str, Any]]],
    ) -> None:
        self._backends = dict(backends)
        self._configured = dict(configured)
        self._lock = allocate_lock()
        self._closed = False
        self._is_resting = False

    def check(self, reference: Reference) -> None:
        """Raise :class:`ConfigError` when the store that ``reference`` names is not there."""
        name, scheme = reference.store, reference.scheme
        if name in self._backends:
            return
        if name not in self._configured:
            if name == scheme:
                return
            locator = f"{name}/{reference.locator}"
            opaque = Reference(scheme, scheme, locator, reference.options, reference.selector)
            raise ConfigError(
                f"no store {name!r} is configured",
                reference=reference,
                store=name,
                hint=f"write {opaque} for the default store of {scheme}, or add {name!r} under "
                "'stores:' in the configuration",
            )
        if self._configured[name][0] != scheme:
            raise ConfigError(
                f"the store {name!r} is of the backend {self._configured[name][0]!r}",
                reference=reference,
                store=name,
                hint=f"write {self._configured[name][0]}://{name}/...",
            )

    def get(self, store: str, scheme: str) -> Backend:
        """Return the client of ``store``, which is made now if it has not been used yet."""
        with self._lock:
            backend = self._backends.get(store)
            if backend is None:
                if self._closed:
                    raise ConfigError("this broker is closed", store=store)
                kind, options = self._configured.get(store, (scheme, {}))
                backend = self._backends[store] = backend_class(kind).create(store, options)
        return backend

    def scheme(self, store: str) -> str:
        """Return the backend of ``store``."""
        return self._configured.get(store, (store, {}))[0]

    def identity(self, store: str, scheme: str, deadline: Deadline) -> Identity | None:
        """Return who ``store`` takes us for, or None when its backend has no logins."""
        backend = self.get(store, scheme)
        if not hasattr(backend, "identity"):
            return None
        found: Identity = backend.identity(deadline)
        return found

    def news(self, store: str) -> str | None:
        """Return how changes of ``store`` are noticed, None where that is by polling as always."""
        found: str | None = getattr(self._backends.get(store), "news", None)
        return found

    def close(self, *, keep_leases: bool, deadline: Deadline) -> None:
        """Close every client that was made and end its login, unless a lease is kept that needs it."""
        with self._lock:
            self._closed = True
            backends, self._backends = self._backends, {}
        for backend in backends.values():
            if hasattr(backend, "release"):
                try:  # noqa: SIM105 - contextlib takes longer to import than a first get
                    backend.release(deadline, keep_leases=keep_leases)
                except SecretBridgeError:
                    pass  # the login ends by itself, later
            backend.close()

    def before_fork(self) -> None:
        """Take the lock."""
        self._is_resting = self._lock.acquire(timeout=REST_SECONDS)

    def after_fork_in_parent(self) -> None:
        """Go on. What the child has too is no longer ours alone to end."""
        for backend in self._backends.values():
            if hasattr(backend, "after_fork_in_parent"):
                backend.after_fork_in_parent()
        if self._is_resting:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start over: every client drops its connections."""
        self._lock = allocate_lock()
        for backend in self._backends.values():
            backend.after_fork()
