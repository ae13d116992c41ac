"""Rotations that tell programs, keep what is replaced for as long as it is used, and can go back."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from secretbridge_sidecar.client import ask
from tests.integration.place import CANARY
from tests.integration.test_sidecar_vault import alive, configure
from tests.servers.vault import VaultServer

RULES = {"database/creds/*": ["read"], "sys/leases/revoke": ["update"]}


def told(place, name):
    """Return what the hook ``name`` has written down, a line for each time that it ran."""
    path = place.root / name
    return path.read_text().splitlines() if path.exists() else []


def note(place, name, then="", **hook):
    """Return a hook that writes down what it is told of."""
    path = shlex.quote(str(place.root / name))
    line = 'echo "$SECRETBRIDGE_GENERATION $SECRETBRIDGE_CHANGED;$SECRETBRIDGE_REMOVED"'
    return {"exec": ["/bin/sh", "-c", f"{line} >> {path}; {then}"], **hook}


def order(place, what, **fields):
    return ask(str(place.socket), f"/{what}", order=fields)


def generation(place):
    return os.readlink(place.target / "..data")


def rotate(place, value):
    """Publish another password and return the generation with it."""
    place.put("db_password", f"{CANARY}-{value}")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-{value}")
    return generation(place)


# Hooks ------------------------------------------------------------------------------------------


def test_hooks_are_told_after_each_publication_and_only_of_their_files(place):
    place.configure(
        on_change=[
            note(place, "any"),
            note(place, "password", files=["db_password"]),
            note(place, "token", files=["api_token"]),
        ]
    )
    place.start()
    place.wait(lambda: told(place, "any") and told(place, "password") and told(place, "token"))
    assert told(place, "any") == [f"{generation(place)} db_password api_token;"]
    second = rotate(place, 2)
    place.wait(lambda: len(told(place, "any")) == 2 and len(told(place, "password")) == 2)
    assert told(place, "password")[1] == f"{second} db_password;"
    place.put("api.json", json.dumps({"token": f"{CANARY}-token-2"}))
    place.wait(lambda: len(told(place, "token")) == 2 and len(told(place, "any")) == 3)
    assert len(told(place, "password")) == 2
    place.wait(lambda: [row["state"] for row in place.status()["hooks"]] == ["idle"] * 3)
    assert place.status()["hooks"][0]["done"] == generation(place)


def test_a_hook_that_fails_is_repeated_and_shown_and_undoes_nothing(place):
    fixed = place.root / "fixed"
    check = f"cat {shlex.quote(str(place.target / 'db_password'))}; test -e {fixed}"
    place.configure(on_change=[note(place, "any", then=check)])
    place.start(ready=False)
    place.wait(lambda: len(told(place, "any")) >= 2)
    status = place.status()
    assert status["ready"]
    (problem,) = (text for name, text in status["problems"].items() if name.startswith("hook "))
    assert problem == "it ended with status 1: **********"
    assert place.read("db_password") == f"{CANARY}-1"
    result = place.call("healthcheck")
    assert result.returncode == 0
    assert "hook exec /bin/sh: it ended with status 1" in result.stdout
    fixed.touch()
    place.wait(lambda: not place.problems())
    assert len(set(told(place, "any"))) == 1
    events = [event for event in place.events() if event["event"].startswith("hook ")]
    assert [event["event"] for event in events] == ["hook failed"] * (len(events) - 1) + [
        "hook done"
    ]
    assert CANARY not in place.log()


def test_a_hook_that_hangs_delays_neither_the_next_secret_nor_the_end(place):
    place.configure(on_change=[note(place, "any", then="trap '' TERM; sleep 600")])
    process = place.start()
    place.wait(lambda: told(place, "any"))
    rotate(place, 2)
    assert place.status()["hooks"][0]["state"] == "running"
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert time.monotonic() - before < 2.0
    assert "hooks not done" in place.log()
    assert not children_of(place)


def children_of(place):
    """Return the processes that were started with a path of this place, but for sidecars."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(place.root).encode() in line and b"secretbridge_sidecar" not in line:
                found.append(entry.name)
    return found


def test_a_signal_and_a_request_reach_programs_that_run(place):
    server = (
        "import http.server, signal, sys, os\n"
        "signal.signal(signal.SIGHUP, lambda *_: print('signal', flush=True))\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        body = self.rfile.read(int(self.headers['Content-Length']))\n"
        "        print('request', body.decode(), flush=True)\n"
        "        self.send_response(204); self.end_headers()\n"
        "    def log_message(self, *_): pass\n"
        "s = http.server.HTTPServer(('127.0.0.1', 0), H)\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "print(s.server_port, flush=True)\n"
        "s.serve_forever()\n"
    )
    pid_file = place.root / "app.pid"
    with subprocess.Popen(
        [sys.executable, "-c", server, str(pid_file)], stdout=subprocess.PIPE, text=True
    ) as app:
        try:
            port = app.stdout.readline().strip()
            place.configure(
                on_change=[
                    {"signal": "HUP", "pid_file": str(pid_file), "files": ["db_password"]},
                    {"http": f"http://127.0.0.1:{port}/reload", "files": ["api_token"]},
                ]
            )
            place.start()
            first, second = sorted(app.stdout.readline().strip() for _ in range(2))
            assert second == "signal"
            kind, _, body = first.partition(" ")
            assert kind == "request"
            assert json.loads(body) == {
                "generation": generation(place),
                "changed": ["db_password", "api_token"],
                "removed": [],
            }
        finally:
            app.kill()


def test_hooks_of_a_new_configuration_are_taken_and_a_program_that_others_may_write_is_not(place):
    place.configure(on_change=[note(place, "before")])
    process = place.start()
    place.wait(lambda: told(place, "before"))
    script = place.root / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o777)
    place.configure(on_change=[{"exec": [str(script)]}])
    process.send_signal(signal.SIGHUP)
    place.wait(lambda: "every user may write" in place.problems().get("configuration", ""))
    rotate(place, 2)
    place.wait(lambda: len(told(place, "before")) == 2)
    place.configure(on_change=[note(place, "after")])
    process.send_signal(signal.SIGHUP)
    place.wait(lambda: "configuration" not in place.problems())
    rotate(place, 3)
    place.wait(lambda: told(place, "after"))
    assert len(told(place, "before")) == 2


def test_a_program_that_others_may_write_is_refused_at_the_start(place):
    script = place.root / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o777)
    place.configure(on_change=[{"exec": [str(script)]}])
    for command in ("check", "run"):
        result = place.call(command)
        assert result.returncode == 2
        assert "every user may write" in result.stderr


# Former credentials -----------------------------------------------------------------------------


@pytest.fixture
def server():
    with VaultServer(dialect="vault", enterprise=True) as server:
        yield server


def leased(place, server, ttl=600, **sidecar):
    """Start a sidecar on a dynamic credential that is replaced at once whenever it is renewed."""
    locator = server.dynamic_role(ttl=ttl, max_ttl=ttl)
    secrets = {"user": f"vault:{locator}#username"}
    configure(place, server, secrets, RULES, **sidecar)
    return place.start()


def test_a_replaced_lease_lives_until_everybody_has_acknowledged(place, server):
    leased(
        place,
        server,
        ttl=4,
        grace="100ms",
        wait_ack={"consumers": ["web", "worker"], "timeout": "60s"},
    )
    first = generation(place)
    place.wait(lambda: generation(place) != first, seconds=30)
    assert order(place, "ack", consumer="web", generation=generation(place))[0] == 200
    waiting = place.status()["handovers"]
    assert waiting[-1]["waits_for"] == ["worker"]
    assert order(place, "ack", consumer="worker", generation=first)[0] == 200
    assert "gave back what was replaced" not in place.log()
    # A later generation counts for those before.
    assert order(place, "ack", consumer="worker", generation=generation(place))[0] == 200
    place.wait(lambda: "gave back what was replaced" in place.log())


def test_without_an_acknowledgement_the_lease_goes_when_the_time_is_over(place, server):
    process = leased(place, server, grace="0s", wait_ack={"consumers": ["web"], "timeout": "500ms"})
    (first,) = alive(server)
    change_of_store(place)
    process.send_signal(signal.SIGHUP)
    place.wait(lambda: first not in alive(server))
    assert len(alive(server)) == 1
    place.wait(lambda: "consumer web" in place.problems())
    events = [event for event in place.events() if event["event"] == "not acknowledged in time"]
    assert events[-1]["consumers"] == ["web"]
    assert order(place, "ack", consumer="web", generation=generation(place))[0] == 200
    assert "consumer web" not in place.problems()


def change_of_store(place):
    """Configure the store in another way, so that all credentials are got anew."""
    config = json.loads(place.config.read_text())
    config["stores"]["vault"]["timeout"] = 5
    place.config.write_text(json.dumps(config))


def test_a_lease_is_given_back_only_after_the_files_have_its_successor(place, server):
    """A target that takes nothing keeps the former credential alive, as that is in the files."""
    leased(place, server, ttl=6, grace="0s", allow_unsafe_target=True)
    first = place.read("user")
    (lease,) = alive(server)
    order(place, "freeze")
    place.wait(lambda: len(alive(server)) == 2, seconds=30)
    assert lease in alive(server)
    assert place.read("user") == first
    frozen = {"frozen": False, "generation": generation(place)}
    assert order(place, "unfreeze") == (200, frozen)
    place.wait(lambda: place.read("user") != first)
    place.wait(lambda: lease not in alive(server))


# Former contents --------------------------------------------------------------------------------


def test_the_former_value_stands_beside_the_new_one_for_the_grace(place):
    place.configure(
        grace="2s",
        files={"db_password": {"previous": True, "mode": "0400"}, "api_token": {}},
        on_change=[note(place, "any")],
    )
    place.start()
    assert not (place.target / "db_password.previous").exists()
    rotate(place, 2)
    former = place.target / "db_password.previous"
    assert former.read_text() == f"{CANARY}-1"
    assert former.stat().st_mode & 0o777 == 0o400
    place.wait(lambda: not former.exists())
    assert place.read("db_password") == f"{CANARY}-2"
    place.wait(lambda: len(told(place, "any")) >= 2)
    assert all("previous" not in line for line in told(place, "any"))
    assert len(told(place, "any")) == 2  # its end is no news


# Going back -------------------------------------------------------------------------------------


def test_freeze_keeps_what_is_there_and_unfreeze_brings_what_was_missed(place):
    place.start()
    first = generation(place)
    assert place.call("freeze").stdout == f"frozen: True\ngeneration: {first}\n"
    before = place.version("db_password")
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.version("db_password") != before)
    assert place.read("db_password") == f"{CANARY}-1"
    status = place.status()
    assert status["frozen"]["uid"] == os.getuid()
    assert status["ready"]
    assert "nothing new is published since" in status["problems"]["frozen"]
    assert place.call("unfreeze").returncode == 0
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    assert place.status()["frozen"] is None


def test_a_restart_does_not_undo_a_freeze_and_a_wipe_does(place):
    process = place.start()
    assert place.call("freeze").returncode == 0
    place.put("db_password", f"{CANARY}-2")
    process.terminate()
    assert process.wait(20) == 0
    place.start()
    frozen = place.status()["frozen"]
    assert frozen["after"] == "freeze"
    place.wait(lambda: place.version("db_password"))
    assert place.read("db_password") == f"{CANARY}-1"
    assert place.call("unfreeze").returncode == 0
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    assert not (place.target / "..frozen").exists()
    assert place.call("freeze").returncode == 0
    assert (place.target / "..frozen").stat().st_mode & 0o777 == 0o600
    place.configure(on_exit="wipe")
    place.running[-1].send_signal(signal.SIGHUP)
    place.wait(lambda: "configuration taken" in place.log())
    place.running[-1].terminate()
    assert place.running[-1].wait(20) == 0
    assert os.listdir(place.target) == []


def test_rollback_publishes_what_was_before_tells_the_hooks_and_stays(place):
    place.configure(on_change=[note(place, "any")])
    place.start()
    result = place.call("rollback")
    assert result.returncode == 1
    assert "nothing was published before by this sidecar" in result.stderr
    second = rotate(place, 2)
    result = place.call("rollback", "--json")
    assert result.returncode == 0, result.stderr
    done = json.loads(result.stdout)
    assert done == {"frozen": True, "generation": generation(place), "files": ["db_password"]}
    assert done["generation"] != second
    assert place.read("db_password") == f"{CANARY}-1"
    assert place.read("api_token") == f"{CANARY}-token"
    place.wait(lambda: told(place, "any")[-1:] == [f"{done['generation']} db_password;"])
    place.put("db_password", f"{CANARY}-3")
    place.wait(lambda: place.status()["frozen"])
    assert place.read("db_password") == f"{CANARY}-1"
    assert place.call("rollback").returncode == 0  # and forth again
    assert place.read("db_password") == f"{CANARY}-2"
    assert place.call("unfreeze").returncode == 0
    place.wait(lambda: place.read("db_password") == f"{CANARY}-3")
    assert CANARY not in place.log()


def test_there_is_no_way_back_to_a_credential_that_was_given_back(place, server):
    process = leased(place, server, grace="1s")
    (lease,) = alive(server)
    first = place.read("user")
    change_of_store(place)
    process.send_signal(signal.SIGHUP)
    place.wait(lambda: place.read("user") != first)
    assert order(place, "rollback")[0] == 200  # within the grace
    assert place.read("user") == first
    place.wait(lambda: place.status()["frozen"])
    assert lease in alive(server)
    assert order(place, "unfreeze")[0] == 200
    place.wait(lambda: place.read("user") != first)
    place.wait(lambda: lease not in alive(server))
    status, answer = order(place, "rollback")
    assert (status, answer["error"]) == (
        409,
        "credentials of the former generation were given back already",
    )


# Acknowledging ----------------------------------------------------------------------------------


def test_a_consumer_acknowledges_by_the_command(place):
    place.configure(wait_ack={"consumers": ["web"]})
    place.start()
    result = place.call("ack", "--consumer", "web")
    assert result.stdout == f"acknowledged: {generation(place)}\nconsumer: web\n"
    (row,) = place.status()["consumers"]
    assert row["generation"] == generation(place)
    assert (row["uid"], row["gid"]) == (os.getuid(), os.getgid())
    assert place.call("ack", "--consumer", "web", "--generation", "..gen-0").returncode == 1
    result = place.call("ack", "--consumer", "nobody")
    assert result.returncode == 1
    assert "no consumer of this name in sidecar.wait_ack; there: web" in result.stderr


def test_what_is_no_acknowledgement_is_refused(place):
    place.configure(wait_ack={"consumers": ["web"]})
    place.start()
    for body in (
        {},
        {"consumer": "web"},
        {"consumer": 1, "generation": "x"},
        {"consumer": "web", "generation": None},
    ):
        assert order(place, "ack", **body)[0] == 400
    assert place.status()["consumers"][0]["generation"] is None


def test_orders_need_a_sidecar_that_runs_and_a_socket(place):
    assert place.call("freeze").returncode == 4
    place.configure(listen=False)
    result = place.call("rollback")
    assert result.returncode == 2
    assert "names no socket" in result.stderr
