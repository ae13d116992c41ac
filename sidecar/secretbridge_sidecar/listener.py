"""Health and metrics over HTTP, for those who cannot use a Unix socket (a kubelet, Prometheus).

One thread serves all connections and never waits for any of them. A connection has :data:`PATIENCE`
seconds for all it does, however slowly it sends or reads; there are :data:`MOST` of them, and when one
more comes the oldest has to go. So ten thousand that say nothing keep nobody from being answered, and
cost no more than a few.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from secretbridge._tally import process
from secretbridge.errors import ConfigError

from .http_request import END, MAX_HEAD, Hosts, Refusal, read_request
from .routes import Answer, Peer, Question, Standing, respond

if TYPE_CHECKING:
    from collections.abc import Callable

    from secretbridge.config import ListenConfig

    from .routes import Routes

__all__ = ["MOST", "PATIENCE", "HttpListener"]

MOST = 64
PATIENCE = 5.0
_FAREWELL = 0.5
"""Seconds that a client has for reading an answer before the connection is cut. What it sends meanwhile
is thrown away: closing with something unread would take the answer from it (RFC 9112, 9.6)."""

UNFINISHED = Refusal(400, "http_malformed", "the request does not end as it has to")

_AT_ONCE = 16
"""Connections that are taken before those which are there get their turn."""


class _Connection:
    """One client: what it has sent, what it still gets, and when it is over."""

    __slots__ = ("is_answered", "received", "sending", "sock", "until")

    def __init__(self, sock: socket.socket, until: float) -> None:
        self.sock = sock
        self.until = until
        self.received = b""
        self.sending = memoryview(b"")
        self.is_answered = False


class HttpListener:
    """Answers by ``routes`` on the address of ``listen.http``, or does nothing if there is none."""

    def __init__(
        self, listen: ListenConfig, routes: Routes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.address = listen.http
        self._names = listen.http_hosts
        self._routes = routes
        self._clock = clock
        self._connections: dict[int, _Connection] = {}
        self._poll = select.poll()

    def __enter__(self) -> Self:
        if self.address is None:
            return self
        self._hosts = Hosts(*self.address, self._names)
        self._listening = _listening(*self.address)
        self._end, self._stop = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._listening, select.POLLIN)
        self._poll.register(self._end, select.POLLIN)
        self._thread = threading.Thread(target=self._serve, name="sidecar-http", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.address is None:
            return
        os.write(self._stop, b"\0")
        self._thread.join(1.0)
        os.close(self._stop)

    # The loop ------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            for number, happened in self._poll.poll(self._wait()):
                if number == self._end:
                    self._close()
                    return
                if number == self._listening.fileno():
                    self._accept()
                elif number in self._connections:  # and has not had to go a moment ago
                    self._attend(self._connections[number], happened)
            now = self._clock()
            for connection in [c for c in self._connections.values() if c.until <= now]:
                self._drop(connection, "http_slow")

    def _wait(self) -> float | None:
        if not self._connections:
            return None
        first = min(connection.until for connection in self._connections.values())
        return max(0.0, first - self._clock()) * 1000 + 1

    def _close(self) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._listening.close()
        os.close(self._end)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, _ = self._listening.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._make_room()
                return
            sock.setblocking(False)
            if len(self._connections) >= MOST:
                self._drop(next(iter(self._connections.values())), "http_crowded")
            self._connections[sock.fileno()] = _Connection(sock, self._clock() + PATIENCE)
            self._poll.register(sock, select.POLLIN)

    def _make_room(self) -> None:
        # Who knocks goes on knocking: without a pause this thread would do nothing else.
        if self._connections:
            self._drop(next(iter(self._connections.values())), "http_crowded")
        time.sleep(0.05)

    def _drop(self, connection: _Connection, reason: str | None = None) -> None:
        if reason is not None and not connection.is_answered:
            process.add("denied", reason)
        number = connection.sock.fileno()
        del self._connections[number]
        self._poll.unregister(number)
        connection.sock.close()

    # One connection ------------------------------------------------------------------------------

    def _attend(self, connection: _Connection, happened: int) -> None:
        try:
            if connection.sending:
                self._send(connection)
            else:
                self._receive(connection)
        except BlockingIOError:
            return
        except OSError:
            self._drop(connection)
        except Exception:  # noqa: BLE001 - or one client could end all answers
            process.add("denied", "http_malformed")
            self._drop(connection)

    def _receive(self, connection: _Connection) -> None:
        received = connection.sock.recv(MAX_HEAD)
        if connection.is_answered:
            if not received:
                self._drop(connection)
            return
        connection.received += received
        answer = self._answer(connection.received, is_all=not received)
        if answer is not None:
            connection.received = b""
            connection.is_answered = True
            connection.sending = memoryview(answer)
            self._send(connection)
        elif not received:  # it came and said nothing
            self._drop(connection)

    def _send(self, connection: _Connection) -> None:
        connection.sending = connection.sending[connection.sock.send(connection.sending) :]
        if connection.sending:
            self._poll.modify(connection.sock, select.POLLOUT)
            return
        connection.sock.shutdown(socket.SHUT_WR)
        connection.until = min(connection.until, self._clock() + _FAREWELL)
        self._poll.modify(connection.sock, select.POLLIN)

    def _answer(self, head: bytes, *, is_all: bool) -> bytes | None:
        """Return what is sent back, or None while the request is not complete."""
        if END not in head[:MAX_HEAD]:
            if len(head) < MAX_HEAD:
                return _refused(UNFINISHED) if head and is_all else None
            return _refused(Refusal(431, "http_size", "the request is too long"))
        request = read_request(head, self._hosts)
        if isinstance(request, Refusal):
            return _refused(request)
        try:
            found = respond(
                self._routes, Question("GET", request.path, Peer(Standing.MONITOR), b"")
            )
        except Exception:  # noqa: BLE001 - it is no fault of the client
            found = Answer.of(500, {"error": "there is no answer to this now"})
        return _encoded(found, is_head=request.is_head)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        shown = f"[{host}]" if ":" in host else host
        raise ConfigError(
            f"sidecar.listen.http: {shown}:{port} cannot be listened on ({error.strerror})",
            hint="name an address of this machine and a port that is free",
        ) from None
    made.setblocking(False)
    return made


def _refused(refusal: Refusal) -> bytes:
    process.add("denied", refusal.reason)
    return _encoded(Answer.of(refusal.status, {"error": refusal.text}))


def _encoded(answer: Answer, *, is_head: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n"
        f"Content-Type: {answer.kind}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        # A page in a browser can neither read the answer nor have it run as something else.
        "Cache-Control: no-store\r\n"
        "Cross-Origin-Resource-Policy: same-origin\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + (b"" if is_head else answer.body)
