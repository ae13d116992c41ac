"""The end of a process: no hang, no traceback, leases given back in bounded time."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

STORE = """
import atexit, sys, threading, time
import secretbridge
from secretbridge.testing import FakeBackend

class Told(FakeBackend):
    def revoke(self, lease, deadline):
        super().revoke(lease, deadline)
        print("revoked", lease.id, flush=True)

store = Told()
store.put("app/token", "t0ken")
store.lease("app/token", 600.0)
names = {"token": "fake:app/token"}
broker = secretbridge.Broker({"fake": store}, names, refresh=0.001, refresh_floor=0)
"""


def run(program):
    """Run ``program`` after STORE and return what it printed; it must end well, without a word."""
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-c", STORE + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines(), time.monotonic() - started


def test_a_broker_that_nobody_closed_gives_its_leases_back():
    assert run("broker.get('token')")[0] == ["revoked app/token/1"]


def test_also_after_an_exit_in_the_middle():
    assert run("broker.get('token'); sys.exit(0)")[0] == ["revoked app/token/1"]


def test_a_broker_that_was_closed_gives_them_back_once():
    assert run("broker.get('token'); broker.close()")[0] == ["revoked app/token/1"]


def test_leases_that_were_handed_on_are_left_alone():
    assert run("broker.get('token'); broker.close(keep_leases=True)")[0] == []


def test_what_an_application_registers_after_the_import_can_still_read():
    program = "atexit.register(lambda: print(broker.get('token').reveal(), flush=True))"
    assert run(program)[0] == ["t0ken", "revoked app/token/1"]


def test_a_process_with_a_refreshing_thread_ends():
    printed, _ = run("broker.on_change('token', print); broker.get('token')")
    assert printed[-1].startswith("revoked")


def test_a_store_that_hangs_does_not_hold_up_the_end():
    program = """
broker.get("token")
hold = store.hold()
hold.__enter__()
threading.Thread(target=broker.get, args=["fake:app/other"], daemon=True).start()
store.wait_for_calls(1)
begin = time.monotonic()
atexit._run_exitfuncs()
print("ended", time.monotonic() - begin < 3)
"""
    assert run(program)[0] == ["ended True"]


def test_several_brokers_share_the_time_that_there_is():
    program = """
class Slow(FakeBackend):
    def revoke(self, lease, deadline):
        time.sleep(deadline.remaining())

others = []
for _ in range(5):
    slow = Slow()
    slow.put("app/token", "t0ken")
    slow.lease("app/token", 600.0)
    others.append(secretbridge.Broker({"fake": slow}))
    others[-1].get("fake:app/token")
begin = time.monotonic()
atexit._run_exitfuncs()
print("ended", time.monotonic() - begin < 3)
"""
    assert run(program)[0] == ["ended True"]


def test_a_broker_that_cannot_be_closed_keeps_the_others_from_nothing():
    program = """
broker.get("token")
bad = FakeBackend()

def broken():
    raise RuntimeError

bad.close = broken
brokers = [secretbridge.Broker({"fake": bad}) for _ in range(3)]
for bad in brokers:
    bad.resolve(["fake:app/none"])
sys.unraisablehook = lambda told: print(told.exc_type.__name__, flush=True)
"""
    assert run(program)[0] == ["revoked app/token/1", "RuntimeError"]


def test_a_callback_that_hangs_does_not_hold_up_the_end():
    program = """
broker.get("token")
called = threading.Event()
broker.on_change("token", lambda secret: (called.set(), time.sleep(3600)))
store.rotate("app/token", "two")
broker.report_rejected("token")
print(called.wait(30))
"""
    printed, seconds = run(program)
    assert printed[0] == "True"
    assert seconds < 30


def test_a_child_that_ends_without_exit_handlers_keeps_the_leases_of_its_parent():
    program = """
import os
broker.get("token")
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
print("child ended", flush=True)
"""
    assert run(program)[0] == ["child ended", "revoked app/token/1"]


BUSY = """
broker.get("token")
for number in range(20):
    store.put(f"many/{number}", "x")
    broker.on_change(f"fake:many/{number}", print)
threading.Thread(target=lambda: [broker.get("token") for _ in iter(int, 1)], daemon=True).start()
broker.on_change("token", lambda secret: None)
deadline = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 0.02)
while time.monotonic() < deadline:
    store.rotate("app/token", "two")
    broker.report_rejected("token")
"""


def end_in_the_middle(times):
    for _ in range(times):
        run(BUSY)


def test_a_process_ends_in_the_middle_of_anything():
    end_in_the_middle(5)


@pytest.mark.soak
def test_a_process_ends_in_the_middle_of_anything_however_often():
    end_in_the_middle(300)
