"""The armour under every HTTP backend: one client of one origin that cannot be led astray.

A request goes to the configured address or nowhere. What ambient settings or a hostile answer could
bend is absent rather than switched off: there is no code that follows a redirect, asks a proxy,
reads ``.netrc``, unpacks gzip, or logs a header. TLS is 1.2 or later and always verified. Every
call has one wall-clock deadline that covers name resolution, connecting, the handshake and each
single ``recv``, so a server that drips one byte a second ends with the deadline and not with the
body. Answers are capped while they arrive, and their JSON is read strictly.

urllib3 and requests are left out on purpose: their timeouts begin anew with every ``recv``, importing
them takes 23 and 27 MB of memory and 85 and 110 ms, and reading through them several times the
processor time, which a sidecar shares with the server that it reads from.

Threads may share a :class:`Transport`. Connections are kept alive between requests and belong to the
process that opened them: a forked child calls :meth:`Transport.after_fork`.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from json import JSONDecoder
from typing import Any

from .._tally import process
from ..document import json_span
from ..errors import (
    BackendUnavailable,
    ConfigError,
    DeadlineExceeded,
    SecretBridgeError,
    SecretTooLarge,
)
from . import Deadline
from ._dial import Address, Tls, open_connection
from ._http1 import Answer, ProtocolError, TooLargeError, encode_request, read_answer

__all__ = ["MAX_ANSWER", "Address", "Answer", "Transport", "read_json"]

MAX_ANSWER = 8 << 20
"""Largest accepted answer in bytes: a document of 1 MiB in which JSON escapes every character."""

MAX_IDLE = 16
IDLE_SECONDS = 60.0
"""How many connections are kept open between calls, and how long: below the idle limits of servers
(Vault: 5 minutes) and of most address translators, so that few are found dead."""

_RECEIVE = 64 * 1024


def read_json(body: bytes) -> tuple[str, dict[str, Any]]:
    """Return the text of ``body`` and the object that it holds.

    What two parsers could read differently is refused: a key that stands twice, NaN, nesting beyond
    :data:`secretbridge.document.MAX_DEPTH`, anything that is no object. Fractions and long numbers
    stay text. Raises :class:`ValueError` without any part of the body.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    json_span(text, ())
    found = _decoder.decode(text)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return text, found


def _whole(digits: str) -> int | str:
    # int() refuses more than 4300 digits, which a secret may have.
    return int(digits) if len(digits) < 19 else digits


_decoder = JSONDecoder(parse_int=_whole, parse_float=str)


class Transport:
    """A client of the server at ``address``. No I/O before the first request.

    ``ca_file`` replaces the system's authorities (it does not add to them); ``server_name`` is what
    the certificate must be for when it is not the host of the address. ``timeout`` bounds one
    request in seconds, within the deadline of the call.
    """

    def __init__(
        self,
        address: Address,
        *,
        ca_file: str | None = None,
        client_cert_file: str | None = None,
        client_key_file: str | None = None,
        server_name: str | None = None,
        timeout: float = 10.0,
        max_answer: int = MAX_ANSWER,
    ) -> None:
        self.address = address
        self.unreachable: SecretBridgeError | None = None
        """Why the last attempt to connect failed; None after one that succeeded."""
        self._tls = Tls(ca_file, client_cert_file, client_key_file) if address.is_tls else None
        self._server_name = server_name or address.host
        self.timeout = timeout
        self._max_answer = max_answer
        self._host_header = str(address)
        self._lock = threading.Lock()
        self._idle: list[tuple[socket.socket, float]] = []
        self._busy: set[socket.socket] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Transport {self.address}>"

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        deadline: Deadline,
        body: bytes | None = None,
        only_reads: bool | None = None,
        is_fresh: bool = False,
    ) -> Answer:
        """Send one request and return the complete answer, whatever its status from 200 up.

        ``path`` begins with a slash and is percent-encoded already. ``only_reads`` says that the
        request changes nothing at the server (default: by its method, GET and HEAD); ``is_fresh``
        wants a new connection, which is then the only one that the request is sent on. Raises
        :class:`BackendUnavailable` (also for a redirect, which is never followed),
        :class:`DeadlineExceeded`, :class:`SecretTooLarge` and, for unusable TLS files or header
        values, :class:`ConfigError`. No error holds anything that was sent or received.
        """
        limit = Deadline(min(deadline.remaining(), self.timeout))
        payload = self._encoded(method, path, headers, body)
        try:
            if only_reads is None:
                only_reads = method in ("GET", "HEAD")
            answer = self._exchange(payload, limit, method != "HEAD", only_reads, is_fresh)
        except (OSError, ProtocolError, DeadlineExceeded) as error:
            failure = self._named(error)
            _count("timeout" if isinstance(failure, DeadlineExceeded) else "none")
        else:
            _count(str(answer.status))
            if answer.status < 300 or answer.status >= 400:
                return answer
            failure = self._redirected(answer.status)
        raise failure from None

    def upgrade(
        self, path: str, *, headers: Mapping[str, str], deadline: Deadline
    ) -> tuple[Answer, socket.socket | None]:
        """Ask on a new connection to go on in another protocol; return the answer and, after a 101,
        the connection, which is then the caller's. ``body`` is what came along already.

        Raises as :meth:`request`.
        """
        limit = Deadline(min(deadline.remaining(), self.timeout))
        payload = self._encoded("GET", path, headers, None)
        try:
            sock = self._connect(limit)
            answer = self._converse(sock, payload, limit, has_body=True, may_switch=True)
        except (OSError, ProtocolError, DeadlineExceeded) as error:
            failure = self._named(error)
            _count("timeout" if isinstance(failure, DeadlineExceeded) else "none")
        else:
            _count(str(answer.status))
            if answer.status == 101:
                return answer, sock
            if answer.status < 300 or answer.status >= 400:
                return answer, None
            failure = self._redirected(answer.status)
        raise failure from None

    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections alone and begin without any."""
        self._lock = threading.Lock()
        inherited = [*self._busy, *(sock for sock, _ in self._idle)]
        self._idle, self._busy = [], set()
        for sock in inherited:
            sock.close()  # closes this process's descriptor; says nothing to the server

    def close(self) -> None:
        """Close the connections that are kept open, and end the requests that are under way."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for sock, _ in idle:
            sock.close()
        for sock in busy:
            with suppress(OSError):
                # Wakes the thread that waits on it. Not the method of a TLS connection, which that
                # thread is using.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    # Connections ---------------------------------------------------------------------------------

    def _exchange(
        self, payload: bytes, limit: Deadline, has_body: bool, only_reads: bool, is_fresh: bool
    ) -> Answer:
        sock = None if is_fresh else self._reuse()
        if sock is not None:
            try:
                return self._converse(sock, payload, limit, has_body)
            except _ClosedEarly:
                # The server closed the kept connection while the request was on its way. Only what
                # changes nothing is sent a second time.
                if not only_reads or self._closed:
                    raise
        return self._converse(self._connect(limit), payload, limit, has_body)

    def _converse(
        self,
        sock: socket.socket,
        payload: bytes,
        limit: Deadline,
        has_body: bool,
        may_switch: bool = False,
    ) -> Answer:
        is_kept = is_handed_over = False
        has_answered = False
        with self._lock:
            self._busy.add(sock)

        def receive() -> bytes:
            nonlocal has_answered
            sock.settimeout(limit.remaining())
            received = sock.recv(_RECEIVE)
            has_answered |= bool(received)
            return received

        try:
            rest = memoryview(payload)
            while rest:
                # Not sendall(): over TLS its timeout begins anew with every record.
                sock.settimeout(limit.remaining())
                rest = rest[sock.send(rest) :]
            answer = read_answer(
                receive, self._max_answer, has_body=has_body, may_switch=may_switch
            )
            is_kept = not answer.is_last
            is_handed_over = answer.status == 101
            return answer
        except (ConnectionError, ssl.SSLEOFError, ProtocolError):
            if has_answered:
                raise
            raise _ClosedEarly("it closed the connection without an answer") from None
        finally:
            with self._lock:
                self._busy.discard(sock)
            if is_kept:
                self._keep(sock)
            elif not is_handed_over:
                sock.close()

    def _reuse(self) -> socket.socket | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                sock, since = self._idle.pop()
            # Readable while nothing was asked: closed, or holding bytes that are no answer of ours.
            if time.monotonic() - since < IDLE_SECONDS and not _is_readable(sock):
                return sock
            sock.close()

    def _keep(self, sock: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < MAX_IDLE and not self._closed:
                self._idle.append((sock, time.monotonic()))
                return
        sock.close()

    def _connect(self, limit: Deadline) -> socket.socket:
        try:
            sock = open_connection(self.address.host, self.address.port, limit)
            if self._tls is not None:
                sock = self._tls.wrap(sock, self._server_name, limit)
        except (OSError, ProtocolError, SecretBridgeError) as error:
            self.unreachable = self._named(error)
            raise
        self.unreachable = None
        return sock

    def _encoded(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> bytes:
        sent = {"Host": self._host_header, "Accept-Encoding": "identity", **headers}
        try:
            return encode_request(method, self.address.prefix + path, sent, body)
        except ValueError as error:
            raise ConfigError(
                f"the request cannot be written ({error})",
                hint="look for stray line breaks in the credential files, and at the path",
            ) from None

    # Errors --------------------------------------------------------------------------------------

    def _redirected(self, status: int) -> SecretBridgeError:
        return BackendUnavailable(
            f"{self.address} answered with a redirect (HTTP {status}), which is never followed: it "
            "would carry the credential along",
            hint="set the address of the server itself, or of its load balancer; a standby node "
            "redirects to the active one",
        )

    def _named(self, error: Exception) -> SecretBridgeError:
        """Return ``error`` in our own words: the original may hold what was received."""
        name = self.address
        if isinstance(error, (TimeoutError, DeadlineExceeded)):
            return DeadlineExceeded(
                f"{name} gave no complete answer in time",
                hint="check that the server is reachable and not overloaded, or raise `timeout`",
            )
        if isinstance(error, SecretBridgeError):
            return error
        if isinstance(error, TooLargeError):
            return SecretTooLarge(
                f"the answer of {name} cannot be used: {error}",
                hint="keep large files elsewhere and store their key or address as the secret",
            )
        if isinstance(error, ProtocolError):
            return BackendUnavailable(
                f"the answer of {name} cannot be used: {error}",
                hint="check that the address is the server's own and that no proxy answers instead",
            )
        assert isinstance(error, OSError)
        reason, hint = _reason(error, name)
        return BackendUnavailable(reason, hint=hint)


def _count(code: str) -> None:
    process.add("backend_requests", code)


class _ClosedEarly(ProtocolError):
    """The connection ended before the first byte of an answer."""


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()  # select() fails for descriptors from 1024 up
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _reason(error: OSError, name: object) -> tuple[str, str]:
    """Return what happened and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {name} is not trusted: {error.verify_message}",
            "set `ca_file` to the authority that signed it, and `server_name` when the certificate "
            "is for another name than the address has",
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "unknown reason").replace("_", " ").lower()
        return (
            f"no TLS connection to {name}: {reason}",
            "the server must speak TLS 1.2 or later on this port, and may ask for a client "
            "certificate (`client_cert_file`)",
        )
    if isinstance(error, socket.gaierror):
        return (f"the host name of {name} cannot be resolved", "check the address and the DNS")
    if isinstance(error, ConnectionRefusedError):
        return (f"nothing listens at {name}", "start the server, or correct the address")
    if isinstance(error, ConnectionError):
        return (
            f"{name} broke the connection",
            "check the server's log and what stands in between",
        )
    return (
        f"no connection to {name}: {errno.errorcode.get(error.errno or 0, type(error).__name__)}",
        "check the address and the network",
    )
