"""A private PostgreSQL, started for tests and ended with them.

    with private_postgres() as database:
        database.execute("SELECT 1")

The programs are those of the Debian package ``postgresql``. PostgreSQL refuses to run as root, so root
runs it as ``postgres`` or ``nobody``. It listens on a socket in its own directory and on a free
loopback port, asks everybody for a password, and keeps nothing: data is not synced to the disk.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg

__all__ = ["Postgres", "find_programs", "private_postgres"]

START_SECONDS = 60.0
DEBIAN = Path("/usr/lib/postgresql")
SUPERUSER = "tests"


def find_programs() -> Path | None:
    """Return the directory with ``initdb`` and ``postgres``, the newest version; None without one."""
    versions = [path for path in DEBIAN.glob("*/bin") if (path / "initdb").exists()]
    if versions:
        return max(versions, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0))
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


class Postgres:
    """The administrator of a server that runs as a process of ours."""

    def __init__(self, directory: Path, port: int, password: str) -> None:
        self.directory = directory
        self.port = port
        self.password = password

    @property
    def address(self) -> str:
        """Where clients connect to, as a connection string without user and password."""
        return f"host=127.0.0.1 port={self.port} dbname=postgres sslmode=disable connect_timeout=5"

    @property
    def url_for_vault(self) -> str:
        """What the database engine is configured with; it fills in the two names."""
        return (
            f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{self.port}/postgres"
            "?sslmode=disable"
        )

    def execute(
        self, query: LiteralString, *values: object, database: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """Run a statement (without ``values`` also several) as superuser; return its rows."""
        with psycopg.connect(
            self.address,
            user=SUPERUSER,
            password=self.password,
            dbname=database,
            autocommit=True,
        ) as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []

    def roles(self, prefix: str = "v-") -> list[str]:
        """Return the names of the roles that were made for leases."""
        rows = self.execute(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s) ORDER BY 1", prefix
        )
        return [name for (name,) in rows]


@contextmanager
def private_postgres() -> Iterator[Postgres]:
    """Run a server; raise :class:`FileNotFoundError` when the programs are not installed."""
    programs = find_programs()
    if programs is None:
        raise FileNotFoundError("no initdb: the Debian package postgresql is not installed")
    account = _account()
    password = secrets.token_hex(12)
    with tempfile.TemporaryDirectory(prefix="secretbridge-postgres-") as name:
        directory = Path(name)
        (directory / "password").write_text(password)
        if account is not None:
            os.chown(directory, account.pw_uid, account.pw_gid)
            os.chown(directory / "password", account.pw_uid, account.pw_gid)
        run = {
            "cwd": directory,
            "env": {"PATH": os.environ.get("PATH", ""), "HOME": name, "LC_ALL": "C", "TZ": "UTC"},
            "user": None if account is None else account.pw_uid,
            "group": None if account is None else account.pw_gid,
            "extra_groups": None if account is None else [],
        }
        _initialize(programs, directory, run)
        port = _free_port()
        output = directory / "output"
        process = _start(programs, directory, port, output, run)
        try:
            server = Postgres(directory, port, password)
            _wait_until_ready(process, server, output)
            yield server
        finally:
            # SIGINT is the fast shutdown: sessions are ended instead of waited for.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _account() -> pwd.struct_passwd | None:
    """Return whom to run the server as; None stays who we are."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise FileNotFoundError("neither postgres nor nobody is an account, and root may not run it")


def _initialize(programs: Path, directory: Path, run: dict[str, Any]) -> None:
    command = [
        *[str(programs / "initdb"), "-D", str(directory / "data"), "-U", SUPERUSER],
        *["--auth=scram-sha-256", f"--pwfile={directory / 'password'}"],
        *["--encoding=UTF8", "--no-locale", "--no-sync"],
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **run)
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed: {done.stderr[-500:]}")


def _start(
    programs: Path, directory: Path, port: int, output: Path, run: dict[str, Any]
) -> subprocess.Popen[bytes]:
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": directory,
        "fsync": "off",
        "shared_buffers": "16MB",
        "max_connections": 40,
    }
    command = [str(programs / "postgres"), "-D", str(directory / "data")]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    with output.open("wb") as sink:
        return subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, **run)


def _wait_until_ready(process: subprocess.Popen[bytes], server: Postgres, output: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            server.execute("SELECT 1")
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    text = output.read_text(errors="replace")[-500:]
    raise RuntimeError(f"the server did not start ({process.poll()}): {text}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
