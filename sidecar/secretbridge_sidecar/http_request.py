"""Reading a request that may be meant to trick us: bytes in, a path or a refusal out. No sockets.

Whoever can make another program send requests (a browser by a page, a server by a URL that it
fetches) can make it send them to a port of loopback. Such requests give themselves away: a browser adds
``Origin`` or ``Sec-Fetch-*`` and, if a name was made to point here (DNS rebinding, as with etcd's
CVE-2018-1099), that name as ``Host``; a proxy adds ``X-Forwarded-*``; and who has only a line or two to
plant needs a line break, a body or a second request. So what no monitoring sends is refused, and of
RFC 9112 only the one unambiguous spelling is taken.
"""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["END", "MAX_HEAD", "Hosts", "Refusal", "Request", "parsed", "read_request"]

MAX_HEAD = 8 * 1024
"""Bytes of a request line with its header fields; Prometheus and the kubelet send a few hundred."""

MAX_FIELDS = 50

END = b"\r\n\r\n"

_LINE = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]+) HTTP/1\.[01]")
_TARGET = re.compile(r"/[A-Za-z0-9/_.-]*(?:\?[\x21-\x7e]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*?)[ \t]*")
_TELLTALE = ("x-forwarded-", "sec-", "proxy-", "x-original-", "x-rewrite-", "x-http-method")
_TELLTALES = frozenset(
    {"cookie", "forwarded", "origin", "referer", "upgrade", "via", "x-method-override", "x-real-ip"}
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")


class Request(NamedTuple):
    """What was asked. ``path`` comes without a query; ``is_head`` wants no body."""

    path: str
    is_head: bool


class Refusal(NamedTuple):
    """Why a request is not answered: ``status`` of HTTP, ``reason`` as it is counted, and a text."""

    status: int
    reason: str
    text: str


class Hosts:
    """What a request may call us, when we listen on ``host`` and ``port``.

    On loopback that is an address of loopback, or ``localhost``. On any other address it is every
    address written in digits: what we are called from outside is not known here, and a name that was
    made to point here is no address. ``names`` are allowed besides.
    """

    def __init__(self, host: str, port: int, names: Collection[str] = ()) -> None:
        self._is_loopback = _is_loopback(host)
        self._port = str(port)
        self._names = {name.lower() for name in names}
        if self._is_loopback:
            self._names.add("localhost")

    def allow(self, value: str) -> bool:
        """Whether ``value``, a Host field, means us."""
        found = _HOST.fullmatch(value)
        if found is None or (found[2] or "80") != self._port:
            return False
        name = found[1].lower()
        if name in self._names:
            return True
        address = name.strip("[]")
        return _is_loopback(address) if self._is_loopback else _is_address(address)


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, text)  # takes no 127.1 and no 2130706433, which inet_aton does
            return True
    return False


def _is_loopback(text: str) -> bool:
    return text == "::1" or (text.startswith("127.") and _is_address(text))


def read_request(head: bytes, hosts: Hosts) -> Request | Refusal:
    """Return what ``head`` asks; it ends with :data:`END`, and nothing may follow that."""
    before, _, after = head.partition(END)
    if after:
        return Refusal(400, "http_framing", "something follows the request")
    found = parsed(before)
    if isinstance(found, Refusal):
        return found
    method, target, fields = found
    if method not in ("GET", "HEAD"):
        return Refusal(405, "http_method", "only GET and HEAD are answered")
    refusal = _unwanted(fields) or _misdirected(fields, hosts)
    if refusal is not None:
        return refusal
    if _TARGET.fullmatch(target) is None:
        return Refusal(400, "http_target", "the target is not the path of a question")
    return Request(target.partition("?")[0], method == "HEAD")


def parsed(head: bytes) -> tuple[str, str, dict[str, list[str]]] | Refusal:
    """Return method, target and fields of ``head``, which comes without its end."""
    line, *lines = head.split(b"\r\n")
    parts = _LINE.fullmatch(line)
    if parts is None:
        return Refusal(400, "http_malformed", "this is no request of HTTP/1.1")
    fields = _fields(lines)
    if isinstance(fields, Refusal):
        return fields
    return parts[1].decode("ascii"), parts[2].decode("ascii"), fields


def _fields(lines: list[bytes]) -> dict[str, list[str]] | Refusal:
    fields: dict[str, list[str]] = {}
    if len(lines) > MAX_FIELDS:
        return Refusal(431, "http_size", "too many header fields")
    for line in lines:
        found = _FIELD.fullmatch(
            line
        )  # no line break alone, no field that goes on in the next line
        if found is None:
            return Refusal(400, "http_malformed", "a header field is not as it has to be")
        fields.setdefault(found[1].decode("ascii").lower(), []).append(found[2].decode("latin-1"))
    return fields


def _unwanted(fields: Mapping[str, list[str]]) -> Refusal | None:
    if "transfer-encoding" in fields or fields.get("content-length", ["0"]) != ["0"]:
        return Refusal(400, "http_framing", "a request with a body")
    if "expect" in fields:
        return Refusal(417, "http_framing", "a request with a body")
    for name in fields:
        if name in _TELLTALES or name.startswith(_TELLTALE):
            return Refusal(
                403, "http_header", "sent by a browser or passed on by a proxy; ask directly"
            )
    return None


def _misdirected(fields: Mapping[str, list[str]], hosts: Hosts) -> Refusal | None:
    named = fields.get("host", [])
    if len(named) != 1:
        return Refusal(400, "http_host", "a request names its Host, once")
    if not hosts.allow(named[0]):
        return Refusal(
            421,
            "http_host",
            "this Host is not ours; ask by the address, or add the name to sidecar.listen.http_hosts",
        )
    return None
