"""The fault server that every store of HTTP is run against: an honest server behind a gate.

    with Gate(honest.address) as gate:
        gate.spoil(drip(...))          # from now on requests meet the fault instead of the server
        gate.heal()

Clients talk to the gate. It hands their requests on, counts them, and gives those that a test picks a
behaviour of :mod:`.hostile` in place of the answer. So one table of faults serves every kind of store:
what breaks on the wire is the same for all, and only the wording of refusals is their own.
"""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from .hostile import Behaviour, Connection, HostileServer, response

__all__ = ["Gate", "Request", "once", "say"]

_OF_THE_CONNECTION = ("connection", "content-length", "keep-alive", "transfer-encoding")
"""Header fields of an answer that the gate writes itself."""


@dataclass(frozen=True)
class Request:
    """What a client sent, as far as a test picks by it."""

    method: str
    path: str
    head: bytes
    body: bytes


Pick = Callable[[Request], bool]


@dataclass
class _Fault:
    behaviour: Behaviour
    where: Pick
    times: int | None


def once(data: bytes) -> Behaviour:
    """Answer one request with ``data`` and leave the connection to the gate."""

    def behave(connection: Connection) -> None:
        connection.read_request()
        connection.send(data)

    behave.keeps_open = True  # type: ignore[attr-defined]
    return behave


def say(status: int, body: bytes | str | dict[str, object] = b"", **headers: str) -> Behaviour:
    """Answer with a refusal as the server itself would word it: correctly, and once per request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return once(response(body, status, named))


class Gate(HostileServer):
    """Stands before the server at ``upstream`` (an ``http`` address)."""

    def __init__(self, upstream: str) -> None:
        super().__init__(self._pass_on)
        parts = urlsplit(upstream)
        assert parts.hostname is not None
        assert parts.port is not None
        self._upstream = (parts.hostname, parts.port)
        self._faults: list[_Fault] = []
        self._delay = 0.0
        self._delayed: Pick = lambda request: True
        self.requests: list[Request] = []

    def spoil(
        self,
        behaviour: Behaviour,
        where: Pick = lambda request: True,
        *,
        times: int | None = None,
    ) -> None:
        """Let ``behaviour`` answer the next requests that ``where`` picks; ``times`` of them."""
        self._faults.append(_Fault(behaviour, where, times))

    def delay(self, seconds: float, where: Pick = lambda request: True) -> None:
        """Let the requests that ``where`` picks wait so long before they are handed on."""
        self._delay, self._delayed = seconds, where

    def heal(self, *, drops: bool = True) -> None:
        """Hand everything on again, at once.

        Without ``drops`` the connections that a fault holds stay as they are, as after a partition,
        which no side tells anything of.
        """
        self._faults.clear()
        self._delay = 0.0
        if drops:
            self.drop_connections()

    def close(self) -> None:
        """Refuse connections, as a server that has ended, until :meth:`open`."""
        self.stop_listening()
        self.become(self._pass_on)

    def open(self) -> None:
        """Listen again, on the same port."""
        self.listen()

    def count(self, where: Pick = lambda request: True) -> int:
        """How many requests arrived that ``where`` picks."""
        return sum(where(request) for request in list(self.requests))

    def _pass_on(self, connection: Connection) -> None:
        host, port = self._upstream
        honest = _Upstream(host, port, timeout=60)
        with contextlib.closing(honest):
            while connection.read_request():
                request = _parsed(connection)
                self.requests.append(request)
                behaviour = self._fault_for(request)
                if behaviour is None:
                    if self._delay and self._delayed(request):
                        connection.wait(self._delay)
                    connection.send(_ask(honest, request))
                    continue
                connection.unread()
                behaviour(connection)
                if not getattr(behaviour, "keeps_open", False):
                    return

    def _fault_for(self, request: Request) -> Behaviour | None:
        with self._lock:
            for fault in self._faults:
                if fault.times == 0 or not fault.where(request):
                    continue
                if fault.times is not None:
                    fault.times -= 1
                return fault.behaviour
        return None


class _Upstream(http.client.HTTPConnection):
    debuglevel = 0  # also where a test has the standard library's clients print what they send


def _parsed(connection: Connection) -> Request:
    method, path, _ = connection.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    return Request(method, path, connection.head, connection.body)


def _ask(honest: http.client.HTTPConnection, request: Request) -> bytes:
    """Return the honest server's answer to ``request``."""
    honest.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
    for line in request.head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        honest.putheader(name, value.strip())
    honest.endheaders(request.body or None)
    answer = honest.getresponse()
    body = answer.read()
    kept = [(n, v) for n, v in answer.getheaders() if n.lower() not in _OF_THE_CONNECTION]
    return response(body, answer.status, dict(kept))
