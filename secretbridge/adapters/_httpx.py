"""httpx: see :mod:`.http`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any

import httpx

from ._header import REPEATS, Header
from ._login import Credential, Key, without_frames

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..broker import Broker

__all__ = ["HttpxAuth", "httpx_async_client", "httpx_client"]

_HOME = "secretbridge_home"


class HttpxAuth(httpx.Auth):
    """Sends the current value of a secret in a header; a refused request is repeated.

    ``value`` names the secret. ``scheme`` stands before it (empty: nothing does), ``header`` names the
    header; with ``user`` (a secret) or ``username`` (plain text) it is Basic. ``refused`` are the codes
    that say that the credential was not accepted: then the store is asked for a newer one, and the
    request repeated once with that, or with the former one within its grace; again only if there was a
    further rotation meanwhile. A body that is a stream cannot be repeated; its response is returned as
    it is.
    """

    def __init__(
        self,
        value: Key,
        scheme: str = "Bearer",
        *,
        header: str = "Authorization",
        user: Key | None = None,
        username: str | None = None,
        refused: Collection[int] = (401,),
        broker: Broker | None = None,
    ) -> None:
        self._header = Header(
            value,
            scheme=scheme,
            name=header,
            user=user,
            username=username,
            refused=refused,
            broker=broker,
        )

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header; after a refusal, once more with another value."""
        credential: Credential | None = self._header.login.current()
        tried: list[Credential] = []
        while credential is not None:
            tried.append(credential)
            response = yield self._with_header(request, credential)
            if not self._is_to_be_repeated(request, response, tried):
                return
            credential = self._header.login.other_than(tried)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As :meth:`sync_auth_flow`."""
        credential: Credential | None = await self._header.login.acurrent()
        tried: list[Credential] = []
        while credential is not None:
            tried.append(credential)
            response = yield self._with_header(request, credential)
            if not self._is_to_be_repeated(request, response, tried):
                return
            credential = await self._header.login.aother_than(tried)

    def _is_to_be_repeated(
        self, request: httpx.Request, response: httpx.Response, tried: list[Credential]
    ) -> bool:
        return (
            self._header.is_refused(response.status_code)
            and _is_repeatable(request)
            and len(tried) <= REPEATS
        )

    def _with_header(self, request: httpx.Request, credential: Credential) -> httpx.Request:
        request.headers[self._header.name] = self._header.value(credential)
        if not self._header.is_standard:
            request.extensions = {
                **request.extensions,
                _HOME: (self._header.name, *_origin(request.url)),
            }
        return request

    def __repr__(self) -> str:
        return f"HttpxAuth({self._header!r})"


class _QuietClient(httpx.Client):
    """Raises what the transport raises without the frames in which the headers stand."""

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        try:
            return super().send(request, **options)
        except Exception as error:  # noqa: BLE001
            problem = without_frames(error)
        raise problem


class _QuietAsyncClient(httpx.AsyncClient):
    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        try:
            return await super().send(request, **options)
        except Exception as error:  # noqa: BLE001
            problem = without_frames(error)
        raise problem


def httpx_client(value: Key, scheme: str = "Bearer", **options: Any) -> httpx.Client:
    """Return a client that authenticates with ``value`` and whose errors show no value.

    ``options`` are those of :class:`HttpxAuth` and of :class:`httpx.Client`. A header that httpx does
    not know for a credential is not sent to another origin that a redirect leads to.
    """
    auth, rest = _split(value, scheme, options)
    client = _QuietClient(auth=auth, **rest)
    client.event_hooks["request"].append(_stay_at_home)
    return client


def httpx_async_client(value: Key, scheme: str = "Bearer", **options: Any) -> httpx.AsyncClient:
    """As :func:`httpx_client`, for asyncio."""

    async def stay_at_home(request: httpx.Request) -> None:
        _stay_at_home(request)

    auth, rest = _split(value, scheme, options)
    client = _QuietAsyncClient(auth=auth, **rest)
    client.event_hooks["request"].append(stay_at_home)
    return client


def _split(value: Key, scheme: str, options: dict[str, Any]) -> tuple[HttpxAuth, dict[str, Any]]:
    names = ("header", "user", "username", "refused", "broker")
    ours = {name: option for name, option in options.items() if name in names}
    rest = {name: option for name, option in options.items() if name not in names}
    return HttpxAuth(value, scheme, **ours), rest


def _stay_at_home(request: httpx.Request) -> None:
    """Drop a header that was meant for another origin: this request is a redirect's."""
    name, *origin = request.extensions.get(_HOME, (None,))
    if name is not None and origin != list(_origin(request.url)):
        request.headers.pop(name, None)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_repeatable(request: httpx.Request) -> bool:
    try:
        return request.content is not None
    except httpx.RequestNotRead:
        return False
