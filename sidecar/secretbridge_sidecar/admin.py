"""The sidecar answers about itself on a Unix socket: ``GET /healthz``, ``/readyz`` and ``/status``.

HTTP because every tool speaks it; a Unix socket because a TCP port of loopback can be reached by
every process of the machine, and through a browser or an SSRF from outside. The kernel tells who
connects: root, our own user, and members of the socket's group may ask.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import TYPE_CHECKING, Any, Protocol, Self

from secretbridge.errors import ConfigError

if TYPE_CHECKING:
    from secretbridge.config import ListenConfig

__all__ = ["AdminServer", "ask"]

REQUEST_TIMEOUT = 5.0
"""Seconds that a client has to send its request and take the answer."""


class Asked(Protocol):
    """Who knows the answers."""

    def health(self) -> dict[str, object]:
        """Return what is ready and what is wrong."""

    def stores(self) -> list[dict[str, object]]:
        """Return who each store takes us for."""

    def hardening(self) -> dict[str, object]:
        """Return what the kernel enforces on this process."""


class _Handler(BaseHTTPRequestHandler):
    server_version = "secretbridge-sidecar"
    sys_version = ""
    timeout = REQUEST_TIMEOUT
    server: _Server

    def do_GET(self) -> None:
        if not self._is_allowed():
            self._answer(403, {"error": "this user may not ask"})
            return
        health = self.server.asked.health()
        if self.path == "/status":
            asked = self.server.asked
            told = {"stores": asked.stores(), "hardening": asked.hardening()}
            self._answer(200, {**health, **told})
        elif self.path == "/healthz":
            self._answer(200, {"alive": True})
        elif self.path == "/readyz":
            summary = {"ready": health["ready"], "problems": health["problems"]}
            self._answer(200 if health["ready"] else 503, summary)
        else:
            self._answer(404, {"error": "ask for /healthz, /readyz or /status"})

    def _is_allowed(self) -> bool:
        # SO_PEERCRED (unix(7)): pid, uid and gid of the peer as the kernel saw them at connect.
        raw = self.connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
        )
        _, uid, gid = struct.unpack("3i", raw)
        return uid in (0, os.geteuid()) or gid == self.server.group

    def _answer(self, code: int, body: dict[str, object]) -> None:
        text = json.dumps(body, default=str).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Requests are not logged: a health check every second would drown the log."""

    def address_string(self) -> str:
        return "unix"


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 16
    asked: Asked
    group: int

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event."""


class AdminServer:
    """Serves what ``asked`` knows on the socket of ``listen``, or does nothing if it names none."""

    def __init__(self, listen: ListenConfig, asked: Asked) -> None:
        self.path = str(listen.socket) if listen.socket is not None else None
        self._asked = asked
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        if self.path is None:
            return self
        _remove_stale(self.path)
        mask = os.umask(0o117)  # the socket exists with mode 0660 from its first instant
        try:
            server = _Server(self.path, _Handler)
        except OSError as error:
            raise ConfigError(
                f"sidecar.listen.socket: {self.path} cannot be opened ({error.strerror})",
                hint="name a path in an existing directory that the sidecar may write, "
                "at most 107 characters long",
            ) from None
        finally:
            os.umask(mask)
        server.asked = self._asked
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


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: str, question: str, timeout: float = REQUEST_TIMEOUT) -> tuple[int, dict[str, Any]]:
    """Return status and body of ``GET question`` from the sidecar at ``path``. Raises OSError."""
    connection = _UnixConnection(path, timeout)
    try:
        connection.request("GET", question)
        response = connection.getresponse()
        return response.status, json.loads(response.read(1 << 20))
    finally:
        connection.close()
