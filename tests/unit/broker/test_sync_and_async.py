"""One table of behaviours, for threads and for tasks: what holds for one holds for the other.

A behaviour calls a method by its plain name; for tasks its twin with an "a" in front is called, in an
event loop that runs in a thread of its own. Whatever has a twin must have a behaviour here.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from secretbridge import Broker, Changes, Handle, Secret
from secretbridge.errors import (
    AccessDenied,
    BackendUnavailable,
    ConfigError,
    DeadlineExceeded,
    SecretExpired,
    SecretMissing,
)
from secretbridge.testing import FakeBackend

from .scenes import NAMES, Clock, wait_until

AWAY = BackendUnavailable("connection refused")
BEHAVIOURS = {}


def behaviour(story):
    BEHAVIOURS[story.__name__] = story
    return story


def twin(name):
    return {"secret": "aget"}.get(name, f"a{name}")


class Threads:
    def __call__(self, owner, name, *arguments, **options):
        found = getattr(type(owner), name)
        if isinstance(found, property):
            return getattr(owner, name)
        return found(owner, *arguments, **options)

    def close(self):
        pass


class Tasks:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def __call__(self, owner, name, *arguments, **options):
        coroutine = getattr(owner, twin(name))(*arguments, **options)
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Scene:
    """A broker, its store and its clock; ``call`` is how its methods are called."""

    def __init__(self, call, clock=None, **options):
        self.call = call
        self.clock = clock or time.monotonic
        self.store = FakeBackend(clock=self.clock, sleep=self._sleep)
        self.store.put("app/db", json.dumps({"user": "app", "password": "one"}))
        self.store.put("app/token", b"t0ken")
        defaults = {"refresh": 100.0, "max_stale": 1000.0, "random": lambda: 0.0}
        self.broker = Broker({"fake": self.store}, NAMES, clock=self.clock, **defaults | options)

    def _sleep(self, seconds):
        self.clock.now += seconds

    def __getattr__(self, name):
        return lambda *arguments, **options: self.call(self.broker, name, *arguments, **options)


@pytest.fixture(params=[Threads, Tasks])
def call(request):
    face = request.param()
    yield face
    face.close()


# Reading ----------------------------------------------------------------------------------------


@behaviour
def a_name_gives_its_secret(scene):
    secret = scene.get("db_password")
    assert (secret.reveal(), secret.name, secret.version) == ("one", "db_password", "1")


@behaviour
def a_cached_value_asks_nobody(scene):
    assert scene.get("token") is scene.get("token")
    assert scene.store.fetch_calls == 1


@behaviour
def missing_denied_and_unknown_are_three_things(scene):
    scene.store.deny("app/db")
    scene.store.remove("app/token")
    with pytest.raises(AccessDenied):
        scene.get("db_user")
    with pytest.raises(SecretMissing):
        scene.get("token")
    with pytest.raises(ConfigError):
        scene.get("tokn")


@behaviour
def a_due_value_is_served_at_once_and_refreshed_behind(scene):
    scene.get("token")
    scene.store.rotate("app/token", "new")
    scene.clock.now += 100.0
    with scene.store.hold():
        assert scene.get("token").reveal() == "t0ken"
        scene.store.wait_for_calls(1)
    wait_until(lambda: scene.get("token").reveal() == "new")


@behaviour
def the_last_good_value_is_served_within_max_stale_and_not_after(scene):
    scene.get("token")
    scene.store.fail(AWAY)
    scene.clock.now += 100.0
    wait_until(lambda: scene.get("token").stale)
    assert scene.get("token").reveal() == "t0ken"
    scene.clock.now += 1000.0
    with pytest.raises(SecretExpired):
        scene.get("token")


@behaviour
def a_store_that_hangs_costs_a_reader_its_timeout(scene):
    scene.store.delay(3600.0)
    with pytest.raises(DeadlineExceeded):
        scene.get("token")


@behaviour
def many_cold_readers_cause_one_call(scene):
    with ThreadPoolExecutor(20) as pool:
        with scene.store.hold():
            readers = [pool.submit(scene.get, "token") for _ in range(20)]
            scene.store.wait_for_calls(1)
        assert {reader.result().reveal() for reader in readers} == {"t0ken"}
    assert scene.store.fetch_calls == 1


@behaviour
def many_are_fetched_together_and_what_is_optional_may_be_missing(scene):
    found = scene.get_many(["db_user", "db_password", "token", "fake:app/no?optional"])
    assert list(found) == ["db_user", "db_password", "token"]
    assert scene.store.fetch_calls == 1
    with pytest.raises(SecretMissing):
        scene.get_many(["token", "fake:app/no"])


@behaviour
def resolving_returns_errors_in_the_place_of_secrets(scene):
    scene.store.remove("app/token")
    outcomes = scene.resolve(["token", "db_user"])
    assert isinstance(outcomes["token"], SecretMissing)
    assert outcomes["db_user"].reveal() == "app"


@behaviour
def prefetching_tells_how_far_it_is(scene):
    for number in range(120):
        scene.store.put(f"many/{number}", "x")
    seen = []
    keys = [f"fake:many/{number}" for number in range(120)]
    scene.prefetch(keys, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 120), (50, 120), (100, 120), (120, 120)]
    assert scene.store.fetch_calls == 3


@behaviour
def prefetching_gets_what_there_is_before_it_raises(scene):
    scene.store.remove("app/db")
    with pytest.raises(SecretMissing):
        scene.prefetch()
    calls = scene.store.fetch_calls
    assert scene.get("token").reveal() == "t0ken"
    assert scene.store.fetch_calls == calls


@behaviour
def a_snapshot_keeps_its_moment(scene):
    with scene.snapshot() as before:
        scene.store.rotate("app/db", json.dumps({"user": "new", "password": "two"}))
        scene.clock.now += 100.0
        wait_until(lambda: scene.get("db_user").reveal() == "new")
        assert (before["db_user"].reveal(), before["db_password"].reveal()) == ("app", "one")
        assert set(before) == set(NAMES)
    assert set(scene.snapshot(["token"])) == {"token"}


@behaviour
def documents_of_a_store_that_reads_together_are_of_one_fetch(scene):
    scene.store.reads_together = True
    scene.get("token")
    scene.clock.now += 1.0
    scene.get("db_user")
    scene.store.rotate("app/token", "two")
    assert scene.snapshot()["token"].reveal() == "two"
    assert set(scene.store.batches[-1]) == {"app/token", "app/db"}
    calls = scene.store.fetch_calls
    scene.snapshot()
    assert scene.store.fetch_calls == calls


@behaviour
def a_closed_broker_says_so(scene):
    scene.get("token")
    handle = scene.broker.handle("token")
    scene.broker.close()
    for read in (lambda: scene.get("token"), lambda: scene.call(handle, "secret")):
        with pytest.raises(ConfigError, match="closed"):
            read()


# Rotation ---------------------------------------------------------------------------------------


@behaviour
def a_handle_is_always_current(scene):
    handle = scene.broker.handle("token")
    assert scene.call(handle, "secret").reveal() == "t0ken"
    scene.store.rotate("app/token", "new")
    scene.broker.refresh(["token"])
    wait_until(lambda: scene.call(handle, "secret").reveal() == "new")


@behaviour
def a_rejected_value_is_replaced(scene):
    rejected = scene.get("token")
    scene.store.rotate("app/token", "new")
    assert scene.replacement("token", rejected).reveal() == "new"
    handle = scene.broker.handle("token")
    assert scene.call(handle, "replacement", rejected).reveal() == "new"
    assert scene.store.fetch_calls == 2


@behaviour
def without_a_replacement_the_same_value_comes_back_after_the_timeout(scene):
    rejected = scene.get("token")
    assert scene.replacement("token", rejected, timeout=0.0) == rejected


@behaviour
def a_replacement_that_comes_late_is_waited_for(scene):
    scene.broker.close()
    scene = Scene(scene.call, refresh_floor=0.01)
    rejected = scene.get("token")
    later = threading.Timer(0.05, scene.store.rotate, ("app/token", "new"))
    later.start()
    assert scene.replacement("token", rejected, timeout=20.0).reveal() == "new"
    scene.broker.close()


@behaviour
def a_version_is_waited_for(scene):
    scene.get("token")
    scene.store.rotate("app/token", "two")
    assert scene.wait_for("token", "2", timeout=20.0).reveal() == "two"
    assert scene.wait_for("token", 2).reveal() == "two"
    assert scene.wait_for("token", "1").reveal() == "two"  # passed already


@behaviour
def another_value_than_now_is_waited_for(scene):
    scene.get("token")
    scene.store.rotate("app/token", "two")
    assert scene.wait_for("token").reveal() == "two"


@behaviour
def waiting_ends_with_the_timeout(scene):
    scene.get("token")
    with pytest.raises(DeadlineExceeded, match="no newer version than 1"):
        scene.wait_for("token", "2", timeout=0.0)
    scene.store.remove("app/token")
    scene.broker.refresh(["token"])
    wait_until(lambda: isinstance(scene.resolve(["token"])["token"], SecretMissing))
    with pytest.raises(SecretMissing):
        scene.wait_for("token", "2", timeout=0.0)


@behaviour
def a_stream_gives_each_change_once(scene):
    scene.get("token")
    changes = scene.broker.changes()
    scene.store.rotate("app/token", "two")
    scene.broker.refresh(["token"])
    change = scene.call(changes, "get")
    assert (change.name, change.secret.reveal(), change.previous_version) == ("token", "two", "1")
    assert scene.call(changes, "get", timeout=0.0) is None


@behaviour
def a_stream_ends_with_its_broker(scene):
    changes = scene.broker.changes()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(scene.call, changes, "get")
        scene.broker.close()
        assert waiting.result(20) is None


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_behaviour(name, call):
    scene = Scene(call, Clock(), timeout=5.0, wall=lambda: 1_700_000_000.0)
    try:
        BEHAVIOURS[name](scene)
    finally:
        scene.broker.close()


def pairs():
    for kind in (Broker, Handle, Changes):
        for name, method in inspect.getmembers(kind, inspect.iscoroutinefunction):
            if not name.startswith("__"):
                plain = "secret" if (kind, name) == (Handle, "aget") else name[1:]
                yield kind, plain, method


@pytest.mark.parametrize(("kind", "plain", "method"), list(pairs()))
def test_twins_take_the_same_and_return_the_same(kind, plain, method):
    found = inspect.getattr_static(kind, plain)
    found = found.fget if isinstance(found, property) else found
    assert inspect.signature(found) == inspect.signature(method)


def test_whatever_has_a_twin_has_a_behaviour():
    told = inspect.getsource(inspect.getmodule(Scene))
    missing = [
        plain
        for _, plain, _ in pairs()
        if f'"{plain}"' not in told and f"scene.{plain}(" not in told
    ]
    assert missing == []


def test_both_iterate():
    store = FakeBackend()
    store.put("app/token", "one")
    seen = []

    async def follow(changes):
        async for change in changes:
            seen.append(change.secret)
            break
        async with changes:
            pass

    with Broker({"fake": store}, {"token": "fake:app/token"}) as broker:
        broker.prefetch()
        changes, others = broker.changes(), broker.changes()
        store.rotate("app/token", "two")
        broker.refresh()
        with others:
            for change in others:
                seen.append(change.secret)
                others.close()
        asyncio.run(follow(changes))
    assert [secret.reveal() for secret in seen] == ["two", "two"]
    assert isinstance(seen[0], Secret)
