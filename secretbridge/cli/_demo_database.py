"""A database for the demo: one question, one answer, and passwords that are really checked.

It listens on a Unix socket and speaks one JSON object per line: first ``{"user", "password"}``, then
``{"query"}`` as often as one likes; each is answered by ``{"result"}`` or ``{"error"}``. Two passwords
are accepted for the time of a rotation. Withdrawing one also ends the sessions that were opened with
it, so an application that had not logged in again in time would be seen to fail.

Like a real one it keeps no password, only salted hashes.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from hashlib import sha256
from hmac import compare_digest
from socketserver import StreamRequestHandler, ThreadingMixIn, UnixStreamServer
from typing import Any

__all__ = ["Database", "can_log_in"]

_ORDERS = 42
_LONGEST = 4096


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    database: Database

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event."""


class _Session(StreamRequestHandler):
    server: _Server
    timeout = 30.0

    def handle(self) -> None:
        database = self.server.database
        login = self._question()
        digest = database.log_in(str(login.get("user")), str(login.get("password")))
        self._answer({"result": "welcome"} if digest else {"error": "wrong user or password"})
        while digest and self._question():
            if not database.query(digest):
                self._answer({"error": "the password of this session is no longer accepted"})
                return
            self._answer({"result": _ORDERS})

    def _question(self) -> dict[str, object]:
        try:
            question = json.loads(self.rfile.readline(_LONGEST) or b"{}")
        except ValueError:
            return {}
        return question if isinstance(question, dict) else {}

    def _answer(self, answer: dict[str, object]) -> None:
        self.wfile.write(json.dumps(answer).encode() + b"\n")


class Database:
    """The database, in threads of this process, until it is closed.

    ``answered`` and ``refused`` count queries, ``rejected`` counts logins.
    """

    def __init__(self, path: str) -> None:
        """Listen on the socket ``path``, which only our own user may connect to."""
        self.answered = 0
        self.refused = 0
        self.rejected = 0
        self._salt = os.urandom(16)
        self._accepted: dict[bytes, int] = {}
        self._lock = threading.Lock()
        mask = os.umask(0o177)
        try:
            self._server = _Server(path, _Session)
        finally:
            os.umask(mask)
        self._server.database = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def accept(self, user: str, password: str) -> None:
        """From now on let ``user`` in with ``password``, and with the earlier ones as well."""
        with self._lock:
            self._accepted[self._digest(user, password)] = 0

    def withdraw(self, user: str, password: str) -> None:
        """From now on refuse ``password``, and the sessions that it opened."""
        with self._lock:
            del self._accepted[self._digest(user, password)]

    def logins(self, user: str, password: str) -> int:
        """Return how many sessions this password, which must be accepted now, has opened."""
        with self._lock:
            return self._accepted[self._digest(user, password)]

    def close(self) -> None:
        """Stop listening. Sessions end with their clients."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def log_in(self, user: str, password: str) -> bytes | None:
        """Return what stands for the session, or None when it is refused."""
        given = self._digest(user, password)
        with self._lock:
            for digest in self._accepted:
                if compare_digest(digest, given):
                    self._accepted[digest] += 1
                    return digest
            self.rejected += 1
        return None

    def query(self, session: bytes) -> bool:
        """Count a query, and say whether its session is still welcome."""
        with self._lock:
            if session in self._accepted:
                self.answered += 1
                return True
            self.refused += 1
            return False

    def _digest(self, user: str, password: str) -> bytes:
        # The passwords are random and long; one that a person chose would need scrypt here.
        return sha256(self._salt + json.dumps([user, password]).encode()).digest()


def can_log_in(path: str, user: str, password: str) -> bool:
    """Say whether the database at ``path`` lets somebody in."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5.0)
        connection.connect(path)
        with connection.makefile("rw", encoding="utf-8") as lines:
            lines.write(json.dumps({"user": user, "password": password}) + "\n")
            lines.flush()
            return "result" in json.loads(lines.readline() or "{}")
