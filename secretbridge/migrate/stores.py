"""Values on their way into a store: never over something foreign, and read back before they count.

Whether a place is taken is looked at first, so that the journal knows what was there before: after a
crash, a value that is ours and was not there is taken back, and one that was there stays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..backends import Deadline, Occupied, backend_class
from ..config import Config, StoreConfig, load_config
from ..document import select
from ..errors import ConfigError, IntegrityError, SecretBridgeError, SecretMissing
from ..reference import Reference
from .plan import Settings
from .rewrite.config import STORE_PATH

if TYPE_CHECKING:
    from ..backends import Backend, Writes

__all__ = ["Target", "open_target"]

SECONDS = 20.0
"""Time for one call of a store."""


class Target:
    """The store that the values go into."""

    def __init__(self, settings: Settings, store: StoreConfig) -> None:
        self._settings = settings
        self._store = store
        self._backend: Backend | None = None

    @classmethod
    def recorded(cls, settings: Settings, record: Mapping[str, Any]) -> Target:
        """Return the store that :attr:`record` described, whatever the configuration says by now."""
        return cls(settings, StoreConfig(record["name"], record["backend"], record["options"]))

    @property
    def record(self) -> dict[str, Any]:
        """How to find the store again: its configuration, which holds no credential."""
        options = json.loads(json.dumps(dict(self._store.options), default=_plain))
        return {"name": self._store.name, "backend": self._store.backend, "options": options}

    @property
    def path(self) -> str | None:
        """The file of an embedded store, or None."""
        if self._store.backend != "local":
            return None
        return os.path.abspath(self._store.options.get("path") or "secrets.sbx")

    def prepare(self) -> bool:
        """Make an embedded store, and its key, where there is none; return whether it was made."""
        path = self.path
        if path is None or os.path.lexists(path):
            return False
        from ..backends.local import LocalStore, create_key_file, default_key_file

        options = self._store.options
        os.makedirs(os.path.dirname(path), exist_ok=True)
        passphrase_file = options.get("passphrase_file")
        if passphrase_file:
            LocalStore.create(path, passphrase_file=passphrase_file)
            return True
        key = options.get("key_file") or default_key_file()
        if not os.path.lexists(key):
            create_key_file(key)
        LocalStore.create(path, key_file=key)
        return True

    def is_empty(self) -> bool:
        """Whether an embedded store has no value in it."""
        from ..backends.local import open_store

        return not any(listed.versions for listed in open_store(self._store.options).list())

    def look(self, reference: str) -> bytes | None:
        """Return what is in the place of ``reference``, or None. Raises what a store refuses."""
        parsed = Reference.parse(reference)
        outcome = self._client().fetch([parsed.document], Deadline(SECONDS))[0]
        if isinstance(outcome, SecretMissing):
            return None
        if isinstance(outcome, SecretBridgeError):
            raise outcome.about(parsed)
        try:
            return select(outcome, parsed)
        except SecretMissing:
            raise Occupied(
                "there is a document already, without the field that is wanted",
                hint="choose another prefix with --prefix",
            ).about(parsed) from None

    def put(self, reference: str, value: bytes) -> str:
        """Store ``value`` where there is nothing and return its version."""
        parsed = Reference.parse(reference)
        failure: SecretBridgeError
        try:
            return self._writes().put_new(parsed.locator, value, Deadline(SECONDS))
        except SecretBridgeError as error:
            failure = error.about(parsed)
        raise failure

    def withdraw(self, reference: str, version: str | None) -> bool:
        """Take back what was stored; without ``version`` that which is there now."""
        parsed = Reference.parse(reference)
        if version is None:
            outcome = self._client().fetch([parsed.document], Deadline(SECONDS))[0]
            if isinstance(outcome, SecretMissing):
                return False
            if isinstance(outcome, SecretBridgeError):
                raise outcome.about(parsed)
            version = outcome.version
            if version is None:
                return False
        return self._writes().withdraw(parsed.locator, version, Deadline(SECONDS))

    def verify(self, values: Mapping[str, bytes]) -> None:
        """Read every value back, as an application does. Raises for the first that is not there."""
        for reference, value in values.items():
            if self.look(reference) != value:
                raise IntegrityError(
                    "what was read back is not what was stored",
                    reference=Reference.parse(reference),
                    hint="look at who else writes there",
                )

    def close(self) -> None:
        """Close connections."""
        if self._backend is not None:
            self._backend.close()

    def _client(self) -> Backend:
        if self._backend is None:
            kind = backend_class(self._store.backend)
            self._backend = kind.create(self._store.name, self._store.options)
        return self._backend

    def _writes(self) -> Writes:
        client = self._client()
        if not hasattr(client, "put_new"):
            raise ConfigError(
                f"the backend {self._store.backend!r} cannot be written to",
                store=self._store.name,
                hint="choose a store of vault, aws-sm or local with --store",
            )
        return cast("Writes", client)


def open_target(root: str, settings: Settings) -> Target:
    """Return the store of ``settings``, as the project's configuration has it."""
    path = os.path.join(root, settings.config)
    found = load_config(path) if os.path.exists(path) else Config.empty()
    store = found.stores.get(settings.store)
    if store is not None:
        return Target(settings, store)
    if settings.backend != "local":
        raise ConfigError(
            f"no store {settings.store!r} is configured",
            hint=f"describe it under 'stores:' in {settings.config}",
        )
    options = {"path": os.path.join(root, STORE_PATH.removeprefix("./"))}
    return Target(settings, StoreConfig(settings.store, "local", options))


def _plain(option: object) -> object:
    if isinstance(option, Path):
        return str(option)
    if hasattr(option, "model_dump"):
        return option.model_dump(mode="json")
    return dict(cast("Mapping[str, Any]", option))
