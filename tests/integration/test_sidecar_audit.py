"""The sidecar's audit log: what it tells, and what is not done when it cannot be told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from secretbridge.audit import Keys, read_head, read_key, verify

from .place import CANARY


def log_of(place) -> Path:
    return place.root / "audit" / "audit.log"


def configure(place, **options) -> None:
    audit = {"path": str(log_of(place)), **options.pop("audit", {})}
    log_of(place).parent.mkdir(exist_ok=True)
    place.configure(audit=audit, **options)


def told(place, *names):
    lines = [json.loads(line) for line in log_of(place).read_text().splitlines()]
    return [line for line in lines if line["event"] in names] if names else lines


def short(lines):
    return [(line["event"], line["outcome"], line.get("reason_code")) for line in lines]


def identify(place, content):
    return Keys(read_key(f"{log_of(place)}.key")).identify(content)


def check(place, *others):
    path = log_of(place)
    report = verify([*others, path], read_key(f"{path}.key"), expected=read_head(f"{path}.head"))
    assert report.count == 0, report.problems
    return report


def test_a_life_is_told_from_its_start_to_its_end(place):
    configure(place, grace="100ms", on_exit="wipe")
    process = place.start()
    before = os.readlink(place.target / "..data")
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    place.wait(lambda: told(place, "purge"))
    place.status()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0

    events = short(told(place))
    assert events[0] == ("checkpoint", "success", "created")
    assert events[1] == ("startup", "success", "run")
    assert events[-2:] == [("shutdown", "success", None), ("checkpoint", "success", "closed")]
    assert ("resolve", "success", "new") in events
    assert ("resolve", "success", "changed") in events
    assert ("serve", "success", "status") in events
    assert ("purge", "success", "wipe") in events
    assert told(place, "purge")[0]["generation"] == before
    assert len(told(place, "rotate")) == 1

    made = told(place, "materialize")
    assert [line["reason_code"] for line in made] == ["new", "new", "changed"]
    assert made[2]["consumer"] == identify(place, "db_password")
    assert made[2]["digest_id"] == identify(place, f"{CANARY}-2")
    assert made[2]["actor"] == {"uid": os.geteuid(), "gid": os.getegid(), "pid": process.pid}
    assert told(place, "rotate")[0]["reference_id"] == identify(place, "file:db_password")
    assert CANARY not in log_of(place).read_text()
    assert check(place).end == "checked"


def test_once_is_told_and_the_command_verifies_it(place):
    configure(place)
    for _ in range(2):
        assert place.call("once").returncode == 0
    assert short(told(place)).count(("startup", "success", "once")) == 2
    assert len(told(place, "materialize")) == 2  # the second found nothing to change
    command = [sys.executable, "-m", "secretbridge", "audit", "verify", str(log_of(place))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "up to the head that was expected" in done.stdout


def test_a_restart_after_sigkill_and_a_rotation_of_the_log_are_one_chain(place):
    configure(place, on_exit="keep")
    process = place.start()
    process.kill()
    process.wait()
    process = place.start()
    old = log_of(place).with_suffix(".log.1")
    log_of(place).rename(old)
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert told(place)[0]["reason_code"] == "reopened"
    check(place, old)


def test_a_missing_secret_and_a_broken_configuration_are_told(place):
    configure(place)
    process = place.start()
    place.config.write_text("secrets: [")
    process.send_signal(signal.SIGHUP)
    place.wait(lambda: told(place, "config_change"))
    configure(place, grace="5s")
    process.send_signal(signal.SIGHUP)
    place.wait(lambda: len(told(place, "config_change")) == 2)
    assert short(told(place, "config_change")) == [
        ("config_change", "failure", "refused"),
        ("config_change", "success", "taken"),
    ]
    (place.source / "db_password").unlink()
    missing = ("resolve", "failure", "secret_missing")
    place.wait(lambda: missing in short(told(place, "resolve")))


def test_what_somebody_changes_and_what_is_withdrawn_is_told(place):
    configure(place)
    process = place.start()
    link = place.target / "db_password"
    link.unlink()
    process.send_signal(signal.SIGHUP)  # which looks at the target at once
    place.wait(lambda: ("materialize", "success", "repaired") in short(told(place)))
    configure(place, files={"db_password": {}})
    process.send_signal(signal.SIGHUP)
    place.wait(lambda: ("purge", "success", "withdrawn") in short(told(place)))
    withdrawn = [line for line in told(place) if line.get("reason_code") == "withdrawn"]
    assert [line["consumer"] for line in withdrawn] == [identify(place, "api_token")]


@pytest.fixture
def small_disk(place):
    folder = log_of(place).parent
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("required", [True, False])
def test_a_full_disk_holds_a_generation_back_only_where_the_log_is_required(
    place, small_disk, required
):
    configure(place, audit={"required": required})
    place.start()
    before = os.readlink(place.target / "..data")
    with open(small_disk / "ballast", "wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(512)):
                pass
        except OSError:
            pass
        # What is left of the last page of the log is soon full.
        place.wait(lambda: place.status()["audit"]["problem"] is not None or touch(place), 60)
        place.put("db_password", f"{CANARY}-full")
        if required:
            place.wait(lambda: "audit" in place.status()["problems"])
            place.wait(lambda: "No space" in str(place.status()["problems"].get("target")))
            assert os.readlink(place.target / "..data") == before
            assert place.read("db_password") != f"{CANARY}-full"
        else:
            place.wait(lambda: place.read("db_password") == f"{CANARY}-full")
            assert place.status()["audit"]["failures"] > 0
        ballast.truncate(0)
    place.wait(lambda: place.read("db_password") == f"{CANARY}-full", 60)
    place.wait(lambda: place.status()["audit"]["problem"] is None)
    place.wait(lambda: "audit" not in place.status()["problems"])
    status = place.status()["audit"]
    assert (status["lost"], status["required"]) == (0, required)
    assert identify(place, f"{CANARY}-full") in [
        line["digest_id"] for line in told(place, "materialize")
    ]
    check(place)


def touch(place):
    """Make the sidecar look at a store, which the log has to tell."""
    place.put("api.json", (place.source / "api.json").read_text())


def test_syslog_that_is_away_holds_a_generation_back_and_heals(place):
    address = place.root / "syslog"
    place.configure(audit={"path": f"syslog:{address}", "required": True})
    process = place.start(ready=False)
    place.wait(lambda: "audit" in place.problems())
    assert os.listdir(place.target) == []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(address))
        server.settimeout(30)
        first = server.recv(4096)
        assert b'"reason_code":"created"' in first
        while b'"event":"materialize"' not in server.recv(4096):
            pass
        place.wait(lambda: place.call("healthcheck").returncode == 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_standard_output_has_the_log_and_nothing_else(place):
    place.configure(audit={"path": "-"})
    result = place.call("once")
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()][-1] == "checkpoint"
    assert '"event":"materialize"' in result.stdout
    assert CANARY not in result.stdout + result.stderr


def test_a_key_that_is_missing_and_a_directory_that_is_not_there_are_errors(place):
    configure(place, audit={"key_file": str(place.root / "no-key")})
    for command in ("once", "check", "run"):
        result = place.call(command)
        assert result.returncode == 2, (command, result.stderr)
        assert "create_key" in result.stderr
    configure(place, audit={"path": str(place.root / "nowhere" / "audit.log")})
    result = place.call("check")
    assert result.returncode == 2
    assert "nowhere" in result.stderr
    assert os.listdir(place.target) == []
