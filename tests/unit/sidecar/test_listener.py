"""The listener answers whoever asks, however many others say nothing, say it slowly or do not listen."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time

import pytest

from secretbridge._tally import process
from secretbridge.config import ListenConfig
from secretbridge.errors import ConfigError
from secretbridge_sidecar import listener
from secretbridge_sidecar.client import ask
from secretbridge_sidecar.http_request import MAX_HEAD
from secretbridge_sidecar.listener import MOST, HttpListener
from secretbridge_sidecar.routes import Answer, Route, Standing


def listen(address, **other):
    fields = {"socket": None, "monitors": [], "http_network": False, "http_hosts": []}
    return ListenConfig(**fields | {"http": address, "max_staleness": None} | other)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def seen():
    return []


@pytest.fixture
def port(seen):
    def answer(question):
        seen.append(question)
        return Answer.of(200, {"alive": True})

    def large(question):
        return Answer(200, b"x" * 8_000_000, "text/plain")

    def broken(question):
        raise RuntimeError("a fault of ours")

    port = free_port()
    process.start_over()
    offered = {
        "/healthz": Route("GET", Standing.MONITOR, answer),
        "/large": Route("GET", Standing.MONITOR, large),
        "/broken": Route("GET", Standing.MONITOR, broken),
        "/status": Route("GET", Standing.READER, answer),
    }
    with HttpListener(listen(("127.0.0.1", port)), offered):
        yield port


def get(port, path="/healthz", method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read(), dict(response.getheaders())
    finally:
        connection.close()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def answer_to(port, raw):
    with connect(port) as sock:
        sock.sendall(raw)
        received = b""
        while part := sock.recv(65536):
            received += part
        return received


def test_a_question_is_answered_and_the_connection_ends(port, seen):
    status, body, headers = get(port)
    assert (status, json.loads(body)) == (200, {"alive": True})
    assert headers["Connection"] == "close"
    assert headers["Cache-Control"] == "no-store"
    assert not [name for name in headers if name.startswith("Access-Control")]
    assert seen[0].peer.standing is Standing.MONITOR


def test_head_has_the_length_and_no_body(port):
    status, body, headers = get(port, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/status", 403), ("/broken", 500)]
)
def test_what_is_not_offered_here_is_said_to_be_so(port, path, status):
    assert get(port, path)[0] == status
    assert b"fault" not in get(port, path)[1]
    assert get(port)[0] == 200


def test_a_request_may_come_byte_by_byte(port):
    raw = b"GET /healthz HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % port
    with connect(port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(len(raw)):
            sock.sendall(raw[number : number + 1])
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_head_without_end_is_refused_and_counted(port):
    received = answer_to(port, b"GET /healthz HTTP/1.1\r\nA: " + b"a" * (2 * MAX_HEAD))
    assert received.startswith(b"HTTP/1.1 431 ")
    assert process.counts("denied") == {("http_size",): 1}


def test_a_request_that_does_not_end_is_refused_and_counted_and_silence_is_neither(port):
    for raw in (b"GET /healthz HTTP/1.1\n\n", b""):
        with connect(port) as sock:
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(65536).startswith(b"HTTP/1.1 400 ") is bool(raw)
    assert process.counts("denied") == {("http_malformed",): 1}


def test_a_refusal_is_counted_by_its_reason(port):
    received = answer_to(port, b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 421 ")
    assert process.counts("denied") == {("http_host",): 1}


def test_a_large_answer_arrives_whole(port):
    assert len(get(port, "/large")[1]) == 8_000_000


def test_who_says_nothing_has_to_go(port, monkeypatch):
    monkeypatch.setattr(listener, "PATIENCE", 0.2)
    with connect(port) as sock:
        assert sock.recv(1) == b""
    assert process.counts("denied") == {("http_slow",): 1}


def test_who_sends_slowly_has_no_more_time_than_the_others(port, monkeypatch):
    monkeypatch.setattr(listener, "PATIENCE", 0.5)
    began = time.monotonic()
    with connect(port) as sock, pytest.raises(OSError):  # noqa: PT012
        while time.monotonic() < began + 20:
            sock.sendall(b"A")
            time.sleep(0.05)
    assert time.monotonic() < began + 15


def test_who_does_not_read_has_to_go_as_well(port, monkeypatch):
    monkeypatch.setattr(listener, "PATIENCE", 0.5)
    with connect(port) as sock:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % port)
        assert sock.recv(15) == b"HTTP/1.1 200 OK"
        before = open_files()
        wait_for(lambda: open_files() == before - 1)
        assert get(port)[0] == 200


def open_files():
    return len(os.listdir("/proc/self/fd"))


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_when_there_are_too_many_the_oldest_goes_and_new_ones_are_answered(port):
    idle = [connect(port) for _ in range(MOST + 20)]
    try:
        assert get(port)[0] == 200
        assert process.counts("denied")["http_crowded",] >= 20
        assert idle[0].recv(1) == b""
    finally:
        for sock in idle:
            sock.close()


def test_it_ends_with_connections_open_and_leaves_no_descriptor(seen):
    before = open_files()
    port = free_port()
    with HttpListener(listen(("127.0.0.1", port)), {}):
        sock = connect(port)
    assert sock.recv(1) == b""
    sock.close()
    wait_for(lambda: open_files() <= before)
    with pytest.raises(OSError):
        connect(port)


def test_an_address_that_is_taken_is_an_error_with_a_remedy(port):
    with (
        pytest.raises(ConfigError, match="cannot be listened on"),
        HttpListener(listen(("127.0.0.1", port)), {}),
    ):
        pass


def test_it_listens_on_ipv6_too(seen):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip("no IPv6 here")
    alive = Route("GET", Standing.MONITOR, lambda question: Answer.of(200, {"alive": True}))
    with HttpListener(listen(("::1", port)), {"/healthz": alive}):
        assert ask(("::1", port), "/healthz") == (200, {"alive": True})


def test_who_listens_everywhere_is_asked_on_loopback():
    port = free_port()
    alive = Route("GET", Standing.MONITOR, lambda question: Answer.of(200, {"alive": True}))
    with HttpListener(listen(("0.0.0.0", port), http_network=True), {"/healthz": alive}):
        assert ask(("0.0.0.0", port), "/healthz") == (200, {"alive": True})
        named = b"GET /healthz HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % port
        assert answer_to(port, named).startswith(b"HTTP/1.1 421 ")


def test_an_answer_that_never_ends_is_given_up(seen):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            ask(silent.getsockname(), "/readyz", timeout=0.3)
        assert time.monotonic() - began < 20


def test_without_an_address_it_does_nothing():
    with HttpListener(listen(None), {}) as made:
        assert made.address is None
