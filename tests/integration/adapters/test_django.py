"""Django on a real PostgreSQL whose password rotates, and with a SECRET_KEY that does."""

from __future__ import annotations

import queue
import time
from pathlib import Path

import django
import pytest
from django.conf import settings
from django.core import signing
from django.db.utils import ConnectionHandler, OperationalError

from secretbridge import Broker
from secretbridge.adapters import django as adapter
from secretbridge.adapters.libpq import Passfile
from secretbridge.testing import FakeBackend

from .rotation import Rotation


@pytest.fixture(scope="module", autouse=True)
def _configured():
    settings.configure(SECRET_KEY="overridden below", USE_TZ=True)
    django.setup()


def place(postgres, **more):
    return {"NAME": "postgres", "USER": "app", "HOST": "127.0.0.1", "PORT": postgres.port, **more}


def engine(postgres, **more):
    return {"ENGINE": "django.db.backends.postgresql", **place(postgres, **more)}


def wait_until(happened):
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def use(connections):
    connection = connections["default"]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user")
            assert cursor.fetchone() == ("app",)
    finally:
        connection.close()


def run(rotation, entry):
    connections = ConnectionHandler({"default": entry})
    tally = rotation.run(lambda: use(connections))
    if entry["OPTIONS"].get("pool"):
        connections["default"].close_pool()
    return tally


POOL = {"min_size": 1, "max_size": 4, "max_lifetime": 0.3, "timeout": 10}


def test_a_fixed_password_fails(role, postgres):
    rotation = Rotation(role, times=2)
    tally = run(rotation, engine(postgres, PASSWORD=rotation.passwords[0], OPTIONS={}))
    rotation.close()
    assert tally.failed > 20, tally


def test_a_pool_with_a_password_file_loses_nothing(rotation, postgres):
    with Passfile("password", user="app", broker=rotation.broker) as passfile:
        options = {"passfile": passfile.path, "pool": POOL}
        tally = run(rotation, engine(postgres, OPTIONS=options))
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_a_password_file_follows_every_rotation_without_any_code_in_the_application(role, postgres):
    # Without a pool nothing bridges the moment between the server and the file: one after the other.
    rotation = Rotation(role)
    with Passfile("password", user="app", broker=rotation.broker) as passfile:
        connections = ConnectionHandler(
            {"default": engine(postgres, OPTIONS={"passfile": passfile.path})}
        )
        for _ in range(10):
            before = Path(passfile.path).read_text()
            rotation.rotate()
            wait_until(lambda: Path(passfile.path).read_text() != before)  # noqa: B023
            use(connections)
    rotation.close()


@pytest.mark.parametrize("pool", [None, POOL], ids=["single", "pool"])
def test_our_backend_loses_nothing(rotation, postgres, pool):
    options = {"pool": pool} if pool else {}
    entry = adapter.database("password", broker=rotation.broker, OPTIONS=options, **place(postgres))
    tally = run(rotation, entry)
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_the_default_pool_works_too(role, postgres):
    rotation = Rotation(role)
    entry = adapter.database(
        "password", broker=rotation.broker, OPTIONS={"pool": True}, **place(postgres)
    )
    connections = ConnectionHandler({"default": entry})
    use(connections)
    connections["default"].close_pool()
    rotation.close()


def test_the_password_stands_in_no_setting_and_no_parameter(role, postgres):
    rotation = Rotation(role)
    entry = adapter.database("password", broker=rotation.broker, **place(postgres))
    connection = ConnectionHandler({"default": entry})["default"]
    use({"default": connection})
    shown = f"{entry}{connection.settings_dict}{connection.get_connection_params()}"
    assert rotation.passwords[0] not in shown
    assert not connection.settings_dict["PASSWORD"]
    rotation.close()


def test_a_refused_password_is_told_in_django_s_words_and_without_the_value(role, postgres):
    rotation = Rotation(role)
    role("nobody knows this one")
    entry = adapter.database("password", broker=rotation.broker, **place(postgres))
    entry["OPTIONS"][adapter.LOGIN_OPTION]._timeout = 0.1
    with pytest.raises(OperationalError, match="password authentication failed") as caught:
        use(ConnectionHandler({"default": entry}))
    assert rotation.passwords[0] not in str(caught.value)
    rotation.close()


# SECRET_KEY -------------------------------------------------------------------------------------


@pytest.fixture
def store():
    fake = FakeBackend()
    fake.put("key", "first key")
    return fake


@pytest.fixture
def broker(store):
    with Broker({"fake": store}, {"key": "fake:key", "older": "fake:older?optional"}) as made:
        yield made


def rotate(store, broker, value):
    """Rotate the key; return when Django has it."""
    seen: queue.Queue[object] = queue.Queue()
    end = broker.on_change("key", seen.put)
    store.put("key", value)
    broker.refresh()
    seen.get(timeout=10)  # subscribers are told in order, and this one is the last
    end()


@pytest.fixture
def followed(broker):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = adapter.secret_keys("key", broker=broker)
    adapter.follow_secret_keys()


@pytest.mark.usefixtures("followed")
def test_what_was_signed_with_the_former_key_stays_valid(store, broker):
    signed = signing.dumps({"user": 1})
    rotate(store, broker, "second key")
    assert settings.SECRET_KEY == "second key"
    assert signing.loads(signed) == {"user": 1}


@pytest.mark.usefixtures("followed")
def test_as_many_former_keys_are_kept_as_was_said(store, broker):
    for number in range(4):
        rotate(store, broker, f"key {number}")
    assert settings.SECRET_KEY == "key 3"
    assert settings.SECRET_KEY_FALLBACKS == ["key 2", "key 1"]


def test_a_process_that_starts_after_a_rotation_takes_the_former_key_from_the_store(store, broker):
    store.put("older", "an older key")
    current, former = adapter.secret_keys("key", former=["older"], broker=broker)
    assert (current, former) == ("first key", ["an older key"])


def test_the_app_starts_to_follow(store, broker):
    from secretbridge.adapters.django.apps import SecretbridgeConfig

    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = adapter.secret_keys("key", broker=broker)
    SecretbridgeConfig.create("secretbridge.adapters.django").ready()
    rotate(store, broker, "second key")
    assert settings.SECRET_KEY == "second key"
