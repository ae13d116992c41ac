"""A start without stores and without files: what was sealed before serves, marked, and not for ever."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from tests.servers.gate import Gate
from tests.servers.vault import VaultServer

from .place import CANARY
from .test_sidecar_vault import configure

RULES = {"kv/data/*": ["read"]}


@pytest.fixture
def scene(place):
    """A sidecar on a Vault behind a gate."""
    (place.root / "key").write_bytes(os.urandom(32))
    (place.root / "key").chmod(0o600)
    with VaultServer() as server, Gate(server.address) as gate:
        server.put("kv/app", {"password": f"{CANARY}-vault"})
        configure(
            place,
            server,
            {"password": "vault:kv/app#password"},
            RULES,
            address=gate.address,
            last_known_good={
                "path": str(place.root / "sealed"),
                "key_file": str(place.root / "key"),
            },
        )
        yield place, gate, server


def end_and_empty(place, process):
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    shutil.rmtree(place.target)
    place.target.mkdir(mode=0o700)


def test_it_serves_while_no_store_can_be_reached_and_is_replaced_when_one_is(scene):
    place, gate, server = scene
    process = place.start()
    place.wait(lambda: (place.root / "sealed").exists())
    assert CANARY.encode() not in (place.root / "sealed").read_bytes()
    end_and_empty(place, process)
    gate.close()
    place.start()
    assert place.read("password") == f"{CANARY}-vault"
    assert "in use, as it was written" in place.problems()["last_known_good"]
    assert "the last good value stays in use" in place.problems()["password"]
    server.put("kv/app", {"password": f"{CANARY}-new"})
    gate.open()
    place.wait(lambda: place.read("password") == f"{CANARY}-new")
    place.wait(lambda: place.problems() == {})


@pytest.mark.parametrize("spoil", ["another key", "a bit", "too old"])
def test_it_is_refused_when_it_cannot_be_trusted(scene, spoil):
    place, gate, _ = scene
    process = place.start()
    place.wait(lambda: (place.root / "sealed").exists())
    end_and_empty(place, process)
    gate.close()
    sealed = place.root / "sealed"
    if spoil == "another key":
        (place.root / "key").write_bytes(os.urandom(32))
    elif spoil == "a bit":
        body = bytearray(sealed.read_bytes())
        body[-20] ^= 1
        sealed.write_bytes(body)
    else:
        text = place.config.read_text()
        place.config.write_text(
            text.replace('"refresh": "1h"', '"refresh": "10ms"').replace('"1h"', '"0s"')
        )
    place.start(ready=False)
    place.wait(lambda: "password" in place.problems())
    if spoil != "too old":
        place.wait(lambda: "sealed" in place.problems().get("last_known_good", ""))
    assert place.status()["ready"] is False
    assert not (place.target / "password").is_symlink()


def test_what_a_store_refuses_is_not_taken_from_elsewhere(scene):
    place, _, server = scene
    process = place.start()
    place.wait(lambda: (place.root / "sealed").exists())
    end_and_empty(place, process)
    server.policy("app", {})
    place.start(ready=False)
    place.wait(lambda: "password" in place.problems())
    assert place.status()["ready"] is False
    assert not (place.target / "password").is_symlink()
