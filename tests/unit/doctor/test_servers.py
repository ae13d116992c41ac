"""One look at a server: its TLS, its certificate, its clock, and no credential."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from time import time

import pytest

from secretbridge.backends import Reach
from secretbridge.doctor.servers import look_at_server
from tests.servers.certificates import Authority

SEEN: list[tuple[str, str | None]] = []


class Handler(BaseHTTPRequestHandler):
    ahead = 0.0

    def do_HEAD(self) -> None:
        SEEN.append((self.command, self.headers.get("X-Vault-Token")))
        self.send_response_only(200)
        self.send_header("Date", formatdate(time() + self.ahead, usegmt=True))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def served(context: ssl.SSLContext | None = None, ahead: float = 0.0) -> Iterator[int]:
    handler = type("Handler", (Handler,), {"ahead": ahead})
    server = HTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if context is not None:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


def context_of(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue())
    return context


def reach(authority: Authority | None) -> Reach:
    return Reach(ca_file=None if authority is None else str(authority.ca_file))


def test_a_server_as_it_should_be(authority: Authority) -> None:
    SEEN.clear()
    with served(context_of(authority)) as port:
        found = look_at_server("vault", f"https://127.0.0.1:{port}/v1", reach(authority))
    assert (found.problem, found.version, found.oldest) == (None, "TLSv1.3", None)
    assert found.url == f"https://127.0.0.1:{port}"
    assert (found.is_tls, found.is_loopback) == (True, True)
    assert found.expires_in is not None
    assert found.expires_in > 0
    assert found.skew is not None
    assert abs(found.skew) < 3
    assert SEEN == [("HEAD", None)]


def test_a_server_whose_certificate_nobody_vouches_for(
    authority: Authority, tmp_path: Path
) -> None:
    with served(context_of(authority)) as port:
        found = look_at_server(
            "vault", f"https://127.0.0.1:{port}", reach(Authority.make(tmp_path))
        )
    assert found.problem is not None
    assert "not trusted" in found.problem


def test_a_certificate_for_another_name(authority: Authority) -> None:
    terms = Reach(ca_file=str(authority.ca_file), server_name="vault.example")
    with served(context_of(authority)) as port:
        found = look_at_server("vault", f"https://127.0.0.1:{port}", terms)
    assert found.problem is not None
    assert "not trusted" in found.problem


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_server_that_still_agrees_to_tls_1_1(authority: Authority) -> None:
    context = context_of(authority)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with served(context) as port:
        found = look_at_server("vault", f"https://127.0.0.1:{port}", reach(authority))
    assert found.problem is None
    assert found.version == "TLSv1.3"
    assert found.oldest in ("TLSv1.1", "TLSv1")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_server_that_has_nothing_newer_than_tls_1_1(authority: Authority) -> None:
    context = context_of(authority)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with served(context) as port:
        found = look_at_server("vault", f"https://127.0.0.1:{port}", reach(authority))
    assert found.problem is not None
    assert "1.2" in found.problem


@pytest.mark.parametrize("ahead", [-400.0, 400.0])
def test_a_server_with_another_time(ahead: float) -> None:
    with served(ahead=ahead) as port:
        found = look_at_server("vault", f"http://localhost:{port}", reach(None))
    assert (found.is_tls, found.is_loopback, found.version) == (False, True, None)
    assert found.skew is not None
    assert abs(found.skew - ahead) < 3


def test_a_server_that_is_not_there(authority: Authority) -> None:
    with served() as port:
        pass
    found = look_at_server("vault", f"https://127.0.0.1:{port}", reach(authority))
    assert found.problem is not None
    assert "Connection refused" in found.problem


def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    found = look_at_server("vault", "https://127.0.0.1:1", Reach(ca_file=str(tmp_path / "none")))
    assert found.problem is not None
    assert "No such file" in found.problem
