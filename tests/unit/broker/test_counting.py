"""What a broker counts: every call to a store by how it ended, and nothing when a value is read."""

from __future__ import annotations

import pytest

from secretbridge import Broker
from secretbridge._tally import process
from secretbridge.errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    DeadlineExceeded,
    IntegrityError,
    RateLimited,
    SecretDeleted,
    SecretMissing,
)

from .scenes import in_child, wait_until


@pytest.fixture(autouse=True)
def _from_nothing():
    process.start_over()


def test_first_and_later_fetches_are_told_apart(broker, store, clock):
    broker.get("db_password")
    assert process.counts("refresh") == {("fake", "changed"): 1}
    clock.now += 1000
    broker.refresh(["db_password"], timeout=10)
    assert process.counts("refresh")["fake", "unchanged"] == 1
    store.put("app/db", '{"user": "app", "password": "two"}')
    broker.refresh(["db_password"], timeout=10)
    assert process.counts("refresh")["fake", "changed"] == 2


def test_reading_what_is_cached_counts_nothing(broker):
    broker.get("db_password")
    before = process.counts("refresh")
    for _ in range(100):
        broker.get("db_password")
        broker.get("db_user")
    assert process.counts("refresh") == before
    assert sum(process.durations("refresh_duration")["fake",].counts) == 1


@pytest.mark.parametrize(
    ("error", "word", "denied"),
    [
        (SecretMissing, "missing", {}),
        (SecretDeleted, "missing", {}),
        (AccessDenied, "denied", {("store_denied",): 1}),
        (AuthenticationFailed, "login_refused", {("store_login_refused",): 1}),
        (RateLimited, "rate_limited", {}),
        (DeadlineExceeded, "timeout", {}),
        (BackendUnavailable, "unavailable", {}),
        (IntegrityError, "error", {}),
    ],
)
def test_each_kind_of_failure_has_its_word(store, clock, error, word, denied):
    store.fail(error("no", hint="because"))
    with Broker({"fake": store}, {"token": "fake:app/token"}, clock=clock) as broker:
        with pytest.raises(error):
            broker.get("token")
        assert process.counts("refresh") == {("fake", word): 1}
        assert process.counts("denied") == denied


def test_a_call_after_a_failed_one_is_a_retry(broker, store, clock):
    store.fail(BackendUnavailable("away", hint="wait"))
    with pytest.raises(BackendUnavailable):
        broker.get("token")
    assert process.counts("retries") == {}
    store.heal()
    clock.now += 10
    broker.get("token")
    assert process.counts("retries") == {("fake",): 1}


def test_a_forked_child_counts_its_own(broker):
    broker.get("db_password")
    assert in_child(lambda: dict(process.counts("refresh"))) == "{}"


def test_renewals_and_returns_of_leases_are_counted(store, clock):
    store.lease("app/token", 600.0)
    with Broker({"fake": store}, {"token": "fake:app/token"}, clock=clock) as broker:
        broker.handle("token").reveal()
        clock.now += 420.0  # two thirds and the jitter
        broker.resolve(["token"])
        wait_until(lambda: process.counts("lease_renewals"))
        assert process.counts("lease_renewals") == {("fake", "renewed"): 1}
        row = broker.status()[0]
        assert (row["age"], row["confirmed"]) == (420.0, 0.0)


def test_a_row_tells_for_how_long_a_value_has_been_overdue(broker, store, clock):
    broker.get("token")
    assert broker.status()[2]["stale_for"] is None
    store.fail(BackendUnavailable("away", hint="wait"))
    clock.now += 400.0
    broker.refresh(["token"], timeout=10)
    clock.now += 5.0
    row = broker.status()[2]
    assert (row["state"], row["stale_for"]) == ("stale", 5.0)
