"""What people are told of a broker: everything but values."""

from __future__ import annotations

import json

from secretbridge import Broker

from .scenes import NAMES


def test_status_tells_everything_but_values(broker):
    assert [row["state"] for row in broker.status()] == ["empty"] * 3
    broker.prefetch()
    rows = broker.status()
    assert [row["state"] for row in rows] == ["fresh"] * 3
    assert "t0ken" not in json.dumps(rows)


def test_a_row_tells_the_times_that_matter(broker, store, clock):
    store.lease("app/token", 600.0)
    broker.prefetch()
    clock.now += 10.0
    row = {row["name"]: row for row in broker.status()}["token"]
    assert (row["age"], row["ends_in"], row["held"]) == (10.0, 590.0, False)
    assert row["reference"] == "fake:app/token"
    broker.handle("token").reveal()
    assert {row["name"]: row["ends_in"] for row in broker.status()}["db_user"] is None


def test_what_is_kept_fresh_is_marked(broker):
    handle = broker.handle("token")
    handle.reveal()
    assert [row["held"] for row in broker.status()] == [False, False, True]


def test_asking_for_the_status_asks_no_store(broker, store):
    broker.status()
    assert store.fetch_calls == 0


def test_after_closing_there_is_nothing_to_tell(store):
    with Broker({"fake": store}, NAMES) as broker:
        broker.prefetch()
    assert [row["state"] for row in broker.status()] == ["empty"] * 3
