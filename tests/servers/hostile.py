"""A server that means harm, or is broken: every fault that a client of HTTP has to survive.

    with HostileServer(drip(response({"data": {}}), seconds=0.1)) as server:
        ... server.address, server.heads ...

A behaviour is a function of one connection. What clients sent is kept in ``heads``, so that a test can
prove that a credential did not arrive. Every wait ends when the server is stopped, so no test waits
for a fault that it has seen enough of.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = [
    "Behaviour",
    "Connection",
    "HostileServer",
    "answer",
    "cut",
    "deep_json",
    "drip",
    "duplicate_keys",
    "endless",
    "gzip_bomb",
    "hang",
    "packed",
    "raw",
    "redirect",
    "reset",
    "response",
    "sequence",
    "wrong_length",
]


class Connection:
    """One client, as a behaviour sees it."""

    def __init__(self, server: HostileServer, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.head = self.body = b""
        self._is_unread = False

    def read_request(self) -> bytes:
        """Return the next request's head, which is noted; empty at the end of the connection."""
        if self._is_unread:
            self._is_unread = False
            return self.head
        received = b""
        while b"\r\n\r\n" not in received:
            part = self.sock.recv(65536)
            if not part:
                return b""
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(body) < length:
            body += self.sock.recv(65536)
        self.server.heads.append(head)
        self.server.bodies.append(body)
        self.head, self.body = head, body
        return head

    def unread(self) -> None:
        """Give the last request out once more, to the behaviour that is to answer it."""
        self._is_unread = True

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def wait(self, seconds: float) -> bool:
        """Wait; True when the server is being stopped."""
        return self.server.is_stopping.wait(seconds)


Behaviour = Callable[[Connection], None]


class HostileServer:
    """Runs ``behaviour`` for every connection, each in its own thread."""

    def __init__(
        self,
        behaviour: Behaviour,
        *,
        certificate: tuple[Path, Path] | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.behaviour = behaviour
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.is_stopping = threading.Event()
        self.connections = 0
        self._tls = tls
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._host = host
        self._listener: socket.socket | None = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"{'http' if self._tls is None else 'https'}://{host}:{self.port}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.is_stopping.set()
        self.stop_listening()
        self.drop_connections()

    def listen(self) -> None:
        """Accept connections; after :meth:`stop_listening` on the same port as before."""
        if self._listener is None:
            self._listener = socket.create_server((self._host, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def speak_tls(self, context: ssl.SSLContext) -> None:
        """Put TLS around the connections that come from now on."""
        self._tls = context
        self.address = f"https://{self._host}:{self.port}"

    def stop_listening(self) -> None:
        """Refuse connections. Those that are open stay."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _shut(listener)
            listener.close()

    def drop_connections(self) -> None:
        """End every connection that is open."""
        with self._lock:
            dropped = list(self._open)
        for sock in dropped:
            _shut(sock)

    def become(self, behaviour: Behaviour) -> None:
        """Behave differently from now on; kept connections are dropped."""
        self.behaviour = behaviour
        self.drop_connections()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            with self._lock:
                self._open.add(sock)  # here, so that whoever drops all of them has this one too
                is_over = self._listener is not listener
            if is_over:
                _shut(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        wrapped = sock
        with self._lock:
            self._open.add(sock)
        try:
            if self._tls is not None:
                wrapped = self._tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._open.add(wrapped)
            self.behaviour(Connection(self, wrapped))
        except (OSError, ValueError):
            pass  # the client left, which is what most tests want of it
        finally:
            with self._lock:
                self._open -= {sock, wrapped}
            wrapped.close()


def _shut(sock: socket.socket) -> None:
    # A close alone does not wake a thread that waits in accept() or recv().
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def response(
    body: bytes | str | Mapping[str, object] = b"",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of an honest answer."""
    if isinstance(body, Mapping):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    fields.update(headers or {})
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body


def raw(data: bytes, *, keeps_open: bool = False) -> Behaviour:
    """Send ``data`` for each request, whatever it is; close afterwards unless told otherwise."""

    def behave(connection: Connection) -> None:
        while connection.read_request():
            connection.send(data)
            if not keeps_open:
                return

    return behave


def answer(
    body: bytes | str | Mapping[str, object] = b"",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """Answer every request so, correctly, on a connection that stays open."""
    return raw(response(body, status, headers), keeps_open=True)


def sequence(*answers: bytes) -> Behaviour:
    """Give these answers one after the other, over all connections, then the last one again."""
    left = list(answers)
    lock = threading.Lock()

    def behave(connection: Connection) -> None:
        while connection.read_request():
            with lock:
                data = left.pop(0) if len(left) > 1 else left[0]
            connection.send(data)

    return behave


def hang() -> Behaviour:
    """Take the request and never answer."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.wait(600)

    return behave


def drip(data: bytes, seconds: float) -> Behaviour:
    """Answer with one byte every ``seconds``: no single wait is long, the whole never ends."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        for index in range(len(data)):
            connection.send(data[index : index + 1])
            if connection.wait(seconds):
                return

    return behave


def cut(data: bytes) -> Behaviour:
    """Send ``data``, the beginning of an answer, and close."""
    return raw(data)


def reset(after: bytes = b"") -> Behaviour:
    """Send ``after`` and reset the connection instead of closing it."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(after)
        # A linger time of zero turns the close into a reset.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave


def wrong_length(body: bytes, claimed: int) -> Behaviour:
    """Claim a length that the body does not have."""
    return raw(response(body, headers={"Content-Length": str(claimed)}))


def redirect(location: str, status: int = 307) -> Behaviour:
    """Send every request somewhere else."""
    return answer(b"", status, {"Location": location})


def packed(size: int) -> bytes:
    """Return an answer of JSON that is ``size`` bytes long when unpacked, and short on the wire."""
    body = gzip.compress(b'{"data":{"password":"' + b"0" * size + b'"}}', compresslevel=9)
    return response(body, headers={"Content-Encoding": "gzip"})


def gzip_bomb(size: int) -> Behaviour:
    """Answer every request with :func:`packed`."""
    return raw(packed(size), keeps_open=True)


def deep_json(levels: int) -> Behaviour:
    """Answer with arrays inside arrays."""
    return answer(b'{"data":' + b"[" * levels + b"]" * levels + b"}")


def duplicate_keys() -> Behaviour:
    """Answer with an object in which one key stands twice, which parsers read differently."""
    return answer(b'{"data":{"password":"first","password":"second"}}')


def endless(head: bytes, block: bytes) -> Behaviour:
    """Send ``head``, then ``block`` again and again."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(head)
        while not connection.server.is_stopping.is_set():
            connection.send(block)

    return behave
