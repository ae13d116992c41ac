"""Endpoints, and which answers of theirs are taken for answers of AWS."""

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._aws_errors import Refused
from secretbridge.backends._aws_wire import Wire, answer_of, document_of
from secretbridge.backends._http1 import Answer
from secretbridge.errors import BackendUnavailable, ConfigError
from secretbridge.testing._leaks import assert_no_leak
from tests.servers.aws import RESET, FaultServer

CANARY = "canary-3f"
BODY = b'{"SecretId": "app/db"}'
HEADERS = {"X-Amz-Target": "secretsmanager.GetSecretValue"}


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


def post(wire, server):
    return wire.endpoint(server.url).post(HEADERS, BODY, Deadline(20.0))


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://sts.eu-west-1.amazonaws.com", "sts.eu-west-1.amazonaws.com", "/"),
        ("https://HOST.example/", "host.example", "/"),
        ("https://host:443/", "host", "/"),
        ("https://host:8443/", "host:8443", "/"),
        ("http://localhost:80/", "localhost", "/"),
        ("http://localhost:443/", "localhost:443", "/"),
        ("http://[::1]:4566/", "[::1]:4566", "/"),
        ("https://host/aws", "host", "/aws/"),
    ],
)
def test_host_and_path_are_what_is_signed(url, host, path):
    # One character of difference and AWS refuses the signature of every request.
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    endpoint = Wire(lambda: "/", allow_plaintext=False).endpoint(url)
    assert (endpoint.host, endpoint.path) == (host, path)
    signed = SigV4Auth(None, "secretsmanager", "eu-west-1").headers_to_sign(AWSRequest("POST", url))
    assert signed["host"] == host


def test_one_connection_serves_many_requests(server, wire):
    for _ in range(3):
        post(wire, server)
    assert len(server.connections) == 1


def test_a_connection_that_ends_when_used_again_is_replaced_once(server, wire):
    # A server may close an idle connection at the very moment in which a request is sent on it.
    post(wire, server)
    server.fail(RESET, times=1)
    assert post(wire, server).status == 200
    assert server.calls.total() == 3


def test_a_fresh_connection_that_ends_is_not_replaced(server, wire):
    server.fail(RESET)
    with pytest.raises(BackendUnavailable):
        post(wire, server)
    assert server.calls.total() == 1


def test_each_origin_has_connections_of_its_own(server, wire):
    with FaultServer() as other:
        other.put("app/db", "other")
        assert b"value" in post(wire, server).body
        assert b"other" in post(wire, other).body


@pytest.mark.parametrize("url", ["http://10.0.0.7/", "http://secrets.example/", "ftp://localhost/"])
def test_an_endpoint_in_the_clear_is_refused_before_anything_is_sent(wire, url):
    with pytest.raises(ConfigError, match="cannot be used"):
        wire.endpoint(url)


def test_a_password_in_an_endpoint_is_refused_and_not_repeated(wire):
    with pytest.raises(ConfigError) as caught:
        wire.endpoint(f"https://user:{CANARY}@host/")
    assert_no_leak(caught.value.about(None), CANARY)


# JSON.

NO_OBJECTS = [
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
]


@pytest.mark.parametrize("body", NO_OBJECTS)
def test_an_answer_that_is_no_plain_json_object_is_no_answer(body):
    with pytest.raises(BackendUnavailable) as caught:
        answer_of(Answer(200, {}, body, False), "GetSecretValue")
    assert_no_leak(caught.value.about(None), CANARY)


@pytest.mark.parametrize("body", NO_OBJECTS)
@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_a_refusal_without_json_is_told_by_its_status(body, status):
    with pytest.raises(Refused) as caught:
        answer_of(Answer(status, {"retry-after": "3"}, body, False), "GetSecretValue")
    assert (caught.value.status, caught.value.code) == (status, "")
    assert caught.value.headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (b'{"__type": "ThrottlingException"}', None),
        (b'{"__type": "com.amazonaws.secretsmanager#ThrottlingException"}', None),
        (b'{"__type": "ThrottlingException:http://internal.amazon.com/coral/"}', None),
        (b'{"__type": "com.amazon.x#ThrottlingException:http://internal/coral/"}', None),
        (b'{"code": "ThrottlingException"}', None),
        (b"{}", "ThrottlingException"),
        (b"<html>", "ThrottlingException:http://internal/coral/"),
        (b'{"__type": 7}', "ignored"),
    ],
)
def test_the_code_of_a_refusal_is_found_in_each_of_its_forms(body, header):
    headers = {} if header is None else {"x-amzn-errortype": header}
    with pytest.raises(Refused) as caught:
        answer_of(Answer(400, headers, body, False), "GetSecretValue")
    assert caught.value.code == ("" if header == "ignored" else "ThrottlingException")


@pytest.mark.parametrize("key", ["message", "Message"])
def test_the_text_of_a_refusal_is_found_in_both_spellings(key):
    body = f'{{"__type": "X", "{key}": "why"}}'.encode()
    with pytest.raises(Refused) as caught:
        answer_of(Answer(400, {}, body, False), "GetSecretValue")
    assert caught.value.text == "why"


# XML.


def test_the_leaves_of_an_answer_of_sts_are_found_by_name():
    body = (
        b'<XResponse xmlns="https://sts.amazonaws.com/doc/"><A><Arn>arn:1</Arn></A>'
        b"<Arn>arn:2</Arn></XResponse>"
    )
    assert document_of(Answer(200, {}, body, False), "X") == {"Arn": "arn:1"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<a",
        b'{"Arn": "canary-3f"}',
        b'<!DOCTYPE a [<!ENTITY b "canary-3f">]><XResponse><Arn>&b;</Arn></XResponse>',
        b"<XResponse><Arn>" + b"x" * 70_000 + b"</Arn></XResponse>",
        b"<html><Arn>canary-3f</Arn></html>",
        b'<?xml version="1.0" encoding="no-such"?><XResponse><Arn>x</Arn></XResponse>',
    ],
)
def test_what_is_no_answer_of_sts_has_no_leaves(body):
    assert document_of(Answer(200, {}, body, False), "X") == {}


def test_a_refusal_of_sts_has_its_code():
    body = (
        b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code></Error>"
        b"</ErrorResponse>"
    )
    with pytest.raises(Refused) as caught:
        document_of(Answer(403, {}, body, False), "AssumeRole")
    assert (caught.value.operation, caught.value.code) == ("AssumeRole", "AccessDenied")
