"""A sidecar whose clocks jump, and one whose store is away for three days in some seconds."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.place import CANARY
from tests.integration.test_sidecar_vault import configure
from tests.servers.gate import Gate
from tests.servers.vault import VaultServer

DAY = 86_400.0
YEAR = 365.25 * DAY

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")


class Clocks:
    """The clocks of the processes that are started from now on, and how far they are ahead."""

    def __init__(self, folder, monkeypatch):
        library, self._page = folder / "moved_clock.so", folder / "ahead"
        source = Path(__file__).with_name("moved_clock.c")
        command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        self._page.write_bytes(bytes(16))
        self.day = self.running = 0.0
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("MOVED_CLOCK", str(self._page))

    def move(self, *, day=None, running=None):
        """Let the time of day, and the monotonic clock, be so many seconds ahead."""
        self.day = self.day if day is None else day
        self.running = self.running if running is None else running
        with self._page.open("r+b") as page:
            page.write(struct.pack("qq", int(self.day * 1e9), int(self.running * 1e9)))


@pytest.fixture
def clocks(tmp_path, monkeypatch):
    return Clocks(tmp_path, monkeypatch)


def configured_on(place, server, address=None, **more):
    server.put("kv/app", {"password": f"{CANARY}-1"})
    locator = server.dynamic_role(ttl=3600, max_ttl=36000)
    secrets = {"user": f"vault:{locator}#username", "password": "vault:kv/app#password"}
    rules = {"kv/data/*": ["read"], "database/creds/*": ["read"]}
    configure(place, server, secrets, rules, address=address, **more)


@pytest.mark.parametrize("jump", [10 * DAY, -3 * YEAR], ids=["10 days on", "3 years back"])
def test_a_jump_of_the_time_of_day_changes_nothing(place, clocks, jump):
    place.put("extra", f"{CANARY}-extra")
    place.configure(grace="0s")
    process = place.start()
    before, generation = place.read("db_password"), place.status()["generation"]
    clocks.move(day=jump)
    time.sleep(0.5)
    assert place.status()["ready"] is True
    assert place.status()["generation"] == generation
    assert place.read("db_password") == before
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    process.kill()
    process.wait(20)
    place.start()
    place.put("db_password", f"{CANARY}-3")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-3")
    assert place.problems() == {}
    place.wait(lambda: len([n for n in os.listdir(place.target) if n.startswith("..gen-")]) == 1)


@pytest.mark.parametrize(
    "jump",
    [
        pytest.param(10 * DAY, id="10 days on"),
        pytest.param(-3 * YEAR, id="3 years back", marks=pytest.mark.soak),
    ],
)
def test_a_lease_goes_over_to_the_next_sidecar_whatever_the_time_of_day_is(place, clocks, jump):
    with VaultServer() as server:
        configured_on(place, server)
        process = place.start()
        before = place.read("user")
        clocks.move(day=jump)
        process.kill()
        process.wait(20)
        place.start()
        assert "leases taken over" in place.log()
        place.wait(lambda: server.count("POST sys/leases/renew") >= 1)
        assert place.read("user") == before
        assert place.problems() == {}


def test_three_days_without_the_store(place, clocks):
    """The files stay as they are, the health says how old they are, and it heals within seconds."""
    with VaultServer() as server, Gate(server.address) as gate:
        server.put("kv/app", {"password": f"{CANARY}-1"})
        configure(
            place,
            server,
            {"password": "vault:kv/app#password"},
            {"kv/data/*": ["read"]},
            address=gate.address,
        )
        text = place.config.read_text().replace('"refresh": "1h"', '"refresh": "5m"')
        place.config.write_text(text.replace('"max_stale": "1h"', '"max_stale": "100h"'))
        process = place.start()
        generation = place.status()["generation"]
        gate.close()
        for hour in range(1, 73):
            clocks.move(day=hour * 3600.0, running=hour * 3600.0)
            time.sleep(0.05)
        # Who sleeps does so by the clock of the kernel, which nobody moves. A look at everything wakes
        # them, and there is one when somebody has been there.
        (place.target / "somebody").touch()
        place.wait(lambda: "the last good value stays" in place.problems().get("password", ""), 60)
        status = place.status()
        assert status["ready"] is True
        assert status["generation"] == generation
        assert place.read("password") == f"{CANARY}-1"
        assert status["secrets"][0]["age"] > 70 * 3600
        clocks.move(day=101 * 3600.0, running=101 * 3600.0)
        place.wait(lambda: place.status()["ready"] is False)
        assert place.read("password") == f"{CANARY}-1"
        server.put("kv/app", {"password": f"{CANARY}-2"})
        begun = time.monotonic()
        gate.open()
        place.wait(lambda: place.read("password") == f"{CANARY}-2")
        place.wait(lambda: place.status()["ready"] is True)
        seconds = time.monotonic() - begun
        print(f"healed in {seconds:.1f} s")
        assert seconds < 6, "by its own probing, and not by a look at the target"
        assert place.problems() == {}
        threads = len(os.listdir(f"/proc/{process.pid}/task"))
        assert threads < 12
