"""SQLAlchemy: an engine that logs in with whatever password is current.

    from secretbridge.adapters.sqlalchemy import attach

    engine = create_engine("postgresql+psycopg://app@db/orders")
    attach(engine, "db_password")

Works for every driver that takes ``password`` (and ``user``) as arguments of its ``connect``, and for
async engines. The password is never part of the engine's URL, so neither ``engine.url`` nor an error of
the engine shows one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, exc, util
from sqlalchemy.engine import Engine

from ._login import Credential, Key, Login
from ._refusals import is_refused

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ..broker import Broker

__all__ = ["attach"]

_USER = "secretbridge_user"

_wait = getattr(util, "await_", None) or util.await_only
# The second is its name before SQLAlchemy 2.1.


def attach(
    engine: Engine | AsyncEngine,
    password: Key,
    *,
    user: Key | None = None,
    broker: Broker | None = None,
) -> Callable[[], None]:
    """Have ``engine`` connect with the current value of ``password``; return what detaches it.

    ``password`` and, for credentials that are made on demand, ``user`` name secrets. When ``user`` is
    one, connections of a former user are replaced as they are taken from the pool, for that user will
    be dropped. A refused login raises SQLAlchemy's own error, without frames that hold a value.
    """
    sync = engine if isinstance(engine, Engine) else engine.sync_engine
    login = Login(password, user=user, broker=broker)

    def connect(dialect: Dialect, record: Any, cargs: list[Any], cparams: dict[str, Any]) -> Any:
        def attempt(credential: Credential) -> Any:
            # A copy: what is put into cparams itself stays in a frame of SQLAlchemy's.
            made = dialect.connect(*cargs, **{**cparams, **_arguments(credential)})
            if record is not None:
                record.info[_USER] = credential.user
            return made

        return login.run(attempt, is_refused, wait=_wait if dialect.is_async else None)

    def check(connection: Any, record: Any, proxy: Any) -> None:
        if record.info.get(_USER) != login.current().user:
            # The pool answers this with another connection.
            raise exc.DisconnectionError("the connection belongs to a user that was replaced")

    listeners: list[tuple[str, Callable[..., Any]]] = [("do_connect", connect)]
    if user is not None:
        listeners.append(("checkout", check))
    for name, listener in listeners:
        event.listen(sync, name, listener)

    def detach() -> None:
        for name, listener in listeners:
            event.remove(sync, name, listener)

    return detach


def _arguments(credential: Credential) -> dict[str, str]:
    arguments = {"password": credential.password.reveal()}
    if credential.user is not None:
        arguments["user"] = credential.user.reveal()
    return arguments
