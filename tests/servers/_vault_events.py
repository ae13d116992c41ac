"""The events of the in-process Vault: what each change tells, and the WebSocket that carries it.

The protocol is that of the library wsproto, so that our client meets another reading of the RFC. The
form of the events is the one in HashiCorp's documentation and in the Agent's own listener; Vault
Enterprise itself cannot be run in tests.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    TextMessage,
)

from ._vault_engines import Engine
from ._vault_state import Request

__all__ = ["PATH", "Subscriber", "event_of"]

PATH = "sys/events/subscribe/"

_OPERATIONS = {
    ("data", "POST"): "data-write",
    ("data", "PUT"): "data-write",
    ("data", "PATCH"): "data-patch",
    ("data", "DELETE"): "data-delete",
    ("metadata", "POST"): "metadata-write",
    ("metadata", "GET"): "metadata-read",
    ("metadata", "DELETE"): "metadata-delete",
    ("delete", "POST"): "delete",
    ("undelete", "POST"): "undelete",
    ("destroy", "POST"): "destroy",
    ("config", "POST"): "config-write",
}


def event_of(
    mount: str, engine: Engine, request: Request, content: dict[str, Any] | None, now: float
) -> dict[str, Any] | None:
    """Return the event of a request that an engine has answered, None when it causes none."""
    if engine.type != "kv":
        return None
    path = request.path
    metadata: dict[str, str] = {"modified": "true", "path": path}
    if (engine.options or {}).get("version") == "2":
        section = path[len(mount) + 1 :].partition("/")[0]
        operation = _OPERATIONS.get((section, request.method))
        if operation is None:
            return None
        kind = "kv-v2"
        if operation == "metadata-read":
            metadata["modified"] = "false"
        if section in ("data", "metadata"):
            metadata["data_path"] = path.replace(f"{mount}/metadata/", f"{mount}/data/", 1)
        if operation == "data-write" and content is not None:
            metadata["current_version"] = str(content["data"]["version"])
            metadata["oldest_version"] = "0"
        if section in ("delete", "undelete", "destroy"):
            metadata[f"{section}d_versions"] = json.dumps(request.body.get("versions"))
    else:
        operation = {"POST": "write", "PUT": "write", "DELETE": "delete"}.get(request.method)
        if operation is None:
            return None
        kind = "kv-v1"
    id_ = secrets.token_hex(16)
    return {
        "id": id_,
        "source": "vault://tests",
        "specversion": "1.0",
        "type": "*",
        "data": {
            "event": {"id": id_, "metadata": {**metadata, "operation": operation}},
            "event_type": f"{kind}/{operation}",
            "plugin_info": {
                "mount_class": "secret",
                "mount_accessor": "kv_5dc4d18e",
                "mount_path": f"{mount}/",
                "plugin": "kv",
            },
        },
        "datacontentype": "application/cloudevents",
        "time": datetime.fromtimestamp(now, UTC).isoformat(),
    }


class Subscriber:
    """One WebSocket, from the bytes of its handshake on. ``wants`` decides which events it gets."""

    def __init__(
        self, head: bytes, send: Callable[[bytes], None], wants: Callable[[str], bool]
    ) -> None:
        self._send = send
        self._wants = wants
        self._connection = WSConnection(ConnectionType.SERVER)
        self.pongs = 0
        self.has_ended = False
        self._connection.receive_data(head)
        for _ in self._connection.events():  # the request itself, which has been looked at already
            send(self._connection.send(AcceptConnection()))

    def receive(self, data: bytes) -> None:
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, Ping):
                self.pongs += 1
                self._send(self._connection.send(event.response()))
            elif isinstance(event, CloseConnection):
                self.has_ended = True
                self._send(self._connection.send(event.response()))

    def tell(self, event: dict[str, Any]) -> None:
        metadata = event["data"]["event"]["metadata"]
        if self._wants(metadata.get("data_path", metadata["path"])):
            self.send(TextMessage(data=json.dumps(event) + "\n"))

    def send(self, event: Event) -> None:
        """Send any event of wsproto, such as a ping, or a message in several frames."""
        self._send(self._connection.send(event))

    def send_bytes(self, data: bytes) -> None:
        """Send a message as bytes."""
        self.send(BytesMessage(data=data))
