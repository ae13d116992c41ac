"""The requests that botocore has signed, over the armoured transport that all HTTP backends share.

botocore's own HTTP session is not used, for what was measured on it: its timeout is per read, so that
a server which sends one byte a second is waited for without end; it has no size cap; it obeys the
proxy variables of the environment. One :class:`Wire` serves a store, with one
:class:`._transport.Transport` per origin: the service, STS, and for ARNs of other regions theirs.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..document import json_span
from ..errors import BackendUnavailable, ConfigError
from ._aws_errors import Refused
from ._transport import Address, Answer, Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import Deadline

_PORTS = {"http": 80, "https": 443}
_MAX_CREDENTIALS = 64 * 1024
"""Largest answer in bytes of a service that gives credentials; theirs have two kilobytes."""
_XML_CODE = re.compile(r"<Error(?:Response)?\b.{0,500}?<Code>([A-Za-z.]{1,64})</Code>", re.DOTALL)
"""The code in an error of AWS's older form, in which emulators answer to credentials of nobody."""


class Wire:
    """Sends prepared requests. Usable from several threads at once."""

    def __init__(self, ca_file: Callable[[], str], *, allow_plaintext: bool) -> None:
        """``ca_file`` returns the file of trusted certificates."""
        self._ca_file = ca_file
        self._allow_plaintext = allow_plaintext
        self._transports: dict[tuple[str, float], Transport] = {}

    def send(self, request: Any, deadline: Deadline, timeout: float) -> Answer:
        """Send one of botocore's prepared requests and return the whole answer.

        ``timeout``: seconds for it, within the deadline.

        Raises what :meth:`Transport.request` does; :class:`Refused` and :class:`BackendUnavailable`
        when the service's answer is not the JSON that it has to be.
        """
        parts = urlsplit(request.url)
        headers = {name: text_of(value) for name, value in request.headers.items()}
        # The transport writes this one itself, and the Host as it was signed: without a port that
        # is the scheme's own.
        headers.pop("Content-Length", None)
        is_default = parts.port in (None, _PORTS.get(parts.scheme))
        headers["Host"] = (
            parts.netloc.rpartition(":")[0] if parts.port and is_default else parts.netloc
        )
        body = request.body
        answer = self._transport(f"{parts.scheme}://{parts.netloc}", timeout).request(
            request.method,
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            headers=headers,
            body=body.encode() if isinstance(body, str) else body,
            deadline=deadline,
            only_reads=True,  # the API is all POST; of it we call what may be called twice
        )
        operation = headers.get("X-Amz-Target")
        if operation is not None:
            _check_json(answer, operation.rpartition(".")[2])
        else:
            _check_credentials(answer)
        return answer

    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections alone."""
        for transport in self._transports.values():
            transport.after_fork()

    def close(self) -> None:
        """Close the connections that are kept open."""
        for transport in self._transports.values():
            transport.close()

    def _transport(self, origin: str, timeout: float) -> Transport:
        transport = self._transports.get((origin, timeout))
        if transport is not None:
            return transport
        try:
            address = Address(origin, allow_plaintext=self._allow_plaintext)
        except ValueError as error:
            reason, _, remedy = str(error).partition("; ")
            raise ConfigError(
                f"the endpoint {origin} cannot be used: {reason}",
                hint=remedy or "check endpoint_url and the AWS_ENDPOINT_URL variables",
            ) from None
        ca_file = self._ca_file() if address.is_tls else None
        transport = Transport(address, ca_file=ca_file, timeout=timeout)
        # Of two threads that come here at once the second finds the first one's.
        return self._transports.setdefault((origin, timeout), transport)


def _check_credentials(answer: Answer) -> None:
    """Let STS and other sources of credentials say no more than credentials, and define nothing.

    botocore reads their XML as it comes; entities that refer to entities grow without end.
    """
    if len(answer.body) > _MAX_CREDENTIALS or b"<!" in answer.body:
        raise BackendUnavailable(
            "the answer to a request for credentials is not one of AWS's",
            hint="check the endpoints of STS and SSO, and proxies on the way to them",
        )


def text_of(value: str | bytes) -> str:
    """Return a header's value as text; botocore has some as bytes."""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _check_json(answer: Answer, operation: str) -> None:
    """Let only a JSON object through: botocore takes anything else for the text of a message.

    Duplicate keys and deep nesting are refused with it, before botocore's parser sees them.
    """
    text = ""
    with suppress(UnicodeDecodeError):
        text = answer.body.decode("utf-8")
    is_object = text.lstrip().startswith("{")
    if is_object:
        try:
            json_span(text, ())
        except ValueError:
            is_object = False
    if is_object:
        return
    if answer.status >= 300:
        code = _XML_CODE.search(text)
        raise Refused(operation, code[1] if code else "", "", answer.status, answer.headers)
    raise BackendUnavailable(
        f"the answer (status {answer.status}) is not the JSON object that it has to be",
        hint="check that endpoint_url is an endpoint of this service of AWS",
    )
