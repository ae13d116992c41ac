"""Requests that somebody else is made to send (SSRF, a page in a browser), at the HTTP listener.

Each meets a server first that answers as the standard library does, and gets what it came for. Then it
meets a sidecar: it gets nothing, and the refusal is counted.
"""

from __future__ import annotations

import json
import re
import resource
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.place import Place, memory_directory

PRIZE = b"secretbridge_ready 1.0"


class Plain(BaseHTTPRequestHandler):
    """What many would write: whoever asks for the metrics gets them."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = self.path.endswith("/metrics")
        body = PRIZE + b"\n" if found else b"not found\n"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def weak(kind: type[HTTPServer] = ThreadingHTTPServer) -> Iterator[int]:
    with kind(("127.0.0.1", 0), Plain) as server:
        server.daemon_threads = True  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="secretbridge-test-", dir=memory_directory()) as root:
        made = Place(Path(root))
        yield made
        made.stop()


@pytest.fixture(scope="module")
def sidecar(place: Place) -> int:
    port = free_port()
    place.configure(listen={"http": f"127.0.0.1:{port}"})
    place.start()
    return port


def sent(port: int, raw: bytes, timeout: float = 5.0) -> bytes:
    """Send ``raw``, with the port in the place of PORT, and return all that is answered."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock, suppress(OSError):
        sock.sendall(raw.replace(b"PORT", str(port).encode()))
        sock.shutdown(socket.SHUT_WR)
        while part := sock.recv(65536):
            received += part
    return received


HONEST = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n"

ATTACKS = {
    "a name that was made to point here (DNS rebinding)": (
        b"GET /metrics HTTP/1.1\r\nHost: attacker.example:PORT\r\nConnection: close\r\n\r\n",
        "http_host",
    ),
    "no name at all": (b"GET /metrics HTTP/1.0\r\n\r\n", "http_host"),
    "two names": (
        b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nHost: attacker.example\r\n"
        b"Connection: close\r\n\r\n",
        "http_host",
    ),
    "an address that only some read as ours": (
        b"GET /metrics HTTP/1.1\r\nHost: 2130706433:PORT\r\nConnection: close\r\n\r\n",
        "http_host",
    ),
    "a page that fetches": (
        HONEST[:-2] + b"Origin: https://attacker.example\r\n\r\n",
        "http_header",
    ),
    "a page that shows an image": (
        HONEST[:-2] + b"Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: cross-site\r\n\r\n",
        "http_header",
    ),
    "a server that passes requests on": (
        HONEST[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\n",
        "http_header",
    ),
    "a proxy that was given our address": (
        b"GET http://127.0.0.1:PORT/metrics HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n"
        b"Connection: close\r\n\r\n",
        "http_target",
    ),
    "a form": (
        b"POST /metrics HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: 3\r\n"
        b"Connection: close\r\n\r\na=b",
        "http_framing",
    ),
    "a form without fields": (
        b"POST /metrics HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nContent-Length: 0\r\n"
        b"Connection: close\r\n\r\n",
        "http_method",
    ),
    "line breaks in what another server puts into its request": (
        b"GET /planted\r\nHost: 127.0.0.1:PORT\r\n\r\n"
        b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nConnection: close\r\n\r\n",
        "http_framing",
    ),
    "a request within the body of another": (
        b"GET /other HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nTransfer-Encoding: chunked\r\n\r\n"
        + HONEST,
        "http_framing",
    ),
    "a request behind another": (
        b"GET /other HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n" + HONEST,
        "http_framing",
    ),
    "line feeds alone": (HONEST.replace(b"\r\n", b"\n"), "http_malformed"),
}
BY_THE_LIBRARY_AS_WELL = {"line breaks in what another server puts into its request"}
"""What the standard library of today refuses by itself."""


def refusals(port: int) -> dict[str, float]:
    text = sent(port, HONEST).decode()
    found = re.findall(r'^secretbridge_denied_total\{reason="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {reason: float(count) for reason, count in found}


def test_the_requests_get_what_they_came_for_from_a_plain_server() -> None:
    with weak() as port:
        assert PRIZE in sent(port, HONEST)
        got = {name for name, (raw, _) in ATTACKS.items() if PRIZE in sent(port, raw)}
    assert set(ATTACKS) - got <= BY_THE_LIBRARY_AS_WELL


def test_the_requests_get_nothing_from_a_sidecar_and_are_counted(sidecar: int) -> None:
    assert PRIZE in sent(sidecar, HONEST)
    for name, (raw, reason) in ATTACKS.items():
        before = refusals(sidecar)
        received = sent(sidecar, raw)
        assert PRIZE not in received, name
        assert b"\r\n\r\n" in received, name
        assert received.count(b"HTTP/1.1 ") == 1, name
        assert not received.startswith(b"HTTP/1.1 200"), name
        after = refusals(sidecar)
        assert {key for key in after if after[key] > before[key]} == {reason}, name


@pytest.mark.parametrize(
    "path", ["/status", "//status", "/status/", "/../status", "/metrics/../status"]
)
def test_what_names_secrets_is_not_to_be_had_over_http(sidecar: int, path: str) -> None:
    raw = HONEST.replace(b"/metrics", path.encode())
    received = sent(sidecar, raw)
    assert received.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400"))
    assert b"db_password" not in received


def test_one_that_says_nothing_stops_a_simple_server_and_no_sidecar(sidecar: int) -> None:
    with weak(HTTPServer) as port, socket.create_connection(("127.0.0.1", port)):
        time.sleep(0.2)
        assert PRIZE not in sent(port, HONEST, timeout=1.0)
    with socket.create_connection(("127.0.0.1", sidecar)):
        assert PRIZE in sent(sidecar, HONEST)


def test_ten_thousand_connections_keep_nobody_from_being_answered(
    sidecar: int,
    place: Place,
) -> None:
    assert PRIZE in sent(sidecar, HONEST)  # which loads what makes metrics
    before = (threads(place), memory(place))
    held: list[socket.socket] = []
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
    try:
        for number in range(10_000):
            sock = socket.create_connection(("127.0.0.1", sidecar), timeout=20)
            if number % 3 == 0:
                sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
            held.append(sock)
            if len(held) > room:
                held.pop(0).close()
            if number % 2500 == 2499:
                assert PRIZE in sent(sidecar, HONEST, timeout=20)
        assert threads(place) == before[0]
        assert memory(place) - before[1] < 2 << 20
        assert len(list(Path(f"/proc/{place.running[0].pid}/fd").iterdir())) < 128
    finally:
        for sock in held:
            sock.close()
    assert refusals(sidecar)["http_crowded"] > 9000


def threads(place: Place) -> int:
    return len(list(Path(f"/proc/{place.running[0].pid}/task").iterdir()))


def memory(place: Place) -> int:
    pages = Path(f"/proc/{place.running[0].pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def test_the_answers_cannot_be_read_by_a_page(sidecar: int) -> None:
    head = sent(sidecar, HONEST).partition(b"\r\n\r\n")[0].lower()
    assert b"access-control" not in head
    assert b"cross-origin-resource-policy: same-origin" in head
    assert json.loads(
        sent(sidecar, HONEST.replace(b"metrics", b"readyz")).partition(b"\r\n\r\n")[2]
    )
