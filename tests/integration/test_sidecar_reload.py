"""Another configuration while the sidecar runs: what it changes, and above all what it does not."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from secretbridge.testing import watch_for
from tests.servers.vault import VaultServer

from .place import CANARY
from .test_sidecar_vault import REVOKING, alive, configure, logins

BOTH = {"db_password": "file:db_password", "api_token": "file:api.json#token"}
ONE = {"db_password": "file:db_password"}


@pytest.fixture
def server():
    with VaultServer(dialect="vault", enterprise=True) as server:
        yield server


def taken(place):
    return [event for event in place.events() if event["event"] == "configuration taken"]


def replace(place, data):
    """Give ``place`` another configuration as an editor does that renames."""
    fresh = place.config.with_suffix(".new")
    fresh.write_text(json.dumps(data))
    fresh.rename(place.config)


def test_a_configuration_that_is_replaced_is_taken_without_a_signal(place):
    place.start()
    data = json.loads(place.config.read_text())
    replace(
        place, {**data, "secrets": {"db_password": BOTH["db_password"], "new": "file:db_password"}}
    )
    place.wait(
        lambda: sorted(n for n in os.listdir(place.target) if n[0] != ".") == ["db_password", "new"]
    )
    [event] = taken(place)
    assert event["added"] == ["secrets.new", "files.new"]
    assert event["removed"] == ["secrets.api_token", "files.api_token"]
    assert "changed" not in event
    told = place.status()["configuration"]
    assert told["added"] == event["added"]
    assert time.time() - told["at"] < 60


@pytest.mark.parametrize("how", ["in place", "removed first"])
def test_whatever_way_an_editor_writes_it(place, how):
    place.start()
    data = json.loads(place.config.read_text())
    if how == "removed first":
        place.config.unlink()
        time.sleep(0.3)
    place.config.write_text(json.dumps({**data, "secrets": ONE}))
    place.wait(lambda: "api_token" not in os.listdir(place.target))
    assert "not taken" not in place.log()


def test_a_config_map_is_followed_by_its_data_link(place):
    """As the kubelet does it: nothing but the link ``..data`` is ever replaced."""
    volume = place.root / "config-map"
    for number, secrets in ((1, BOTH), (2, ONE)):
        data = {**json.loads(place.config.read_text()), "secrets": secrets}
        generation = volume / f"..2026_{number}"
        generation.mkdir(parents=True)
        (generation / "secretbridge.yaml").write_text(json.dumps(data))
    (volume / "..data").symlink_to("..2026_1")
    (volume / "secretbridge.yaml").symlink_to("..data/secretbridge.yaml")
    place.config = volume / "secretbridge.yaml"
    place.start()
    assert "api_token" in os.listdir(place.target)
    (volume / "..data_tmp").symlink_to("..2026_2")
    (volume / "..data_tmp").rename(volume / "..data")
    place.wait(lambda: "api_token" not in os.listdir(place.target))


def test_half_of_a_file_is_not_taken_though_it_is_a_good_configuration(place):
    place.start()
    data = json.loads(place.config.read_text())
    text = "\n".join(
        f"{key}: {json.dumps(value)}" for key, value in data.items() if key != "secrets"
    )
    with place.config.open("w") as file:
        file.write(text + "\nsecrets:\n  db_password: file:db_password\n")
        file.flush()
        time.sleep(2.0)
        assert "api_token" in os.listdir(place.target)
        file.write("  api_token: file:api.json#token\n  new: file:db_password\n")
    place.wait(lambda: "new" in os.listdir(place.target))
    assert "api_token" in os.listdir(place.target)
    [event] = taken(place)
    assert "removed" not in event


def test_a_template_that_is_changed_is_rendered_again(place):
    template = place.root / "app.j2"
    template.write_text("a={{ db_password }}")
    place.configure(files={"app.ini": {"template": str(template)}})
    place.start()
    template.write_text("b={{ db_password }}")
    watch_for(f"b={CANARY}-1", "the rendered file")
    place.wait(lambda: place.read("app.ini") == f"b={CANARY}-1")
    assert taken(place)[0]["changed"] == ["files.app.ini"]


def test_an_unchanged_store_keeps_its_login_its_cache_and_its_leases(place, server):
    locator = server.dynamic_role(ttl=600, max_ttl=6000)
    server.put("kv/app", {"password": "x"})
    server.put("kv/other", {"password": "y"})
    rules = {"database/creds/*": ["read"], "kv/data/*": ["read"], **REVOKING}
    user = {"user": f"vault:{locator}#username", "app": "vault:kv/app#password"}
    configure(place, server, user, rules, grace="1s")
    process = place.start()
    first, leases, tokens = place.read("user"), alive(server), logins(server)
    counts = {path: server.count(f"GET {path}") for path in (locator, "kv/data/app")}

    more = {**user, "other": "vault:kv/other#password"}
    configure(place, server, more, rules, grace="1s")
    os.kill(process.pid, signal.SIGHUP)
    place.wait(lambda: "other" in os.listdir(place.target))
    time.sleep(1.5)  # longer than the grace
    assert place.read("user") == first
    assert alive(server) == leases
    assert logins(server) == tokens
    assert {path: server.count(f"GET {path}") for path in counts} == counts


def test_the_lease_of_a_secret_that_is_removed_is_given_back_and_no_other(place, server):
    locators = [server.dynamic_role(ttl=600, max_ttl=6000) for _ in range(2)]
    rules = {"database/creds/*": ["read"], **REVOKING}
    users = {f"user{n}": f"vault:{locator}#username" for n, locator in enumerate(locators)}
    configure(place, server, users, rules, grace="1s")
    process = place.start()
    before, kept = alive(server), place.read("user0")
    del users["user1"]
    configure(place, server, users, rules, grace="1s")
    os.kill(process.pid, signal.SIGHUP)
    place.wait(lambda: len(alive(server)) == 1)
    assert alive(server) < before
    assert not (place.target / "user1").is_symlink()
    assert place.read("user0") == kept


def test_a_configuration_that_cannot_be_applied_changes_nothing(place):
    template = place.root / "app.j2"
    template.write_text("a={{ db_password }}")
    place.configure(files={"app.ini": {"template": str(template)}})
    place.start()
    before = place.status()["generation"]
    template.write_text("{{ unknown }}")
    place.wait(lambda: "unknown" in place.problems().get("configuration", ""))
    place.put("db_password", "another")
    place.wait(lambda: place.read("app.ini") == "a=another")
    assert place.status()["ready"] is True
    assert place.status()["generation"] != before
    template.write_text("c={{ db_password }}")
    place.wait(lambda: place.read("app.ini") == "c=another")
    assert place.problems() == {}


def state_of(pid):
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":" in line
    )
    return {
        "threads": int(status["Threads"]),
        "files": len(os.listdir(f"/proc/{pid}/fd")),
        "kib": int(status["VmRSS"].split()[0]),
    }


def test_a_storm_of_signals_costs_a_few_readings_and_leaves_nothing_behind(place):
    process = place.start()
    for _ in range(3):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
    time.sleep(2)
    before, generation = state_of(process.pid), place.status()["generation"]
    begun = time.monotonic()
    for _ in range(1000):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.002)
    seconds = time.monotonic() - begun
    for what in ("files", "threads"):  # a look at the store takes one of each for a moment
        place.wait(lambda what=what: state_of(process.pid)[what] <= before[what])
    readings = place.status()["configuration_readings"]
    assert 1 < readings <= 3 + 3 + seconds + 1, "one a second at most"
    assert state_of(process.pid)["kib"] < before["kib"] + 1024
    assert taken(place) == []
    assert place.status()["generation"] == generation
    # And the last one is still heard.
    place.put("other", f"{CANARY}-other")
    place.configure(secrets={**BOTH, "other": "file:other"})
    process.send_signal(signal.SIGHUP)
    place.wait(lambda: "other" in os.listdir(place.target))
