"""The recipe of the page about libpq: the sidecar writes the password file, and no code reads it."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from secretbridge.adapters.libpq import passfile_line
from tests.integration.place import Place, memory_directory


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="secretbridge-test-", dir=memory_directory()) as root:
        made = Place(Path(root))
        yield made
        made.stop()


@pytest.fixture
def rotate(place, role):
    """Return what changes the role's password, and returns when the sidecar has written it."""

    def change() -> None:
        password = f"p:{secrets.token_hex(6)}\\"
        role(password)
        place.put("password", password)
        line = passfile_line("127.0.0.1", "*", "*", "app", password) + "\n"
        if place.running:
            place.wait(lambda: place.read("pgpass") == line)

    return change


@pytest.fixture
def passfile(place, rotate):
    rotate()
    pgpass = {
        "format": "pgpass",
        "secrets": {"password": "db_password"},
        "values": {"host": "127.0.0.1", "username": "app"},
    }
    place.configure(secrets={"db_password": "file:password"}, files={"pgpass": pgpass})
    place.start()
    return place.target / "pgpass"


def test_every_connection_has_the_password_of_its_moment(passfile, rotate, postgres):
    for _ in range(5):
        with psycopg.connect(postgres.address, user="app", passfile=str(passfile)) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("app",)
        rotate()


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
def test_psql_needs_nothing_but_the_path(passfile, rotate, postgres):
    for _ in range(2):
        done = subprocess.run(
            ["psql", f"{postgres.address} user=app passfile={passfile}", "-Atc", "SELECT 1"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
        rotate()
