"""SQLAlchemy on a real PostgreSQL, whose password rotates under load."""

from __future__ import annotations

import asyncio
import json

import pytest
import sqlalchemy
from psycopg import sql
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from secretbridge import Broker
from secretbridge.adapters.sqlalchemy import attach
from secretbridge.testing import FakeBackend

from .rotation import Rotation


def url(postgres, **more):
    return sqlalchemy.URL.create(
        "postgresql+psycopg", host="127.0.0.1", port=postgres.port, database="postgres", **more
    )


def use(engine):
    with engine.connect() as connection:
        assert connection.execute(text("SELECT current_user")).scalar() == "app"
        connection.invalidate()


def test_a_url_with_the_password_fails(role, postgres):
    rotation = Rotation(role, times=2)
    engine = create_engine(url(postgres, username="app", password=rotation.passwords[0]))
    tally = rotation.run(lambda: use(engine))
    engine.dispose()
    rotation.close()
    assert tally.failed > 0, tally


def test_an_attached_engine_loses_nothing(rotation, postgres):
    engine = create_engine(url(postgres, username="app"), pool_size=4, max_overflow=0)
    attach(engine, "password", broker=rotation.broker)
    tally = rotation.run(lambda: use(engine))
    engine.dispose()
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_an_attached_async_engine_loses_nothing(rotation, postgres):
    engine = create_async_engine(url(postgres, username="app"), poolclass=NullPool)
    attach(engine, "password", broker=rotation.broker)

    async def operate():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    tally = asyncio.run(rotation.arun(operate))
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_an_async_engine_blocks_no_loop_while_it_waits_for_a_newer_password(role, postgres):
    rotation = Rotation(role)
    engine = create_async_engine(url(postgres, username="app"), poolclass=NullPool)
    attach(engine, "password", broker=rotation.broker)

    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        role("nobody knows this one")
        ticking = asyncio.create_task(tick())
        connecting = asyncio.create_task(connect())
        while ticks < 30:
            await asyncio.sleep(0.01)
        rotation.rotate()
        await connecting
        ticking.cancel()

    async def connect():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    asyncio.run(main())
    rotation.close()


def test_neither_the_engine_nor_its_errors_hold_the_password(role, postgres):
    rotation = Rotation(role)
    engine = create_engine(url(postgres, username="app"))
    attach(engine, "password", broker=rotation.broker)
    use(engine)
    assert rotation.passwords[0] not in f"{engine!r}{engine.url}{vars(engine.pool)}"
    engine.dispose()
    rotation.close()


def test_detached_it_is_an_engine_without_a_password(role, postgres):
    rotation = Rotation(role)
    engine = create_engine(url(postgres, username="app"))
    attach(engine, "password", broker=rotation.broker)()
    with pytest.raises(sqlalchemy.exc.OperationalError, match="no password supplied"):
        use(engine)
    rotation.close()


@pytest.fixture
def made_users(postgres):
    """Return a store whose document is a user and a password, and the rotation to a new user."""
    store = FakeBackend()
    users: list[str] = []

    def rotate():
        name = f"made_{len(users)}"
        statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(name), sql.Literal(f"p-{name}")
        )
        postgres.execute(statement.as_string())
        store.put("creds", json.dumps({"user": name, "password": f"p-{name}"}))
        users.append(name)

    rotate()
    yield store, rotate
    for name in users:
        postgres.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)).as_string())


def test_connections_of_a_replaced_user_are_replaced(made_users, postgres):
    store, rotate = made_users
    names = {"user": "fake:creds#user", "password": "fake:creds#password"}
    with Broker({"fake": store}, names) as broker:
        engine = create_engine(url(postgres), pool_size=1, max_overflow=0)
        attach(engine, "password", user="user", broker=broker)
        seen = []
        for _ in range(2):
            with engine.connect() as connection:
                seen.append(connection.execute(text("SELECT current_user")).scalar())
            rotate()
            broker.refresh(timeout=10)
        engine.dispose()
    assert seen == ["made_0", "made_1"]
