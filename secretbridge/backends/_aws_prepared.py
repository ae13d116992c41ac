"""botocore's prepared requests over the armoured transport, for sources of credentials.

Single sign-on asks its service through a client of botocore's, and the metadata services of machines
and containers are asked with an HTTP session of botocore's own, past everything that guards our other
requests. Measured on that session: an instance's service is asked through the proxy that ``http_proxy``
names, which then sees the credentials; the timeout begins anew with every ``recv``; and an answer may be
of any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from ..errors import DeadlineExceeded, SecretBridgeError
from . import Deadline
from ._dial import Address
from ._transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["guard_metadata", "send"]

_SECONDS = 2.0
"""For one request to a metadata service: botocore's limits are 1 and 2 s, and it asks several times."""

_LARGEST = 64 * 1024
"""Largest answer of a metadata service in bytes; credentials have two kilobytes."""


def send(request: Any, transport: Transport, deadline: Deadline, host: str | None) -> AWSResponse:
    """Send a prepared request and return the answer in botocore's form. ``host`` is as it was signed.

    Raises what :meth:`Transport.request` does.
    """
    parts = urlsplit(request.url)
    headers = {name: _text(value) for name, value in request.headers.items()}
    headers.pop("Content-Length", None)  # the transport writes this one itself
    body = request.body
    answer = transport.request(
        request.method,
        (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        headers=headers if host is None else {"Host": host, **headers},
        body=body.encode() if isinstance(body, str) else body,
        deadline=deadline,
    )
    return AWSResponse(request.url, answer.status, answer.headers, _Body(answer.body))


def guard_metadata(providers: Iterable[Any], limit: Callable[[], Deadline]) -> None:
    """Have those of a credential chain's ``providers`` that ask a metadata service ask it safely.

    ``limit`` returns by when the call that is under way in this thread has to end.
    """
    for provider in providers:
        for name in ("_role_fetcher", "_fetcher"):  # botocore has no public names for them
            fetcher = getattr(provider, name, None)
            if fetcher is not None and hasattr(fetcher, "_session"):
                fetcher._session = _MetadataSession(limit)


class _MetadataSession:
    """Stands where botocore would keep an HTTP session for a metadata service."""

    def __init__(self, limit: Callable[[], Deadline]) -> None:
        self._limit = limit

    def send(self, request: Any) -> AWSResponse:
        """Send one of botocore's prepared requests; raise what its own session raises."""
        parts = urlsplit(request.url)
        failure: Exception
        try:
            # Plain HTTP by nature, over a link of the machine's own; botocore checks the addresses.
            address = Address(f"{parts.scheme}://{parts.netloc}", allow_plaintext=True)
            transport = Transport(address, timeout=_SECONDS, max_answer=_LARGEST)
            try:
                return send(request, transport, self._limit(), None)
            finally:
                transport.close()  # asked once in hours
        except DeadlineExceeded:
            failure = ReadTimeoutError(endpoint_url=request.url)
        except (SecretBridgeError, ValueError):
            failure = EndpointConnectionError(endpoint_url=request.url)
        raise failure


class _Body:
    """The body of an answer in the form in which botocore reads one."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        """Yield all of it."""
        yield self._content


def _text(value: str | bytes) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
