"""The sidecar answers about itself, and takes orders, on a Unix socket. What it answers: ``routes``.

HTTP because every tool speaks it; a Unix socket because a TCP port of loopback can be reached by
every process of the machine, and through a browser or an SSRF from outside. The kernel tells who
connects.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingMixIn, UnixStreamServer
from typing import TYPE_CHECKING, Any, Self

from secretbridge._tally import process
from secretbridge.errors import ConfigError
from secretbridge.generation.grants import ACCESS_LIST, encoded_list

from .client import REQUEST_TIMEOUT
from .http_request import END, MAX_HEAD, Refusal, parsed
from .routes import Answer, Peer, Question, Standing, respond

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from secretbridge.config import ListenConfig

    from .routes import Routes

__all__ = ["AdminServer", "peer_of"]

MOST = 32
"""Connections at the same time. When one more comes, the oldest has to go."""

MAX_BODY = 65536
"""Bytes that a request may bring."""

_WRITE = 2
"""The permission that connecting to a socket takes."""

_SO_PEERGROUPS = 59
"""From asm-generic/socket.h of Linux; the module ``socket`` does not name it."""
_MOST = 1024
"""Bytes that Python lets the kernel answer with, which are 256 groups."""


class _Handler(StreamRequestHandler):
    """One request of one client. ``http.server`` would bring TLS along, and all of mail: 7 MB."""

    timeout = REQUEST_TIMEOUT
    server: _Server

    def handle(self) -> None:
        """Answer, unless the client goes away before it has asked."""
        head = self._head()
        if head is None:
            return
        found = parsed(head)
        if isinstance(found, Refusal):
            self._send(Answer.of(found.status, {"error": found.text}))
            return
        method, target, fields = found
        body = self._body(fields)
        if body is None:
            self._send(Answer.of(413, {"error": f"send up to {MAX_BODY} bytes, and their length"}))
            return
        peer = peer_of(self.connection, self.server.group, self.server.monitors)
        question = Question(method, target.partition("?")[0], peer, body)
        answer = respond(self.server.routes, question)
        if self.server.told is not None:
            self.server.told(question, answer)
        self._send(answer, has_body=method != "HEAD")

    def _head(self) -> bytes | None:
        head = b""
        while not head.endswith(END):
            line = self.rfile.readline(MAX_HEAD + 1 - len(head))
            head += line
            if not line:
                return None
            if len(head) > MAX_HEAD:
                self._send(Answer.of(431, {"error": f"a head has up to {MAX_HEAD} bytes"}))
                return None
        return head.removesuffix(END)

    def _body(self, fields: Mapping[str, list[str]]) -> bytes | None:
        (length, *more) = fields.get("content-length", ["0"])
        is_number = length.isascii() and length.isdigit() and len(length) < 10
        if "transfer-encoding" in fields or more or not is_number or int(length) > MAX_BODY:
            return None
        if fields.get("expect", [""])[0].lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return self.rfile.read(int(length))

    def _send(self, answer: Answer, *, has_body: bool = True) -> None:
        lines = [
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
            f"Content-Type: {answer.kind}",
            f"Content-Length: {len(answer.body)}",
            "Connection: close",
        ]
        head = "\r\n".join(lines).encode("ascii") + END
        self.wfile.write(head + (answer.body if has_body else b""))


def peer_of(connection: socket.socket, group: int, monitors: Collection[int] = ()) -> Peer:
    """Return who is at the other end, as the kernel saw them at connect (unix(7)).

    ``group``: whose members may read. A container gets such a group as a supplementary one.
    ``monitors``: users who may ask for health and figures.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", raw)
    standing = Standing.STRANGER
    if uid in (0, os.geteuid()):
        standing = Standing.OPERATOR
    elif group in (gid, *_other_groups(connection)):
        standing = Standing.READER
    elif uid in monitors:
        standing = Standing.MONITOR
    return Peer(standing, pid or None, uid, gid)  # pid 0: it lives in another PID namespace


def _other_groups(connection: socket.socket) -> tuple[int, ...]:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST)
    except OSError:  # in more groups than that
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128
    routes: Routes
    told: Callable[[Question, Answer], object] | None
    group: int
    monitors: Collection[int]

    def __init__(self, path: str) -> None:
        self._open: dict[socket.socket, None] = {}
        super().__init__(path, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        # Each has a thread, and one that says a byte now and then keeps it: the oldest has to go.
        while len(self._open) >= MOST:
            with suppress(StopIteration, RuntimeError):  # others end by themselves meanwhile
                oldest = next(iter(self._open))
                self._open.pop(oldest, None)
                process.add("denied", "socket_crowded")
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
        self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event."""


class AdminServer:
    """Answers by ``routes`` on the socket of ``listen``, or does nothing if it names none.

    ``told`` hears of each answer before it is sent.
    """

    def __init__(
        self,
        listen: ListenConfig,
        routes: Routes,
        told: Callable[[Question, Answer], object] | None = None,
    ) -> None:
        self._told = told
        self.path = str(listen.socket) if listen.socket is not None else None
        self._routes = routes
        self._monitors = sorted({_user_id(each) for each in listen.monitors})
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        if self.path is None:
            return self
        _remove_stale(self.path)
        mask = os.umask(0o117)  # the socket exists with mode 0660 from its first instant
        try:
            server = _Server(self.path)
        except OSError as error:
            raise ConfigError(
                f"sidecar.listen.socket: {self.path} cannot be opened ({error.strerror})",
                hint="name a path in an existing directory that the sidecar may write, "
                "at most 107 characters long",
            ) from None
        finally:
            os.umask(mask)
        if self._monitors:
            _let_in(self.path, self._monitors)
        server.routes = self._routes
        server.told = self._told
        server.monitors = self._monitors
        server.group = os.stat(self.path).st_gid
        self._server = server
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 60.0}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None and self.path is not None:
            self._server.server_close()
            with suppress(OSError):
                os.unlink(self.path)


def _user_id(user: int | str) -> int:
    if isinstance(user, int):
        return user
    import pwd

    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(
            f"sidecar.listen.monitors: this system knows no user {user!r}",
            hint="give the user's number, because names inside containers rarely agree",
        ) from None


def _let_in(path: str, users: Sequence[int]) -> None:
    """Let ``users`` connect to the socket at ``path``, which its mode lets only its group do."""
    try:
        os.setxattr(path, ACCESS_LIST, encoded_list(0o660, users, _WRITE), follow_symlinks=False)
    except OSError as error:
        raise ConfigError(
            f"sidecar.listen.monitors: the socket {path} cannot be opened to them "
            f"({error.strerror})",
            hint="put it on a tmpfs, or let them share the group of the socket",
        ) from None


def _remove_stale(path: str) -> None:
    """Remove the socket that a killed sidecar left; refuse to remove anything else, or a live one."""
    if not os.path.lexists(path):
        return
    if not Path(path).is_socket() or os.path.islink(path):
        raise ConfigError(
            f"sidecar.listen.socket: {path} exists and is no socket",
            hint="remove it, or name another path",
        )
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            os.unlink(path)
            return
    raise ConfigError(
        f"sidecar.listen.socket: another process answers at {path}",
        hint="stop the other sidecar, or name another path",
    )
