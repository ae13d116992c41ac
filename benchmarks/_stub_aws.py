"""A Secrets Manager on loopback that knows one secret: what peers of ours are fed from."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["SECRET", "secrets_manager"]

SECRET = "x" * 32
_VERSION = "5048b8e2-3f0f-4c5c-9f0a-0b1c2d3e4f50"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:bench-AbCdEf"
        body: dict[str, object] = {"ARN": arn, "Name": "bench"}
        if operation == "DescribeSecret":
            body["VersionIdsToStages"] = {_VERSION: ["AWSCURRENT"]}
        else:
            body |= {"VersionId": _VERSION, "SecretString": SECRET, "VersionStages": ["AWSCURRENT"]}
        payload = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def secrets_manager() -> Iterator[str]:
    """Serve within the block; yields the endpoint's URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
