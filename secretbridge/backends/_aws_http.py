"""HTTP under the AWS client: one request, one complete answer, by a fixed time and below a fixed size.

The library's own HTTP session is not used, for what was measured on it: its timeout is per read, so
that a server which sends one byte a second is waited for without end; it has no size cap; it obeys
proxy variables of the environment. Here every receive and send gets what is left of the deadline,
so that neither a slow header nor a slow body can outlast it. Redirects are never followed, proxies
never used, answers never decompressed (none is asked for), and values cross plain HTTP on the
loopback interface only.
"""

from __future__ import annotations

import socket
import ssl
from collections import defaultdict
from http.client import HTTPConnection, HTTPException, RemoteDisconnected
from ipaddress import ip_address
from select import POLLIN, poll
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import (
    BackendUnavailable,
    ConfigError,
    DeadlineExceeded,
    SecretBridgeError,
    SecretTooLarge,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from . import Deadline

MAX_ANSWER = 8 << 20
"""Bytes of one answer: 20 values of 64 KiB in which every byte is a six-byte JSON escape."""

_MAX_IDLE = 8
"""Connections kept per origin: as many as one fetch uses at once."""


class Answer:
    """A complete HTTP answer. ``headers`` has lower-case names."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Sender:
    """Sends requests over connections that it keeps open. Usable from several threads at once."""

    def __init__(self, ca_file: Callable[[], str]) -> None:
        """``ca_file`` returns the file of trusted certificates; asked when TLS is first needed."""
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None
        self._idle: defaultdict[tuple[str, str, int], list[_Connection]] = defaultdict(list)

    def send(
        self, method: str, url: str, headers: Mapping[str, Any], body: Any, deadline: Deadline
    ) -> Answer:
        """Send one request and return the whole answer.

        Raises :class:`DeadlineExceeded`, :class:`BackendUnavailable` (no connection, a broken one,
        no HTTP), :class:`SecretTooLarge` and, for an address that would send values in the clear,
        :class:`ConfigError`.
        """
        origin, target = _split(url)
        failure: SecretBridgeError
        try:
            return self._send(origin, target, method, headers, body, deadline)
        except TimeoutError:
            failure = DeadlineExceeded(
                "no complete answer within the time that was given",
                hint="check that the endpoint is reachable and not overloaded",
            )
        except ssl.SSLError as error:
            failure = BackendUnavailable(
                f"TLS with {origin[1]} failed ({error.reason or type(error).__name__})",
                hint="check the endpoint's certificate; AWS_CA_BUNDLE names other trusted ones",
            )
        except OSError as error:
            failure = BackendUnavailable(
                f"no connection with {origin[1]} port {origin[2]}: "
                f"{error.strerror or type(error).__name__}",
                hint="check the network, the region and endpoint_url",
            )
        except HTTPException as error:
            # By its type alone: the text of these errors repeats what the server sent.
            failure = BackendUnavailable(
                f"{origin[1]} did not answer in valid HTTP ({type(error).__name__})",
                hint="check that endpoint_url is an endpoint of AWS Secrets Manager",
            )
        raise failure

    def close(self) -> None:
        """Close the idle connections. One in use is closed when its call ends."""
        idle, self._idle = self._idle, defaultdict(list)
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _send(
        self,
        origin: tuple[str, str, int],
        target: str,
        method: str,
        headers: Mapping[str, Any],
        body: Any,
        deadline: Deadline,
    ) -> Answer:
        connection = self._reusable(origin)
        if connection is not None:
            try:
                return self._exchange(connection, origin, target, method, headers, body, deadline)
            except (RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                # The server closed an idle connection just then. All our requests only read, so
                # sending one again on a fresh connection is safe.
                pass
        connection = _Connection(origin, self._tls() if origin[0] == "https" else None)
        return self._exchange(connection, origin, target, method, headers, body, deadline)

    def _exchange(
        self,
        connection: _Connection,
        origin: tuple[str, str, int],
        target: str,
        method: str,
        headers: Mapping[str, Any],
        body: Any,
        deadline: Deadline,
    ) -> Answer:
        complete = False
        try:
            connection.use_until(deadline)
            connection.request(method, target, body, dict(headers))
            response = connection.getresponse()
            if (response.length or 0) > MAX_ANSWER:
                raise _too_large()
            content = response.read(MAX_ANSWER + 1)
            if len(content) > MAX_ANSWER:
                raise _too_large()
            complete = response.isclosed() and not response.length and not response.will_close
            names = {name.lower(): value for name, value in response.getheaders()}
        finally:
            idle = self._idle[origin]
            if complete and len(idle) < _MAX_IDLE:
                idle.append(connection)
            else:
                connection.close()
        if response.length:
            raise BackendUnavailable(
                "the connection ended in the middle of the answer",
                hint="check proxies and load balancers on the way to the endpoint",
            )
        if names.get("content-encoding", "identity") != "identity":
            raise BackendUnavailable(
                "the answer is compressed although that was not asked for",
                hint="check proxies on the way to the endpoint",
            )
        return Answer(response.status, names, content)

    def _reusable(self, origin: tuple[str, str, int]) -> _Connection | None:
        idle = self._idle[origin]
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return None
            if connection.is_quiet():
                return connection
            connection.close()

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            # Not create_default_context(): it writes the session keys to the file that the
            # environment variable SSLKEYLOGFILE names.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_verify_locations(self._ca_file())
            context.sslsocket_class = _TimedTlsSocket
            self._context = context
        return self._context


class _Timed:
    """A socket whose every send and receive ends at one point in time.

    A plain timeout starts anew with each receive; a server that drips would never exceed it.
    """

    deadline: Deadline | None = None

    def _limit(self) -> None:
        if self.deadline is not None:
            self.settimeout(self.deadline.remaining())  # type: ignore[attr-defined]


class _TimedSocket(_Timed, socket.socket):
    def recv_into(self, *args: Any) -> int:
        self._limit()
        return super().recv_into(*args)

    def sendall(self, *args: Any) -> None:
        self._limit()
        super().sendall(*args)


class _TimedTlsSocket(_Timed, ssl.SSLSocket):
    def recv_into(self, *args: Any) -> int:
        self._limit()
        return super().recv_into(*args)

    def send(self, *args: Any) -> int:
        self._limit()
        return super().send(*args)


class _Connection(HTTPConnection):
    debuglevel = 0  # whatever was set on HTTPConnection: it would print headers with tokens

    def __init__(self, origin: tuple[str, str, int], context: ssl.SSLContext | None) -> None:
        super().__init__(origin[1], origin[2])
        self._tls = context
        self._until: Deadline | None = None

    @property
    def default_port(self) -> int:  # type: ignore[override]
        """The port that is left out of the Host header, which has to be as it was signed."""
        return 443 if self._tls is not None else 80

    def use_until(self, deadline: Deadline) -> None:
        deadline.remaining()
        self._until = deadline
        open_socket: Any = self.sock
        if open_socket is not None:
            open_socket.deadline = deadline

    def connect(self) -> None:
        assert self._until is not None
        sock: Any = _open(self.host, self.port, self._until)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                # The handshake as a whole keeps to the timeout that the socket has.
                sock.settimeout(self._until.remaining())
                sock = self._tls.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
        sock.deadline = self._until
        self.sock = sock

    def is_quiet(self) -> bool:
        """Whether the server has neither closed this idle connection nor sent unasked bytes."""
        if self.sock is None:
            return False
        watch = poll()
        watch.register(self.sock, POLLIN)
        return not watch.poll(0)


def _open(host: str, port: int, deadline: Deadline) -> _TimedSocket:
    """Connect to the first address that answers; each gets its share of the time that is left."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    last: OSError = OSError("the name has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = _TimedSocket(family, kind, protocol)
        try:
            sock.settimeout(deadline.remaining() / (len(addresses) - index))
            sock.connect(address)
        except OSError as error:
            last = error
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last


def _split(url: str) -> tuple[tuple[str, str, int], str]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ConfigError(
            f"the endpoint {parts.scheme}://{host} would send secret values in the clear",
            hint="use an https:// endpoint; http:// is accepted for localhost only",
        )
    port = parts.port or (443 if parts.scheme == "https" else 80)
    target = parts.path or "/"
    return (parts.scheme, host, port), f"{target}?{parts.query}" if parts.query else target


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address) never leaves this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _too_large() -> SecretTooLarge:
    return SecretTooLarge(
        f"the answer is larger than {MAX_ANSWER} bytes",
        hint="check that endpoint_url is an endpoint of AWS Secrets Manager",
    )
