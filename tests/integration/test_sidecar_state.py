"""A sidecar goes on where the one before has ended: same credential, same lease, nothing new."""

from __future__ import annotations

import json
import os
import signal
import stat
import time

import pytest

from tests.servers.vault import VaultServer

from .place import CANARY
from .test_sidecar_vault import REVOKING, alive, configure, logins

RULES = {"database/creds/*": ["read"], "kv/data/*": ["read"], **REVOKING}
KEEP = {"state": {"keep_login": True}}


@pytest.fixture
def server():
    with VaultServer(dialect="vault", enterprise=True) as server:
        yield server


@pytest.fixture
def user(place, server):
    """Configure a user of a database; returns what reads it."""
    locator = server.dynamic_role(ttl=600, max_ttl=6000)
    secrets = {"user": f"vault:{locator}#username", "password": f"vault:{locator}#password"}

    def configured(**sidecar):
        configure(place, server, secrets, RULES, **sidecar)

    configured()
    return configured


def end(process, how):
    process.send_signal(how)
    process.wait(20)


def held(place):
    return place.target / "..state" / "held"


def renewals(server):
    return sum(server.count(f"{method} sys/leases/renew") for method in ("POST", "PUT"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("options", [{}, KEEP], ids=["logs in", "keeps its login"])
def test_a_restart_goes_on_with_the_lease_that_there_is(place, server, user, how, options):
    user(**options)
    first = place.start()
    before, leases, tokens = place.read("user"), alive(server), logins(server)
    generation = os.readlink(place.target / "..data")
    end(first, how)
    assert alive(server) == leases
    place.start()
    place.wait(lambda: renewals(server) >= 1)
    time.sleep(0.3)
    assert place.read("user") == before
    assert alive(server) == leases
    assert os.readlink(place.target / "..data") == generation
    assert (logins(server) == tokens) is bool(options)
    assert "leases taken over" in place.log()
    assert place.status()["ready"] is True
    assert place.problems() == {}


def test_what_is_kept_is_for_the_sidecar_alone_and_says_no_login_unless_asked(place, server, user):
    os.chmod(place.target, 0o750)
    process = place.start()
    [token] = [token.id for token in logins(server)]
    assert stat.S_IMODE(held(place).parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(held(place).stat().st_mode) == 0o600
    assert token not in held(place).read_text()
    end(process, signal.SIGKILL)
    held(place).unlink()
    user(**KEEP)
    place.start()
    place.wait(lambda: held(place).exists())
    assert any(token.id in held(place).read_text() for token in logins(server))


def test_a_lease_that_was_ended_meanwhile_is_replaced(place, server, user):
    end(place.start(), signal.SIGKILL)
    before = place.read("user")
    server.core.leases.clear()
    place.start()
    place.wait(lambda: place.read("user") != before)
    assert len(alive(server)) == 1


def test_a_lease_of_a_store_that_is_another_now_is_not_taken_over(place, server, user):
    end(place.start(), signal.SIGKILL)
    before = place.read("user")
    user(options={"timeout": 7}, **KEEP)
    place.start()
    place.wait(lambda: place.read("user") != before)
    assert "leases taken over" not in place.log()


def test_a_state_that_cannot_be_trusted_costs_a_new_lease_and_nothing_else(place, server, user):
    """What else there is to distrust is in the tests of the file, ``tests/unit/sidecar``."""
    end(place.start(), signal.SIGKILL)
    before = place.read("user")
    held(place).write_bytes(held(place).read_bytes()[:-50])
    place.start()
    place.wait(lambda: place.read("user") != before)
    assert place.problems() == {}
    place.wait(lambda: os.listdir(held(place).parent) == ["held"])


def test_a_state_of_an_earlier_generation_is_not_brought_back(place, server, user):
    first = place.start()
    old, before = json.loads(held(place).read_text()), place.read("user")
    end(first, signal.SIGKILL)
    server.core.leases.clear()
    second = place.start()
    place.wait(lambda: place.read("user") != before)
    end(second, signal.SIGKILL)
    held(place).write_text(json.dumps({**old, "sequence": 0}))
    place.start()
    assert (
        "leases taken over" not in place.log().rpartition('"started"')[0].rpartition('"started"')[2]
    )
    assert place.read("user") != before


def test_with_an_empty_target_it_is_not_ready_until_everything_is_there(place, server):
    place.configure(secrets={"a": "file:a", "b": "file:b"})
    place.put("a", f"{CANARY}-a")
    place.start(ready=False)
    place.wait(lambda: "b" in place.problems())
    assert place.status()["ready"] is False
    assert [name for name in os.listdir(place.target) if not name.startswith("..")] == []
    place.put("b", f"{CANARY}-b")
    place.wait(lambda: place.call("healthcheck").returncode == 0)
    assert place.read("b") == f"{CANARY}-b"


def test_wiping_leaves_no_state_behind(place, server, user):
    user(on_exit="wipe")
    end(place.start(), signal.SIGTERM)
    assert os.listdir(place.target) == []


def test_nothing_is_kept_of_what_can_be_read_again(place):
    place.start()
    assert not (place.target / "..state").exists()


def test_nothing_is_kept_when_that_is_not_wanted(place, server, user):
    user(state={"take_over": False})
    first = place.start()
    assert not (place.target / "..state").exists()
    before = place.read("user")
    end(first, signal.SIGKILL)
    place.start()
    place.wait(lambda: place.read("user") != before)


def test_once_leaves_to_run_what_it_has_leased(place, server, user):
    assert place.call("once").returncode == 0
    before = place.read("user")
    place.start()
    place.wait(lambda: renewals(server) >= 1)
    assert place.read("user") == before
    assert len(alive(server)) == 1
