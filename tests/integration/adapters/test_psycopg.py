"""psycopg on a real PostgreSQL, whose password rotates under load."""

from __future__ import annotations

import asyncio

from psycopg_pool import ConnectionPool

from secretbridge.adapters.libpq import Passfile
from secretbridge.adapters.psycopg import (
    async_connection_pool,
    connect,
    connection_pool,
    pool_kwargs,
)

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
