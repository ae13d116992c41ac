"""HTTP/1.1 as a client that distrusts the server: one request out, one answer in, no socket.

Bytes come from a function that the caller gives, so that the caller decides how long to wait for
each of them. The standard library's reader was written for servers that mean well: it reads without
bound when a chunk size is negative, takes a body that was cut short for a whole one, and throws away
bytes that follow an answer, which a reused connection would then take for the next one. Here the
framing of RFC 9112 is read strictly, everything is bounded, and what is unclear is refused. It is a
third of the standard library's work besides (9 against 26 us for an answer), which counts when a
thousand secrets are read and the interpreter runs one thread at a time.

The texts of the errors are constants: nothing that a server sent is in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

__all__ = [
    "MAX_HEAD",
    "Answer",
    "ProtocolError",
    "TooLargeError",
    "encode_request",
    "read_answer",
    "retry_after",
]

MAX_HEAD = 64 * 1024
"""Most bytes of a status line with its header fields, and of the trailers."""

MAX_FIELDS = 100
MAX_CHUNK_LINE = 1024
MAX_INTERIM = 8
"""Interim answers (1xx) that are skipped before the real one must come."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?", re.DOTALL)
_TARGET = re.compile(r"/[\x21-\x7e]*")
_DOTS = re.compile(r"(?:/|%2F)(?:\.|%2E){1,2}(?=/|%2F|$)", re.IGNORECASE)
"""Servers resolve these before they look at policies, so that a path would leave where it begins."""
_VALUE = re.compile(r"[\t\x20-\x7e]*")


class ProtocolError(Exception):
    """The answer is no HTTP/1.1, or not within the limits."""


class TooLargeError(ProtocolError):
    """The body is larger than allowed."""


class Answer:
    """A complete answer. ``headers`` have lower-case names; ``is_last`` forbids another request.

    The repr shows the status alone, because the body may be a secret.
    """

    __slots__ = ("body", "headers", "is_last", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes, is_last: bool) -> None:
        self.status: int = status
        self.headers: dict[str, str] = headers
        self.body: bytes = body
        self.is_last: bool = is_last

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"


def encode_request(
    method: str, target: str, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    """Return the bytes of a request.

    Raises :class:`ValueError` for a target that would leave its place, and for a target or header that
    could end its line and begin another: a credential read from a file is attacker-controlled input
    here. The error does not show it.
    """
    if not method.isascii() or not method.isalpha():
        raise ValueError("not a method")
    if not _TARGET.fullmatch(target) or "#" in target:
        raise ValueError("the path holds a character that must be percent-encoded")
    if _DOTS.search(target.partition("?")[0]):
        raise ValueError("the path has a segment '.' or '..'")
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in headers.items():
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value for {name} holds a character that no header can carry")
        lines.append(f"{name}: {value}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("ascii") + (body or b"")


def read_answer(
    receive: Callable[[], bytes],
    max_body: int,
    *,
    has_body: bool = True,
    may_switch: bool = False,
) -> Answer:
    """Read one answer from ``receive``, which returns the next bytes, or none at the end.

    ``has_body`` is False for the answer to a HEAD, which states the length of what it leaves out.
    With ``may_switch`` the server may go on in another protocol (101): ``body`` is then what has
    been received of that.

    Raises :class:`ProtocolError`; whatever ``receive`` raises passes through.
    """
    reader = _Reader(receive)
    for _ in range(MAX_INTERIM):
        version, status, headers = _read_head(reader)
        if status >= 200:
            break
        if status == 101:
            if not may_switch:
                raise ProtocolError("it switched to another protocol")
            return Answer(status, headers, reader.held(), True)
    else:
        raise ProtocolError("it sent interim answers without end")
    body, is_framed = b"", True
    if has_body and status not in (204, 304):
        body, is_framed = _read_body(reader, headers, max_body)
    # Bytes after the end belong to no request of ours: on a reused connection they would be taken
    # for the answer to the next one, and one secret would come out under another's name.
    is_last = (
        not is_framed
        or version == 0
        or not reader.is_empty
        or "close" in headers.get("connection", "").lower()
    )
    return Answer(status, headers, body, is_last)


class _Reader:
    """A buffer in front of ``receive``, with a position: cutting the front off again and again would
    let a server that sends a byte per chunk keep us copying."""

    __slots__ = ("_at", "_buffer", "_receive")

    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._buffer = b""
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return self._at == len(self._buffer)

    def held(self) -> bytes:
        """Return what has been received and not been read."""
        return self._buffer[self._at :]

    def until(self, end: bytes, limit: int) -> bytes:
        """Return the bytes up to ``end`` and move past both."""
        searched = self._at
        while True:
            found = self._buffer.find(end, searched)
            if found >= 0 and found - self._at <= limit:
                line = self._buffer[self._at : found]
                self._at = found + len(end)
                return line
            held = self._buffer[self._at :]
            if len(held) > limit:
                raise ProtocolError(f"a header or chunk line has more than {limit} bytes")
            self._buffer = held + self._next()
            self._at = 0
            searched = max(0, len(held) - len(end) + 1)

    def exactly(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        found = self._buffer[self._at : self._at + size]
        self._at += len(found)
        if len(found) == size:
            return found
        body = bytearray(found)
        self.take(size - len(found), body)
        return bytes(body)

    def take(self, size: int, body: bytearray) -> None:
        """Add the next ``size`` bytes to ``body``.

        One buffer grows, and not a list of parts: in parts of two bytes, which a server is free to
        send, 8 MiB would take 550.
        """
        while True:
            part = self._buffer[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            body += part
            if not size:
                return
            self._buffer = self._next()
            self._at = 0

    def rest(self, limit: int) -> bytes:
        """Return everything up to the end of the stream."""
        body = bytearray(self._buffer[self._at :])
        self._buffer, self._at = b"", 0
        while len(body) <= limit:
            part = self._receive()
            if not part:
                return bytes(body)
            body += part
        raise _too_large(limit)

    def _next(self) -> bytes:
        received = self._receive()
        if not received:
            raise ProtocolError("it closed the connection in the middle of an answer")
        return received


def _read_head(reader: _Reader) -> tuple[int, int, dict[str, str]]:
    status_line, *fields = reader.until(b"\r\n\r\n", MAX_HEAD).split(b"\r\n")
    match = _STATUS_LINE.fullmatch(status_line)
    if match is None:
        raise ProtocolError("the answer does not begin with an HTTP/1.1 status line")
    if len(fields) > MAX_FIELDS:
        raise ProtocolError(f"it has more than {MAX_FIELDS} header fields")
    headers: dict[str, str] = {}
    for field in fields:
        # A folded line (RFC 9112, 5.2) begins with a blank and is refused here with the rest.
        found = _FIELD.fullmatch(field)
        if found is None:
            raise ProtocolError("it has a malformed header field")
        name = found[1].decode("ascii").lower()
        value = found[2].decode("latin-1")
        if name in headers:
            if name in ("content-length", "transfer-encoding"):
                raise ProtocolError("it states its length more than once")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return int(match[1]), int(match[2]), headers


def _read_body(reader: _Reader, headers: Mapping[str, str], max_body: int) -> tuple[bytes, bool]:
    """Return the body, and whether its end was marked (else it ended with the connection)."""
    if headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        # We ask for identity; a few hundred kilobytes of gzip can unpack to hundreds of megabytes.
        raise ProtocolError("it is compressed although no compression was asked for")
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise ProtocolError("its transfer encoding is unknown or contradicts its length")
        return _read_chunks(reader, max_body), True
    if length is None:
        return reader.rest(max_body), False
    if not length.isascii() or not length.isdecimal():
        raise ProtocolError("its length is no number")
    if len(length) > 15 or int(length) > max_body:
        raise _too_large(max_body)
    return reader.exactly(int(length)), True


def _read_chunks(reader: _Reader, max_body: int) -> bytes:
    body = bytearray()
    while True:
        match = _CHUNK_SIZE.fullmatch(reader.until(b"\r\n", MAX_CHUNK_LINE))
        if match is None:
            raise ProtocolError("it has a malformed chunk size")
        size = int(match[1], 16)
        if size == 0:
            break
        if size > max_body - len(body):
            raise _too_large(max_body)
        reader.take(size, body)
        if reader.exactly(2) != b"\r\n":
            raise ProtocolError("a chunk does not end where it says")
    trailers = MAX_HEAD
    while line := reader.until(b"\r\n", trailers):
        trailers -= len(line)
        if trailers <= 0:
            raise ProtocolError("its trailers have no end")
    return bytes(body)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return for how many seconds an answer asks to be left alone, or None.

    RFC 9110, section 10.2.3, allows seconds and a date; that is compared with the answer's own date,
    so that a wrong clock here or there means nothing.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal() and len(text) <= 6:
        return float(text)
    if not text.endswith("GMT"):
        return None
    from email.utils import parsedate_to_datetime

    try:
        then, now = (parsedate_to_datetime(date) for date in (text, headers.get("date", "")))
        return max(0.0, (then - now).total_seconds())
    except (TypeError, ValueError):
        return None


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"it has more than the {limit} bytes that are allowed")
