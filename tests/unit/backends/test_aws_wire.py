"""What is sent in botocore's place, and which answers botocore gets to see."""

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._aws_errors import Refused
from secretbridge.backends._aws_wire import Wire
from secretbridge.errors import BackendUnavailable, ConfigError
from secretbridge.testing._leaks import assert_no_leak
from tests.servers.aws import RESET, FaultServer, Reply

TARGET = "secretsmanager.GetSecretValue"


class Prepared:
    """A request as botocore prepares it: some header values are bytes."""

    method = "POST"
    body = b'{"SecretId": "app/db"}'

    def __init__(self, url, target=TARGET):
        self.url = url
        self.headers = {"X-Amz-Date": b"20260101T000000Z", "Content-Length": str(len(self.body))}
        if target is not None:
            self.headers["X-Amz-Target"] = target.encode()


@pytest.fixture
def server():
    with FaultServer() as server:
        server.put("app/db", "value")
        yield server


@pytest.fixture
def wire():
    wire = Wire(lambda: pytest.fail("no TLS here"), allow_plaintext=False)
    yield wire
    wire.close()


def send(wire, server, **arguments):
    return wire.send(Prepared(f"{server.url}/", **arguments), Deadline(20.0), 20.0)


def test_a_request_arrives_as_it_was_signed(server, wire):
    assert send(wire, server).status == 200
    [call] = server.requests
    assert call.raw == Prepared.body
    assert call.headers["host"] == f"127.0.0.1:{server.port}"
    assert call.headers["x-amz-date"] == "20260101T000000Z"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (
            "https://secretsmanager.eu-west-1.amazonaws.com/",
            "secretsmanager.eu-west-1.amazonaws.com",
        ),
        ("https://host:443/", "host"),
        ("https://host:8443/", "host:8443"),
        ("http://localhost:80/", "localhost"),
        ("http://localhost:443/", "localhost:443"),
        ("http://[::1]:4566/", "[::1]:4566"),
    ],
)
def test_the_host_header_is_the_one_that_botocore_signs(monkeypatch, url, host):
    # One character of difference and AWS refuses the signature of every request.
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    sent = {}

    def request(self, method, path, *, headers, **others):
        sent.update(headers)
        raise BackendUnavailable("not sent")

    monkeypatch.setattr("secretbridge.backends._transport.Transport.request", request)
    with pytest.raises(BackendUnavailable):
        Wire(lambda: "/", allow_plaintext=False).send(Prepared(url), Deadline(20.0), 20.0)
    signed = SigV4Auth(None, "secretsmanager", "eu-west-1").headers_to_sign(AWSRequest("POST", url))
    assert sent["Host"] == signed["host"] == host


def test_one_connection_serves_many_requests(server, wire):
    for _ in range(3):
        send(wire, server)
    assert len(server.connections) == 1


def test_a_connection_that_ends_when_used_again_is_replaced_once(server, wire):
    # A server may close an idle connection at the very moment in which a request is sent on it.
    send(wire, server)
    server.fail(RESET, times=1)
    assert send(wire, server).status == 200
    assert server.calls.total() == 3


def test_a_fresh_connection_that_ends_is_not_replaced(server, wire):
    server.fail(RESET)
    with pytest.raises(BackendUnavailable):
        send(wire, server)
    assert server.calls.total() == 1


def test_each_origin_has_connections_of_its_own(server, wire):
    with FaultServer() as other:
        other.put("app/db", "other")
        assert b"value" in send(wire, server).body
        assert b"other" in send(wire, other).body


@pytest.mark.parametrize("url", ["http://10.0.0.7/", "http://secrets.example/", "ftp://localhost/"])
def test_an_endpoint_in_the_clear_is_refused_before_anything_is_sent(wire, url):
    with pytest.raises(ConfigError, match="cannot be used"):
        wire.send(Prepared(url), Deadline(20.0), 20.0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"canary-3f",
        b"<html>canary-3f</html>",
        b'"canary-3f"',
        b'["canary-3f"]',
        b'{"SecretString": "canary-3f"',
        b'{"SecretString": "canary-3f"} {}',
        b'{"SecretString": "canary-3f", "SecretString": "x"}',
        b'{"SecretString": NaN}',
        b'{"a": ' * 5000 + b"1" + b"}" * 5000,
        b'{"SecretString": "\xff canary-3f"}',
    ],
)
def test_an_answer_that_is_no_plain_json_object_never_reaches_botocore(server, wire, body):
    server.fail(Reply(body))
    with pytest.raises(BackendUnavailable) as caught:
        send(wire, server)
    assert_no_leak(caught.value.about(None), "canary-3f")


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_a_refusal_without_json_is_told_by_its_status(server, wire, status):
    server.fail(Reply(b"<html>", status, {"Retry-After": "3"}))
    with pytest.raises(Refused) as caught:
        send(wire, server)
    assert (caught.value.status, caught.value.code) == (status, "")
    assert caught.value.headers["retry-after"] == "3"


def test_other_services_may_answer_in_other_forms(server, wire):
    server.answer_form = lambda form: Reply(b"<AssumeRoleResponse/>")
    assert send(wire, server, target=None).body == b"<AssumeRoleResponse/>"
