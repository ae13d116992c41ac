"""A forked child starts over: no lock, connection or thread is taken along."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from secretbridge import Broker
from secretbridge._broker import start
from secretbridge.testing import FakeBackend

from .scenes import NAMES, in_child, wait_until


def test_a_child_forked_during_a_call_does_not_wait_for_it(broker, store):
    with store.hold():
        reader = threading.Thread(target=broker.get, args=("token",))
        reader.start()
        store.wait_for_calls(1)
        assert in_child(lambda: broker.get("token").reveal()) == "t0ken"
    reader.join()


def test_a_child_gives_back_no_lease_of_its_parent(broker, store):
    store.lease("app/token", 600.0)
    broker.get("token")

    def child():
        broker.close()
        return store.revoked

    assert in_child(child) == "[]"


def test_a_child_gets_leases_of_its_own_and_gives_those_back(store):
    store.lease("app/token", 600.0)
    with Broker({"fake": store}, NAMES) as broker:
        parents = broker.get("token").version
        assert parents == "1"

        def child():
            broker.on_change("token", print)
            wait_until(lambda: store.fetch_calls == 2)
            wait_until(lambda: broker.status()[2]["activity"] == "idle")
            broker.close()
            return store.revoked

        assert in_child(child) == "['app/token/2']"


def test_a_child_refreshes_for_its_subscribers_like_its_parent(store):
    with Broker({"fake": store}, NAMES, refresh=0.02) as broker:
        broker.get("token")
        seen = []
        broker.on_change("token", lambda secret: seen.append(secret.reveal()))

        def child():
            store.rotate("app/token", "two")
            wait_until(lambda: seen)
            return seen, threads("secretbridge-refresh")

        assert in_child(child) == "(['two'], 1)"
        assert threads("secretbridge-refresh") == 1


def threads(name):
    return sum(thread.name == name for thread in threading.enumerate())


def test_what_was_being_fetched_for_a_handle_is_fetched_in_the_child_at_once(store):
    with Broker({"fake": store}, NAMES) as broker, store.hold():
        broker.on_change("token", print)
        store.wait_for_calls(1)

        def child():
            wait_until(lambda: broker.status()[2]["state"] == "fresh", seconds=5.0)
            return broker.get("token").reveal()

        assert in_child(child) == "t0ken"


def test_children_do_not_all_refresh_at_the_moment_of_their_parent(store, clock):
    with Broker({"fake": store}, NAMES, clock=clock, random=lambda: 0.5) as broker:
        broker.get("token")
        due_in = broker.status()[2]["due_in"]
        child = in_child(lambda: broker.status()[2]["due_in"])
        assert 0.9 * due_in <= float(child) < due_in


def test_a_backend_that_breaks_after_a_fork_does_not_take_the_other_brokers_along(store):
    def broken():
        raise RuntimeError

    bad = FakeBackend()
    bad.after_fork = broken
    with Broker({"fake": bad}), Broker({"fake": store}, NAMES) as broker, Broker({"fake": bad}):
        assert in_child(lambda: broker.get("token").reveal()) == "t0ken"


def test_a_grandchild_starts_over_as_well(store):
    with Broker({"fake": store}, NAMES, refresh=0.02) as broker:
        broker.on_change("token", print)

        def child():
            return in_child(lambda: (broker.get("token").reveal(), threads("secretbridge-refresh")))

        assert in_child(child) == "('t0ken', 1)"


def test_two_threads_that_fork_at_once_do_not_lock_each_other_up(store):
    with Broker({"fake": store}, NAMES) as broker, Broker({"fake": store}, NAMES):
        broker.get("token")
        answers = []

        def fork_often():
            answers.extend(in_child(lambda: broker.get("token").reveal()) for _ in range(40))

        forkers = [threading.Thread(target=fork_often) for _ in range(4)]
        for forker in forkers:
            forker.start()
        for forker in forkers:
            forker.join(60)
            assert not forker.is_alive()
    assert answers == ["t0ken"] * 160


def fork_under_load(rounds):
    """Fork while four threads read and one refreshes without end; return what the children say."""
    store = FakeBackend()
    store.put("app/db", '{"user": "app", "password": "one"}')
    store.put("app/token", "t0ken")
    store.lease("app/token", 600.0)
    stopping = threading.Event()
    with Broker({"fake": store}, NAMES, refresh=0.001, refresh_floor=0.0, grace=0.001) as broker:
        broker.on_change("token", lambda secret: None)
        handle = broker.handle("db_user")

        def read():
            while not stopping.is_set():
                broker.get("token")
                handle.reveal()

        def refresh():
            while not stopping.is_set():
                store.rotate("app/token")
                broker.report_rejected("token")

        busy = [threading.Thread(target=read) for _ in range(4)]
        busy.append(threading.Thread(target=refresh))
        for thread in busy:
            thread.start()

        def child():
            signal.alarm(30)  # whoever hangs is ended, and found out by its missing answer
            new = store.rotate("app/token", "childs")
            broker.wait_for("token", new, timeout=20.0)
            return broker.get("token").reveal(), handle.reveal(), threads("secretbridge-refresh")

        try:
            return [in_child(child) for _ in range(rounds)]
        finally:
            stopping.set()
            for thread in busy:
                thread.join()


def test_a_fork_in_the_middle_of_refreshes_never_locks_up():
    assert set(fork_under_load(40)) == {"('childs', 'app', 1)"}


@pytest.mark.soak
def test_a_fork_in_the_middle_of_refreshes_never_locks_up_however_often():
    assert set(fork_under_load(5000)) == {"('childs', 'app', 1)"}


FORKED_IN_C = """
import ctypes, os
from secretbridge import Broker
from secretbridge.testing import FakeBackend

class Connected(FakeBackend):
    connected_in = os.getpid()

    def after_fork(self):
        super().after_fork()
        self.connected_in = os.getpid()

    def fetch(self, requests, deadline):
        assert self.connected_in == os.getpid()
        return super().fetch(requests, deadline)

store = Connected()
store.put("app/token", "one")
broker = Broker({"fake": store}, {"token": "fake:app/token"})
broker.get("token")
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    version = store.rotate("app/token", "two")
    print(broker.wait_for("token", version, timeout=20.0).reveal(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(broker.get("token").reveal())
"""


def test_a_child_that_was_forked_without_the_hooks_of_python_notices():
    # In a process of its own: such a child can only work where the parent has one thread.
    printed = subprocess.run(
        [sys.executable, "-c", FORKED_IN_C],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert printed.split() == ["two", "one"]


def test_the_default_broker_can_be_made_in_a_child_that_was_forked_while_it_was_being_made(
    monkeypatch,
):
    monkeypatch.setattr(start, "_broker", None)
    with start._making.lock:
        assert in_child(lambda: type(start.default_broker()).__name__) == "Broker"


def test_a_subscriber_of_an_event_loop_stays_with_the_loop(store):
    import asyncio

    async def story(broker):
        async def callback(secret):
            raise AssertionError

        broker.on_change("token", callback)
        return in_child(lambda: broker._subscribers._subscribers)

    with Broker({"fake": store}, NAMES) as broker:
        assert asyncio.run(story(broker)).endswith(": []}")


def work(broker, folder):
    broker.get("token")
    Path(folder, "used").touch()


class Filed(FakeBackend):
    """A store that notes in a file what was given back to it, as several processes use it."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def revoke(self, lease, deadline):
        Path(self.folder, f"revoked by {os.getpid()}").touch()


def test_a_worker_of_multiprocessing_gives_its_leases_back_at_its_end(tmp_path):
    store = Filed(tmp_path)
    store.put("app/token", "t0ken")
    store.lease("app/token", 600.0)
    with Broker({"fake": store}, {"token": "fake:app/token"}) as broker:
        worker = multiprocessing.get_context("fork").Process(target=work, args=(broker, tmp_path))
        worker.start()
        worker.join(30)
        assert worker.exitcode == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            f"revoked by {worker.pid}",
            "used",
        ]


SLOW_MODULE = """
import builtins
builtins.begun.set()
builtins.gate.wait(20)
FINISHED = True
"""


def test_what_another_thread_was_importing_is_imported_anew_in_the_child(
    store, tmp_path, monkeypatch
):
    (tmp_path / "slowly_imported.py").write_text(SLOW_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    begun, gate = threading.Event(), threading.Event()
    monkeypatch.setattr("builtins.begun", begun, raising=False)
    monkeypatch.setattr("builtins.gate", gate, raising=False)
    importer = threading.Thread(target=__import__, args=("slowly_imported",), daemon=True)

    def child():
        signal.alarm(30)
        monkeypatch.setattr("builtins.gate", threading.Event())
        sys.modules["builtins"].gate.set()
        return __import__("slowly_imported").FINISHED

    with Broker({"fake": store}, NAMES):
        importer.start()
        begun.wait(20)
        try:
            assert in_child(child) == "True"
        finally:
            gate.set()
            importer.join(20)
    assert sys.modules.pop("slowly_imported").FINISHED


def test_a_signal_handler_that_forks_in_the_middle_of_a_decision_is_not_locked_up(broker):
    broker.get("token")
    with broker._driver.lock:  # held by this very thread, as when a signal has interrupted it
        assert in_child(lambda: broker.get("fake:app/db#user").reveal()) == "app"
    assert broker.get("token").reveal() == "t0ken"


def test_brokers_that_are_made_during_a_fork_do_not_disturb_it(broker):
    stopping = threading.Event()

    def make():
        while not stopping.is_set():
            Broker(stores={})

    makers = [threading.Thread(target=make) for _ in range(3)]
    for maker in makers:
        maker.start()
    try:
        for _ in range(30):
            assert in_child(lambda: broker.get("token").reveal()) == "t0ken"
    finally:
        stopping.set()
        for maker in makers:
            maker.join()
