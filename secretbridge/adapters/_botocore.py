"""botocore: see :mod:`.boto3`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import boto3
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.session import Session

from ._login import Credential, Key, Login, bound

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["RotatingCredentials", "rotating_session"]

_REFUSED = frozenset(
    [
        *["InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"],
        *["SignatureDoesNotMatch", "InvalidSignatureException", "AuthFailure"],
        *["ExpiredToken", "ExpiredTokenException", "InvalidToken", "RequestExpired"],
    ]
)
"""Codes with which AWS's services say that they do not accept the key, or no longer."""


class RotatingCredentials(RefreshableCredentials):  # type: ignore[misc] # it has no types
    """Credentials that are read from their secrets whenever something is signed.

    botocore's own refreshing is not used: the values are fresh already, and none is kept here.
    """

    method = "secretbridge"

    def __init__(
        self, access_key: Key, secret_key: Key, token: Key | None, broker: Broker | None
    ) -> None:
        self.login = Login(secret_key, user=access_key, broker=broker)
        self._token_handle = None if token is None else bound(token, broker)
        # Signing a request and hearing what became of it happen in one thread.
        self._here = threading.local()

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return the keys for one signature."""
        credential: Credential = self._here.__dict__.pop("next", None) or self.login.current()
        self._here.used = credential
        assert credential.user is not None
        handle = self._token_handle
        token = None if handle is None else handle.reveal()
        return ReadOnlyCredentials(
            credential.user.reveal(), credential.password.reveal(), token, None
        )

    @property
    def access_key(self) -> str:
        """The current access key."""
        return str(self.get_frozen_credentials().access_key)

    @property
    def secret_key(self) -> str:
        """The current secret key."""
        return str(self.get_frozen_credentials().secret_key)

    @property
    def token(self) -> str | None:
        """The current session token, if there is one."""
        found: str | None = self.get_frozen_credentials().token
        return found

    @property
    def account_id(self) -> None:
        """Not known."""
        return

    def refresh_needed(self, refresh_in: float | None = None) -> bool:
        """Never: the broker keeps the secrets fresh."""
        return False

    def after(
        self, attempts: int, response: tuple[Any, dict[str, Any]] | None, **_: Any
    ) -> int | None:
        """Say after a response whether the request is to be repeated: in how many seconds, or None."""
        code = response[1].get("Error", {}).get("Code") if response is not None else None
        if attempts > 1 or code not in _REFUSED:
            return None
        other = self.login.other_than(self._here.used)
        if other is None:
            return None
        self._here.next = other
        return 0

    def __repr__(self) -> str:
        return f"<RotatingCredentials with {self.login.password.name}>"


def rotating_session(credentials: RotatingCredentials, options: dict[str, Any]) -> boto3.Session:
    """Return a session of boto3 whose clients sign with ``credentials``."""
    core = Session()
    core._credentials = credentials
    # First, because the answer of botocore's own handlers would end it.
    core.get_component("event_emitter").register_first("needs-retry", credentials.after)
    return boto3.Session(botocore_session=core, **options)
