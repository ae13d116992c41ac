"""Telling by a request: one POST over loopback or a Unix socket, without redirects and proxies."""

from __future__ import annotations

import socket
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from secretbridge.backends._http1 import ProtocolError, encode_request, read_answer

from .deliver import HookFailed

if TYPE_CHECKING:
    import threading

    from secretbridge.config import HttpHook

    from .deliver import News

__all__ = ["Address", "address_of", "post"]

_MAX_ANSWER = 65536
_POLL = 0.1
"""Seconds between looks whether the answer is still wanted."""


class Address(NamedTuple):
    """Where to connect: the path of a Unix socket, or a host (a number) and a port."""

    host: str
    port: int | None
    path: str
    shown: str
    """The host as the server is told of it."""


def address_of(url: str) -> Address:
    """Return what ``url`` says; the configuration has let nothing else through than local ones."""
    if url.startswith("unix:"):
        socket_path, _, path = url.removeprefix("unix:").partition(":")
        return Address(socket_path, None, path or "/", "localhost")
    parts = urlsplit(url)
    host = parts.hostname or ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # Not looked up: a name server, or /etc/hosts, could lead elsewhere.
    number = "127.0.0.1" if host == "localhost" else host
    return Address(number, parts.port or 80, path, parts.netloc)


def post(hook: HttpHook, news: News, unwanted: threading.Event) -> None:
    """Tell the server of ``hook``. Raises :class:`HookFailed` for anything but an answer of 2xx.

    ``unwanted`` ends waiting for an answer.
    """
    address = address_of(hook.http)
    end = time.monotonic() + hook.timeout
    headers = {
        "Host": address.shown,
        "User-Agent": "secretbridge-sidecar",
        "Content-Type": "application/json",
        "Connection": "close",
    }
    try:
        request = encode_request("POST", address.path, headers, news.as_json())
        with closing(_connect(address, hook.timeout)) as connection:
            connection.sendall(request)

            def receive() -> bytes:
                while (left := end - time.monotonic()) > 0 and not unwanted.is_set():
                    connection.settimeout(min(left, _POLL))
                    with suppress(TimeoutError):
                        return connection.recv(65536)
                raise TimeoutError

            status = read_answer(receive, _MAX_ANSWER).status
    except TimeoutError:
        why = "before the sidecar ended" if unwanted.is_set() else f"within {hook.timeout:g} s"
        raise HookFailed(f"no answer {why}") from None
    except OSError as error:
        raise HookFailed(f"no connection ({error.strerror or type(error).__name__})") from None
    except (ProtocolError, ValueError) as error:
        raise HookFailed(f"no sensible answer ({error})") from None
    if not 200 <= status < 300:
        raise HookFailed(f"the answer was {status}")


def _connect(address: Address, timeout: float) -> socket.socket:
    if address.port is not None:
        return socket.create_connection((address.host, address.port), timeout)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(address.host)
    except BaseException:
        connection.close()
        raise
    return connection
