"""Flask with a SECRET_KEY that rotates."""

from __future__ import annotations

import queue

import pytest
from flask import Flask, session

from secretbridge import Broker
from secretbridge.adapters.flask import follow_secret_key
from secretbridge.testing import FakeBackend


@pytest.fixture
def store():
    fake = FakeBackend()
    fake.put("key", "first key")
    return fake


@pytest.fixture
def broker(store):
    with Broker({"fake": store}, {"key": "fake:key"}) as made:
        yield made


@pytest.fixture
def app(broker):
    made = Flask("tests")
    follow_secret_key(made, "key", broker=broker)

    @made.get("/in")
    def log_in():
        session["user"] = "somebody"
        return "in"

    @made.get("/who")
    def who():
        return session.get("user", "nobody")

    return made


def rotate(store, broker, value):
    seen: queue.Queue[object] = queue.Queue()
    end = broker.on_change("key", seen.put)
    store.put("key", value)
    broker.refresh()
    seen.get(timeout=10)
    end()


def test_a_session_outlives_the_rotation_of_its_key(app, store, broker):
    client = app.test_client()
    client.get("/in")
    rotate(store, broker, "second key")
    assert app.config["SECRET_KEY"] == "second key"
    assert client.get("/who").text == "somebody"


def test_a_session_of_a_key_that_nobody_keeps_is_over(app, store, broker):
    client = app.test_client()
    client.get("/in")
    for number in range(3):
        rotate(store, broker, f"key {number}")
    assert client.get("/who").text == "nobody"


def test_after_the_end_the_key_stays(store, broker):
    app = Flask("tests")
    end = follow_secret_key(app, "key", broker=broker)
    end()
    rotate(store, broker, "second key")
    assert app.config["SECRET_KEY"] == "first key"
