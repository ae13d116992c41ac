"""Who wants to know is told of a change, and of nothing else."""

from __future__ import annotations

import json
import threading

import pytest

from secretbridge import Broker
from secretbridge.engine import Policy
from secretbridge.errors import BackendUnavailable

from .scenes import NAMES, wait_until


def test_a_subscriber_is_called_after_a_rotation_with_the_new_secret(store):
    seen = []
    with Broker({"fake": store}, NAMES, refresh=0.05) as broker:
        broker.get("token")
        broker.on_change("token", lambda secret: seen.append(secret.reveal()))
        store.rotate("app/token", "two")
        wait_until(lambda: seen)
    assert seen == ["two"]


def test_a_change_of_another_field_of_the_document_is_no_change(store):
    seen = []
    with Broker({"fake": store}, NAMES, refresh=0.02) as broker:
        broker.get("db_user")
        broker.on_change("db_user", lambda secret: seen.append("user"))
        broker.on_change("db_password", lambda secret: seen.append("password"))
        store.rotate("app/db", json.dumps({"user": "app", "password": "two"}))
        wait_until(lambda: seen)
    assert seen == ["password"]


def test_a_callback_that_raises_is_reported_by_type_and_disturbs_nobody(store, caplog):
    seen = []

    def bad(secret):
        raise ValueError(secret.reveal())

    with Broker({"fake": store}, NAMES, refresh=0.02) as broker:
        broker.get("token")
        broker.on_change("token", bad)
        broker.on_change("token", lambda secret: seen.append(secret.reveal()))
        store.rotate("app/token", "canary")
        wait_until(lambda: seen)
    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text


def test_an_unsubscribed_callback_is_not_called_and_the_secret_no_longer_refreshed(store, clock):
    with Broker({"fake": store}, NAMES, clock=clock) as broker:
        broker.get("token")
        unsubscribe = broker.on_change("token", lambda secret: pytest.fail("called"))
        unsubscribe()
        unsubscribe()
        clock.now += 1e6
        assert broker._driver.engine.next_wake is None or store.fetch_calls == 1


def test_there_is_no_thread_until_somebody_subscribes(broker):
    broker.prefetch()
    names = {thread.name for thread in threading.enumerate()}
    assert "secretbridge-refresh" not in names


def test_closing_ends_the_refreshing_thread(store):
    broker = Broker({"fake": store}, NAMES)
    broker.on_change("token", lambda secret: None)
    thread = broker._driver._thread
    broker.close()
    assert not thread.is_alive()


def test_closing_gives_leases_back_unless_they_are_handed_on(store):
    store.lease("app/token", 600.0)
    with Broker({"fake": store}, NAMES) as broker:
        broker.get("token")
    assert len(store.revoked) == 1
    broker = Broker({"fake": store}, NAMES)
    broker.get("token")
    broker.close(keep_leases=True)
    assert len(store.revoked) == 1


def test_a_leased_secret_tells_when_it_ends(store, clock):
    store.lease("app/token", 600.0)
    with Broker({"fake": store}, NAMES, clock=clock, wall=lambda: 1_700_000_000.0) as broker:
        assert broker.get("token").expires_at.timestamp() == 1_700_000_600.0


def test_refresh_with_a_timeout_returns_with_the_new_value(broker, store):
    broker.get("token")
    store.rotate("app/token", "new")
    broker.refresh(["token"], timeout=10.0)
    assert broker.get("token").reveal() == "new"


def test_refresh_with_a_timeout_does_not_wait_for_a_store_that_is_away(broker, store):
    broker.get("token")
    store.fail(BackendUnavailable("away"))
    broker.refresh(["token"], timeout=10.0)
    assert broker.get("token").stale


def test_refresh_looks_again_without_waiting_for_the_interval(broker, store):
    broker.get("token")
    store.rotate("app/token", "two")
    broker.refresh(["token"])
    wait_until(lambda: broker.get("token").reveal() == "two")


def test_a_snapshot_keeps_one_version_of_each_document(broker, store, clock):
    with broker.snapshot() as before:
        store.rotate("app/db", json.dumps({"user": "new", "password": "two"}))
        clock.now += 100.0
        wait_until(lambda: broker.get("db_user").reveal() == "new")
        assert (before["db_user"].reveal(), before["db_password"].reveal()) == ("app", "one")
        assert set(before) == set(NAMES)


def test_each_name_may_have_a_policy_of_its_own(store, clock):
    policies = {"token": Policy(refresh=1.0, max_stale=10.0)}
    with Broker({"fake": store}, NAMES, policies=policies, clock=clock, random=lambda: 0) as broker:
        broker.prefetch()
        clock.now += 2.0
        assert {row["name"]: row["state"] for row in broker.status()} == {
            "db_user": "fresh",
            "db_password": "fresh",
            "token": "due",
        }


def test_a_watcher_that_raises_is_reported_by_type_and_is_no_readers_fault(broker, store, caplog):
    def wake():
        raise ValueError("canary")

    broker.watch(["token"], wake)
    wait_until(lambda: "ValueError" in caplog.text)
    assert broker.get("token").reveal() == "t0ken"
    assert "canary" not in caplog.text


def test_a_slow_callback_delays_no_refresh_and_no_watcher(store):
    called, go_on, woken = threading.Event(), threading.Event(), []

    def slow(secret):
        called.set()
        go_on.wait(30)

    with Broker({"fake": store}, NAMES, refresh=0.01) as broker:
        broker.prefetch()
        broker.on_change("token", slow)
        broker.watch(["db_user"], lambda: woken.append(True))
        store.rotate("app/token", "two")
        called.wait(30)
        calls = store.fetch_calls
        wait_until(lambda: store.fetch_calls > calls + 5)
        woken.clear()
        store.rotate("app/db", json.dumps({"user": "new", "password": "two"}))
        wait_until(lambda: woken)
        go_on.set()


def test_a_fault_of_our_own_does_not_end_the_refreshing(store, caplog):
    with Broker({"fake": store}, NAMES, refresh=0.01) as broker:
        broker.prefetch()
        step, faults = broker._driver.engine.step, [RuntimeError("canary")]

        def faulty(now, event):
            if faults and type(event).__name__ == "Tick":
                raise faults.pop()
            return step(now, event)

        broker._driver.engine.step = faulty
        broker.on_change("token", lambda secret: None)
        wait_until(lambda: not faults)
        calls = store.fetch_calls
        wait_until(lambda: store.fetch_calls > calls)
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text


def test_a_fault_of_our_own_does_not_end_the_telling(store, caplog):
    seen = []

    def broken(change):
        raise RuntimeError("canary")

    with Broker({"fake": store}, NAMES, refresh=0.01) as broker:
        broker.prefetch()
        broker._subscribers.subscribe("token", broken)
        broker.on_change("token", lambda secret: seen.append(secret.reveal()))
        store.rotate("app/token", "two")
        wait_until(lambda: seen == ["two"])
    assert "RuntimeError" in caplog.text
    assert "canary" not in caplog.text
