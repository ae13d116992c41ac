"""The real servers of the adapters' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from tests.servers.postgres import Postgres, find_programs, private_postgres
from tests.servers.redis import Redis, find_program, private_redis

from .rotation import Rotation


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    if find_programs() is None:
        pytest.skip("no initdb: the Debian package postgresql is not installed")
    with private_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def cache() -> Iterator[Redis]:
    if find_program() is None:
        pytest.skip("no redis-server: the Debian package is not installed")
    with private_redis() as server:
        yield server


@pytest.fixture
def role(postgres: Postgres) -> Iterator[Callable[[str], object]]:
    """Return what sets the password of the role ``app``."""
    postgres.execute("CREATE ROLE app LOGIN")

    def change(password: str) -> None:
        statement = sql.SQL("ALTER ROLE app PASSWORD {}").format(sql.Literal(password)).as_string()
        postgres.execute(statement)

    yield change
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
    postgres.execute("DROP ROLE app")


@pytest.fixture(params=[0.0, 0.2], ids=["no lag", "lag"])
def lag(request: pytest.FixtureRequest) -> float:
    value = request.param
    assert isinstance(value, float)
    return value


@pytest.fixture
def rotation(role: Callable[[str], object], lag: float) -> Iterator[Rotation]:
    """Return the rotation of the role's password."""
    made = Rotation(role, lag=lag)
    yield made
    made.close()


@pytest.fixture
def cache_rotation(cache: Redis, lag: float) -> Iterator[Rotation]:
    """Return the rotation of the password of the Redis user ``app``, whose sessions end with it."""

    def change(password: str) -> None:
        cache.set_password("app", password)
        cache.end_sessions("app")

    made = Rotation(change, lag=lag)
    yield made
    made.close()
