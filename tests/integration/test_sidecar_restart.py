"""A killed sidecar, a real OpenBao and a real PostgreSQL: the application notices nothing."""

from __future__ import annotations

import os
import signal
import threading
import time

import psycopg
import pytest

from secretbridge.generation.reader import open_generation
from secretbridge_sidecar.client import ask
from tests.servers.bao import find_binary, real_vault
from tests.servers.postgres import find_programs, private_postgres

from .test_sidecar_vault import configure

TTL = 15
"""Seconds. Starting a sidecar takes one; on a machine with other work, some."""

pytestmark = pytest.mark.skipif(
    find_binary() is None or find_programs() is None, reason="needs OpenBao and PostgreSQL"
)


class Application(threading.Thread):
    """Logs in with what the files hold, twenty times a second, and counts what fails."""

    def __init__(self, place, database):
        super().__init__(daemon=True)
        self.place, self.database = place, database
        self.done, self.failed, self.is_over = 0, [], False

    def run(self):
        while not self.is_over:
            try:
                with open_generation(self.place.target) as generation:
                    found = generation.read_many(["user", "password"])
                user, password = (found[name].decode() for name in ("user", "password"))
                with psycopg.connect(
                    self.database.address, user=user, password=password
                ) as connection:
                    connection.execute("SELECT 1")
                self.done += 1
            except Exception as error:
                self.failed.append(type(error).__name__)
            time.sleep(0.05)


def leases(server):
    return server.do("LIST", "sys/leases/lookup/database/creds/app")["data"]["keys"]


@pytest.fixture(scope="module")
def servers():
    with private_postgres() as database, real_vault() as server:
        server.mount("database", "database")
        connection = {
            "plugin_name": "postgresql-database-plugin",
            "connection_url": database.url_for_vault,
            "username": "tests",
            "password": database.password,
            "allowed_roles": "*",
        }
        server.do("POST", "database/config/db", connection)
        making = "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}'"
        role = {"db_name": "db", "creation_statements": [making]}
        server.do("POST", "database/roles/app", {**role, "default_ttl": TTL, "max_ttl": 600})
        yield server, database


@pytest.mark.parametrize(
    "keeps_login",
    [
        pytest.param(False, id="logs in again"),
        pytest.param(True, id="keeps its login", marks=pytest.mark.soak),
    ],
)
def test_the_same_user_serves_before_and_after_and_is_renewed(place, servers, keeps_login):
    server, database = servers
    server.do("POST", "sys/leases/revoke-prefix/database/creds/app")
    configure(
        place,
        server,
        {
            "user": "vault:database/creds/app#username",
            "password": "vault:database/creds/app#password",
        },
        {"database/creds/app": ["read"]},
        state={"keep_login": keeps_login},
    )
    process = place.start()
    begun = time.monotonic()
    user, password = place.read("user"), place.read("password")
    [lease] = leases(server)
    application = Application(place, database)
    application.start()
    place.wait(lambda: application.done > 10)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    place.start()
    # Longer than the lease would have lived without being renewed by the second sidecar.
    while time.monotonic() < begun + TTL + 5:
        assert (place.read("user"), place.read("password")) == (user, password)
        assert database.roles() == [user]
        time.sleep(0.2)
    application.is_over = True
    application.join(20)
    assert leases(server) == [lease]
    found = server.do("POST", "sys/leases/lookup", {"lease_id": f"database/creds/app/{lease}"})
    assert found["data"]["last_renewal"] is not None
    assert application.failed == []
    assert application.done > 20
    assert place.problems() == {}
    print(f"{application.done} logins, none failed; one user, one lease, renewed after the restart")


def test_the_former_user_of_the_database_works_until_the_consumer_has_moved_on(place, servers):
    server, database = servers
    server.do("POST", "sys/leases/revoke-prefix/database/creds/app")
    secrets = {name: f"vault:database/creds/app#{name}" for name in ("username", "password")}
    rules = {"database/creds/app": ["read"], "sys/leases/revoke": ["update"]}
    handing_over = {"grace": "0s", "wait_ack": {"consumers": ["web"], "timeout": "10m"}}
    configure(place, server, secrets, rules, **handing_over)
    place.start()
    former = [place.read(name) for name in secrets]
    # A store that is configured in another way is another one, with credentials of its own.
    configure(place, server, secrets, rules, options={"timeout": 5}, **handing_over)
    place.running[-1].send_signal(signal.SIGHUP)
    place.wait(lambda: place.read("username") != former[0])
    place.wait(lambda: place.status()["handovers"])
    for _ in range(20):
        for user, password in (former, [place.read(name) for name in secrets]):
            psycopg.connect(database.address, user=user, password=password).close()
        time.sleep(0.1)
    generation = os.readlink(place.target / "..data")
    asked = {"consumer": "web", "generation": generation}
    assert ask(str(place.socket), "/ack", order=asked)[0] == 200
    place.wait(lambda: database.roles() == [place.read("username")])
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(database.address, user=former[0], password=former[1])
