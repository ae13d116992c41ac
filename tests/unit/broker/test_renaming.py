"""A broker that gets other names goes on with what it has."""

from __future__ import annotations

import pytest

from secretbridge import Broker
from secretbridge.config import CacheConfig, Config, SecretConfig
from secretbridge.errors import ConfigError
from secretbridge.reference import Reference

from .scenes import wait_until


def configured(refresh=100.0, **names):
    secrets = {name: SecretConfig(name, Reference.parse(ref)) for name, ref in names.items()}
    return Config(secrets=secrets, cache=CacheConfig(refresh=refresh, max_stale=1000.0))


def row(broker, name):
    return next(row for row in broker.status() if row["name"] == name)


@pytest.fixture
def broker(store, clock):
    with Broker(
        {"fake": store},
        {"password": "fake:app/db#password", "token": "fake:app/token"},
        refresh=100.0,
        clock=clock,
        random=lambda: 0.0,
    ) as made:
        yield made


def test_what_both_have_is_not_fetched_again_and_what_is_new_is(broker, store):
    broker.prefetch()
    before = store.fetch_calls
    broker.reconfigure(configured(secret="fake:app/db#password", user="fake:app/db#user"))
    assert broker.names() == ["secret", "user"]
    assert broker.get("secret").reveal() == "one"
    assert broker.get("user").reveal() == "app"
    after = store.fetch_calls
    assert after == before
    with pytest.raises(ConfigError):
        broker.get("token")


def test_a_lease_without_a_name_lives_until_nobody_uses_it(broker, store):
    store.lease("app/token", 3600)
    broker.watch(["token"], lambda: None)
    wait_until(lambda: row(broker, "token")["state"] == "fresh")
    forget = broker.reconfigure(configured(password="fake:app/db#password"))
    assert store.revoked == []
    forget()
    wait_until(lambda: store.revoked)


def test_what_gets_a_name_again_in_time_is_not_forgotten(broker, store):
    store.lease("app/token", 3600)
    broker.get("token")
    forget = broker.reconfigure(configured(password="fake:app/db#password"))
    broker.reconfigure(configured(token="fake:app/token"))
    forget()
    assert row(broker, "token")["state"] == "fresh"
    assert store.revoked == []


def test_another_interval_holds_for_what_is_there_already(broker, clock):
    broker.get("token")
    clock.now += 50
    broker.reconfigure(configured(refresh=60.0, token="fake:app/token"))
    assert row(broker, "token")["due_in"] == 10
    broker.reconfigure(configured(refresh=500.0, token="fake:app/token"))
    assert row(broker, "token")["due_in"] == 450
    assert row(broker, "token")["state"] == "fresh"
