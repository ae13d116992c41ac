"""pika and kombu, while the password of their queue rotates.

RabbitMQ itself is not needed for that: what an adapter has to do with it is the login.
"""

from __future__ import annotations

import json

import kombu
import pika
import pytest
from amqp.exceptions import AccessRefused
from pika.exceptions import AMQPConnectionError, ProbableAuthenticationError

from secretbridge import Broker
from secretbridge.adapters.kombu import celery_settings, connection_options, password
from secretbridge.adapters.pika import RotatingCredentials, blocking_connection
from secretbridge.testing import FakeBackend
from tests.servers.amqp import serve_amqp

from .rotation import Rotation


@pytest.fixture
def amqp():
    with serve_amqp() as served:
        yield served


@pytest.fixture
def rotation(amqp, lag):
    def change(password):
        amqp.logins = {("app", password)}

    made = Rotation(change, lag=lag)
    yield made
    made.close()


def parameters(amqp, credentials):
    return pika.ConnectionParameters("127.0.0.1", amqp.port, credentials=credentials)


def test_a_fixed_password_fails(amqp):
    rotation = Rotation(lambda p: setattr(amqp, "logins", {("app", p)}), times=2)
    fixed = parameters(amqp, pika.PlainCredentials("app", rotation.passwords[0]))
    tally = rotation.run(lambda: pika.BlockingConnection(fixed).close())
    rotation.close()
    assert tally.failed > 0, tally


def test_rotating_connections_lose_nothing(rotation, amqp):
    credentials = RotatingCredentials("password", "app", broker=rotation.broker)
    rotating = parameters(amqp, credentials)
    tally = rotation.run(lambda: blocking_connection(rotating).close())
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_any_connection_of_pika_asks_for_the_current_password(amqp):
    rotation = Rotation(lambda p: setattr(amqp, "logins", {("app", p)}))
    rotating = parameters(amqp, RotatingCredentials("password", "app", broker=rotation.broker))
    for _ in range(3):
        pika.BlockingConnection(rotating).close()
        rotation.rotate()
        rotation.broker.refresh(timeout=10)
    rotation.close()


def test_user_and_password_of_one_document_rotate_together(amqp):
    store = FakeBackend()
    names = {"user": "fake:creds#user", "password": "fake:creds#password"}
    with Broker({"fake": store}, names, refresh_floor=0.05) as broker:
        rotating = parameters(amqp, RotatingCredentials("password", user="user", broker=broker))
        for number in range(3):
            amqp.logins = {(f"u{number}", f"p{number}")}
            store.put("creds", json.dumps({"user": f"u{number}", "password": f"p{number}"}))
            blocking_connection(rotating).close()


def test_a_password_that_nothing_replaces_is_told(amqp, monkeypatch):
    monkeypatch.setattr("secretbridge.adapters._login._DEFAULT_TIMEOUT", 0.1)
    rotation = Rotation(lambda p: None)
    rotating = parameters(amqp, RotatingCredentials("password", "app", broker=rotation.broker))
    with pytest.raises((ProbableAuthenticationError, AMQPConnectionError)) as caught:
        blocking_connection(rotating)
    rotation.close()
    assert rotation.passwords[0] not in repr(caught.value)


def test_other_credentials_are_told_of(amqp):
    with pytest.raises(TypeError, match="no RotatingCredentials"):
        blocking_connection(parameters(amqp, pika.PlainCredentials("app", "x")))


def url(amqp):
    return f"amqp://app@127.0.0.1:{amqp.port}//"


def test_connections_of_kombu_lose_nothing(rotation, amqp):
    options = connection_options("password", broker=rotation.broker)

    def operate():
        with kombu.Connection(url(amqp), **options) as connection:
            connection.connect()

    tally = rotation.run(operate)
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_the_password_alone_serves_any_transport_that_calls_it(amqp):
    rotation = Rotation(lambda p: setattr(amqp, "logins", {("app", p)}))
    given = password("password", broker=rotation.broker)
    for _ in range(3):
        with kombu.Connection(url(amqp), password=given) as connection:
            connection.connect()
            assert rotation.passwords[-1] not in f"{connection!r}{connection.as_uri()}{given!r}"
        rotation.rotate()
        rotation.broker.refresh(timeout=10)
    rotation.close()


def test_celery_takes_the_settings(rotation, amqp):
    from celery import Celery

    app = Celery("tests", broker=url(amqp))
    app.conf.update(celery_settings("password", broker=rotation.broker))

    def operate():
        with app.connection_for_write() as connection:
            connection.connect()

    tally = rotation.run(operate, threads=4)
    assert (tally.failed, tally.ok > 20) == (0, True), tally
    assert rotation.passwords[0] not in f"{app.conf.humanize()}{app.conf.table()}"


def test_a_password_that_nothing_replaces_is_told_by_kombu(amqp, monkeypatch):
    monkeypatch.setattr("secretbridge.adapters._login._DEFAULT_TIMEOUT", 0.1)
    rotation = Rotation(lambda p: None)
    options = connection_options("password", broker=rotation.broker)
    with (
        kombu.Connection(url(amqp), **options) as connection,
        pytest.raises(AccessRefused, match="ACCESS_REFUSED"),
    ):
        connection.connect()
    rotation.close()


def test_a_fixed_password_of_kombu_is_left_alone(amqp):
    amqp.logins = {("app", "fixed")}
    options = {"password": "fixed", "transport": "secretbridge.adapters.kombu:Transport"}
    with kombu.Connection(url(amqp), **options) as connection:
        connection.connect()
