"""pika: connections to RabbitMQ that log in with whatever password is current.

    from secretbridge.adapters.pika import RotatingCredentials, blocking_connection

    credentials = RotatingCredentials("queue_password", "app")
    parameters = pika.ConnectionParameters("queue", credentials=credentials)
    connection = blocking_connection(parameters)

The credentials serve every kind of pika connection; they are asked anew for each login.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from pika import BlockingConnection, ConnectionParameters, PlainCredentials
from pika.exceptions import AuthenticationError, ProbableAuthenticationError

from ._login import Credential, Key, Login

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["RotatingCredentials", "blocking_connection"]


class RotatingCredentials(PlainCredentials):  # type: ignore[misc] # pika has no types
    """PLAIN credentials whose password is the current value of a secret.

    ``password`` names the secret; ``username`` is the user's name in plain text, ``user`` the name of a
    secret that holds it.
    """

    login: Login

    def __init__(
        self,
        password: Key,
        username: str | None = None,
        *,
        user: Key | None = None,
        broker: Broker | None = None,
    ) -> None:
        super().__init__(username or "", "")
        self.login: Login = Login(password, user=user, broker=broker)

    def plain(self, credential: Credential) -> PlainCredentials:
        """Return ``credential`` in the form that pika wants."""
        user = self.username if credential.user is None else credential.user.reveal()
        return PlainCredentials(user or "", credential.password.reveal())

    def response_for(self, start: Any) -> tuple[str | None, bytes | None]:
        """Return the answer to the server's question who we are."""
        found: tuple[str | None, bytes | None] = self.plain(self.login.current()).response_for(
            start
        )
        return found

    def __deepcopy__(self, memo: object) -> RotatingCredentials:
        return self  # pika copies what it is given, and this has nothing of its own that changes


def blocking_connection(parameters: ConnectionParameters) -> BlockingConnection:
    """Return a connection; a refused password is replaced while it is made.

    ``parameters`` have :class:`RotatingCredentials`. Raises pika's own errors, without frames that
    hold a value.
    """
    credentials = parameters.credentials
    if not isinstance(credentials, RotatingCredentials):
        raise TypeError("the parameters have no RotatingCredentials")

    def attempt(credential: Credential) -> BlockingConnection:
        mine = copy(parameters)
        mine.credentials = credentials.plain(credential)
        return BlockingConnection(mine)

    return credentials.login.run(attempt, _is_refused)


def _is_refused(error: BaseException) -> bool:
    return isinstance(error, (AuthenticationError, ProbableAuthenticationError))
