"""The sidecar on a Vault: pushed changes, leases in files, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.servers._vault_admin import write_private
from tests.servers.gate import Gate
from tests.servers.hostile import hang
from tests.servers.vault import VaultServer

REVOKING = {"sys/leases/revoke": ["update"]}


@pytest.fixture
def server():
    with VaultServer(dialect="vault", enterprise=True) as server:
        yield server


def configure(place, server, secrets, rules, address=None, options=None, **sidecar):
    """Let ``place`` read ``secrets`` by AppRole, with a role that has ``rules``."""
    server.policy("app", rules)
    role_id = write_private(place.root / "role", server.approle("app", ["app"]))
    secret_id = write_private(place.root / "secret", server.secret_id("app"))
    auth = {"method": "approle", "role_id_file": str(role_id), "secret_id_file": str(secret_id)}
    store = {"backend": "vault", "address": address or server.address, "auth": auth}
    stores = {"vault": {**store, **(options or {})}}
    place.configure(secrets=secrets, stores=stores, refresh="1h", **sidecar)


def alive(server):
    """Return the leases that the server keeps."""
    return {
        lease.id
        for lease in list(server.core.leases.values())
        if lease.ends > server.now() and server.core.live_token(lease.token)
    }


def logins(server):
    return [token for token in server.core.tokens.values() if "login" in token.origin]


def test_a_change_in_vault_is_in_the_file_at_once_though_the_next_look_is_an_hour_away(
    place, server
):
    server.put("kv/app", {"password": "first"})
    rules = {
        "kv/data/app": ["read", "subscribe"],
        "sys/events/subscribe/kv*": ["read"],
    }
    configure(place, server, {"password": "vault:kv/app#password"}, rules)
    place.start()
    place.wait(lambda: server.subscribers)
    server.put("kv/app", {"password": "second"})
    place.wait(lambda: place.read("password") == "second")


@pytest.mark.parametrize(
    ("dialect", "news"), [("vault", "events"), ("openbao", "polling: the server offers no events")]
)
def test_the_status_tells_who_we_are_and_how_changes_are_noticed(place, dialect, news):
    with VaultServer(dialect=dialect, enterprise=dialect == "vault") as server:
        server.put("kv/app", {"password": "first"})
        rules = {"kv/data/app": ["read"], "sys/events/subscribe/kv*": ["read"]}
        configure(place, server, {"password": "vault:kv/app#password"}, rules)
        place.start()
        place.wait(lambda: place.status()["stores"][0]["news"] == news)
        [row] = place.status()["stores"]
        assert row["who"] == "approle at auth/approle, role app, display name approle"
        assert 3500 < row["until"] <= 3600
        assert 0 < row["due_in"] <= 3600
        assert row["error"] is None
        tokens = [token.id for token in logins(server)]
        assert not any(token in json.dumps(place.status()) + place.log() for token in tokens)


@pytest.mark.parametrize("rules", [REVOKING, {}], ids=["may revoke", "may not revoke"])
def test_a_sidecar_that_wipes_its_files_leaves_no_lease_and_no_token(place, server, rules):
    locator = server.dynamic_role(ttl=600, max_ttl=6000)
    rules = {"database/creds/*": ["read"], **rules}
    configure(place, server, {"user": f"vault:{locator}#username"}, rules, on_exit="wipe")
    process = place.start()
    assert len(alive(server)) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert alive(server) == set()
    assert logins(server) == []


def test_it_wipes_at_once_and_ends_within_two_seconds_though_its_leases_cannot_be_given_back(
    place, server
):
    """Twice the time was taken when the configuration had been read again shortly before."""
    locator = server.dynamic_role(ttl=600, max_ttl=6000)
    user = {"user": f"vault:{locator}#username"}
    options = iter(({}, {"timeout": 5}))
    with Gate(server.address) as gate:
        for secrets in (user, {**user, "same": f"vault:{locator}#username"}):
            configure(
                place,
                server,
                secrets,
                {"database/creds/*": ["read"], **REVOKING},
                address=gate.address,
                options=next(options),
                on_exit="wipe",
            )
            if not place.running:
                process = place.start()
        process.send_signal(signal.SIGHUP)
        place.wait(lambda: "same" in os.listdir(place.target))
        gate.spoil(hang())
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        place.wait(lambda: os.listdir(place.target) == [])
        assert time.monotonic() - before < 0.5
        assert process.wait(20) == 0
        assert time.monotonic() - before < 2.0


def test_a_sidecar_that_keeps_its_files_keeps_what_they_need_and_no_more(place, server):
    server.put("kv/app", {"password": "x"})
    locator = server.dynamic_role(ttl=600, max_ttl=6000)
    rules = {"database/creds/*": ["read"], "kv/data/app": ["read"], **REVOKING}
    for secrets, kept in (
        ({"user": f"vault:{locator}#username"}, 1),
        ({"password": "vault:kv/app#password"}, 0),
    ):
        configure(place, server, secrets, rules)
        before = alive(server)
        process = place.start()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert len(alive(server) - before) == kept
        assert len(logins(server)) == 1, "of the first run, whose lease hangs on it"


def test_user_and_password_in_two_files_are_of_one_lease(place, server):
    locator = server.dynamic_role(ttl=600, max_ttl=6000)
    secrets = {"user": f"vault:{locator}#username", "password": f"vault:{locator}#password"}
    configure(place, server, secrets, {"database/creds/*": ["read"]})
    assert place.call("once").returncode == 0
    assert server.count(f"GET {locator}") == 1
    assert len(alive(server)) == 1


def test_a_store_that_is_changed_ends_no_credential_that_is_still_in_a_file(place, server):
    locator = server.dynamic_role(ttl=600, max_ttl=6000)
    rules = {"database/creds/*": ["read"], "kv/data/app": ["read"], **REVOKING}
    server.put("kv/app", {"password": "x"})
    user = {"user": f"vault:{locator}#username"}
    configure(place, server, user, rules, grace="1s")
    process = place.start()
    first, [old] = place.read("user"), alive(server)

    gone_while_published = []
    real = server.core.answer

    def answer(request):
        answered = real(request)
        if request.path == "sys/leases/revoke" and place.read("user") == first:
            gone_while_published.append(request.body)
        return answered

    server.core.answer = answer
    others = {**user, "other": "vault:kv/app#password"}
    configure(place, server, others, rules, grace="1s", options={"timeout": 5})
    os.kill(process.pid, signal.SIGHUP)
    place.wait(lambda: "other" in os.listdir(place.target))
    assert place.read("user") != first
    place.wait(lambda: old not in alive(server))
    assert gone_while_published == []
    assert len(alive(server)) == 1
