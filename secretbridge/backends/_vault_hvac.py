"""hvac on the armoured transport: its API surface, none of its ways to be led astray.

hvac builds every request through one adapter, which is replaced here. Nothing of requests is used
but the type of the response that hvac hands out for answers without a body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import hvac
import requests
from hvac.adapters import JSONAdapter

from ..errors import SecretBridgeError
from . import Deadline
from ._vault_api import api_path, refusal, unusable

if TYPE_CHECKING:
    from ._vault_api import Api, Reply
    from ._vault_auth import Session

__all__ = ["armoured_client"]

CALL_SECONDS = 60.0
"""Deadline of one call in seconds, around the timeout of each request."""


def armoured_client(api: Api, session: Session) -> hvac.Client:
    """Return a client of the server behind ``api``, as whoever ``session`` is."""

    def adapter(**settings: Any) -> _Adapter:
        return _Adapter(api, session, **settings)

    # A token is given, though an empty one, or hvac would look for one in the environment.
    return hvac.Client(
        url=f"https://{api.transport.address}", token="", adapter=adapter, verify=True
    )


class _NoSession:
    """Stands where hvac would keep a requests session, which reads proxies and .netrc."""

    cert = verify = proxies = None

    def close(self) -> None:
        """The connections belong to the store."""


class _Adapter(JSONAdapter):  # type: ignore[misc]
    def __init__(self, api: Api, session: Session, /, **settings: Any) -> None:
        super().__init__(**{**settings, "session": _NoSession()})
        self._api = api
        self._session = session

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        raise_exception: bool = True,
        **options: Any,
    ) -> Any:
        """Send a request; return the JSON of an answer, or a response for one without."""
        problem: SecretBridgeError
        try:
            reply = self._reply(method, url, dict(headers or {}), options)
        except SecretBridgeError as error:
            problem = error.about(None)
        else:
            if reply.status < 400:
                if reply.content is not None:
                    return reply.content
                return _response(reply.status)
            if not raise_exception or self.ignore_exceptions:
                return _response(reply.status)
            explained = refusal(reply)
            # hvac's own classes, for code that tells them apart; our words, for they hold no value.
            raise hvac.exceptions.VaultError.from_status(
                reply.status, f"{explained}", method=method, url=url
            )
        raise problem

    def _reply(
        self, method: str, url: str, headers: dict[str, str], options: dict[str, Any]
    ) -> Reply:
        deadline = Deadline(CALL_SECONDS)
        path = url.split("?", 1)[0].strip("/").removeprefix("v1/")
        # hvac quotes a few characters of what it is given, and leaves '..' alone.
        segments = [unquote(part) for part in path.split("/") if part]
        body = options.get("json")
        query = {name: str(value) for name, value in (options.get("params") or {}).items()}
        if wrap_ttl := options.get("wrap_ttl"):
            headers["X-Vault-Wrap-TTL"] = str(wrap_ttl)
        token = self.token or self._session.token(deadline).value
        reply = self._api.ask(
            method.upper(),
            api_path(segments),
            deadline,
            token=token,
            query=query,
            body=body,
            headers=headers,
        )
        if reply.status == 200 and reply.content is None and method.upper() != "HEAD":
            raise unusable("no JSON")
        return reply


def _response(status: int) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    return response
