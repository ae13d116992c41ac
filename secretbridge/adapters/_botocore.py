"""botocore: see :mod:`.boto3`."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import boto3
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.session import Session

from ..secret import Secret
from ._login import Credential, Key, Login, bound, without_frames

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

_sent: deque[Secret] = deque(maxlen=32)
"""The session tokens that were used last. botocore logs the headers of requests at DEBUG."""


class _MaskTokens(logging.Filter):
    """Masks session tokens of ours in botocore's debug records, and leaves out the frames of errors."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG and _sent:
            text = record.getMessage()
            for token in list(_sent):
                text = text.replace(token.reveal(), "**********")
            record.msg, record.args, record.exc_info = text, None, None
        return True


_mask = _MaskTokens()


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
        token = None if self._token_handle is None else self._token_handle.secret
        if token is not None and token not in _sent:
            _sent.append(token)
        return ReadOnlyCredentials(
            credential.user.reveal(),
            credential.password.reveal(),
            None if token is None else token.reveal(),
            None,
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
        other = self.login.other_than([self._here.used])
        if other is None:
            return None
        self._here.next = other
        return 0

    def __repr__(self) -> str:
        return f"<RotatingCredentials with {self.login.password.name}>"


class _Quiet:
    """Raises what a call raises without the frames in which the signed headers stand."""

    def _make_api_call(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super()._make_api_call(*arguments, **options)  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001
            problem = without_frames(error)
        raise problem


def _make_quiet(base_classes: list[type], **_: Any) -> None:
    base_classes.insert(0, _Quiet)


def rotating_session(credentials: RotatingCredentials, options: dict[str, Any]) -> boto3.Session:
    """Return a session of boto3 whose clients sign with ``credentials``."""
    for name in ("botocore.auth", "botocore.endpoint", "botocore.httpsession"):
        logging.getLogger(name).addFilter(_mask)
    core = Session()
    core._credentials = credentials
    events = core.get_component("event_emitter")
    # First, because the answer of botocore's own handlers would end it.
    events.register_first("needs-retry", credentials.after)
    events.register("creating-client-class", _make_quiet)
    return boto3.Session(botocore_session=core, **options)
