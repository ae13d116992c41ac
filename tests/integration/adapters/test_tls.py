"""A TLS server whose certificate is replaced while clients connect."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
import time
from contextlib import contextmanager

import pytest
from cryptography import x509

from secretbridge import Broker, IntegrityError
from secretbridge.adapters.tls import server_context
from secretbridge.testing import FakeBackend
from tests.servers.certificates import Authority

from .rotation import Tally


@pytest.fixture
def authority(tmp_path):
    return Authority.make(tmp_path)


@pytest.fixture
def store():
    return FakeBackend()


@pytest.fixture
def broker(store):
    names = {"cert": "fake:tls#cert", "key": "fake:tls#key", "all": "fake:all", "pw": "fake:pw"}
    with Broker({"fake": store}, names) as made:
        yield made


def issue(store, authority, *, wrong_key=False, **options):
    """Put a new pair into the store; return the certificate's serial number as clients see it."""
    cert, key = (path.read_text() for path in authority.issue(**options))
    if wrong_key:
        key = authority.issue()[1].read_text()
    store.put("tls", json.dumps({"cert": cert, "key": key}))
    store.put("all", cert + key)
    return serial(cert)


def serial(pem):
    return f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:X}"


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"x")


@contextmanager
def serving(context):
    """Serve with ``context``; give the port. Each handshake runs in a thread of its own."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

        def finish_request(self, request, address):
            with context.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, address)

        def handle_error(self, request, address):
            return  # the client's side is what is counted

    with Server(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def connect(port, authority, *, name="127.0.0.1", configure=lambda context: None):
    """Return the serial number of the certificate that is presented."""
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    configure(context)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as wrapped,
    ):
        assert wrapped.recv(1) == b"x"
        found = wrapped.getpeercert()
        assert found is not None
        return found["serialNumber"].lstrip("0")


def wait_until(happened):
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_a_rotated_certificate_is_presented_to_the_next_client(store, broker, authority):
    first = issue(store, authority)
    with serving(server_context("cert", "key", broker=broker)) as port:
        assert connect(port, authority) == first
        second = issue(store, authority)
        broker.refresh()
        wait_until(lambda: connect(port, authority) == second)


def test_no_handshake_fails_while_certificates_are_replaced(store, broker, authority):
    serials = {issue(store, authority)}
    context = server_context("cert", "key", broker=broker)
    tally = Tally()
    over = threading.Event()

    def client():
        while not over.is_set():
            try:
                assert connect(port, authority) in serials
            except Exception as error:
                tally.note(0, error)
            else:
                tally.note(0, None)

    with serving(context) as port:
        clients = [threading.Thread(target=client) for _ in range(4)]
        for thread in clients:
            thread.start()
        for _ in range(50):
            serials.add(issue(store, authority))
            broker.refresh(timeout=10)
            broker.wait_for("cert", broker.get("cert").version)
        over.set()
        for thread in clients:
            thread.join()
    assert (tally.failed, tally.ok > 20) == (0, True), tally


def test_loading_into_the_live_context_instead_does_break_handshakes(authority):
    cert, key = authority.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    other = authority.issue("localhost")[0]
    with serving(context) as port:
        connect(port, authority)
        with pytest.raises(ssl.SSLError):
            context.load_cert_chain(other, key)
        with pytest.raises((ssl.SSLError, OSError)):
            connect(port, authority)


def test_a_pair_that_does_not_match_never_goes_live(store, broker, authority, caplog):
    first = issue(store, authority)
    with serving(server_context("cert", "key", broker=broker)) as port:
        issue(store, authority, wrong_key=True)
        broker.refresh()
        wait_until(lambda: "the former certificate stays in use" in caplog.text)
        assert connect(port, authority) == first
        last = issue(store, authority)
        broker.refresh()
        wait_until(lambda: connect(port, authority) == last)


@pytest.mark.parametrize("broken", ["no certificate", "-----BEGIN CERTIFICATE-----\nx\n"])
def test_a_first_pair_that_cannot_be_used_is_refused(store, broker, broken):
    store.put("tls", json.dumps({"cert": broken, "key": broken}))
    with pytest.raises(IntegrityError, match="cannot be used together"):
        server_context("cert", "key", broker=broker)


def test_certificate_and_key_may_be_one_secret(store, broker, authority):
    first = issue(store, authority)
    with serving(server_context("all", "all", broker=broker)) as port:
        assert connect(port, authority) == first


def test_a_key_may_be_encrypted(store, broker, authority):
    store.put("pw", "correct horse")
    first = issue(store, authority, password=b"correct horse")
    with serving(server_context("cert", "key", key_password="pw", broker=broker)) as port:
        assert connect(port, authority) == first


def test_an_encrypted_key_without_password_asks_nobody(store, broker, authority):
    issue(store, authority, password=b"correct horse")
    with pytest.raises(IntegrityError):
        server_context("cert", "key", broker=broker)


def test_a_client_that_names_no_server_gets_the_new_certificate_too(store, broker, authority):
    issue(store, authority)

    def nameless(context):
        context.check_hostname = False

    with serving(server_context("cert", "key", broker=broker)) as port:
        second = issue(store, authority)
        broker.refresh()
        wait_until(lambda: connect(port, authority, name=None, configure=nameless) == second)


def test_what_is_configured_holds_for_every_certificate(store, broker, authority):
    issue(store, authority)

    def configure(context):
        context.set_alpn_protocols(["h2"])
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    chosen = []

    def client(context):
        context.set_alpn_protocols(["http/1.1", "h2"])

    context = server_context("cert", "key", configure=configure, broker=broker)
    with serving(context) as port:
        for _ in range(2):
            check = ssl.create_default_context(cafile=str(authority.ca_file))
            client(check)
            with (
                socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
                check.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
            ):
                chosen.append((wrapped.version(), wrapped.selected_alpn_protocol()))
                wrapped.recv(1)
            fresh = issue(store, authority)
            broker.refresh()
            wait_until(lambda: connect(port, authority) == fresh)  # noqa: B023
    assert chosen == [("TLSv1.2", "h2")] * 2
