"""A handle: bound once, always current, kept fresh while it is used."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import threading

import pytest

from secretbridge import Broker
from secretbridge.errors import ConfigError, SecretMissing
from secretbridge.testing import FakeBackend

from .scenes import NAMES, wait_until


def rotate(broker, store, locator, body, name="token"):
    version = store.rotate(locator, body)
    broker.refresh([name])
    wait_until(lambda: broker.get(name).version == version)


def test_binding_asks_no_store_and_starts_no_thread(broker, store):
    handle = broker.handle("token")
    assert store.fetch_calls == 0
    assert broker._driver._thread is None
    assert (handle.name, str(handle.reference)) == ("token", "fake:app/token")


def test_binding_an_unknown_name_fails_at_once(broker):
    with pytest.raises(ConfigError, match="did you mean 'token'"):
        broker.handle("tokn")


def test_it_reveals_what_is_current(broker, store):
    handle = broker.handle("token")
    assert (handle.reveal(), handle.reveal_bytes()) == ("t0ken", b"t0ken")
    rotate(broker, store, "app/token", "two")
    assert (handle.reveal(), handle.get_secret_value()) == ("two", "two")
    assert handle.secret is broker.get("token")


def test_it_tells_what_it_knows_of_the_value(broker, store, clock):
    store.lease("app/token", 600.0)
    handle = broker.handle("token")
    assert handle.version == "1"
    assert handle.expires_at.timestamp() == 1_700_000_600.0
    assert handle.stale is False
    clock.now += 7.0
    assert handle.age == 7.0


def test_it_fails_as_a_get_does(broker, store):
    store.remove("app/token")
    handle = broker.handle("token")
    for read in (handle.reveal, lambda: handle.version, lambda: handle.age):
        with pytest.raises(SecretMissing):
            read()


def test_it_is_refreshed_in_the_background_from_its_first_use_on():
    store = FakeBackend()
    store.put("app/token", "one")
    with Broker({"fake": store}, NAMES, refresh=0.01) as broker:
        handle = broker.handle("token")
        handle.reveal()
        wait_until(lambda: store.fetch_calls > 3)


def test_a_handle_that_is_gone_is_refreshed_no_longer(broker, store):
    handle = broker.handle("token")
    handle.reveal()
    entry = broker._driver.entry(handle.reference.document)
    assert entry.holders == 1
    del handle
    gc.collect()
    broker.refresh(["token"])
    assert entry.holders == 0


def test_many_threads_that_use_it_first_hold_it_once(broker):
    handle = broker.handle("token")
    barrier = threading.Barrier(8)

    def use():
        barrier.wait()
        handle.reveal()

    users = [threading.Thread(target=use) for _ in range(8)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert broker._driver.entry(handle.reference.document).holders == 1


# Previous ---------------------------------------------------------------------------------------


def test_the_value_before_is_there_for_the_grace_after_a_rotation(broker, store, clock):
    handle = broker.handle("token")
    handle.reveal()
    assert handle.previous is None
    rotate(broker, store, "app/token", "two")
    assert (handle.previous.reveal(), handle.previous.version) == ("t0ken", "1")
    assert handle.previous.expires_at.timestamp() == 1_700_000_030.0
    clock.now += 30.0
    assert handle.previous is None


def test_the_value_before_is_forgotten_after_the_grace():
    store = FakeBackend()
    store.put("app/token", "one")
    with Broker({"fake": store}, NAMES, grace=0.05) as broker:
        handle = broker.handle("token")
        handle.reveal()
        rotate(broker, store, "app/token", "two")
        wait_until(lambda: not broker._driver._former._kept)


def test_the_value_before_of_a_lease_ends_with_its_lease(broker, store, clock):
    store.lease("app/token", 20.0)
    handle = broker.handle("token")
    handle.reveal()
    rotate(broker, store, "app/token", "two")
    clock.now += 19.0
    assert handle.previous.reveal() == "t0ken"
    clock.now += 1.0
    assert handle.previous is None


def test_a_change_of_another_field_makes_no_former_value(broker, store):
    user, password = broker.handle("db_user"), broker.handle("db_password")
    user.reveal()
    rotate(broker, store, "app/db", json.dumps({"user": "app", "password": "two"}), "db_user")
    assert user.previous is None
    assert password.previous.reveal() == "one"


def test_a_withdrawn_value_leaves_no_former_one(broker, store):
    handle = broker.handle("token")
    handle.reveal()
    rotate(broker, store, "app/token", "two")
    store.deny("app/token")
    broker.refresh(["token"])
    wait_until(lambda: broker.status()[2]["state"] == "empty")
    assert handle.previous is None


# What it does not do ----------------------------------------------------------------------------


def test_it_shows_its_name_and_never_a_value(broker):
    handle = broker.handle("token")
    handle.reveal()
    assert repr(handle) == str(handle) == f"{handle}" == "<Handle of token>"
    assert not hasattr(handle, "__dict__")


def test_it_does_not_leave_the_process(broker):
    handle = broker.handle("token")
    with pytest.raises(TypeError, match="bind one there"):
        pickle.dumps(handle)
    assert copy.copy(handle) is copy.deepcopy(handle) is handle
