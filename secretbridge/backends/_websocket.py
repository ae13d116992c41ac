"""The WebSocket protocol (RFC 6455) as a client that listens: bytes in, messages out, no socket.

A server that pushes news is read as strictly as one that answers: what is unclear or too large ends
the connection. Neither extensions nor subprotocols are asked for, so there is nothing to inflate, and
a message of a few bytes stays one. Of what a client may send only control frames are needed.

The texts of the errors are constants: nothing that a server sent is in them.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1
from typing import TYPE_CHECKING

from .._value import Value, assign
from ._http1 import ProtocolError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CLOSE",
    "MESSAGE",
    "PING",
    "PONG",
    "Frame",
    "FrameReader",
    "check_switch",
    "encode",
    "handshake",
]

CONTINUATION, TEXT, BINARY = 0x0, 0x1, 0x2
CLOSE, PING, PONG = 0x8, 0x9, 0xA
MESSAGE = TEXT
"""The kind of a complete message, whether it came as text or as bytes."""

MAX_CONTROL = 125
"""Most bytes in a control frame (section 5.5)."""

MAX_PARTS = 1024
"""Most frames of one message: empty ones cost the sender nothing, and the list grows with each."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3; the same for everybody


def handshake(nonce: bytes) -> tuple[dict[str, str], str]:
    """Return the headers of the request, and what ``Sec-WebSocket-Accept`` has to be in the answer.

    ``nonce``: 16 random bytes.
    """
    key = b64encode(nonce)
    digest = sha1(key + _GUID, usedforsecurity=False).digest()  # what section 4.2.2 demands
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key.decode(),
    }
    return headers, b64encode(digest).decode()


def check_switch(headers: Mapping[str, str], accept: str) -> None:
    """Raise :class:`ProtocolError` unless an answer 101 is the one to our request (section 4.1).

    Anything else comes from something in between that switched to what it wanted.
    """
    options = [option.strip() for option in headers.get("connection", "").lower().split(",")]
    if (
        headers.get("upgrade", "").lower() != "websocket"
        or "upgrade" not in options
        or headers.get("sec-websocket-accept") != accept
        or "sec-websocket-extensions" in headers
        or "sec-websocket-protocol" in headers
    ):
        raise ProtocolError("it switched to another protocol than WebSocket as it was asked for")


def encode(kind: int, payload: bytes, mask: bytes) -> bytes:
    """Return a control frame to send. ``mask``: 4 random bytes; a client has to mask (5.3)."""
    assert len(payload) <= MAX_CONTROL
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes((0x80 | kind, 0x80 | len(payload))) + mask + masked


class Frame(Value):
    """A message, or a control frame. The repr shows the kind alone."""

    __slots__ = ("kind", "payload")

    kind: int
    payload: bytes

    def __init__(self, kind: int, payload: bytes) -> None:
        assign(self, "kind", kind)
        assign(self, "payload", payload)

    def __repr__(self) -> str:
        return f"<Frame {self.kind}>"


class FrameReader:
    """Takes bytes as they come and gives messages and control frames as they are complete.

    It holds no more than ``max_message`` bytes of a message and one frame.
    """

    def __init__(self, max_message: int) -> None:
        self._max = max_message
        self._buffer = bytearray()
        self._parts: list[bytes] | None = None

    def feed(self, received: bytes) -> list[Frame]:
        """Return what is complete now. Raises :class:`ProtocolError`."""
        self._buffer += received
        frames = []
        while (found := self._next()) is not None:
            is_last, kind, payload = found
            frame = self._taken(is_last, kind, payload)
            if frame is not None:
                frames.append(frame)
        return frames

    def _next(self) -> tuple[bool, int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        kind = first & 0x0F
        if first & 0x70:
            raise ProtocolError("a frame has a bit of an extension that was not asked for")
        if second & 0x80:
            raise ProtocolError("a frame of the server is masked")
        size, start = second & 0x7F, 2
        if kind >= CLOSE:
            if size > MAX_CONTROL or not first & 0x80:
                raise ProtocolError("a control frame is longer than one may be")
        elif size > MAX_CONTROL:
            start += 2 if size == 126 else 8
            if len(buffer) < start:
                return None
            least = 126 if size == 126 else 1 << 16
            size = int.from_bytes(buffer[2:start], "big")
            if size < least:
                raise ProtocolError("a frame states its length in more bytes than it takes")
        if size > self._max - sum(map(len, self._parts or ())):
            raise TooLargeError(f"a message has more than the {self._max} bytes that are allowed")
        if len(buffer) < start + size:
            return None
        payload = bytes(buffer[start : start + size])
        del buffer[: start + size]
        return bool(first & 0x80), kind, payload

    def _taken(self, is_last: bool, kind: int, payload: bytes) -> Frame | None:
        if kind in (CLOSE, PING, PONG):
            return Frame(kind, payload)
        if kind == CONTINUATION:
            if self._parts is None:
                raise ProtocolError("a frame goes on with a message that was not begun")
        elif kind in (TEXT, BINARY):
            if self._parts is not None:
                raise ProtocolError("a message begins within another")
            self._parts = []
        else:
            raise ProtocolError("a frame of an unknown kind")
        if len(self._parts) > MAX_PARTS:
            raise ProtocolError("a message comes in more parts than it needs")
        self._parts.append(payload)
        if not is_last:
            return None
        message = b"".join(self._parts)
        self._parts = None
        return Frame(MESSAGE, message)
