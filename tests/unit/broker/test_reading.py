"""The broker serves what it has, and asks once for what it lacks."""

from __future__ import annotations

import threading

import pytest

from secretbridge import Broker, Secret
from secretbridge.errors import (
    AccessDenied,
    BackendUnavailable,
    ConfigError,
    DeadlineExceeded,
    FieldMissing,
    ReferenceSyntaxError,
    SecretExpired,
    SecretMissing,
)
from secretbridge.testing import FakeBackend

from .scenes import NAMES, wait_until


def test_a_name_gives_its_secret(broker):
    secret = broker.get("db_password")
    assert isinstance(secret, Secret)
    assert (secret.reveal(), secret.name, secret.version) == ("one", "db_password", "1")
    assert (secret.stale, secret.expires_at) == (False, None)


def test_a_reference_works_where_a_name_does(broker):
    assert broker.get("fake:app/token").reveal() == "t0ken"


def test_a_cached_value_asks_nobody(broker, store):
    assert broker.get("token") is broker.get("token")
    assert store.fetch_calls == 1


def test_fields_of_one_document_cost_one_fetch(broker, store):
    found = broker.get_many(["db_user", "db_password"])
    assert {name: secret.reveal() for name, secret in found.items()} == {
        "db_user": "app",
        "db_password": "one",
    }
    assert store.fetched["app/db"] == 1


def test_documents_of_one_store_are_asked_for_together(broker, store):
    broker.prefetch()
    assert [sorted(batch) for batch in store.batches] == [["app/db", "app/token"]]


def test_many_cold_readers_cause_one_call(broker, store):
    results = []
    with store.hold():
        readers = [
            threading.Thread(target=lambda: results.append(broker.get("token").reveal()))
            for _ in range(50)
        ]
        for reader in readers:
            reader.start()
        store.wait_for_calls(1)
    for reader in readers:
        reader.join()
    assert results == ["t0ken"] * 50
    assert store.fetch_calls == 1


def test_a_due_value_is_served_at_once_and_refreshed_behind(broker, store, clock):
    broker.get("token")
    store.rotate("app/token", "new")
    clock.now += 100.0
    with store.hold():
        assert broker.get("token").reveal() == "t0ken"
        store.wait_for_calls(1)
    wait_until(lambda: broker.get("token").reveal() == "new")
    assert store.fetch_calls == 2


def test_one_missing_secret_does_not_fail_the_others(broker, store):
    store.remove("app/token")
    outcomes = broker.resolve(["token", "db_user"])
    assert isinstance(outcomes["token"], SecretMissing)
    assert outcomes["db_user"].reveal() == "app"


def test_an_error_names_the_whole_reference_and_the_store(broker):
    with pytest.raises(FieldMissing) as caught:
        broker.get("fake:app/db#nope")
    assert str(caught.value.reference) == "fake:app/db#nope"
    assert caught.value.store == "fake"


def test_readers_that_shared_a_failed_call_get_errors_of_their_own(broker, store):
    store.deny("app/token")
    errors = [broker.resolve(["token"])["token"] for _ in range(2)]
    assert errors[0] is not errors[1]
    assert [str(e.reference) for e in errors] == ["fake:app/token"] * 2
    assert store.fetch_calls == 1


def test_failing_reads_keep_no_memory_of_their_readers(broker, store):
    store.deny("app/token")
    for _ in range(100):
        with pytest.raises(AccessDenied) as caught:
            broker.get("token")
    depth, frame = 0, caught.value.__traceback__
    while frame is not None:
        depth, frame = depth + 1, frame.tb_next
    assert depth <= 3


def test_optional_covers_missing_and_nothing_else(store):
    names = {"a": "fake:nope?optional", "b": "fake:app/token"}
    with Broker({"fake": store}, names) as broker:
        assert set(broker.get_many(["a", "b"])) == {"b"}
        with pytest.raises(SecretMissing):
            broker.get("a")
        store.deny("app/other")
        with pytest.raises(AccessDenied):
            broker.get_many(["fake:app/other?optional"])


def test_an_unknown_name_suggests_a_known_one(broker):
    with pytest.raises(ConfigError, match="did you mean 'db_password'"):
        broker.get("db_pasword")


def test_a_value_that_is_asked_for_by_mistake_is_not_repeated(broker):
    with pytest.raises(ConfigError) as caught:
        broker.get("hunter2-canary")
    assert "canary" not in f"{caught.value!s}{caught.value!r}{caught.value.__dict__}"


def test_a_bad_reference_is_a_syntax_error(broker):
    with pytest.raises(ReferenceSyntaxError):
        broker.get("fake:app//db")


def test_a_store_that_is_not_configured_says_what_to_write_instead(broker):
    with pytest.raises(ConfigError) as caught:
        broker.get("fake://secret/app/db#password")
    assert "write fake:secret/app/db#password" in str(caught.value)


def test_a_closed_broker_says_so(store):
    broker = Broker({"fake": store}, NAMES)
    broker.close()
    assert store.closed
    with pytest.raises(ConfigError, match="closed"):
        broker.get("token")


AWAY = BackendUnavailable("connection refused")


def test_while_its_store_is_away_the_last_good_value_is_served_and_marked(broker, store, clock):
    broker.get("token")
    store.fail(AWAY)
    clock.now += 100.0
    broker.get("token")
    wait_until(lambda: broker.get("token").stale)
    assert broker.get("token").reveal() == "t0ken"
    assert broker.status()[2]["state"] == "stale"
    assert broker.status()[2]["error"] == "connection refused"


def test_after_max_stale_the_value_is_refused(broker, store, clock):
    broker.get("token")
    store.fail(AWAY)
    clock.now += 1100.0
    with pytest.raises(SecretExpired, match="connection refused"):
        broker.get("token")


def test_a_value_returns_with_its_store(broker, store, clock):
    store.fail(AWAY)
    with pytest.raises(BackendUnavailable):
        broker.get("token")
    store.heal()
    clock.now += 1.0
    assert broker.get("token").reveal() == "t0ken"


def test_a_denied_secret_is_withdrawn_at_the_next_refresh(broker, store, clock):
    broker.get("token")
    store.deny("app/token")
    clock.now += 100.0

    def denied():
        return isinstance(broker.resolve(["token"])["token"], AccessDenied)

    wait_until(denied)


def test_a_store_that_hangs_costs_a_reader_its_timeout(store, clock):
    store.delay(3600.0)
    with Broker({"fake": store}, NAMES, timeout=5.0, clock=clock) as broker:
        before = clock.now
        with pytest.raises(DeadlineExceeded):
            broker.get("token")
        assert clock.now - before == 5.0


def test_a_backend_that_breaks_is_an_unavailable_store_whose_error_text_is_not_repeated(store):
    def broken(requests, deadline):
        raise RuntimeError("canary-in-a-plugin")

    store.fetch = broken
    with Broker({"fake": store}, NAMES) as broker, pytest.raises(BackendUnavailable) as caught:
        broker.get("token")
    assert "canary" not in f"{caught.value!s}{caught.value.__cause__!r}{caught.value.__context__!r}"
    assert "RuntimeError" in str(caught.value)


def test_a_backend_that_loses_answers_is_found_out(store):
    store.fetch = lambda requests, deadline: []
    with Broker({"fake": store}, NAMES) as broker, pytest.raises(Exception, match="0 of 1"):
        broker.get("token")


def test_brokers_of_one_process_know_nothing_of_each_other(store, clock):
    other = FakeBackend(clock=clock)
    other.put("app/token", "another")
    with Broker({"fake": store}, NAMES) as first, Broker({"fake": other}, NAMES) as second:
        assert (first.get("token").reveal(), second.get("token").reveal()) == ("t0ken", "another")
        first.close()
        assert second.get("token").reveal() == "another"
