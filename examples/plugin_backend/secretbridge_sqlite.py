"""Secrets from a table of an SQLite database: a backend for secretbridge, as a package of its own.

References are ``sqlite:app/db`` and ``sqlite:app/db?version=3#password``. The table is

    CREATE TABLE secrets (
        locator TEXT, version INTEGER, body BLOB, PRIMARY KEY (locator, version)
    )

and a body that is NULL marks the secret as deleted. A backend is a plain client: it has no cache, no
retry and no thread, because the broker has them for all backends. What it must get right is to answer
each request by itself, to tell missing from unreachable, to end in time, and never to let a value into
an error or a log. ``tests/test_sqlite.py`` has all of that checked by secretbridge's own contract.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from secretbridge import (
    BackendUnavailable,
    IntegrityError,
    SecretBridgeError,
    SecretDeleted,
    SecretExpired,
    SecretMissing,
    VersionMissing,
)
from secretbridge.backends import Deadline
from secretbridge.document import Document, Lease
from secretbridge.reference import DocumentId, Scheme

_STEPS_BETWEEN_LOOKS = 1000
"""Instructions of SQLite's machine, well below a millisecond."""


class SQLiteOptions(BaseModel):
    """The keys of a store of this backend. A credential would be a path here, ``..._file``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Path("secrets.sqlite")


class SQLiteBackend:
    """A client of one database file. Every call opens it anew, so threads and forks share nothing."""

    scheme: ClassVar[Scheme] = Scheme(
        "sqlite", options=("version",), segments=True, example="sqlite:app/db#password"
    )
    batch_size: ClassVar[int] = 500

    def __init__(self, store: str, path: Path) -> None:
        self.store = store
        self._path = path

    @classmethod
    def options_model(cls) -> type[BaseModel]:
        """Return the model that checks the configuration of a store."""
        return SQLiteOptions

    @classmethod
    def create(cls, store: str, options: Mapping[str, Any]) -> SQLiteBackend:
        """Make the client; the database is first opened when something is fetched."""
        return cls(store, Path(options.get("path", "secrets.sqlite")))

    def fetch(
        self, requests: Sequence[DocumentId], deadline: Deadline
    ) -> Sequence[Document | SecretBridgeError]:
        """Return a document or an error for each request, in their order."""
        try:
            with self._database(deadline) as database:
                return [self._document(database, request) for request in requests]
        except SecretBridgeError as error:
            return [error.about(str(request), request.store) for request in requests]

    def probe(
        self, requests: Sequence[DocumentId], deadline: Deadline
    ) -> Sequence[str | SecretBridgeError | None]:
        """Return the current version of each secret, which is cheaper than its body."""
        try:
            with self._database(deadline) as database:
                return [self._version(database, request) for request in requests]
        except SecretBridgeError as error:
            return [error.about(str(request), request.store) for request in requests]

    def renew(self, lease: Lease, deadline: Deadline) -> Lease:
        """Refuse: a database file hands out no leases."""
        raise SecretExpired("this store has no leases", store=self.store, hint="fetch again")

    def revoke(self, lease: Lease, deadline: Deadline) -> None:
        """Do nothing: there is nothing to give back."""

    def after_fork(self) -> None:
        """Do nothing: no connection outlives a call."""

    def close(self) -> None:
        """Do nothing, as in :meth:`after_fork`."""

    @contextmanager
    def _database(self, deadline: Deadline) -> Iterator[sqlite3.Connection]:
        """Open the database for the block, and turn its errors into those of secretbridge."""
        seconds = deadline.remaining()  # raises DeadlineExceeded when there is no time left
        try:
            # Read-only, so that a wrong path does not make an empty database.
            address = f"{self._path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, timeout=seconds, uri=True)) as database:
                database.set_progress_handler(lambda: _is_over(deadline), _STEPS_BETWEEN_LOOKS)
                yield database
        except sqlite3.OperationalError as error:
            # The names of SQLite's errors say enough, and cannot hold a value as their text might.
            raise BackendUnavailable(
                f"the database {self._path} cannot be read ({error.sqlite_errorname})",
                store=self.store,
                hint="check that it exists, is readable, and has the table `secrets`",
            ) from None
        except sqlite3.DatabaseError as error:
            raise IntegrityError(
                f"{self._path} is no sound database ({error.sqlite_errorname})",
                store=self.store,
                hint="restore it from a backup",
            ) from None

    def _version(
        self, database: sqlite3.Connection, request: DocumentId
    ) -> str | SecretBridgeError:
        row = database.execute(
            "SELECT version, body IS NULL FROM secrets WHERE locator = ? ORDER BY version DESC",
            (request.locator,),
        ).fetchone()
        if row is None:
            return SecretMissing(
                "there is no such secret",
                reference=str(request),
                store=self.store,
                hint="compare the spelling with the table's column `locator`",
            )
        version, is_deleted = row
        if is_deleted:
            return SecretDeleted(
                "the secret was deleted",
                reference=str(request),
                store=self.store,
                hint="store a new version",
            )
        return str(version)

    def _document(
        self, database: sqlite3.Connection, request: DocumentId
    ) -> Document | SecretBridgeError:
        newest = self._version(database, request)
        if isinstance(newest, SecretBridgeError):
            return newest
        version = request.option("version") or newest
        row = database.execute(
            "SELECT CAST(body AS BLOB) FROM secrets WHERE locator = ? AND version = ?",
            (request.locator, version),
        ).fetchone()
        if row is None or row[0] is None:
            return VersionMissing(
                f"there is no version {version}; the newest is {newest}",
                reference=str(request),
                store=self.store,
                hint="leave out ?version for the newest",
            )
        return Document(bytes(row[0]), version=version)


def _is_over(deadline: Deadline) -> bool:
    try:
        deadline.remaining()
    except SecretBridgeError:
        return True
    return False
