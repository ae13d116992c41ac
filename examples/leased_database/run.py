"""Runs the whole set-up on this machine: PostgreSQL, Vault, the application, and a count at the end.

It fails when a query failed, when a lease is left in Vault, or a user in the database. `--seconds` says
how long the application works (60 unless told otherwise). A credential lives for 10 seconds, is kept for
up to 30, and is then replaced by another. Needs PostgreSQL's programs (on Debian: postgresql) and `bao`
or `vault` on the PATH. Everything happens on loopback ports and in a private directory, which is removed
at the end.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # the servers belong to the tests of this repository

from tests.servers.bao import find_binary, real_vault  # noqa: E402
from tests.servers.postgres import private_postgres  # noqa: E402

ADDRESS = "http://127.0.0.1:8200"
"""What stands in secretbridge.yaml; the server is given a port that is free."""

LEASES = "sys/leases/lookup/database/creds/orders"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    # As an exception it lets every `with` block below end what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    binary = find_binary()
    if binary is None:
        sys.exit("neither bao nor vault is on the PATH")
    with (
        tempfile.TemporaryDirectory(prefix="secretbridge-leased-database.") as name,
        private_postgres() as database,
        real_vault(binary) as vault,
    ):
        place = Path(name)
        prepare(place, binary, vault, database)
        return work(place, vault, database, seconds)


def prepare(place, binary, vault, database) -> None:
    """Do what an administrator does once: schema.sql, then setup.sh."""
    password = "replaced-by-vault"
    database.execute(f"CREATE ROLE vault WITH LOGIN CREATEROLE PASSWORD '{password}'")
    database.execute("CREATE DATABASE orders")
    database.execute((HERE / "schema.sql").read_text(), database="orders")
    for file, text in (("password", password), (".vault-token", vault.token)):
        (place / file).touch(0o600)
        (place / file).write_text(text)
    subprocess.run(
        [str(HERE / "setup.sh"), "127.0.0.1", str(database.port), "password"],
        cwd=place,
        env={
            "HOME": str(place),
            "PATH": os.environ["PATH"],
            "VAULT": binary,
            "VAULT_ADDR": vault.address,
            "BAO_ADDR": vault.address,
            "PGSSLMODE": "disable",
        },
        check=True,
    )
    for file in ("password", ".vault-token"):
        (place / file).unlink()
    config = (HERE / "secretbridge.yaml").read_text()
    (place / "secretbridge.yaml").write_text(config.replace(ADDRESS, vault.address))


def work(place, vault, database, seconds) -> int:
    address = f"host=127.0.0.1 port={database.port} dbname=orders"
    application = subprocess.Popen(
        [sys.executable, str(HERE / "app.py"), address],
        cwd=place,
        env={"PATH": os.defpath, "HOME": str(place), "SECRETBRIDGE_CONFIG": "secretbridge.yaml"},
        stdout=subprocess.PIPE,
        text=True,
    )
    most, end = 0, time.monotonic() + seconds
    while time.monotonic() < end and application.poll() is None:
        most = max(most, leases(vault))
        show(f"leases {leases(vault)}, users {len(database.roles())}")
        time.sleep(1.0)
    application.send_signal(signal.SIGTERM)
    said, _ = application.communicate(timeout=30)
    print(said, end="")
    counts = json.loads(said.splitlines()[-1])
    left, users = leases(vault), len(database.roles())
    print(f"at the most {most} leases at once; left behind: {left} leases, {users} users")
    is_good = application.returncode == 0 and counts["answered"] > 0
    is_good = is_good and counts["failed"] == 0 and left == 0 and users == 0
    print("ok" if is_good else "FAILED")
    return 0 if is_good else 1


def leases(vault) -> int:
    """Return how many leases of the application's role there are."""
    status, answer = vault.request("LIST", LEASES)
    return len(answer["data"]["keys"]) if status == 200 else 0


def show(text: str) -> None:
    if sys.stdout.isatty():
        print(f"\r{text}   ", end="\r", flush=True)


if __name__ == "__main__":
    sys.exit(main())
