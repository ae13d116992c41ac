"""The profile for the container: a sidecar lives under it, and what is not on it fails."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import struct
import sys
from pathlib import Path

import pytest

from secretbridge._seccomp import REFUSED
from tests.attacks.confine import REFUSE

from .place import CANARY

SECURITY = Path(__file__).parents[2] / "sidecar" / "security"
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
ALLOW = 0x7FFF0000

PROFILE = json.loads((SECURITY / "seccomp.json").read_text())
ALLOWED = {name for rule in PROFILE["syscalls"] for name in rule["names"]}


def test_it_is_what_the_generator_makes_of_the_traces():
    namespace = {"__name__": "generator", "__file__": str(SECURITY / "generate_seccomp.py")}
    exec(compile((SECURITY / "generate_seccomp.py").read_text(), "generator", "exec"), namespace)
    traced = json.loads((SECURITY / "traced.json").read_text())
    assert namespace["profile"](set(traced["calls"])) == PROFILE
    assert traced["sidecars"] > 100
    assert set(traced["calls"]) - set(REFUSED) <= ALLOWED


def test_it_allows_nothing_that_the_sidecar_refuses_itself():
    assert ALLOWED.isdisjoint(REFUSED)
    assert PROFILE["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {rule["action"] for rule in PROFILE["syscalls"]} == {"SCMP_ACT_ALLOW"}
    assert len(ALLOWED) < 240


def numbers():
    if os.uname().machine != "x86_64" or not HEADER.exists():
        pytest.skip("the numbers of system calls are not known here")
    text = HEADER.read_text()
    return {name: int(n) for name, n in re.findall(r"#define __NR_(\w+)\s+(\d+)", text)}


UNDER = """
import sys
from tests.integration.test_seccomp_profile import allow_only
allow_only({allowed!r})
from secretbridge_sidecar.__main__ import main
sys.exit(main())
"""


def allow_only(allowed):
    """Have every call but those fail, as a container's runtime does with the profile."""
    libc = ctypes.CDLL(None, use_errno=True)
    rules = [(0x20, 0, 0, 0)]
    for number in sorted(allowed):
        rules += [(0x15, 0, 1, number), (0x06, 0, 0, ALLOW)]
    rules += [(0x06, 0, 0, REFUSE)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    header = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(program))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, header, 0, 0) == 0


def test_a_sidecar_publishes_rotates_reloads_and_ends_under_it(place, monkeypatch):
    known = numbers()
    allowed = sorted(known[name] for name in ALLOWED if name in known)
    usual = place.command

    def command(*arguments):
        parts = usual(*arguments)
        module = parts.index("-m")
        program = UNDER.format(allowed=allowed)
        return [*parts[:module], "-c", program, *parts[module + 2 :]]

    monkeypatch.setattr(place, "command", command)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SECURITY.parents[1]), *sys.path]))
    process = place.start()
    told = place.status()["hardening"]
    assert told["filters"] >= 2  # ours, and that of the container for each start
    assert told["landlock"] == 0 or told["problems"] == [] or not told["memory_locked"]
    place.put("db_password", f"{CANARY}-2")
    place.wait(lambda: place.read("db_password") == f"{CANARY}-2")
    place.configure(secrets={"renamed": "file:db_password"})
    process.send_signal(signal.SIGHUP)
    place.wait(lambda: (place.target / "renamed").exists())
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_a_call_that_is_not_on_the_list_fails():
    known = numbers()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            allow_only([known[name] for name in ALLOWED if name in known])
            libc = ctypes.CDLL(None, use_errno=True)
            refused = []
            for name in ("ptrace", "mount", "unshare", "keyctl", "bpf", "acct", "quotactl"):
                assert libc.syscall(known[name], 0, 0, 0, 0, 0) == -1
                refused.append(ctypes.get_errno())
            status = 0 if set(refused) == {1} else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
