"""The broker serves what it has, asks once for what it lacks, and tells who wants to know."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import threading
import time

import pytest

from secretbridge import Broker, Secret
from secretbridge.engine import Policy
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


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    fake = FakeBackend(
        clock=clock, sleep=lambda seconds: setattr(clock, "now", clock.now + seconds)
    )
    fake.put("app/db", json.dumps({"user": "app", "password": "one"}))
    fake.put("app/token", b"t0ken")
    return fake


NAMES = {
    "db_user": "fake:app/db#user",
    "db_password": "fake:app/db#password",
    "token": "fake:app/token",
}


@pytest.fixture
def broker(store, clock):
    with Broker(
        {"fake": store},
        NAMES,
        refresh=100.0,
        max_stale=1000.0,
        clock=clock,
        wall=lambda: 1_700_000_000.0,
        random=lambda: 0.0,
    ) as made:
        yield made


def wait_until(happened, seconds=10.0):
    """Return once ``happened()`` is true; background threads get the processor meanwhile."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


# Reading ----------------------------------------------------------------------------------------


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


# Names and stores -------------------------------------------------------------------------------


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


# Failures ---------------------------------------------------------------------------------------

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


# Rotation ---------------------------------------------------------------------------------------


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


def test_status_tells_everything_but_values(broker):
    assert [row["state"] for row in broker.status()] == ["empty"] * 3
    broker.prefetch()
    rows = broker.status()
    assert [row["state"] for row in rows] == ["fresh"] * 3
    assert "t0ken" not in json.dumps(rows)


# Async ------------------------------------------------------------------------------------------


def test_async_readers_share_the_cache_and_the_single_call(broker, store):
    async def story():
        return await asyncio.gather(*(broker.aget("token") for _ in range(50)))

    assert {secret.reveal() for secret in asyncio.run(story())} == {"t0ken"}
    assert broker.get("token").reveal() == "t0ken"
    assert store.fetch_calls == 1


def test_a_waiting_task_does_not_block_the_event_loop(broker, store):
    async def story():
        with store.hold():
            reader = asyncio.create_task(broker.aget("token"))
            while store.fetch_calls == 0:
                await asyncio.sleep(0)
            turns = 0
            for _ in range(100):
                await asyncio.sleep(0)
                turns += 1
            assert not reader.done()
        return turns, (await reader).reveal()

    assert asyncio.run(story()) == (100, "t0ken")


def test_async_errors_are_the_same_as_sync_ones(broker, store):
    store.remove("app/token")
    with pytest.raises(SecretMissing):
        asyncio.run(broker.aget("token"))
    with pytest.raises(SecretMissing):
        asyncio.run(broker.aget_many(["db_user", "token"]))


def test_a_cancelled_task_leaves_the_call_to_the_others(broker, store):
    async def story():
        with store.hold():
            first = asyncio.create_task(broker.aget("token"))
            second = asyncio.create_task(broker.aget("token"))
            while store.fetch_calls == 0:
                await asyncio.sleep(0)
            first.cancel()
            await asyncio.sleep(0)
        return (await second).reveal()

    assert asyncio.run(story()) == "t0ken"


# Fork -------------------------------------------------------------------------------------------


def in_child(function):
    """Run ``function`` in a forked child and return what it returns, as text."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, str(function()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(pid, 0)
    return answer


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


def test_a_child_refreshes_for_its_subscribers_like_its_parent(store):
    with Broker({"fake": store}, NAMES, refresh=0.02) as broker:
        broker.get("token")
        seen = []
        broker.on_change("token", lambda secret: seen.append(secret.reveal()))

        def child():
            store.rotate("app/token", "two")
            wait_until(lambda: seen)
            return seen

        assert in_child(child) == "['two']"


# News -------------------------------------------------------------------------------------------


class Newsroom(FakeBackend):
    """A store that tells what changed."""

    pushes = True

    def __init__(self):
        super().__init__()
        self.news = queue.SimpleQueue()

    def changes(self, is_stopping, found):
        while not is_stopping():
            try:
                found([self.news.get(timeout=0.01)])
            except queue.Empty:
                continue

    def concerns(self, locator, changed):
        return locator == changed


def test_news_refresh_exactly_the_documents_concerned_at_once():
    store = Newsroom()
    store.put("app/db", "one")
    store.put("app/token", "one")
    seen = []
    names = {"db": "fake:app/db", "token": "fake:app/token"}
    with Broker({"fake": store}, names, refresh=3600.0) as broker:
        broker.prefetch()
        broker.on_change("db", lambda secret: seen.append(secret.reveal()))
        broker.on_change("token", lambda secret: pytest.fail("called"))
        store.put("app/db", "two")
        store.news.put("app/db")
        wait_until(lambda: seen)
        assert store.fetched == {"app/db": 2, "app/token": 1}
    assert seen == ["two"]


def test_a_newsroom_that_breaks_is_reported_and_the_refreshing_goes_on(caplog):
    class Broken(Newsroom):
        def changes(self, is_stopping, found):
            raise RuntimeError("canary")

    store = Broken()
    store.put("app/db", "one")
    seen = []
    with Broker({"fake": store}, {"db": "fake:app/db"}, refresh=0.02) as broker:
        broker.prefetch()
        broker.on_change("db", lambda secret: seen.append(secret.reveal()))
        store.put("app/db", "two")
        wait_until(lambda: seen)
        wait_until(lambda: "no news" in caplog.text)
    assert "canary" not in caplog.text


# The process-wide broker ------------------------------------------------------------------------


def test_the_module_functions_use_the_configuration_that_is_found(tmp_path, monkeypatch):
    import secretbridge
    from secretbridge import _start

    (tmp_path / "db_password").write_text("from-a-file\n")
    config = tmp_path / "secretbridge.yaml"
    config.write_text(
        f"stores: {{file: {{backend: file, roots: [{tmp_path}]}}}}\n"
        "secrets: {db_password: 'file:db_password'}\n"
    )
    monkeypatch.setenv("SECRETBRIDGE_CONFIG", str(config))
    monkeypatch.setattr(secretbridge, "_default", None)
    monkeypatch.setattr(_start, "_broker", None)
    assert secretbridge.get("db_password").reveal() == "from-a-file"
    assert asyncio.run(secretbridge.aget("db_password")) is secretbridge.get("db_password")
    assert secretbridge.get_many(["db_password"])["db_password"].reveal() == "from-a-file"
    secretbridge._default.close()
