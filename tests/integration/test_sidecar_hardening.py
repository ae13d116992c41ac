"""A sidecar that runs has given up what its configuration does not name, and says so truly.

What is really refused is tried by a program that a check runs: it is bound by the same rules. In a
configuration that takes the measures back, the same program gets through.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.aws import REGION, FaultServer
from tests.unit.test_harden import has_landlock

from .place import CANARY

pytestmark = pytest.mark.skipif(not has_landlock(), reason="Landlock 4 is not active here")

OFF = {"landlock": False, "seccomp": False}

INTRUDER = """
import ctypes, os, socket, sys
outside, port, parent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    if libc.syscall(number, *arguments) == -1:
        raise OSError(ctypes.get_errno(), "refused")

def connect():
    with socket.socket() as attempt:
        attempt.connect(("127.0.0.1", port))

ways = {
    "read": lambda: open(outside + "/other").read(),
    "write": lambda: open(outside + "/planted", "w").close(),
    "connect": connect,
    "listen": lambda: socket.socket().bind(("127.0.0.1", 0)),
    "namespace": lambda: call(272, 0x00020000),
    "trace": lambda: call(101, 0x4206, parent, 0, 0),
}
if sys.platform != "linux" or os.uname().machine != "x86_64":
    del ways["namespace"], ways["trace"]
through = []
for name, way in ways.items():
    try:
        way()
        through.append(name)
    except OSError:
        pass
open(sys.argv[4], "w").write(" ".join(through) or "none")
"""


@pytest.fixture
def outside(tmp_path):
    """A directory that the configuration does not name, and a server that it does not either."""
    (tmp_path / "other").write_text("somebody else's")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield tmp_path, server.getsockname()[1]


def tried(place, outside, **hardening):
    """Return by which ways a program of the sidecar's got through."""
    folder, port = outside
    script, answer = place.root / "intruder.py", place.root / "answer"
    script.write_text(INTRUDER)
    answer.unlink(missing_ok=True)
    # Not the target's parent: only what the sidecar itself needs is left.
    arguments = [str(script), str(folder), str(port), str(os.getpid()), str(answer)]
    check = {"exec": [os.path.realpath(sys.executable), *arguments], "timeout": "60s"}
    place.configure(
        files={"db_password": {"validate": [check]}},
        hardening={**hardening, "read": [os.path.realpath(sys.base_prefix)]},
    )
    result = place.call("once", timeout=120)
    assert result.returncode == 0, result.stderr
    return answer.read_text()


def test_what_the_configuration_does_not_name_is_out_of_reach(place, outside):
    assert tried(place, outside) == "none"
    weak = tried(place, outside, **OFF).split()
    assert {"read", "write", "connect", "listen"} <= set(weak)
    if os.geteuid() == 0 and os.uname().machine == "x86_64":
        assert {"namespace", "trace"} <= set(weak)


def test_more_that_is_named_can_be_reached(place, outside):
    folder, port = outside
    got = tried(place, outside, write=[str(folder)], connect=[port])
    assert got == "read write connect"


def test_the_status_tells_what_the_kernel_enforces(place):
    process = place.start()
    told = place.status()["hardening"]
    with open(f"/proc/{process.pid}/status") as lines:
        kernel = dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
    assert told["pid"] == process.pid
    assert (kernel["NoNewPrivs"], told["no_new_privileges"]) == ("1", True)
    assert (kernel["Seccomp"], told["seccomp"]) == ("2", "filter")
    assert told["capabilities"] == int(kernel["CapEff"], 16)
    assert told["dumpable"] is False
    assert told["core_limit"] == 0
    assert told["calls_refused"] is True
    assert told["landlock"] >= 4
    assert str(place.target) in told["write"]
    assert (told["connect"], told["bind"]) == ([], [])
    assert told["wipes_freed_memory"] is True
    assert told["weakened"] == []
    if told["memory_locked"]:  # the limits allow it
        assert told["problems"] == []


def test_every_measure_can_be_taken_back_and_shows_it(place):
    place.configure(
        hardening={
            **OFF,
            "dumpable": True,
            "no_new_privileges": False,
            "lock_memory": False,
        }
    )
    process = place.start()
    told = place.status()["hardening"]
    assert set(told["weakened"]) == {
        *("dumpable", "no_new_privileges", "landlock", "seccomp", "lock_memory")
    }
    assert told["dumpable"] is True
    assert told["no_new_privileges"] is False
    assert (told["landlock"], told["calls_refused"], told["memory_locked"]) == (0, False, False)
    assert Path(f"/proc/{process.pid}/status").read_text().count("NoNewPrivs:\t0") == 1
    shown = subprocess.run(
        [sys.executable, "-m", "secretbridge", "status", "--config", str(place.config)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert "taken back by the configuration: dumpable" in shown
    assert "enforced on the sidecar: freed memory wiped" in shown


def test_an_allocator_that_was_chosen_stays_and_shows(place, monkeypatch):
    monkeypatch.setenv("PYTHONMALLOC", "default")
    place.start()
    told = place.status()["hardening"]
    assert told["wipes_freed_memory"] is False
    assert any("PYTHONMALLOC" in text for text in told["problems"])
    assert "not enforced" in place.log()


def test_a_configuration_that_needs_what_was_given_up_is_refused(place, tmp_path):
    (tmp_path / "db_password").write_text(f"{CANARY}-elsewhere")
    process = place.start()
    place.configure(stores={"file": {"backend": "file", "roots": [str(tmp_path)]}})
    process.send_signal(signal.SIGHUP)
    place.wait(lambda: "restart the sidecar" in place.problems().get("configuration", ""))
    assert f"read {tmp_path}" in place.problems()["configuration"]
    assert place.read("db_password") == f"{CANARY}-1"
    assert place.status()["ready"]
    place.configure()
    process.send_signal(signal.SIGHUP)
    place.wait(lambda: place.problems() == {})


def test_a_target_that_is_replaced_out_of_reach_is_told(place, tmp_path):
    place.socket = Path(place.root, "admin", "admin.sock")
    place.socket.parent.mkdir()
    place.configure()
    process = place.start()
    place.target.rename(place.root / "elsewhere")
    place.target.mkdir(mode=0o700)
    place.put("db_password", f"{CANARY}-2")
    assert process.wait(60) == 5
    assert "outside of what the sidecar confined itself to" in place.log()
    place.start()
    assert place.read("db_password") == f"{CANARY}-2"


def test_a_store_of_aws_is_reached_and_nothing_else(place, monkeypatch):
    pytest.importorskip("botocore")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    with FaultServer() as server:
        server.put("app/db", json.dumps({"password": CANARY}))
        place.configure(
            stores={"aws-sm": {"region": REGION, "endpoint_url": server.url}},
            secrets={"db_password": "aws-sm:app/db#password"},
        )
        place.start()
        told = place.status()["hardening"]
        assert told["connect"] == sorted({53, 80, 443, server.port})
        assert told["problems"] == [] or not told["memory_locked"]
        server.put("app/db", json.dumps({"password": f"{CANARY}-2"}))
        place.wait(lambda: place.read("db_password") == f"{CANARY}-2")


def test_once_is_walled_in_as_well(place):
    place.configure(hardening={"write": ["/nowhere/at/all"]})
    result = place.call("once")
    assert result.returncode == 0, result.stderr
    assert place.read("db_password") == f"{CANARY}-1"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have a limit of its own")
def test_a_limit_on_locked_memory_is_told_and_no_error(place, monkeypatch):
    usual = place.command

    def command(*arguments):
        limited = ["prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set=-ipc_lock"]
        return [*limited, "--inh-caps=-all", *usual(*arguments)]

    monkeypatch.setattr(place, "command", command)
    place.start()
    told = place.status()["hardening"]
    assert told["memory_locked"] is False
    assert any("memory is not locked: the limit is 64 KiB" in text for text in told["problems"])
    assert place.read("db_password") == f"{CANARY}-1"


def test_the_parent_of_a_sidecar_is_no_witness_of_the_intruder():
    """The number 101 that the intruder uses is ptrace, and 272 is unshare."""
    if os.uname().machine != "x86_64":
        pytest.skip("numbers of x86_64")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(272, 0) == 0
    assert libc.syscall(101, 0x4206, 0x7FFFFFFF, 0, 0) == -1
    assert ctypes.get_errno() == 3  # no such process: it was ptrace that answered
