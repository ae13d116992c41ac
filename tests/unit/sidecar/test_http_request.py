"""Requests that are answered, and those that are not: each spelling that somebody could smuggle in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secretbridge_sidecar.http_request import END, Hosts, Refusal, Request, read_request

LOCAL = Hosts("127.0.0.1", 9100)

PROMETHEUS = (
    b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9100\r\nUser-Agent: Prometheus/2.42.0\r\n"
    b"Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\nAccept-Encoding: gzip\r\n"
    b"X-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
)
KUBELET = (
    b"GET /readyz HTTP/1.1\r\nHost: localhost:9100\r\nUser-Agent: kube-probe/1.33\r\n"
    b"Accept: */*\r\nConnection: close\r\n\r\n"
)


def head(
    *lines: bytes, first: bytes = b"GET /metrics HTTP/1.1", host: bytes | None = None
) -> bytes:
    named = b"Host: 127.0.0.1:9100" if host is None else host
    return b"\r\n".join([first, *([named] if named else []), *lines]) + END


@pytest.mark.parametrize(
    ("raw", "request_"),
    [
        (PROMETHEUS, Request("/metrics", False)),
        (KUBELET, Request("/readyz", False)),
        (head(first=b"HEAD /healthz HTTP/1.0"), Request("/healthz", True)),
        (head(first=b"GET /readyz?verbose=1 HTTP/1.1"), Request("/readyz", False)),
        (head(b"Content-Length: 0"), Request("/metrics", False)),
        (head(host=b"Host: [::1]:9100"), Request("/metrics", False)),
    ],
)
def test_what_monitoring_sends_is_read(raw, request_):
    assert read_request(raw, LOCAL) == request_


REFUSED = {
    "a body": (head(b"Content-Length: 5"), "http_framing"),
    "two lengths": (head(b"Content-Length: 0", b"Content-Length: 5"), "http_framing"),
    "chunks": (head(b"Transfer-Encoding: chunked"), "http_framing"),
    "chunks and a length": (
        head(b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        "http_framing",
    ),
    "a wait for 100": (head(b"Expect: 100-continue"), "http_framing"),
    "a second request": (PROMETHEUS + PROMETHEUS, "http_framing"),
    "an absolute URI": (head(first=b"GET http://127.0.0.1:9100/metrics HTTP/1.1"), "http_target"),
    "an authority": (head(first=b"GET 127.0.0.1:9100 HTTP/1.1"), "http_target"),
    "a tunnel": (head(first=b"CONNECT 169.254.169.254:80 HTTP/1.1"), "http_method"),
    "a star": (head(first=b"GET * HTTP/1.1"), "http_target"),
    "an escape in the path": (head(first=b"GET /%2e%2e/metrics HTTP/1.1"), "http_target"),
    "a POST": (head(first=b"POST /metrics HTTP/1.1"), "http_method"),
    "a preflight": (head(first=b"OPTIONS /metrics HTTP/1.1"), "http_method"),
    "HTTP/0.9": (b"GET /metrics" + END, "http_malformed"),
    "HTTP/2": (b"PRI * HTTP/2.0" + END, "http_malformed"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + END, "http_malformed"),
    "two blanks": (head(first=b"GET  /metrics HTTP/1.1"), "http_malformed"),
    "a line feed alone": (b"GET /metrics HTTP/1.1\nHost: 127.0.0.1:9100" + END, "http_malformed"),
    "a return alone": (head(b"A: b\rHost: 127.0.0.1:9100"), "http_malformed"),
    "a folded field": (head(b"A: b", b" c"), "http_malformed"),
    "a blank before the colon": (head(b"Content-Length : 5"), "http_malformed"),
    "a NUL": (head(b"A: b\0c"), "http_malformed"),
    "too many fields": (head(*[b"A: b"] * 60), "http_size"),
    "no host": (head(host=b""), "http_host"),
    "two hosts": (head(b"Host: 127.0.0.1:9100"), "http_host"),
    "a name that points here": (head(host=b"Host: attacker.example:9100"), "http_host"),
    "a name that ends like ours": (head(host=b"Host: localhost.evil.example:9100"), "http_host"),
    "another port": (head(host=b"Host: 127.0.0.1:80"), "http_host"),
    "no port": (head(host=b"Host: localhost"), "http_host"),
    "an address that is not ours": (head(host=b"Host: 10.0.0.1:9100"), "http_host"),
    "an address in short": (head(host=b"Host: 127.1:9100"), "http_host"),
    "an address as a number": (head(host=b"Host: 2130706433:9100"), "http_host"),
    "a user in the host": (head(host=b"Host: a@127.0.0.1:9100"), "http_host"),
    "a proxy": (head(b"X-Forwarded-For: 10.0.0.1"), "http_header"),
    "a proxy of its own kind": (head(b"Forwarded: for=10.0.0.1"), "http_header"),
    "a cache": (head(b"Via: 1.1 squid"), "http_header"),
    "a page": (head(b"Origin: https://attacker.example"), "http_header"),
    "a page without a name": (head(b"origin: null"), "http_header"),
    "a browser": (head(b"Sec-Fetch-Site: cross-site"), "http_header"),
    "a link": (head(b"Referer: https://attacker.example/"), "http_header"),
    "a login": (head(b"Cookie: a=b"), "http_header"),
    "another path": (head(b"X-Original-URL: /status"), "http_header"),
    "another method": (head(b"X-HTTP-Method-Override: POST"), "http_header"),
    "a web socket": (head(b"Connection: Upgrade", b"Upgrade: websocket"), "http_header"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_nobody_honest_sends_is_refused(name):
    raw, reason = REFUSED[name]
    found = read_request(raw, LOCAL)
    assert isinstance(found, Refusal), found
    assert found.reason == reason
    assert 400 <= found.status < 500


@pytest.mark.parametrize(
    ("host", "names", "allowed", "refused"),
    [
        ("::1", (), ["[::1]:9100", "localhost:9100", "127.0.0.2:9100"], ["[fe80::1]:9100"]),
        ("0.0.0.0", (), ["10.1.2.3:9100", "[fd00::7]:9100"], ["localhost:9100", "pod.svc:9100"]),
        ("10.1.2.3", ("Pod.svc",), ["10.1.2.3:9100", "pod.SVC:9100"], ["other.svc:9100"]),
    ],
)
def test_what_it_may_be_called_depends_on_where_it_listens(host, names, allowed, refused):
    hosts = Hosts(host, 9100, names)
    assert [value for value in allowed if not hosts.allow(value)] == []
    assert [value for value in refused if hosts.allow(value)] == []


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_whatever_comes_there_is_an_answer(raw):
    found = read_request(raw + END, LOCAL)
    assert isinstance(found, Request | Refusal)
    if isinstance(found, Refusal):
        assert raw not in found.text.encode() or len(raw) < 4


@settings(deadline=None)
@given(st.lists(st.sampled_from(PROMETHEUS.split(b"\r\n")[1:-2]), unique=True), st.data())
def test_one_byte_more_never_makes_two_requests_of_one(lines, data):
    raw = head(*[line for line in lines if not line.startswith(b"Host")])
    place = data.draw(st.integers(0, len(raw)))
    extra = data.draw(st.sampled_from([b"\r", b"\n", b"\0", b"\r\n", b"\r\n\r\n"]))
    found = read_request(raw[:place] + extra + raw[place:], LOCAL)
    if isinstance(found, Request):
        assert found == Request("/metrics", False)
