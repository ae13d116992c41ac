"""What the sidecar of a configuration says of itself, over its socket."""

from __future__ import annotations

import json
import socket

from ..errors import BackendUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..config import Config

__all__ = ["ask_sidecar"]

_ANSWER_LIMIT = 1 << 24
_TIMEOUT = 5.0


def ask_sidecar(config: Config) -> dict[str, Any] | None:
    """Return what the sidecar says of itself, or None when none is to be asked or none answers.

    Raises :class:`BackendUnavailable` when it does not answer this user.
    """
    if config.sidecar is None or config.sidecar.listen.socket is None:
        return None
    received = b""
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(_TIMEOUT)
            asking.connect(str(config.sidecar.listen.socket))
            asking.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            while (part := asking.recv(65536)) and len(received) < _ANSWER_LIMIT:
                received += part
    except OSError:
        return None
    head, _, body = received.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise BackendUnavailable(
            "the sidecar does not answer this user", hint="ask as its user, its group, or root"
        )
    try:
        state: dict[str, Any] = json.loads(body)
    except ValueError:
        return None
    return state
