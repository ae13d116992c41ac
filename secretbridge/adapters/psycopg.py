"""psycopg 3 and psycopg_pool: connections that log in with whatever password is current.

    from secretbridge.adapters.psycopg import connection_pool

    pool = connection_pool("db_password", "host=db dbname=orders user=app")
    with pool.connection() as connection:
        connection.execute("SELECT 1")

PostgreSQL asks for the password when a connection is made and never again, so a rotation concerns new
connections alone. They are made by :class:`RotatingConnection`, in this pool or in any other place that
takes a connection class:

    ConnectionPool(
        "host=db", connection_class=RotatingConnection, kwargs={"login": Login("db_password")}
    )
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg

from ._login import Credential, Key, Login
from ._refusals import is_refused

if TYPE_CHECKING:
    from typing import Self

    from psycopg_pool import AsyncConnectionPool, ConnectionPool

    from ..broker import Broker

__all__ = [
    "AsyncRotatingConnection",
    "Login",
    "RotatingConnection",
    "async_connection_pool",
    "connect",
    "connection_pool",
    "pool_kwargs",
]


class RotatingConnection(psycopg.Connection[Any]):
    """A connection whose ``connect`` takes a :class:`Login` for a password, as argument ``login``."""

    @classmethod
    def connect(cls, conninfo: str = "", *, login: Login, **kwargs: Any) -> Self:  # type: ignore[override]
        """Connect with the current credential of ``login``, or with one that replaces it.

        Raises :class:`psycopg.OperationalError` without frames that hold a value.
        """
        connect = super().connect
        return login.run(lambda it: connect(conninfo, **kwargs, **_arguments(it)), is_refused)


class AsyncRotatingConnection(psycopg.AsyncConnection[Any]):
    """As :class:`RotatingConnection`, for asyncio."""

    @classmethod
    async def connect(cls, conninfo: str = "", *, login: Login, **kwargs: Any) -> Self:  # type: ignore[override]
        """As :meth:`RotatingConnection.connect`."""
        connect = super().connect
        return await login.arun(
            lambda it: connect(conninfo, **kwargs, **_arguments(it)), is_refused
        )


def connect(
    password: Key,
    conninfo: str = "",
    *,
    user: Key | None = None,
    broker: Broker | None = None,
    **kwargs: Any,
) -> RotatingConnection:
    """Return one connection. Arguments as for :func:`connection_pool` and :func:`psycopg.connect`."""
    login = Login(password, user=user, broker=broker)
    return RotatingConnection.connect(conninfo, login=login, **kwargs)


def connection_pool(
    password: Key,
    conninfo: str = "",
    *,
    user: Key | None = None,
    broker: Broker | None = None,
    kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> ConnectionPool[RotatingConnection]:
    """Return a pool of :class:`RotatingConnection`.

    ``password`` and, for credentials that are made on demand, ``user`` name secrets. When ``user`` is
    one, all connections are replaced after a rotation, for the former user will be dropped. ``kwargs``
    and ``options`` are those of :class:`psycopg_pool.ConnectionPool`.
    """
    from ._psycopg_pool import RotatingPool

    login = Login(password, user=user, broker=broker)
    return RotatingPool(
        conninfo,
        connection_class=RotatingConnection,
        kwargs={**(kwargs or {}), "login": login},
        **{"open": True, **options},
    )


def async_connection_pool(
    password: Key,
    conninfo: str = "",
    *,
    user: Key | None = None,
    broker: Broker | None = None,
    kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncConnectionPool[AsyncRotatingConnection]:
    """As :func:`connection_pool`, for asyncio. The pool has to be opened: ``async with pool``."""
    from ._psycopg_pool import AsyncRotatingPool

    login = Login(password, user=user, broker=broker)
    return AsyncRotatingPool(
        conninfo,
        connection_class=AsyncRotatingConnection,
        kwargs={**(kwargs or {}), "login": login},
        **{"open": False, **options},
    )


def pool_kwargs(
    password: Key, *, user: Key | None = None, broker: Broker | None = None, **kwargs: Any
) -> Callable[[], dict[str, Any]]:
    """Return what a pool of psycopg's own connections takes as ``kwargs``: a function (pool >= 3.3).

    It gives each new connection the current value. A pool hides the moment between a rotation and the
    news of it behind the connections that it has; an empty one does not, and :func:`connection_pool`
    does.
    """
    login = Login(password, user=user, broker=broker)
    return lambda: {**kwargs, **_arguments(login.current())}


def _arguments(credential: Credential) -> dict[str, Any]:
    arguments = {"password": credential.password.reveal()}
    if credential.user is not None:
        arguments["user"] = credential.user.reveal()
    return arguments
