"""requests: see :mod:`.http`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from ._header import REPEATS, Header
from ._login import Credential, Key, without_frames

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..broker import Broker

__all__ = ["RequestsAuth", "requests_session"]


class RequestsAuth(AuthBase):
    """Sends the current value of a secret in a header; a refused request is repeated.

    Parameters and behaviour: :class:`~secretbridge.adapters.http.HttpxAuth`. A header that requests does
    not know for a credential is dropped from a request that a redirect leads to another origin.
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

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the header, and have the response looked at."""
        credential = self._header.login.current()
        request.headers[self._header.name] = self._header.value(credential)
        start = _position(request.body)
        request.register_hook("response", partial(self._answered, credential, start))
        return request

    def _answered(
        self, credential: Credential, start: int | None, response: Response, **options: Any
    ) -> Response:
        request = response.request
        if self._header.name not in request.headers:
            return response  # of another origin, which this was not sent to
        if response.is_redirect and not self._header.is_standard:
            target = urljoin(request.url or "", response.headers["location"])
            if _origin(target) != _origin(request.url or ""):
                del request.headers[self._header.name]  # the next request is a copy of this one
        tried = [credential]
        while self._header.is_refused(response.status_code) and start is not None:
            other = self._header.login.other_than(tried) if len(tried) <= REPEATS else None
            if other is None:
                break
            tried.append(other)
            response = self._repeat(response, other, start, options)
        return response

    def _repeat(
        self, response: Response, other: Credential, start: int, options: dict[str, Any]
    ) -> Response:
        response.content  # noqa: B018 - read to the end, so that the connection can be used again
        response.close()
        request = response.request.copy()
        seek = getattr(request.body, "seek", None)
        if seek is not None:
            seek(start)
        request.headers[self._header.name] = self._header.value(other)
        connection: HTTPAdapter = response.connection
        repeated = connection.send(request, **options)
        repeated.history.append(response)
        repeated.request = request
        return repeated

    def __repr__(self) -> str:
        return f"RequestsAuth({self._header!r})"


class _QuietAdapter(HTTPAdapter):
    """Raises what the transport raises without the frames in which the headers stand."""

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        try:
            return super().send(request, *args, **options)
        except Exception as error:  # noqa: BLE001
            problem = without_frames(error)
        raise problem


def requests_session(value: Key, scheme: str = "Bearer", **options: Any) -> Session:
    """Return a session that authenticates with ``value`` and whose errors show no value.

    ``options`` are those of :class:`RequestsAuth`.
    """
    session = Session()
    session.auth = RequestsAuth(value, scheme, **options)
    for prefix in ("https://", "http://"):
        session.mount(prefix, _QuietAdapter())
    return session


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _position(body: object) -> int | None:
    """Return where ``body`` starts, or None when it cannot be sent a second time."""
    if body is None or isinstance(body, (str, bytes)):
        return 0
    try:
        position: int = body.tell()  # type: ignore[attr-defined]
        body.seek(position)  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return None
    return position
