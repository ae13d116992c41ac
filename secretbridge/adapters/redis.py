"""redis-py: clients that authenticate with whatever password is current.

    from secretbridge.adapters.redis import client_options

    client = redis.Redis(host="cache", **client_options("redis_password"))

The same options serve connection pools and sentinels; ``redis.asyncio`` takes
:func:`async_client_options`, and a cluster, which connects in a way of its own, a
:class:`CredentialProvider` alone. A connection keeps what it has authenticated with, so a rotation
concerns new connections; with both passwords in the ACL for a while not even these notice it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.credentials import CredentialProvider as _Provider
from redis.exceptions import AuthenticationError, ConnectionError
from redis.retry import Retry

from ._login import Credential, Key, Login

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["CredentialProvider", "async_client_options", "client_options"]

_RETRIES = 8
_FIRST_RETRY = 0.01
_LONGEST_RETRY = 0.5
"""Attempts of a command whose connection was closed, and the pauses between them in seconds."""

_TWICE = 1.0
"""Seconds between two questions of one thread that look like a refusal."""


class CredentialProvider(_Provider):
    """Gives every new connection the current password.

    ``username`` is the user's name in plain text, ``user`` the name of a secret that holds it.

    A provider is not told of a refusal: redis-py tries again by itself and asks it again. Whoever asks
    twice within a second is taken to have been refused, and the store is asked for a newer value.
    :func:`client_options` does not depend on that, and overcomes a refusal within one connection.
    """

    login: Login

    def __init__(
        self,
        password: Key,
        *,
        username: str | None = None,
        user: Key | None = None,
        broker: Broker | None = None,
    ) -> None:
        self.login: Login = Login(password, user=user, broker=broker)
        self._username = username
        self._here = threading.local()

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return the current password, after the user if there is one."""
        return self._given(self.login.current())

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """As :meth:`get_credentials`, without blocking the event loop."""
        return self._given(await self.login.acurrent())

    def _given(self, credential: Credential) -> tuple[str] | tuple[str, str]:
        before, at = getattr(self._here, "last", (None, 0.0))
        self._here.last = credential, time.monotonic()
        # Not for a credential with a lease: asking for another one makes another one.
        may_ask = credential.password.expires_at is None
        if may_ask and before == credential and time.monotonic() - at < _TWICE:
            self.login.password.report_rejected(credential.password)
        return self.parts(credential)

    def parts(self, credential: Credential) -> tuple[str] | tuple[str, str]:
        """Return ``credential`` in the form that redis-py wants."""
        username = self._username if credential.user is None else credential.user.reveal()
        password = credential.password.reveal()
        return (password,) if username is None else (username, password)


class _One(_Provider):
    """Gives the credential of one attempt."""

    def __init__(self, provider: CredentialProvider, credential: Credential) -> None:
        self._provider = provider
        self._credential = credential

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        return self._provider.parts(self._credential)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


def client_options(
    password: Key,
    *,
    username: str | None = None,
    user: Key | None = None,
    broker: Broker | None = None,
) -> dict[str, Any]:
    """Return arguments for :class:`redis.Redis` and its pools. Parameters: :class:`CredentialProvider`.

    A refused password is replaced while the connection is made, and a command whose connection was
    closed is tried again at once: a server may end the sessions of a former password, and redis-py's own
    pauses would last a second. What is raised in the end is redis-py's :class:`AuthenticationError`,
    without frames that hold a value.
    """
    provider = CredentialProvider(password, username=username, user=user, broker=broker)

    def connect(connection: Any) -> None:
        def attempt(credential: Credential) -> None:
            connection.credential_provider = _One(provider, credential)
            try:
                # A refusal closes the socket; sending would open it again by calling us.
                if connection._sock is None:
                    connection._sock = connection._connect()
                connection.on_connect()
            except OSError as error:
                raise ConnectionError(f"{type(error).__name__} while connecting again") from None
            finally:
                connection.credential_provider = provider

        provider.login.run(attempt, _is_refused)

    retry = Retry(ExponentialBackoff(_LONGEST_RETRY, _FIRST_RETRY), _RETRIES)
    return {"credential_provider": provider, "redis_connect_func": connect, "retry": retry}


def async_client_options(
    password: Key,
    *,
    username: str | None = None,
    user: Key | None = None,
    broker: Broker | None = None,
) -> dict[str, Any]:
    """As :func:`client_options`, for :class:`redis.asyncio.Redis`."""
    provider = CredentialProvider(password, username=username, user=user, broker=broker)

    async def connect(connection: Any) -> None:
        async def attempt(credential: Credential) -> None:
            connection.credential_provider = _One(provider, credential)
            try:
                if not connection.is_connected:
                    await connection._connect()
                await connection.on_connect()
            except OSError as error:
                raise ConnectionError(f"{type(error).__name__} while connecting again") from None
            finally:
                connection.credential_provider = provider

        await provider.login.arun(attempt, _is_refused)

    retry = AsyncRetry(ExponentialBackoff(_LONGEST_RETRY, _FIRST_RETRY), _RETRIES)
    return {"credential_provider": provider, "redis_connect_func": connect, "retry": retry}


def _is_refused(error: BaseException) -> bool:
    return isinstance(error, AuthenticationError)
