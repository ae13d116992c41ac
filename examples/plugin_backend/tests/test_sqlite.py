"""The SQLite backend keeps secretbridge's contract, and what it adds is tested beside it."""

import sqlite3
import threading

import pytest
from secretbridge_sqlite import SQLiteBackend

from secretbridge import BackendUnavailable, Broker, IntegrityError, SecretDeleted
from secretbridge.backends import Deadline
from secretbridge.reference import Reference
from secretbridge.testing import BackendContract


class Database:
    """The store behind the backend's back."""

    def __init__(self, path):
        self.path = path
        self.do(
            "CREATE TABLE secrets (locator, version INTEGER, body, PRIMARY KEY (locator, version))"
        )

    def do(self, statement, *values):
        database = sqlite3.connect(self.path)
        with database:
            database.execute(statement, values)
        database.close()

    def put(self, locator, body):
        self.do(
            "INSERT INTO secrets SELECT ?1, 1 + COALESCE(MAX(version), 0), ?2 FROM secrets"
            " WHERE locator = ?1",
            locator,
            body,
        )


@pytest.fixture
def database(tmp_path):
    return Database(tmp_path / "secrets.sqlite")


class TestContract(BackendContract):
    @pytest.fixture
    def backend(self, database):
        self.database = database
        backend = SQLiteBackend.create("sqlite", {"path": database.path})
        yield backend
        backend.close()

    def options(self, backend):
        return {"path": str(self.database.path)}

    def put(self, locator, body):
        self.database.put(locator, body)

    def remove(self, locator):
        self.database.do("DELETE FROM secrets WHERE locator = ?", locator)

    def break_store(self):
        self.database.path.rename(self.database.path.with_suffix(".away"))

    def heal_store(self):
        self.database.path.with_suffix(".away").rename(self.database.path)

    def absent_version(self):
        return "99"


def fetch(database, locator, seconds=10):
    backend = SQLiteBackend("sqlite", database.path)
    [outcome] = backend.fetch([Reference.parse(f"sqlite:{locator}").document], Deadline(seconds))
    return outcome


def test_a_deleted_secret_is_told_as_deleted(database):
    database.put("app/db", b"one")
    database.put("app/db", None)
    assert type(fetch(database, "app/db")) is SecretDeleted


def test_a_file_that_is_no_database_is_told_as_damaged(database):
    database.path.write_bytes(b"no database at all, and longer than its header would be" * 100)
    assert type(fetch(database, "app/db")) is IntegrityError


def test_a_database_without_the_table_is_unavailable(database):
    database.do("DROP TABLE secrets")
    outcome = fetch(database, "app/db")
    assert type(outcome) is BackendUnavailable
    assert "has the table `secrets`" in outcome.hint


def test_a_locked_database_ends_with_the_deadline(database):
    database.put("app/db", b"one")
    lock = sqlite3.connect(database.path, isolation_level=None, check_same_thread=False)
    lock.execute("PRAGMA locking_mode = EXCLUSIVE")
    lock.execute("BEGIN EXCLUSIVE")
    found = []
    reader = threading.Thread(target=lambda: found.append(fetch(database, "app/db", 0.1)))
    reader.start()
    reader.join(10)
    lock.close()
    assert type(found[0]) is BackendUnavailable


def test_a_broker_reads_a_field_and_sees_a_rotation(database):
    database.put("app/db", b'{"password": "one"}')
    stores = {"sqlite": SQLiteBackend("sqlite", database.path)}
    with Broker(stores, {"db_password": "sqlite:app/db#password"}) as broker:
        assert broker.get("db_password").reveal() == "one"
        database.put("app/db", b'{"password": "two"}')
        assert broker.wait_for("db_password", "2", timeout=10).reveal() == "two"
