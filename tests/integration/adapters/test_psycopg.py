"""psycopg on a real PostgreSQL, whose password rotates under load."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from psycopg import sql
from psycopg_pool import ConnectionPool

from secretbridge import Broker
from secretbridge.adapters.libpq import Passfile
from secretbridge.adapters.psycopg import (
    Login,
    RotatingConnection,
    async_connection_pool,
    connect,
    connection_pool,
    pool_kwargs,
)
from secretbridge.testing import FakeBackend

from .rotation import Rotation

POOL = {"min_size": 2, "max_size": 4, "max_lifetime": 0.3, "timeout": 10.0}


def use(pool):
    with pool.connection() as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("app",)


def test_a_pool_with_a_fixed_password_fails(role, postgres):
    rotation = Rotation(role, times=2)
    kwargs = {"user": "app", "password": rotation.passwords[0]}
    with ConnectionPool(postgres.address, kwargs=kwargs, **{**POOL, "timeout": 0.5}) as pool:
        tally = rotation.run(lambda: use(pool))
    rotation.close()
    assert tally.failed > 0, tally


def test_a_pool_of_psycopg_s_own_with_our_arguments_loses_nothing(rotation, postgres):
    kwargs = pool_kwargs("password", broker=rotation.broker, application_name="x")
    with ConnectionPool(f"{postgres.address} user=app", kwargs=kwargs, **POOL) as pool:
        tally = rotation.run(lambda: use(pool))
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_a_rotating_pool_loses_nothing(rotation, postgres):
    address = f"{postgres.address} user=app"
    with connection_pool("password", address, broker=rotation.broker, **POOL) as pool:
        tally = rotation.run(lambda: use(pool))
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_a_pool_that_is_always_cold_loses_nothing(rotation, postgres):
    address = f"{postgres.address} user=app"
    options = {"min_size": 0, "max_size": 4, "max_idle": 0.01, "timeout": 10.0}

    def operate():
        use(pool)
        pool.drain()

    with connection_pool("password", address, broker=rotation.broker, **options) as pool:
        tally = rotation.run(operate)
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_single_connections_lose_nothing(rotation, postgres):
    def operate():
        connect("password", f"{postgres.address} user=app", broker=rotation.broker).close()

    tally = rotation.run(operate)
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_an_async_pool_loses_nothing(rotation, postgres):
    async def main():
        address = f"{postgres.address} user=app"
        async with async_connection_pool(
            "password", address, broker=rotation.broker, **POOL
        ) as pool:

            async def operate():
                async with pool.connection() as connection:
                    await connection.execute("SELECT 1")

            return await rotation.arun(operate)

    tally = asyncio.run(main())
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_a_password_file_loses_nothing_without_any_code_in_the_client(rotation, postgres):
    with Passfile("password", user="app", broker=rotation.broker) as passfile:
        kwargs = {"user": "app", "passfile": passfile.path}
        with ConnectionPool(postgres.address, kwargs=kwargs, **POOL) as pool:
            tally = rotation.run(lambda: use(pool))
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_a_pool_of_one_s_own_making_takes_the_connection_class(rotation, postgres):
    kwargs = {"user": "app", "login": Login("password", broker=rotation.broker)}
    pool = ConnectionPool(
        postgres.address, connection_class=RotatingConnection, kwargs=kwargs, open=True, **POOL
    )
    with pool:
        tally = rotation.run(lambda: use(pool))
    assert (tally.failed, tally.ok > 20) == (0, True), tally


@pytest.fixture
def made_users(postgres):
    """Return a store whose document is a user and a password, and what makes a new user."""
    store = FakeBackend()
    users: list[str] = []

    def make():
        name = f"user_{len(users)}"
        statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(name), sql.Literal(f"p-{name}")
        )
        postgres.execute(statement.as_string())
        store.put("creds", json.dumps({"user": name, "password": f"p-{name}"}))
        users.append(name)

    make()
    yield store, make
    for name in users:
        postgres.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)).as_string())


NAMES = {"user": "fake:creds#user", "password": "fake:creds#password"}


def test_connections_of_a_replaced_user_are_replaced(made_users, postgres):
    store, make = made_users
    with (
        Broker({"fake": store}, NAMES) as broker,
        connection_pool("password", postgres.address, user="user", broker=broker, **POOL) as pool,
    ):
        seen = []
        for number in range(3):
            wait_until(lambda: current_user(pool) == f"user_{number}")  # noqa: B023
            seen.append(number)
            make()
            broker.refresh(timeout=10)
    assert seen == [0, 1, 2]


def test_async_connections_of_a_replaced_user_are_replaced(made_users, postgres):
    store, make = made_users

    async def main():
        with Broker({"fake": store}, NAMES) as broker:
            async with async_connection_pool(
                "password", postgres.address, user="user", broker=broker, **POOL
            ) as pool:
                for number in range(3):
                    while await current(pool) != f"user_{number}":
                        await asyncio.sleep(0.01)
                    make()
                    broker.refresh()
        return "followed"

    async def current(pool):
        async with pool.connection() as connection:
            cursor = await connection.execute("SELECT current_user")
            return (await cursor.fetchone())[0]

    assert asyncio.run(asyncio.wait_for(main(), 60)) == "followed"


def current_user(pool):
    with pool.connection() as connection:
        return connection.execute("SELECT current_user").fetchone()[0]


def wait_until(happened):
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
