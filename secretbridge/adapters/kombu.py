"""kombu and Celery: a broker over AMQP whose password is current at every connection.

    from secretbridge.adapters.kombu import celery_settings, connection_options

    connection = kombu.Connection("amqp://app@queue//", **connection_options("queue_password"))

    app = Celery("orders", broker="amqp://app@queue//")
    app.conf.update(celery_settings("queue_password"))

The Redis transport takes a credential provider instead (:mod:`.redis`); the how-to guide for Celery has
both. Needs kombu 5.6 or newer, which reads a password that is a function for each connection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from amqp.exceptions import AccessRefused
from kombu.transport import pyamqp

from ._login import Credential, Key, Login

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["Transport", "celery_settings", "connection_options", "password"]

T = TypeVar("T")

_TRANSPORT = f"{__name__}:Transport"


class _Password:
    """What kombu calls for the password of a connection."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self._here = threading.local()

    def __call__(self) -> str:
        credential = getattr(self._here, "attempt", None) or self.login.current()
        text: str = credential.password.reveal()
        return text

    def during(self, credential: Credential, work: Callable[[], T]) -> T:
        """Return what ``work`` returns while this thread is given ``credential``."""
        self._here.attempt = credential
        try:
            return work()
        finally:
            del self._here.attempt

    def __deepcopy__(self, memo: object) -> _Password:
        return self

    def __repr__(self) -> str:
        return repr(self.login)


class Transport(pyamqp.Transport):
    """kombu's AMQP transport; a password that was refused is replaced while it connects."""

    def establish_connection(self) -> Any:
        """Connect. Raises what py-amqp raises, without frames that hold a value."""
        source: Any = getattr(self.client, "password", None)
        connect: Any = super().establish_connection
        if not isinstance(source, _Password):
            return connect()
        return source.login.run(lambda credential: source.during(credential, connect), _is_refused)


def password(key: Key, *, broker: Broker | None = None) -> Callable[[], str]:
    """Return a function that gives the current password, for kombu's ``password``."""
    return _Password(Login(key, broker=broker))


def connection_options(key: Key, *, broker: Broker | None = None) -> dict[str, Any]:
    """Return arguments for :class:`kombu.Connection`: the password, and what replaces a refused one."""
    return {"password": password(key, broker=broker), "transport": _TRANSPORT}


def celery_settings(key: Key, *, broker: Broker | None = None) -> dict[str, Any]:
    """Return settings for :class:`celery.Celery`, as :func:`connection_options` does for kombu."""
    return {"broker_password": password(key, broker=broker), "broker_transport": _TRANSPORT}


def _is_refused(error: BaseException) -> bool:
    return isinstance(error, AccessRefused)
