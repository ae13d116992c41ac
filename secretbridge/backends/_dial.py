"""The way to a server: its address, its name looked up, the connection opened, TLS put around it.

Every step ends with the deadline of the call that needs the connection. Errors are the library's
own; :mod:`._transport` names them.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .._value import Value, assign
from ..errors import ConfigError

if TYPE_CHECKING:
    from . import Deadline

    _Found = tuple[Any, Any, int, str, Any]

__all__ = ["Address", "Tls", "open_connection"]


class Address(Value):
    """Where a server is: ``https://host[:port][/prefix]``, or ``http`` where that is allowed."""

    __slots__ = ("host", "is_tls", "port", "prefix")

    host: str
    is_tls: bool
    port: int
    prefix: str

    def __init__(self, text: str, *, allow_plaintext: bool = False) -> None:
        """Parse ``text``. Raises :class:`ValueError` that says what is wrong and what to write."""
        if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
            raise ValueError("the address holds a character that no URL has")
        try:
            url = urlsplit(text)
            port = url.port
        except ValueError:
            raise ValueError("the address is no URL; write https://HOST:PORT") from None
        if url.scheme not in ("https", "http") or not url.hostname:
            raise ValueError("the address is not of the form https://HOST:PORT")
        if url.username is not None or url.password is not None:
            raise ValueError(
                "the address holds a user or password; credentials are given as *_file"
            )
        if "?" in text or "#" in text:
            raise ValueError("the address has a query or fragment; end it after the host and port")
        prefix = url.path.rstrip("/")
        if "%" in prefix or any(part in ("", ".", "..") for part in prefix.split("/")[1:]):
            raise ValueError("the path of the address is not plain; leave it out")
        if url.scheme == "http" and not (allow_plaintext or _is_loopback(url.hostname)):
            raise ValueError(
                "plain http would send the credential and every secret readable over the network; "
                "write https://, or set `allow_plaintext: true` if something else encrypts the way"
            )
        assign(self, "host", url.hostname)
        assign(self, "is_tls", url.scheme == "https")
        assign(self, "port", port or (443 if url.scheme == "https" else 80))
        assign(self, "prefix", prefix)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _is_loopback(host: str) -> bool:
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Tls:
    """The TLS side of connections, read again from its files when one of them has changed."""

    def __init__(
        self, ca_file: str | None, client_cert_file: str | None, client_key_file: str | None
    ) -> None:
        self._ca_file = ca_file
        self._cert_file = client_cert_file
        self._key_file = client_key_file
        self._made: tuple[object, ssl.SSLContext] | None = None

    def wrap(self, sock: socket.socket, server_name: str, limit: Deadline) -> ssl.SSLSocket:
        try:
            sock.settimeout(limit.remaining())
            return self.context().wrap_socket(
                sock, server_hostname=server_name, suppress_ragged_eofs=False
            )
        except BaseException:
            sock.close()
            raise

    def context(self) -> ssl.SSLContext:
        """Return the terms of a connection. Raises :class:`ConfigError` for files that are none."""
        state = tuple(
            _file_state(name)
            for name in (self._ca_file, self._cert_file, self._key_file)
            if name is not None
        )
        made = self._made
        if made is None or made[0] != state:
            self._made = made = (state, self._new_context())
        return made[1]

    def _new_context(self) -> ssl.SSLContext:
        # Not create_default_context(): that one writes the session keys of every connection to the
        # file that the environment variable SSLKEYLOGFILE names.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The names that a certificate is for stand in its extension (RFC 9525, section 2). The common
        # name is free text, in which authorities do not always check what they sign.
        context.hostname_checks_common_name = False
        context.set_alpn_protocols(["http/1.1"])
        reading = self._ca_file
        try:
            if self._ca_file is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(self._ca_file)
            if self._cert_file is not None:
                reading = self._cert_file
                # Without a password function OpenSSL asks for one on the terminal, and waits.
                context.load_cert_chain(self._cert_file, self._key_file, password=lambda: b"")
        except (OSError, ValueError):
            raise ConfigError(
                f"cannot use the TLS file {reading}",
                hint="it must hold PEM; a client key must fit its certificate and have no password",
            ) from None
        return context


def _file_state(name: str) -> tuple[object, ...]:
    try:
        stat = Path(name).stat()
    except OSError as error:
        raise ConfigError(
            f"cannot read the TLS file {name}: {error.strerror}",
            hint="check the path and its permissions",
        ) from None
    return (name, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def open_connection(host: str, port: int, limit: Deadline) -> socket.socket:
    """Connect to the first address of ``host`` that answers."""
    found = _resolve(host, port, limit)
    failure: OSError | None = None
    for index, (family, kind, protocol, _, where) in enumerate(found):
        sock = socket.socket(family, kind, protocol)
        try:
            # An address that swallows packets must leave time for the next one.
            sock.settimeout(limit.remaining() / (len(found) - index))
            sock.connect(where)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            failure = error
            sock.close()
        except BaseException:
            sock.close()
            raise
    raise failure or OSError(errno.EADDRNOTAVAIL, "no address")


def _resolve(host: str, port: int, limit: Deadline) -> list[_Found]:
    """Look ``host`` up, for no longer than ``limit``.

    The system's resolver cannot be interrupted, so it runs in a thread, which stays behind when the
    time is up and ends with the resolver's own patience.
    """
    if host == "localhost":
        # Plain http is allowed to it, so it must not depend on a resolver (RFC 6761, section 6.3).
        return _look_up("127.0.0.1", port, numeric=True) + _look_up("::1", port, numeric=True)
    try:
        return _look_up(host, port, numeric=True)
    except socket.gaierror:
        pass  # a name
    outcome: list[list[_Found] | OSError] = []

    def look_up() -> None:
        try:
            outcome.append(_look_up(host, port))
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=look_up, name="secretbridge-resolve", daemon=True)
    thread.start()
    thread.join(limit.remaining())
    if not outcome:
        raise TimeoutError
    found = outcome[0]
    if isinstance(found, OSError):
        raise found
    return found


def _look_up(host: str, port: int, *, numeric: bool = False) -> list[_Found]:
    flags = socket.AI_NUMERICHOST if numeric else 0
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
