"""What is taken away in AWS is noticed with the next refresh: no cache of ours outlives it.

Caches that look at the description of a secret first, as AWS's own do, go on serving what was
deleted, denied or encrypted with a key that is off: the description can still be read.
"""

import threading
import time

import pytest

from secretbridge import Broker
from secretbridge.errors import (
    AccessDenied,
    SecretDeleted,
    SecretExpired,
    SecretMissing,
)
from tests.servers.aws import REGION, FaultServer, clean_environment

pytest.importorskip("botocore")

PATIENCE = 20.0
SECRETS = {
    "password": "aws-sm:app/db",
    "neighbour": "aws-sm:app/api",
    "key": "aws-ssm:/app/key",
    "next_key": "aws-ssm:/app/next",
}


@pytest.fixture
def server(monkeypatch):
    clean_environment(monkeypatch)
    with FaultServer() as server:
        for name in ("app/db", "app/api"):
            server.put(name, f"of {name}")
        for name in ("/app/key", "/app/next"):
            server.parameters.put(name, f"of {name}")
        yield server


def opened(server, **policy):
    at = {"region": REGION, "endpoint_url": server.url}
    configured = {name: (name, at) for name in ("aws-sm", "aws-ssm")}
    return Broker(secrets=SECRETS, configured=configured, **policy)


WITHDRAWALS = [
    ("password", lambda server: server.mark_for_deletion("app/db"), SecretDeleted),
    ("password", lambda server: server.remove("app/db"), SecretMissing),
    ("password", lambda server: server.denied.add("app/db"), AccessDenied),
    ("key", lambda server: server.parameters.remove("/app/key"), SecretMissing),
    ("key", lambda server: server.parameters.denied.add("/app/key"), AccessDenied),
]


@pytest.mark.parametrize(
    ("name", "withdraw", "kind"),
    WITHDRAWALS,
    ids=["deleted", "gone", "denied", "parameter gone", "parameter denied"],
)
def test_what_is_withdrawn_is_served_no_more_after_one_refresh(server, name, withdraw, kind):
    lost = threading.Event()
    with opened(server, refresh=0.3) as broker:
        broker.prefetch()
        withdraw(server)
        end = broker.watch([name], lost.set)
        assert lost.wait(PATIENCE)
        with pytest.raises(kind):
            broker.get(name)
        for other in SECRETS.keys() - {name}:
            assert broker.get(other).reveal().startswith("of ")
        end()


@pytest.mark.parametrize(
    ("name", "switch_off", "switch_on"),
    [
        (
            "password",
            lambda server: server.undecryptable.add("app/db"),
            lambda server: server.undecryptable.clear(),
        ),
        (
            "key",
            lambda server: server.parameters.undecryptable.add("/app/key"),
            lambda server: server.parameters.undecryptable.clear(),
        ),
    ],
    ids=["secret", "parameter"],
)
def test_a_key_that_is_off_is_told_with_the_next_refresh_and_the_value_stays_for_a_while(
    server, name, switch_off, switch_on
):
    # A disabled key is switched on again more often than not; the value was not withdrawn.
    with opened(server, refresh=0.3, max_stale=0.7) as broker:
        broker.prefetch()
        end = broker.watch(list(SECRETS), lambda: None)
        switch_off(server)
        row = wait_for_state(broker, name, "stale")
        assert "KMS key" in row["error"]
        served = broker.get(name)
        assert served.stale
        assert served.reveal().startswith("of ")
        assert "KMS key" in wait_for_state(broker, name, "expired")["error"]
        with pytest.raises(SecretExpired, match="KMS key"):
            broker.get(name)
        switch_on(server)
        wait_for_state(broker, name, "fresh")
        end()


def wait_for_state(broker, name, state):
    end = time.monotonic() + PATIENCE
    while True:
        [row] = [row for row in broker.status() if row["name"] == name]
        if row["state"] == state:
            return row
        assert time.monotonic() < end, row
        time.sleep(0.01)  # the status is to be looked at


def test_a_pending_version_is_not_served_before_its_rotation_has_ended(server):
    with opened(server) as broker:
        server.put("app/db", "not working yet", stage="AWSPENDING")
        assert broker.get("password").reveal() == "of app/db"
        assert broker.get("aws-sm:app/db?stage=AWSPENDING").reveal() == "not working yet"


def test_the_current_and_the_previous_version_can_be_had_as_a_pair(server):
    # While a rotation is under way one of the two works.
    server.put("app/db", "new")
    with opened(server) as broker:
        pair = broker.get_many(["password", "aws-sm:app/db?stage=AWSPREVIOUS"])
    assert [secret.reveal() for secret in pair.values()] == ["new", "of app/db"]
