"""Which secrets engine stands where.

A reference names a secret by its logical path, ``kv/app/db``; which path that is in the API depends
on the engine. The server is asked once per mount, at the endpoint that the official command line
uses too: any token with access to something under the mount may ask there. Servers without it, and
policies that forbid it, leave a mount unknown, and :mod:`._vault_read` then tries.
"""

from __future__ import annotations

import threading
from math import inf
from typing import TYPE_CHECKING

from .._value import Value, assign
from ..errors import ConfigError, DeadlineExceeded
from ._vault_api import api_path, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._vault_call import Call

__all__ = ["KV1", "KV2", "OTHER", "Mount", "Mounts"]

KV1, KV2, OTHER = "KV version 1", "KV version 2", "other"

SILENT_SECONDS = 60.0
"""How long a server that does not tell about a mount is not asked again."""

_NOT_SECRETS = frozenset({"system", "ns_system", "token", "ns_token"})


class Mount(Value):
    """A secrets engine: its path without the final slash, its kind, and when that was learnt."""

    __slots__ = ("kind", "path", "since")

    path: str
    kind: str
    since: float

    def __init__(self, path: str, kind: str, since: float) -> None:
        assign(self, "path", path)
        assign(self, "kind", kind)
        assign(self, "since", since)


class Mounts:
    """The mounts that are known. Mounts are never inside one another, so one prefix can fit."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Mount] = {}
        self._silent: dict[str, float] = {}

    def at(self, locator: str, call: Call) -> Mount | None:
        """Return the mount that ``locator`` is on, or None when the server does not tell.

        Raises :class:`ConfigError` when no secret can be there, and what :meth:`Call.ask` raises.
        """
        mount = self._find(locator)
        if mount is not None or self._is_silent(locator):
            return mount
        # One asks while the others wait: the first read of a thousand secrets is one question.
        if not self._lock.acquire(timeout=call.deadline.remaining()):
            raise DeadlineExceeded(
                "the server did not tell in time which engine is mounted here",
                hint="check that the server is reachable and not overloaded",
            )
        try:
            mount = self._find(locator)
            if mount is not None or self._is_silent(locator):
                return mount
            return self._discover(locator, call)
        finally:
            self._lock.release()

    def remember(self, path: str, kind: str) -> Mount:
        """Note what is mounted at ``path``."""
        mount = Mount(path, kind, self._clock())
        self._known[path] = mount
        return mount

    def is_key_value(self, locator: str) -> bool:
        """Whether ``locator`` is known to be on a key-value engine, of either version. Asks nobody."""
        mount = self._find(locator)
        return mount is not None and mount.kind != OTHER

    def forget(self, mount: Mount) -> None:
        """Ask again the next time."""
        if self._known.get(mount.path) is mount:
            del self._known[mount.path]

    def after_fork(self) -> None:
        """In a forked child: nobody holds the lock there any more."""
        self._lock = threading.Lock()

    def _find(self, locator: str) -> Mount | None:
        end = locator.find("/")
        while end >= 0:
            mount = self._known.get(locator[:end])
            if mount is not None:
                return mount
            end = locator.find("/", end + 1)
        return None

    def _is_silent(self, locator: str) -> bool:
        return self._silent.get(_first(locator), -inf) > self._clock()

    def _discover(self, locator: str, call: Call) -> Mount | None:
        segments = locator.split("/")
        reply, _ = call.ask("GET", f"sys/internal/ui/mounts/{api_path(segments)}")
        data = reply.section("data")
        if reply.status != 200 or data is None:
            if reply.errors is None:
                raise refusal(reply)
            self._silent[_first(locator)] = self._clock() + SILENT_SECONDS
            return None
        if data.get("type") in _NOT_SECRETS:
            raise no_secrets_here()
        path = str(data.get("path", "")).strip("/")
        if not path or not f"{locator}/".startswith(f"{path}/"):
            return None
        kind = OTHER
        if data.get("type") in ("kv", "generic"):
            options = data.get("options")
            version = options.get("version") if isinstance(options, dict) else None
            kind = KV2 if version == "2" else KV1
        return self.remember(path, kind)


def _first(locator: str) -> str:
    return locator.partition("/")[0]


def no_secrets_here() -> ConfigError:
    """Return the error for the server's own paths: ``auth/token/lookup-self`` shows our token."""
    return ConfigError(
        "this path belongs to the server itself and holds no secret",
        hint="name a path on a secrets engine, such as kv/app/db",
    )
