"""Streams of changes, and callbacks that are coroutine functions."""

from __future__ import annotations

import asyncio
import functools
import gc
import pickle
import threading

import pytest

from secretbridge import Broker, Change
from secretbridge.testing import FakeBackend

from .scenes import NAMES, Clock, wait_until


@pytest.fixture
def store():
    store = FakeBackend()
    store.put("app/db", '{"user": "app", "password": "one"}')
    store.put("app/token", "t0ken")
    return store


@pytest.fixture
def broker(store):
    with Broker({"fake": store}, NAMES) as broker:
        broker.prefetch()
        yield broker


def rotate(broker, store, body):
    version = store.rotate("app/token", body)
    broker.refresh(["token"])
    wait_until(lambda: broker.get("token").version == version)


def told(broker):
    """Return once everybody was told of what has changed so far."""
    wait_until(lambda: not broker._subscribers._untold and not broker._subscribers._is_telling)


def test_who_is_slow_finds_the_newest_secret_and_the_version_it_was_told_last(broker, store):
    with broker.changes() as changes:
        for body in ("two", "three", "four"):
            rotate(broker, store, body)
            told(broker)
        change = changes.get()
        assert (change.secret.reveal(), change.previous_version) == ("four", "1")
        assert changes.get(timeout=0) is None


def test_names_come_in_the_order_of_their_changes(broker, store):
    with broker.changes() as changes:
        rotate(broker, store, "two")
        told(broker)
        store.rotate("app/db", '{"user": "new", "password": "two"}')
        broker.refresh(["db_user"])
        wait_until(lambda: len(changes._pending) == 3)
        assert [changes.get().name for _ in range(3)] == ["token", "db_user", "db_password"]


def test_a_stream_of_some_names_tells_of_those(broker, store):
    with broker.changes(["db_user"]) as changes:
        rotate(broker, store, "two")
        told(broker)
        assert changes.get(timeout=0) is None


def test_the_first_value_is_no_change(store):
    with Broker({"fake": store}, NAMES) as broker, broker.changes() as changes:
        broker.prefetch()
        told(broker)
        assert changes.get(timeout=0) is None


def test_a_value_that_was_withdrawn_and_came_back_is_a_change_only_if_it_differs(store):
    clock = Clock()
    with Broker({"fake": store}, NAMES, clock=clock) as broker:
        broker.prefetch()
        changes = broker.changes(["token"])

        def withdraw_and_put(body):
            store.deny("app/token")
            broker.refresh(["token"])
            wait_until(lambda: broker.status()[2]["state"] == "empty")
            store.allow("app/token")
            store.put("app/token", body)
            clock.now += 100.0
            assert broker.get("token").reveal() == body
            told(broker)
            return changes.get(timeout=0)

        assert withdraw_and_put("t0ken") is None
        assert withdraw_and_put("two").previous_version == "2"


def test_closing_ends_a_stream_for_whoever_waits(broker):
    changes = broker.changes()
    ended = []
    waiting = threading.Thread(target=lambda: ended.append(list(changes)))
    waiting.start()
    changes.close()
    waiting.join(20)
    assert ended == [[]]
    changes.close()


def test_a_stream_that_was_dropped_is_told_no_longer(broker, store):
    changes = broker.changes(["token"])
    del changes
    gc.collect()
    rotate(broker, store, "two")
    id = broker._cache.target("token")[1]
    wait_until(lambda: broker._subscribers._subscribers[id] == [])
    assert broker._driver.entry(id).holders == 0


def test_two_tasks_that_follow_one_stream_share_the_changes(broker, store):
    async def story():
        changes = broker.changes()
        tasks = [asyncio.create_task(anext(changes)) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.to_thread(rotate, broker, store, "two")
        done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        changes.close()
        assert len(done) == 1
        with pytest.raises(StopAsyncIteration):
            await waiting.pop()
        return done.pop().result().secret.reveal()

    assert asyncio.run(story()) == "two"


def test_a_change_is_a_frozen_value_that_shows_no_secret(broker):
    change = Change("token", broker.get("token"), "0")
    assert repr(change) == (
        "Change(name='token', previous_version='0', secret=Secret('**********'))"
    )
    with pytest.raises(AttributeError):
        change.name = "other"
    with pytest.raises(TypeError):
        pickle.dumps(change)


# Coroutine functions ----------------------------------------------------------------------------


def test_a_coroutine_function_runs_in_the_loop_it_was_subscribed_in(broker, store):
    async def story():
        seen = asyncio.Queue()

        async def callback(secret):
            await seen.put((secret.reveal(), asyncio.get_running_loop() is loop))

        loop = asyncio.get_running_loop()
        unsubscribe = broker.on_change("token", callback)
        await asyncio.to_thread(rotate, broker, store, "two")
        found = await seen.get()
        unsubscribe()
        return found

    assert asyncio.run(story()) == ("two", True)


def test_anything_that_gives_a_coroutine_counts_as_one(broker, store):
    class Callback:
        async def __call__(self, secret):
            await seen.put(secret.reveal())

    async def plain(mark, secret):
        await seen.put(mark)

    seen = asyncio.Queue()

    async def story():
        broker.on_change("token", Callback())
        broker.on_change("token", functools.partial(plain, "partial"))
        await asyncio.to_thread(rotate, broker, store, "two")
        return {await seen.get(), await seen.get()}

    assert asyncio.run(story()) == {"two", "partial"}


def test_a_coroutine_function_without_a_running_loop_is_refused(broker):
    async def callback(secret):
        """Never called."""

    with pytest.raises(TypeError, match="running event loop"):
        broker.on_change("token", callback)


def test_a_slow_coroutine_is_called_once_more_with_the_newest_secret(broker, store):
    async def story():
        seen, go_on = [], asyncio.Event()

        async def callback(secret):
            seen.append(secret.reveal())
            await go_on.wait()

        broker.on_change("token", callback)
        for body in ("two", "three", "four"):
            await asyncio.to_thread(rotate, broker, store, body)
            await asyncio.to_thread(told, broker)
        go_on.set()
        while len(seen) < 2:
            await asyncio.sleep(0)
        return seen

    assert asyncio.run(story()) == ["two", "four"]


def test_a_coroutine_that_raises_is_reported_by_its_type(broker, store, caplog):
    async def story():
        done = asyncio.Event()

        async def callback(secret):
            done.set()
            raise ValueError(secret.reveal())

        broker.on_change("token", callback)
        await asyncio.to_thread(rotate, broker, store, "canary")
        await done.wait()
        while "ValueError" not in caplog.text:
            await asyncio.sleep(0)

    asyncio.run(story())
    assert "canary" not in caplog.text


def test_a_subscriber_whose_loop_has_ended_is_dropped(broker, store):
    async def callback(secret):
        """Never called."""

    async def story():
        broker.on_change("token", callback)

    asyncio.run(story())
    rotate(broker, store, "two")
    id = broker._cache.target("token")[1]
    wait_until(lambda: broker._subscribers._subscribers[id] == [])
