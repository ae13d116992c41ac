"""A stand-in for RabbitMQ: the part of AMQP 0-9-1 in which clients log in.

It greets, takes the answer of mechanism PLAIN, and refuses it as RabbitMQ does for clients that say that
they understand it: with ``Connection.Close`` and code 403. Accepted clients may open a channel and close
what they opened; there are no queues.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Amqp", "serve_amqp"]

_START, _START_OK, _TUNE, _TUNE_OK = (10, 10), (10, 11), (10, 30), (10, 31)
_OPEN, _OPEN_OK, _CLOSE, _CLOSE_OK = (10, 40), (10, 41), (10, 50), (10, 51)
_CHANNEL_OPEN, _CHANNEL_OPEN_OK = (20, 10), (20, 11)
_CHANNEL_CLOSE, _CHANNEL_CLOSE_OK = (20, 40), (20, 41)


class Amqp:
    """Which logins are accepted, and how many were and were not."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.logins: set[tuple[str, str]] = set()
        self.accepted = 0
        self.refused = 0


class _Session(socketserver.StreamRequestHandler):
    amqp: Amqp

    def handle(self) -> None:
        if self.rfile.read(8) != b"AMQP\x00\x00\x09\x01":
            return
        capabilities = _table(_field("authentication_failure_close", b"t\x01"))
        properties = _table(_field("capabilities", b"F" + capabilities))
        greeting = b"\x00\x09" + properties + _long(b"PLAIN") + _long(b"en_US")
        self._send(0, _START, greeting)
        try:
            while self._answer(*self._read()):
                continue
        except (EOFError, OSError):
            return

    def _answer(self, channel: int, method: tuple[int, int], body: bytes) -> bool:
        if method == _START_OK:
            user, password = _plain(body)
            if (user, password) not in self.amqp.logins:
                self.amqp.refused += 1
                text = b"ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"
                self._send(0, _CLOSE, struct.pack(">H", 403) + _short(text) + b"\x00" * 4)
                return True
            self.amqp.accepted += 1
            self._send(0, _TUNE, struct.pack(">HIH", 2047, 131072, 0))
        elif method == _OPEN:
            self._send(0, _OPEN_OK, _short(b""))
        elif method == _CHANNEL_OPEN:
            self._send(channel, _CHANNEL_OPEN_OK, _long(b""))
        elif method == _CHANNEL_CLOSE:
            self._send(channel, _CHANNEL_CLOSE_OK, b"")
        elif method == _CLOSE:
            self._send(0, _CLOSE_OK, b"")
            return False
        return method != _CLOSE_OK

    def _read(self) -> tuple[int, tuple[int, int], bytes]:
        head = self.rfile.read(7)
        if len(head) < 7:
            raise EOFError
        kind, channel, size = struct.unpack(">BHI", head)
        payload = self.rfile.read(size + 1)[:-1]
        if kind != 1:  # a heartbeat
            return channel, (0, 0), b""
        numbers: tuple[int, int] = struct.unpack(">HH", payload[:4])
        return channel, numbers, payload[4:]

    def _send(self, channel: int, method: tuple[int, int], body: bytes) -> None:
        payload = struct.pack(">HH", *method) + body
        self.wfile.write(struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce")


def _plain(body: bytes) -> tuple[str, str]:
    """Return user and password out of a StartOk."""
    at = 4 + struct.unpack(">I", body[:4])[0]  # past the client's properties
    at += 1 + body[at]  # past the mechanism
    size = struct.unpack(">I", body[at : at + 4])[0]
    _, user, password = body[at + 4 : at + 4 + size].decode().split("\0")
    return user, password


def _short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def _long(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


def _field(name: str, value: bytes) -> bytes:
    return _short(name.encode()) + value


def _table(*fields: bytes) -> bytes:
    return _long(b"".join(fields))


@contextmanager
def serve_amqp() -> Iterator[Amqp]:
    """Serve on a loopback port until the block ends."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True
        request_queue_size = 64

    class Session(_Session):
        pass

    with Server(("127.0.0.1", 0), Session) as server:
        Session.amqp = Amqp(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Session.amqp
        server.shutdown()
        thread.join()
