"""The examples: they run as their pages say, and what is worth copying is so."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secretbridge.cli._demo_database import Database
from secretbridge.cli._demo_place import find_memory
from secretbridge.config import load_config
from secretbridge.errors import UnsafeTarget
from tests.servers.bao import find_binary
from tests.servers.postgres import find_programs

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def place() -> Iterator[Path]:
    try:
        memory = find_memory()
    except UnsafeTarget as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="examples-", dir=memory) as path:
        yield Path(path)


# Three stores -----------------------------------------------------------------------------------


def three_stores(place: Path, binary: str) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(place), "TMPDIR": str(place), "SECRETBRIDGE_VAULT_BIN": binary}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "three_stores" / "run.py")],
        env={**environment, "PATH": str(place), "XDG_RUNTIME_DIR": str(place)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def at_work_in(place: Path) -> list[str]:
    """Return the processes whose working directory lies in ``place``."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd").startswith(str(place)):
                found.append(pid)
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


@pytest.mark.parametrize("kind", ["real", "in this process"])
def test_one_application_signs_with_the_key_of_each_of_three_stores(place: Path, kind: str) -> None:
    binary = find_binary() if kind == "real" else ""
    if binary is None:
        pytest.skip("neither bao nor vault is on the PATH")
    ended = three_stores(place, binary)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("ok: signed with what this store holds") == 3
    assert ("A real Vault" if kind == "real" else "A Vault in this process") in ended.stdout
    assert "3 of 3 signatures are right. Nothing is left behind." in ended.stdout
    assert list(place.iterdir()) == []
    assert at_work_in(place) == []


def test_the_three_configurations_give_the_same_names_from_three_backends() -> None:
    folder = EXAMPLES / "three_stores"
    configs = [load_config(folder / f"{name}.yaml") for name in ("embedded", "docker", "vault")]
    names = {tuple(config.secrets) for config in configs}
    schemes = {s.reference.scheme for config in configs for s in config.secrets.values()}
    assert names == {("partner_user", "partner_key")}
    assert schemes == {"local", "file", "vault"}


def test_the_application_knows_no_store() -> None:
    text = (EXAMPLES / "three_stores" / "app.py").read_text()
    assert not re.search(r"vault|docker|local|file:|environ|yaml", text)


# Orders -----------------------------------------------------------------------------------------


class Orders:
    """The application on a directory of files, and a database that it logs in to."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "run").mkdir()
        self.database = Database(str(place / "db.sock"))
        self.rotate("first-password")
        config = (EXAMPLES / "orders" / "orders.yaml").read_text()
        (place / "orders.yaml").write_text(config.replace("refresh: 1s", "refresh: 100ms"))
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "orders" / "app.py"), "db.sock"],
            cwd=place,
            env={"SECRETBRIDGE_CONFIG": "orders.yaml", "PATH": os.defpath},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def rotate(self, password: str) -> None:
        """Let the database accept ``password`` as well, and write it as a sidecar does."""
        self.database.accept("orders", password)
        fresh = self.place / "run" / ".new"
        fresh.write_text(json.dumps({"db_user": "orders", "db_password": password}))
        fresh.rename(self.place / "run" / "db.json")

    def wait(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not is_so():
            assert time.monotonic() < end
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.01)

    def stop(self) -> tuple[str, dict[str, int]]:
        """End the application; return what it has said, and what it has counted."""
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=20)
        counts: dict[str, int] = json.loads(said.splitlines()[-1])
        return said, counts


@pytest.fixture
def orders(place: Path) -> Iterator[Orders]:
    made = Orders(place)
    made.wait(lambda: made.database.answered > 0)
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.communicate()
    made.database.close()


def test_the_application_logs_in_again_and_loses_no_query(orders: Orders) -> None:
    orders.rotate("second-password")
    orders.wait(lambda: orders.database.logins("orders", "second-password") > 0)
    orders.wait(lambda: orders.database.answered > 10)
    said, counts = orders.stop()
    assert counts["failed"] == 0
    assert counts["answered"] > 0
    assert "password" not in said.replace("the password was rotated", "")


def test_without_an_overlap_queries_fail_until_the_new_password_is_there(orders: Orders) -> None:
    orders.database.withdraw("orders", "first-password")
    orders.wait(lambda: orders.database.rejected > 0)
    orders.rotate("second-password")
    orders.wait(lambda: orders.database.logins("orders", "second-password") > 0)
    said, counts = orders.stop()
    assert counts["failed"] > 0
    assert "failed: " in said
    assert "-password" not in said


def test_the_application_is_short_enough_to_be_read() -> None:
    assert len((EXAMPLES / "orders" / "app.py").read_text().splitlines()) <= 80


def test_what_the_application_reads_is_what_the_sidecar_writes() -> None:
    written = load_config(EXAMPLES / "orders" / "secretbridge.yaml").sidecar
    read = load_config(EXAMPLES / "orders" / "orders.yaml").secrets
    assert written is not None
    for name, secret in read.items():
        assert secret.reference.selector == name
        assert name in written.files[secret.reference.locator].secrets


# A leased database user ---------------------------------------------------------------------------


def leased_database(place: Path, seconds: int) -> dict[str, int]:
    """Let the set-up run for so long; return what the application counted."""
    if find_programs() is None:
        pytest.skip("the Debian package postgresql is not installed")
    if find_binary() is None:
        pytest.skip("neither bao nor vault is on the PATH")
    run = EXAMPLES / "leased_database" / "run.py"
    ended = subprocess.run(
        [sys.executable, str(run), "--seconds", str(seconds)],
        env={**os.environ, "TMPDIR": str(place)},
        capture_output=True,
        text=True,
        timeout=seconds + 90,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "left behind: 0 leases, 0 users\nok\n" in ended.stdout
    most = re.search(r"at the most (\d+) leases at once", ended.stdout)
    assert most is not None
    assert int(most[1]) <= 2, "a user and its successor"
    assert list(place.iterdir()) == []
    (line,) = (line for line in ended.stdout.splitlines() if line.startswith("{"))
    counts: dict[str, int] = json.loads(line)
    return counts


@pytest.mark.timeout(180)
def test_no_query_fails_and_no_lease_is_left_while_users_come_and_go(place: Path) -> None:
    place.chmod(0o755)  # PostgreSQL runs as somebody else
    counts = leased_database(place, 45)
    assert counts["failed"] == 0
    assert counts["answered"] > 500
    assert counts["users"] >= 2, "the user was not replaced"


@pytest.mark.soak
def test_five_minutes_of_leased_users_lose_no_query_and_leave_no_lease(place: Path) -> None:
    place.chmod(0o755)
    counts = leased_database(place, 300)
    assert counts["failed"] == 0
    assert counts["answered"] > 5000
    assert counts["users"] >= 9


def test_what_is_set_up_is_what_the_application_reads() -> None:
    folder = EXAMPLES / "leased_database"
    secrets = load_config(folder / "secretbridge.yaml").secrets
    assert {s.reference.document.locator for s in secrets.values()} == {"database/creds/orders"}
    assert "database/roles/orders" in (folder / "setup.sh").read_text()
    assert 'path "database/creds/orders"' in (folder / "policy.hcl").read_text()
    assert len((folder / "app.py").read_text().splitlines()) <= 100
