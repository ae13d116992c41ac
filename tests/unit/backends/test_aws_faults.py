"""The whole AWS backend against an endpoint that fails, lies, hangs and floods."""

import sys
import threading

import pytest

from secretbridge.backends import Deadline, _aws_endpoints
from secretbridge.backends.aws import SecretsManagerBackend
from secretbridge.document import Document
from secretbridge.errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    ConfigError,
    DeadlineExceeded,
    IntegrityError,
    RateLimited,
    SecretDeleted,
    SecretMissing,
    SecretTooLarge,
    VersionMissing,
)
from secretbridge.reference import Reference
from secretbridge.testing._leaks import assert_no_leak
from tests.servers.aws import (
    DENIED,
    HANG,
    RAW,
    REGION,
    RESET,
    THROTTLED,
    FaultServer,
    Reply,
    clean_environment,
    error,
)

CANARY = "canary-e2a9f4"
XML = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<ErrorResponse><Errors><Error><Code>CODE</Code>'
    b"<Message>canary-e2a9f4</Message><Type>Sender</Type></Error></Errors></ErrorResponse>"
)
"""The form in which moto refuses credentials."""


@pytest.fixture
def server(monkeypatch):
    clean_environment(monkeypatch)
    with FaultServer() as server:
        for name in ("a", "b", "c"):
            server.put(name, f"of {name}")
        yield server


@pytest.fixture
def backend(server):
    backend = SecretsManagerBackend.create("aws-sm", {"region": REGION, "endpoint_url": server.url})
    yield backend
    backend.close()


@pytest.fixture
def fetch(backend):
    def fetch(*locators, seconds=20.0):
        requests = [Reference.parse(f"aws-sm:{locator}").document for locator in locators]
        return backend.fetch(requests, Deadline(seconds))

    return fetch


def bodies(outcomes):
    return [o.body.decode() if isinstance(o, Document) else type(o) for o in outcomes]


ENDINGS = [
    (HANG, DeadlineExceeded),
    (Reply(b"{}" + b" " * 10_000, pace=0.02), DeadlineExceeded),
    (Reply(b"{}", pace=0.02, slow_headers=True, headers={"X": "y" * 1000}), DeadlineExceeded),
    (RESET, BackendUnavailable),
    (Reply(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", RAW), BackendUnavailable),
    (Reply(b'{"SecretString": "' + CANARY.encode(), length=10_000), BackendUnavailable),
    (Reply(CANARY.encode()), BackendUnavailable),
    (Reply(f'["{CANARY}"]'.encode()), BackendUnavailable),
    (Reply(status=204), BackendUnavailable),
    (Reply(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), BackendUnavailable),
    (Reply(b"<html>not here</html>", 404), BackendUnavailable),
    (Reply(status=307, headers={"Location": "http://127.0.0.1:1/"}), BackendUnavailable),
    (error("InternalServiceError", CANARY, 500), BackendUnavailable),
    (error("InternalServiceError", CANARY), BackendUnavailable),
    (Reply(b"upstream connect error", 503), BackendUnavailable),
    (THROTTLED, RateLimited),
    (error("ThrottlingException"), RateLimited),
    (error("com.amazonaws.secretsmanager#ThrottlingException:http://x/"), RateLimited),
    (Reply(b"slow down", 429, {"Retry-After": "9"}), RateLimited),
    (error("IncompleteSignature", CANARY), AuthenticationFailed),
]


@pytest.mark.parametrize(("reply", "kind"), ENDINGS)
@pytest.mark.parametrize("names", [("a",), ("a", "b")], ids=["alone", "in a batch"])
def test_a_store_that_does_not_answer_properly_is_named_for_every_item(
    server, fetch, names, reply, kind
):
    server.fail(reply)
    outcomes = fetch(*names, seconds=0.5 if kind is DeadlineExceeded else 20.0)
    for outcome, name in zip(outcomes, names, strict=True):
        assert issubclass(type(outcome), kind), f"{type(outcome).__name__}: {outcome}"
        assert str(outcome.reference) == f"aws-sm:{name}"
        assert outcome.hint
        assert_no_leak(outcome, CANARY)
    server.heal()
    assert bodies(fetch(*names)) == [f"of {name}" for name in names], "it has not recovered"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error("AccessDeniedException", DENIED), AccessDenied),
        (Reply(XML.replace(b"CODE", b"AccessDenied"), 403), AccessDenied),
        (Reply(XML.replace(b"CODE", b"InvalidClientTokenId"), 403), AuthenticationFailed),
        (Reply(b"<html><Code>AccessDenied</Code></html>", 403), BackendUnavailable),
        (error("DecryptionFailure", CANARY), BackendUnavailable),
        (error("InvalidParameterException", CANARY), ConfigError),
        (error("ResourceNotFoundException"), SecretMissing),
    ],
)
def test_a_refusal_of_everything_is_named_for_every_item(server, fetch, reply, kind):
    server.fail(reply)
    for outcome in (*fetch("a"), *fetch("a", "b")):
        assert type(outcome) is kind
        assert_no_leak(outcome, CANARY)


@pytest.mark.parametrize(
    "body",
    [
        '{"SecretValues": 7}',
        '{"SecretValues": ["canary-e2a9f4"]}',
        '{"SecretValues": [{"Name": "a", "CreatedDate": "canary-e2a9f4"}]}',
        '{"Errors": "canary-e2a9f4"}',
    ],
)
def test_a_batch_of_another_shape_than_the_service_has_is_asked_one_by_one(server, fetch, body):
    server.fail(Reply(body.encode()), "BatchGetSecretValue")
    assert bodies(fetch("a", "b")) == ["of a", "of b"]
    server.fail(Reply(body.encode()))
    for outcome in fetch("a", "b"):
        assert type(outcome) is IntegrityError
        assert_no_leak(outcome, CANARY)


def test_a_value_that_is_no_base64_is_refused_alone(server, fetch):
    # A lenient decoder leaves out what it does not know, and the value comes out shorter.
    def spoil(operation, answer):
        for value in answer.get("SecretValues", [answer]):
            if value["Name"] == "b":
                value["SecretBinary"] = value.pop("SecretString") + "-canary-e2a9f4"

    server.change_answer = spoil
    outcomes = fetch("a", "b", "c")
    assert bodies(outcomes) == ["of a", IntegrityError, "of c"]
    assert_no_leak(outcomes[1], CANARY)


@pytest.mark.parametrize(
    "body",
    [
        '{"Name": "canary-e2a9f4", "SecretString": "canary-e2a9f4"}',
        '{"Name": ["a"], "SecretString": "canary-e2a9f4"}',
        '{"Name": "a", "ARN": 7, "SecretString": {"canary-e2a9f4": 1}}',
        "{}",
    ],
)
def test_json_that_is_not_the_secret_asked_for_is_refused(server, fetch, body):
    server.fail(Reply(body.encode()))
    [outcome] = fetch("a")
    assert type(outcome) is IntegrityError
    assert_no_leak(outcome, CANARY)


def test_the_code_may_stand_in_a_header_alone(server, fetch):
    headers = {"x-amzn-ErrorType": "ResourceNotFoundException:http://internal/coral/"}
    server.fail(Reply(b'{"Message": "not found"}', 400, headers))
    assert bodies(fetch("a")) == [SecretMissing]


def test_what_the_service_says_about_one_item_is_that_items_outcome(server, fetch):
    server.mark_for_deletion("b")
    server.put_without_value("empty")
    server.denied.add("c")
    outcomes = fetch("a", "b", "c", "never", "empty")
    assert bodies(outcomes) == ["of a", SecretDeleted, AccessDenied, SecretMissing, VersionMissing]
    assert server.calls == {"BatchGetSecretValue": 1}


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServiceError"])
def test_a_throttled_item_of_a_batch_is_asked_again_alone(server, fetch, code):
    server.item_errors["b"] = (code, "")
    assert bodies(fetch("a", "b", "c")) == ["of a", "of b", "of c"]
    assert server.asked("GetSecretValue") == [{"SecretId": "b"}]


def test_an_item_that_the_answer_forgets_is_asked_again_alone(server, fetch):
    server.lost.add("b")
    assert bodies(fetch("a", "b", "c", "never")) == ["of a", "of b", "of c", SecretMissing]
    assert server.asked("GetSecretValue") == [{"SecretId": "b"}]


def test_pages_are_followed_and_an_empty_one_ends_nothing(server, fetch):
    server.page_size, server.empty_first_page = 1, True
    assert bodies(fetch("a", "b", "c", "never")) == ["of a", "of b", "of c", SecretMissing]
    server.page_size, server.empty_first_page = 2, False
    assert bodies(fetch("a", "b", "c", "never")) == ["of a", "of b", "of c", SecretMissing]
    assert server.calls["GetSecretValue"] == 0


def test_pages_without_end_come_to_an_end(server, fetch):
    server.endless_pages = True
    assert bodies(fetch("a", "never")) == ["of a", SecretMissing]
    assert server.calls["BatchGetSecretValue"] < 100


def test_without_the_permission_for_batches_everything_still_comes_one_by_one(server, fetch):
    denied = error("AccessDeniedException", DENIED.format("BatchGetSecretValue", "*"))
    server.fail(denied, "BatchGetSecretValue")
    for _ in range(2):
        assert bodies(fetch("a", "b", "c")) == ["of a", "of b", "of c"]
    assert server.calls == {"BatchGetSecretValue": 1, "GetSecretValue": 6}


def test_more_than_twenty_ids_are_never_sent_in_one_call(server, fetch):
    names = [f"n{index}" for index in range(47)]
    for name in names:
        server.put(name, name)
    assert bodies(fetch(*names)) == names
    sizes = [len(body["SecretIdList"]) for body in server.asked("BatchGetSecretValue")]
    assert sorted(sizes) == [7, 20, 20]


def test_a_secret_of_another_account_comes_by_its_arn(server, fetch):
    foreign = [server.put(name, f"of {name}", account="999999999999") for name in ("x", "y")]
    assert bodies(fetch("a", "b")) == ["of a", "of b"]
    assert bodies(fetch("a", "b", *foreign)) == ["of a", "of b", "of x", "of y"]
    assert sorted(body["SecretId"] for body in server.asked("GetSecretValue")) == foreign


def test_an_arn_of_another_region_is_asked_there(server, fetch):
    far = server.put("far", "of far", region="us-east-1")
    assert bodies(fetch("a", far)) == ["of a", "of far"]
    regions = {call.body["SecretId"]: call.region for call in server.requests}
    assert regions == {"a": REGION, far: "us-east-1"}


@pytest.mark.parametrize("where", ["option", "variable"])
def test_an_endpoint_of_one_region_is_not_asked_for_an_arn_of_another(monkeypatch, where):
    clean_environment(monkeypatch)
    url = "https://vpce-1.secretsmanager.eu-west-1.vpce.example"
    options = {"region": REGION}
    if where == "option":
        options["endpoint_url"] = url
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
    asked = []

    def endpoint(self, url):
        asked.append(url)
        raise BackendUnavailable("not asked here", hint="this is a test")

    monkeypatch.setattr("secretbridge.backends._aws_wire.Wire.endpoint", endpoint)
    backend = SecretsManagerBackend.create("aws-sm", options)
    arn = "arn:aws:secretsmanager:{}:123456789012:secret:far-AbCdEf"
    for region in (REGION, "us-east-1"):
        request = Reference.parse(f"aws-sm:{arn.format(region)}").document
        backend.fetch([request], Deadline(20))
    backend.close()
    assert asked == [url, "https://secretsmanager.us-east-1.amazonaws.com"]


def test_values_as_large_as_the_service_allows_come_whole(server, fetch):
    large = {name: ("\x01" if name == "a" else "x") * 65536 for name in ("a", "b", "c")}
    for name, value in large.items():
        server.put(name, value)
    assert bodies(fetch("a", "b", "c")) == list(large.values())


def test_a_flood_ends_at_the_cap_and_the_others_are_asked_alone(server, fetch):
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    flood = Reply(chunk * 9, headers={"Transfer-Encoding": "chunked"}, length=-1)
    server.fail(flood, secret="b")
    assert bodies(fetch("a", "b", "c")) == ["of a", SecretTooLarge, "of c"]


def test_a_secret_that_hangs_keeps_none_of_the_others_waiting(server, fetch):
    fetch("a")  # botocore loads here
    server.lost |= {"b", "c"}
    server.fail(HANG, "GetSecretValue", secret="b")
    assert bodies(fetch("a", "b", "c", seconds=2.0)) == ["of a", DeadlineExceeded, "of c"]


def test_one_call_ends_with_the_stores_own_timeout(server):
    backend = SecretsManagerBackend.create(
        "aws-sm", {"region": REGION, "endpoint_url": server.url, "timeout": 0.2}
    )
    server.fail(HANG)
    outcomes = backend.fetch([Reference.parse("aws-sm:a").document], Deadline(60.0))
    backend.close()
    assert bodies(outcomes) == [DeadlineExceeded]


def test_no_thread_stays_behind_after_a_hang(server, fetch):
    server.fail(HANG)
    fetch("a", "b", seconds=0.3)
    for thread in threading.enumerate():
        if thread.name == "secretbridge-aws":
            thread.join(10.0)  # its own socket ends with the same deadline
            assert not thread.is_alive()


def test_the_library_does_not_retry_in_secret(server, fetch):
    # The engine retries, with jitter and a budget for the whole process; two layers multiply.
    for reply in (THROTTLED, error("InternalServiceError", status=500), Reply(status=503)):
        server.calls.clear()
        server.fail(reply)
        fetch("a")
        assert server.calls == {"GetSecretValue": 1}
        server.heal()


def test_a_proxy_of_the_environment_is_not_asked(server, fetch, monkeypatch):
    with FaultServer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert bodies(fetch("a", "b")) == ["of a", "of b"]
        assert not proxy.connections


def test_a_redirect_sends_nothing_to_the_other_server(server, fetch):
    with FaultServer() as other:
        other.put("a", "of the other")
        server.fail(Reply(status=307, headers={"Location": f"{other.url}/"}))
        assert bodies(fetch("a")) == [BackendUnavailable]
        assert not other.connections


# Before anything is sent.


def fetched(backend):
    [outcome] = backend.fetch([Reference.parse("aws-sm:a").document], Deadline(20))
    backend.close()
    return outcome


def test_an_endpoint_may_also_come_from_awss_own_variable(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server.url)
    backend = SecretsManagerBackend.create("aws-sm", {"region": REGION})
    assert fetched(backend).body == b"of a"


def test_an_endpoint_in_the_clear_is_refused_even_from_the_variable(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://10.0.0.7")
    backend = SecretsManagerBackend.create("aws-sm", {"region": REGION})
    assert type(fetched(backend)) is ConfigError


def test_fips_endpoints_are_used_when_asked_for(monkeypatch):
    clean_environment(monkeypatch)
    backend = SecretsManagerBackend.create("aws-sm", {"region": "us-east-1", "use_fips": True})
    asked = []

    def endpoint(self, url):
        asked.append(url)
        raise BackendUnavailable("not asked here", hint="this is a test")

    monkeypatch.setattr("secretbridge.backends._aws_wire.Wire.endpoint", endpoint)
    assert type(fetched(backend)) is BackendUnavailable
    assert asked == ["https://secretsmanager-fips.us-east-1.amazonaws.com"]


def test_fips_and_an_endpoint_of_the_environment_exclude_each_other(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server.url)
    backend = SecretsManagerBackend.create("aws-sm", {"region": REGION, "use_fips": True})
    outcome = fetched(backend)
    assert type(outcome) is ConfigError
    assert "use_fips" in outcome.hint


def test_without_a_region_the_configuration_is_at_fault(server):
    outcome = fetched(SecretsManagerBackend.create("aws-sm", {"endpoint_url": server.url}))
    assert type(outcome) is ConfigError
    assert "region" in outcome.hint


def test_a_profile_that_is_not_there_is_a_mistake_in_the_configuration(server):
    outcome = fetched(SecretsManagerBackend.create("aws-sm", {"profile": "nobody"}))
    assert type(outcome) is ConfigError
    assert "profile" in outcome.message


@pytest.mark.parametrize("needs", [{}, {"role_arn": "arn:aws:iam::123456789012:role/app"}])
def test_without_boto3_the_error_says_what_to_install(server, monkeypatch, needs):
    for module in ("botocore", "secretbridge.backends._aws_botocore"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("secretbridge.backends._aws_endpoints.find_spec", lambda name: None)
    _aws_endpoints._partitions.cache_clear()
    outcome = fetched(SecretsManagerBackend.create("aws-sm", {"region": REGION, **needs}))
    assert type(outcome) is ConfigError
    assert "secretbridge[aws]" in outcome.hint
