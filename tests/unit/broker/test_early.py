"""A value that was refused is looked up early, once, however many say so."""

from __future__ import annotations

import asyncio
import threading

import pytest

from secretbridge import Broker
from secretbridge.errors import BackendUnavailable
from secretbridge.testing import FakeBackend

from .scenes import NAMES, wait_until


def idle(broker):
    wait_until(lambda: broker.status()[2]["activity"] in ("idle", "waiting"))


def test_a_rejection_starts_a_refresh(broker, store):
    broker.get("token")
    store.rotate("app/token", "two")
    assert broker.report_rejected("token") is True
    wait_until(lambda: broker.get("token").reveal() == "two")
    assert store.fetch_calls == 2


def test_rejections_within_the_floor_are_one(broker, store, clock):
    broker.get("token")
    assert [broker.report_rejected("token") for _ in range(3)] == [True, False, False]
    idle(broker)
    clock.now += 1.0
    assert broker.report_rejected("token") is True
    idle(broker)
    assert store.fetch_calls == 3


def test_a_storm_of_rejections_is_one_refresh(broker, store):
    rejected = broker.get("token")
    reporters = [
        threading.Thread(
            target=lambda: [broker.report_rejected("token", rejected) for _ in range(200)]
        )
        for _ in range(8)
    ]
    for reporter in reporters:
        reporter.start()
    for reporter in reporters:
        reporter.join()
    idle(broker)
    assert store.fetch_calls == 2


def test_a_rejection_of_a_value_that_was_replaced_starts_nothing(broker, store):
    rejected = broker.get("token")
    store.rotate("app/token", "two")
    broker.refresh(["token"])
    wait_until(lambda: broker.get("token").reveal() == "two")
    assert broker.report_rejected("token", rejected) is False


def test_a_rejection_while_the_store_is_away_adds_nothing_to_its_load(broker, store, clock):
    broker.get("token")
    store.fail(BackendUnavailable("away"))
    assert broker.report_rejected("token") is True
    idle(broker)
    assert broker.report_rejected("token") is False
    clock.now += 0.001
    assert store.fetch_calls == 2


def test_documents_have_a_floor_each(broker):
    broker.prefetch()
    assert broker.report_rejected("token") is True
    assert broker.report_rejected("db_user") is True
    assert broker.report_rejected("db_password") is False  # the same document as db_user


def test_nothing_is_started_for_what_was_never_read(broker, store):
    assert broker.report_rejected("token") is False
    assert store.fetch_calls == 0


def test_the_floor_can_be_set(store, clock):
    with Broker({"fake": store}, NAMES, clock=clock, refresh_floor=60.0) as broker:
        broker.get("token")
        broker.report_rejected("token")
        idle(broker)
        clock.now += 59.0
        assert broker.report_rejected("token") is False


def test_many_waiting_for_one_replacement_cost_a_request_per_floor():
    store = FakeBackend()
    store.put("app/token", "one")
    with Broker({"fake": store}, NAMES, refresh_floor=0.1) as broker:
        rejected = broker.get("token")
        found = []
        waiting = [
            threading.Thread(
                target=lambda: found.append(broker.replacement("token", rejected, timeout=20.0))
            )
            for _ in range(20)
        ]
        for thread in waiting:
            thread.start()
        wait_until(lambda: store.fetch_calls >= 3)
        calls = store.fetch_calls
        store.rotate("app/token", "two")
        for thread in waiting:
            thread.join()
        assert {secret.reveal() for secret in found} == {"two"}
        assert store.fetch_calls <= calls + 2


def test_a_cancelled_task_stops_waiting(broker, store):
    rejected = broker.get("token")

    async def story():
        waiting = asyncio.create_task(broker.areplacement("token", rejected, timeout=3600.0))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(story())


def test_whoever_waits_for_a_version_asks_ever_more_slowly():
    store = FakeBackend()
    store.put("app/token", "one")
    with Broker({"fake": store}, NAMES, refresh_floor=0.02) as broker:
        broker.get("token")
        with pytest.raises(BackendUnavailable, match="no newer version than 1"):
            broker.wait_for("token", "2", timeout=0.5)
        assert 3 <= store.fetch_calls <= 8  # at 0, 20, 60, 140, 300 ms after the first get


def test_whoever_waits_does_not_spin_also_without_a_floor():
    store = FakeBackend()
    store.put("app/token", "one")
    with Broker({"fake": store}, NAMES, refresh_floor=0.0) as broker:
        rejected = broker.get("token")
        broker.replacement("token", rejected, timeout=0.3)
        assert store.fetch_calls <= 17
