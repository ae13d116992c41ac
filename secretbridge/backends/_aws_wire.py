"""The wire to AWS: requests over the armoured transport that all HTTP backends share.

One :class:`Wire` serves a store, with one :class:`._transport.Transport` per origin: the service,
STS, the queue of events, and for ARNs of other regions theirs.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import BackendUnavailable, ConfigError
from ._aws_errors import Refused
from ._transport import Address, Answer, Transport, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from . import Deadline

__all__ = ["Endpoint", "Wire", "answer_of", "document_of"]

_PORTS = {"http": 80, "https": 443}
_LONGEST = 600.0
"""Seconds that a transport would wait by itself; each call has its own, shorter deadline."""

_LARGEST_XML = 1 << 16
"""STS answers with less than 3 KiB."""


class Endpoint:
    """One address, and the connections to it. ``host`` and ``path`` are as they are signed."""

    def __init__(self, url: str, address: Address, transport: Transport) -> None:
        parts = urlsplit(url)
        host = f"[{address.host}]" if ":" in address.host else address.host
        is_default = parts.port in (None, _PORTS[parts.scheme])
        self.host = host if is_default else f"{host}:{parts.port}"
        self.path = f"{address.prefix}/"
        self.transport = transport

    def post(self, headers: Mapping[str, str], body: bytes, deadline: Deadline) -> Answer:
        """Send one request and return the whole answer.

        Raises what :meth:`Transport.request` does.
        """
        # The API is all POST; of it we call what may be called twice.
        return self.transport.request(
            "POST", "/", headers=headers, body=body, deadline=deadline, only_reads=True
        )


class Wire:
    """The endpoints of one store. Usable from several threads at once."""

    def __init__(self, ca_file: Callable[[], str], *, allow_plaintext: bool) -> None:
        """``ca_file`` returns the file of trusted certificates."""
        self._ca_file = ca_file
        self._allow_plaintext = allow_plaintext
        self._endpoints: dict[str, Endpoint] = {}

    def endpoint(self, url: str) -> Endpoint:
        """Return the endpoint at ``url``; no I/O. Raises :class:`ConfigError`."""
        endpoint = self._endpoints.get(url)
        if endpoint is not None:
            return endpoint
        try:
            address = Address(url, allow_plaintext=self._allow_plaintext)
        except ValueError as error:
            reason, _, remedy = str(error).partition("; ")
            raise ConfigError(
                f"the endpoint {_shown(url)} cannot be used: {reason}",
                hint=remedy or "check endpoint_url and the AWS_ENDPOINT_URL variables",
            ) from None
        ca_file = self._ca_file() if address.is_tls else None
        transport = Transport(address, ca_file=ca_file, timeout=_LONGEST)
        # Of two threads that come here at once the second finds the first one's.
        return self._endpoints.setdefault(url, Endpoint(url, address, transport))

    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections alone."""
        for endpoint in self._endpoints.values():
            endpoint.transport.after_fork()

    def close(self) -> None:
        """Close the connections that are kept open."""
        for endpoint in self._endpoints.values():
            endpoint.transport.close()


def answer_of(answer: Answer, operation: str) -> dict[str, Any]:
    """Return the JSON object that answers ``operation``.

    Raises :class:`Refused` when the service answered with an error, and
    :class:`BackendUnavailable` when this is no answer of the service. Duplicate keys and deep nesting
    are refused; fractions stay text.
    """
    found: dict[str, Any] | None = None
    with suppress(ValueError):
        found = read_json(answer.body)[1]
    if answer.status >= 300:
        # Some refuse in the XML of AWS's older services: emulators, to credentials of nobody.
        raise _refused(operation, answer, _leaves(answer.body) if found is None else found)
    if found is None:
        raise BackendUnavailable(
            f"the answer (status {answer.status}) is not the JSON object that it has to be",
            hint="check that endpoint_url is an endpoint of this service of AWS",
        )
    return found


def document_of(answer: Answer, operation: str) -> dict[str, str]:
    """Return the leaves of the XML that answers ``operation`` by their names; as :func:`answer_of`.

    That is how STS answers. Of a name that stands several times the first one counts.
    """
    leaves = _leaves(answer.body)
    if answer.status >= 300:
        raise _refused(operation, answer, leaves)
    return leaves


def _leaves(text: bytes) -> dict[str, str]:
    """Return the leaves of ``text`` if it is an answer of AWS in XML, else nothing."""
    from xml.etree import ElementTree

    leaves: dict[str, str] = {}
    # What declares entities can ask for memory without end, and AWS declares none.
    if text.lstrip().startswith(b"<") and len(text) <= _LARGEST_XML and b"<!" not in text:
        with suppress(ElementTree.ParseError, UnicodeDecodeError, LookupError):
            root = ElementTree.fromstring(text)  # noqa: S314
            is_answer = root.tag.endswith(("Response", "Error"))  # and no page of a proxy
            for element in root.iter() if is_answer else ():
                if element.text and len(element) == 0:
                    leaves.setdefault(element.tag.rpartition("}")[2], element.text)
    return leaves


def _refused(operation: str, answer: Answer, told: Mapping[str, Any]) -> Refused:
    # A code comes as "ThrottlingException", as "com.amazonaws.secretsmanager#ThrottlingException",
    # or either with ":http://internal.amazon.com/coral/..." behind it; and where a proxy rewrote
    # the body, in the header alone.
    code = next((told[key] for key in ("__type", "code", "Code") if told.get(key)), None)
    code = code or answer.headers.get("x-amzn-errortype")
    text = told.get("message") or told.get("Message")
    return Refused(
        operation,
        code.partition(":")[0].rpartition("#")[2] if isinstance(code, str) else "",
        text if isinstance(text, str) else "",
        answer.status,
        answer.headers,
    )


def _shown(url: str) -> str:
    """Return ``url`` without the user and password that it may hold."""
    return re.sub(r"//[^/]*@", "//", url) if url.isprintable() else "of this store"
