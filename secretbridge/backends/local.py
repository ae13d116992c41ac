"""The embedded encrypted store as a backend: for a laptop, a test, a demo, a single machine.

All requests of one fetch come from one state of the store's file, which is decrypted once and kept
in memory until it changes. The format is specified in ``docs/formats/embedded-store.md``;
:class:`LocalStore` reads and writes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..document import Document, Lease
from ..errors import ConfigError, SecretBridgeError, SecretExpired
from ..reference import SCHEMES, DocumentId, Scheme
from ._file_push import FileChanges, PushesChanges, places
from ._local.contents import Contents, StoredVersion
from ._local.keys import (
    Credential,
    KeyFile,
    Passphrase,
    PassphraseFile,
    create_key_file,
)
from ._local.store import Listed, LocalStore

if TYPE_CHECKING:
    from pydantic import BaseModel

    from . import Deadline, Outcome
    from ._reach import Reach

__all__ = [
    "Credential",
    "KeyFile",
    "Listed",
    "LocalBackend",
    "LocalStore",
    "Passphrase",
    "PassphraseFile",
    "StoredVersion",
    "create_key_file",
    "default_key_file",
]

DEFAULT_PATH = Path("secrets.sbx")
"""Where the store is when nothing is configured: in the working directory."""


def default_key_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the key is when nothing is configured: apart from the store it opens."""
    base = environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification has relative paths ignored.
    folder = Path(base) if os.path.isabs(base) else Path("~/.config").expanduser()
    return folder / "secretbridge" / "key"


def open_store(options: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> LocalStore:
    """Return the store that ``options`` configure, without touching it.

    ``options``: the keys under ``stores:``, all of them optional. Raises :class:`ConfigError` when
    both a key file and a passphrase file are given.
    """
    path = options.get("path") or DEFAULT_PATH
    key_file, passphrase_file = options.get("key_file"), options.get("passphrase_file")
    if key_file and passphrase_file:
        raise ConfigError(
            "key_file and passphrase_file are both given", hint="a store has one key; keep one"
        )
    if passphrase_file:
        return LocalStore(path, PassphraseFile(passphrase_file))
    return LocalStore(path, KeyFile(key_file or default_key_file(environ)))


class LocalBackend(PushesChanges):
    """A client of one embedded store."""

    scheme: ClassVar[Scheme] = SCHEMES["local"]
    batch_size: ClassVar[int] = 1000
    reads_together: ClassVar[bool] = True
    """Whether all documents of one fetch are as they were at one moment."""

    def __init__(self, store: str, file: LocalStore) -> None:
        """``store`` is the configured name; ``file`` is what it reads."""
        self.store = store
        self._file = file
        self._changes = FileChanges(self._places, self.probe)

    @classmethod
    def options_model(cls) -> type[BaseModel]:
        """Return the model of ``path``, ``key_file`` and ``passphrase_file``."""
        from pydantic import BaseModel, ConfigDict, model_validator

        class LocalOptions(BaseModel):
            model_config = ConfigDict(extra="forbid", frozen=True)
            path: Path = DEFAULT_PATH
            key_file: Path | None = None
            passphrase_file: Path | None = None

            @model_validator(mode="after")
            def _one_key(self) -> LocalOptions:
                if self.key_file is not None and self.passphrase_file is not None:
                    raise ValueError("key_file and passphrase_file are both given; keep one")
                return self

        return LocalOptions

    @classmethod
    def create(cls, store: str, options: Mapping[str, Any]) -> LocalBackend:
        """Make the client of store ``store``; no file is touched."""
        return cls(store, open_store(options))

    @classmethod
    def reach(
        cls, options: Mapping[str, Any], locators: Iterable[str], environ: Mapping[str, str]
    ) -> Reach:
        """Return the store's file and that of its key."""
        from ._reach import Reach, files_of

        keys = files_of(options).values() or [str(default_key_file(environ))]
        return Reach(credentials=keys, files=[os.path.abspath(options.get("path") or DEFAULT_PATH)])

    def fetch(self, requests: Sequence[DocumentId], deadline: Deadline) -> Sequence[Outcome]:
        """Return the values of one state of the store."""
        outcomes = [
            found
            if isinstance(found, SecretBridgeError)
            else Document(found.held, version=str(found.number))
            for found in self._find(requests, deadline)
        ]
        self._changes.fetched(requests, outcomes)
        return outcomes

    def probe(
        self, requests: Sequence[DocumentId], deadline: Deadline
    ) -> Sequence[str | SecretBridgeError | None]:
        """Return the version of each value; a store that has not changed is not decrypted."""
        return [
            found if isinstance(found, SecretBridgeError) else str(found.number)
            for found in self._find(requests, deadline)
        ]

    def put_new(self, locator: str, value: bytes, deadline: Deadline) -> str:
        """Store a secret where there is none and return its version. Raises :class:`Occupied`."""
        deadline.remaining()
        return str(self._file.add(locator, value))

    def withdraw(self, locator: str, version: str, deadline: Deadline) -> bool:
        """Remove a secret whose latest version is ``version``; return whether it was."""
        deadline.remaining()
        return self._file.withdraw(locator, int(version))

    def renew(self, lease: Lease, deadline: Deadline) -> Lease:
        """The embedded store gives no leases."""
        raise SecretExpired(
            "the embedded store has no leases", store=self.store, hint="fetch the document again"
        )

    def revoke(self, lease: Lease, deadline: Deadline) -> None:
        """The embedded store gives no leases, so there is nothing to give back."""

    def after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held, and begin to listen anew."""
        self._file.after_fork()
        self._changes.after_fork()

    def close(self) -> None:
        """Stop listening, and forget the key and the values."""
        self._changes.stop()
        self._file.forget()

    def __repr__(self) -> str:
        return f"<LocalBackend store={self.store!r} path={self._file.path!r}>"

    def _places(self, request: DocumentId) -> dict[str, set[str]]:
        return places(os.path.dirname(self._file.path), self._file.path)

    def _find(
        self, requests: Sequence[DocumentId], deadline: Deadline
    ) -> list[StoredVersion | SecretBridgeError]:
        try:
            deadline.remaining()
            contents = self._file.contents()
        except SecretBridgeError as error:
            return [error.about(str(request), self.store) for request in requests]
        return [self._version(contents, request) for request in requests]

    def _version(
        self, contents: Contents, request: DocumentId
    ) -> StoredVersion | SecretBridgeError:
        number = request.option("version")
        try:
            return contents.version(request.locator, None if number is None else int(number))
        except SecretBridgeError as error:
            return error.about(str(request), self.store)
