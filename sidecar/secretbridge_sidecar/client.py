"""Asking a sidecar that runs: one question, one answer, on its socket or over HTTP.

A health check does this every few seconds in a new process, so it loads little: the standard library's
client takes as long to import as all the rest of such a process.
"""

from __future__ import annotations

import errno
import json
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from secretbridge.backends._http1 import ProtocolError, encode_request, read_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["REQUEST_TIMEOUT", "ask"]

REQUEST_TIMEOUT = 5.0
"""Seconds for a question and its answer."""

_LARGEST = 1 << 24
_RECEIVE = 1 << 16


def ask(
    address: str | tuple[str, int],
    question: str,
    timeout: float = REQUEST_TIMEOUT,
    order: Mapping[str, object] | None = None,
) -> tuple[int, dict[str, Any]]:
    """Return status and body of ``GET question`` from the sidecar at ``address``.

    That is the path of its socket, or what it listens on for HTTP. With ``order`` it is a ``POST`` of
    that. Raises OSError when none answers in time, or something else does.
    """
    end = time.monotonic() + timeout
    host = "localhost" if isinstance(address, str) else _authority(*_reached(*address))
    body = None if order is None else json.dumps(order).encode()
    headers = {"Host": host, "Connection": "close"}
    payload = encode_request("GET" if body is None else "POST", question, headers, body)
    with _connected(address, timeout) as sock:

        def receive() -> bytes:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "no answer in time")
            sock.settimeout(left)
            return sock.recv(_RECEIVE)

        try:
            sock.sendall(payload)
            answer = read_answer(receive, _LARGEST)
            found = json.loads(answer.body)
        except (ProtocolError, ValueError):
            raise OSError(errno.EPROTO, "what answers there is no sidecar") from None
        except TimeoutError:
            raise TimeoutError(errno.ETIMEDOUT, "no answer in time") from None
    if not isinstance(found, dict):
        raise OSError(errno.EPROTO, "what answers there is no sidecar")
    return answer.status, found


def _reached(host: str, port: int) -> tuple[str, int]:
    # Who listens everywhere listens on loopback too.
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _connected(address: str | tuple[str, int], timeout: float) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_connection(_reached(*address), timeout)
    sock = socket.socket(socket.AF_UNIX)
    try:
        # While many knock at once there is no place for one more, and a socket with a timeout of
        # Python's would not wait for it but fail (EAGAIN).
        patience = struct.pack("ll", int(timeout) or 1, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        sock.connect(address)
        sock.settimeout(timeout)
    except BaseException:
        sock.close()
        raise
    return sock
