"""An HTTP API that wants a token, for tests of clients."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Api", "serve_api"]


class Api:
    """What the API accepts, and what it was sent.

    ``tokens`` are accepted; a refusal has the status ``refusal``. ``GET /to?URL`` redirects to URL;
    everything else answers with the length of the body. ``seen`` are the headers of each request.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.tokens: set[str] = set()
        self.header = "Authorization"
        self.scheme = "Bearer "
        self.refusal = 401
        self.seen: list[dict[str, str]] = []
        self.refused = 0

    def accepts(self, value: str | None) -> bool:
        return value is not None and value in {f"{self.scheme}{token}" for token in self.tokens}

    def accept_login(self, user: str, password: str) -> None:
        """Accept this login alone, by Basic."""
        self.scheme = "Basic "
        self.tokens = {b64encode(f"{user}:{password}".encode()).decode()}


@contextmanager
def serve_api() -> Iterator[Api]:
    """Serve on a loopback port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            api.seen.append({name.lower(): value for name, value in self.headers.items()})
            path, _, target = self.path.partition("?")
            if path == "/to":
                self._answer(307, b"", Location=target)
            elif api.accepts(self.headers.get(api.header)):
                self._answer(200, str(len(body)).encode())
            else:
                api.refused += 1
                self._answer(api.refusal, b"no")

        do_POST = do_GET  # noqa: N815 - the name that http.server calls

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = Api(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
