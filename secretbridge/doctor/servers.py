"""One look at a server: its TLS, its certificate and its clock. No credential is sent."""

from __future__ import annotations

import ssl
import time
import warnings
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from urllib.parse import urlsplit

from ..backends._dial import Tls
from ..backends._reach import Reach
from ..errors import ConfigError
from .facts import Server

__all__ = ["look_at_server"]

TIMEOUT = 5.0
_DAY = 86400.0


def look_at_server(store: str, url: str, reach: Reach) -> Server:
    """Return what is seen of the server at ``url``."""
    parts = urlsplit(url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    shown = f"{parts.scheme}://{host}:{port}"
    version, expires_in, skew, problem, oldest = None, None, None, None, None
    try:
        with _Connection(host, port, reach, is_tls) as connection:
            version, expires_in = connection.version, connection.expires_in
            skew = connection.skew()
        if is_tls:
            oldest = _oldest(host, port)
    except ssl.SSLCertVerificationError as error:
        problem = f"its certificate is not trusted ({error.verify_message})"
    except ssl.SSLError as error:
        problem = f"no TLS of version 1.2 or later ({error.reason or 'the handshake failed'})"
    except ConfigError as error:
        problem = error.message
    except (OSError, HTTPException, ValueError) as error:
        problem = f"it cannot be asked ({getattr(error, 'strerror', None) or type(error).__name__})"
    return Server(
        store, shown, is_tls, _is_loopback(host), version, oldest, expires_in, skew, problem
    )


class _Connection:
    def __init__(self, host: str, port: int, reach: Reach, is_tls: bool) -> None:
        self.version: str | None = None
        self.expires_in: float | None = None
        self._http = (
            _Named(host, port, reach) if is_tls else HTTPConnection(host, port, timeout=TIMEOUT)
        )

    def __enter__(self) -> _Connection:
        self._http.connect()
        sock = self._http.sock
        if isinstance(sock, ssl.SSLSocket):
            self.version = sock.version()
            ends = (sock.getpeercert() or {}).get("notAfter")
            if isinstance(ends, str):
                self.expires_in = (ssl.cert_time_to_seconds(ends) - time.time()) / _DAY
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def skew(self) -> float | None:
        """Return how many seconds the server's clock is ahead of ours, if it tells its time."""
        before = time.time()
        self._http.request("HEAD", "/")
        date = self._http.getresponse().headers.get("Date")
        after = time.time()
        if date is None:
            return None
        # It has whole seconds: what lies in the middle of that second and of our waiting is meant.
        return parsedate_to_datetime(date).timestamp() + 0.5 - (before + after) / 2


class _Named(HTTPSConnection):
    """A connection with the store's own terms of TLS, and the name that it expects."""

    def __init__(self, host: str, port: int, reach: Reach) -> None:
        certificate, key = reach.certificate or (None, None)
        context = Tls(reach.ca_file, certificate, key).context()
        super().__init__(host, port, timeout=TIMEOUT, context=context)
        self._terms = context, reach.server_name or host

    def connect(self) -> None:
        HTTPConnection.connect(self)
        context, name = self._terms
        self.sock = context.wrap_socket(self.sock, server_hostname=name)


def _oldest(host: str, port: int) -> str | None:
    """Return the version below 1.2 that the server agrees to, if our library can still speak one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        plain = HTTPConnection(host, port, timeout=TIMEOUT)
        plain.connect()
        with context.wrap_socket(plain.sock) as secured:
            return secured.version()
    except (OSError, ValueError):
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
