"""Parameter Store against a server that refuses, forgets and lies."""

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends.aws_ssm import ParameterStoreBackend
from secretbridge.document import Document
from secretbridge.errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    ConfigError,
    IntegrityError,
    RateLimited,
    SecretMissing,
    SecretTooLarge,
    VersionMissing,
)
from secretbridge.reference import Reference
from secretbridge.testing._leaks import assert_no_leak
from tests.servers.aws import (
    REGION,
    RESET,
    THROTTLED,
    FaultServer,
    Reply,
    clean_environment,
    error,
)

CANARY = "canary-7d20"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def server(monkeypatch):
    clean_environment(monkeypatch)
    with FaultServer() as server:
        for name in ("/app/a", "/app/b", "/app/c"):
            server.parameters.put(name, f"of {name}")
        yield server


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def backend(server, clock):
    from secretbridge.backends.aws import Options

    options = Options(region=REGION, endpoint_url=server.url)
    backend = ParameterStoreBackend("aws-ssm", options, clock=clock)
    yield backend
    backend.close()


@pytest.fixture
def fetch(backend):
    def fetch(*locators, seconds=20.0):
        requests = [Reference.parse(f"aws-ssm:{locator}").document for locator in locators]
        return backend.fetch(requests, Deadline(seconds))

    return fetch


def bodies(outcomes):
    return [o.body.decode() if isinstance(o, Document) else type(o) for o in outcomes]


def names(count):
    return [f"/many/p{number}" for number in range(count)]


# How many calls, and what is in them.


def test_parameters_come_decrypted_ten_to_a_call(server, fetch):
    for name in names(47):
        server.parameters.put(name, name)
    assert bodies(fetch(*names(47))) == names(47)
    asked = server.asked("GetParameters")
    assert sorted(len(body["Names"]) for body in asked) == [7, 10, 10, 10, 10]
    assert all(body["WithDecryption"] is True for body in asked)
    assert server.calls["GetParameter"] == 0


def test_one_parameter_needs_no_call_for_many(server, fetch):
    assert bodies(fetch("/app/a")) == ["of /app/a"]
    assert server.calls == {"GetParameter": 1}


def test_a_name_without_a_path_is_asked_for_as_it_is(server, fetch):
    server.parameters.put("plain", "value")
    assert bodies(fetch("plain", "/app/a")) == ["value", "of /app/a"]


def test_a_version_and_a_label_are_pinned(server, fetch):
    server.parameters.put("/app/a", "second", label="blue")
    server.parameters.put("/app/a", "third")
    outcomes = fetch("/app/a", "/app/a?version=1", "/app/a?label=blue", "/app/b")
    assert bodies(outcomes) == ["third", "of /app/a", "second", "of /app/b"]
    assert [outcome.version for outcome in outcomes] == ["3", "1", "2", "1"]


def test_a_version_or_label_that_is_not_there_is_told_from_a_parameter_that_is_not(fetch):
    outcomes = fetch("/app/a?version=7", "/app/a?label=green", "/app/never?version=1")
    assert [type(outcome) for outcome in outcomes] == [
        VersionMissing,
        VersionMissing,
        SecretMissing,
    ]
    assert "version 7" in outcomes[0].message
    assert "label green" in outcomes[1].message


def test_arns_of_our_account_share_the_call_with_names(server, fetch):
    arn = server.parameters.put("/app/d", "of d")
    fetch("/app/a")  # which tells whose account this is
    assert bodies(fetch("/app/a", arn)) == ["of /app/a", "of d"]
    assert server.calls == {"GetParameter": 1, "GetParameters": 1}


def test_arns_of_other_accounts_and_regions_are_asked_for_alone_and_there(server, fetch):
    foreign = server.parameters.put("/x", "of x", account="999999999999")
    far = server.parameters.put("/far", "of far", region="us-east-1")
    assert bodies(fetch("/app/a", "/app/b", foreign, far)) == [
        "of /app/a",
        "of /app/b",
        "of x",
        "of far",
    ]
    regions = {c.body["Name"]: c.region for c in server.requests if c.operation == "GetParameter"}
    assert regions == {foreign: REGION, far: "us-east-1"}


# What an answer says of each.


def test_each_is_told_apart_missing_denied_and_there(server, fetch):
    server.parameters.denied.add("/app/c")
    outcomes = fetch("/app/a", "/app/never", "/app/b", "/app/c")
    assert bodies(outcomes) == ["of /app/a", SecretMissing, "of /app/b", AccessDenied]
    assert "assumed-role/app/i-1" in outcomes[3].message


def test_a_deleted_parameter_is_missing(server, fetch):
    assert bodies(fetch("/app/a", "/app/b")) == ["of /app/a", "of /app/b"]
    server.parameters.remove("/app/b")
    assert bodies(fetch("/app/a", "/app/b")) == ["of /app/a", SecretMissing]


def test_a_parameter_that_the_answer_forgets_is_asked_for_alone(server, fetch):
    server.parameters.lost.add("/app/b")
    assert bodies(fetch("/app/a", "/app/b")) == ["of /app/a", "of /app/b"]
    assert [body["Name"] for body in server.asked("GetParameter")] == ["/app/b"]


def test_a_key_that_is_off_is_trouble_of_one_parameter_and_transient(server, fetch):
    server.parameters.undecryptable.add("/app/b")
    outcomes = fetch("/app/a", "/app/b", "/app/c")
    assert bodies(outcomes) == ["of /app/a", BackendUnavailable, "of /app/c"]
    assert "KMS" in outcomes[1].message
    assert not outcomes[1].concerns_store


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (THROTTLED, RateLimited),
        (RESET, BackendUnavailable),
        (error("InternalServerError", CANARY, 500), BackendUnavailable),
        (error("UnrecognizedClientException", CANARY), AuthenticationFailed),
        (error("ValidationException", CANARY), ConfigError),
    ],
)
@pytest.mark.parametrize("asked", [("/app/a",), ("/app/a", "/app/b")], ids=["alone", "together"])
def test_a_store_in_trouble_is_named_for_every_item(server, fetch, asked, reply, kind):
    server.fail(reply)
    for outcome, name in zip(fetch(*asked), asked, strict=True):
        assert type(outcome) is kind
        assert str(outcome.reference) == f"aws-ssm:{name}"
        assert outcome.hint
        assert_no_leak(outcome, CANARY)
    server.heal()
    assert bodies(fetch(*asked)) == [f"of {name}" for name in asked]


def test_a_throttled_call_for_many_is_not_repeated_ten_times(server, fetch):
    server.fail(THROTTLED)
    fetch("/app/a", "/app/b", "/app/c")
    assert server.calls == {"GetParameters": 1}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"Parameter": None},
        {"Parameter": {"Name": "/app/b", "Value": CANARY, "Version": 1}},
        {"Parameter": {"Name": "/app/a", "Version": 1}},
        {"Parameter": {"Name": "/app/a", "Value": [CANARY], "Version": 1}},
        {"Parameter": {"Name": "/app/a", "Value": f"{CANARY} \ud800", "Version": 1}},
    ],
)
def test_an_answer_that_is_not_the_parameter_asked_for_is_refused(server, fetch, answer):
    def lie(operation, told):
        told.clear()
        told.update(answer)

    server.change_answer = lie
    [outcome] = fetch("/app/a")
    assert type(outcome) is IntegrityError
    assert_no_leak(outcome, CANARY)


def test_another_version_than_the_pinned_one_is_refused(server, fetch):
    server.parameters.put("/app/a", "second")
    server.change_answer = lambda operation, told: told["Parameter"].update(Version=1)
    assert bodies(fetch("/app/a?version=2")) == [IntegrityError]


def test_an_answer_of_another_shape_is_asked_one_by_one(server, fetch):
    server.fail(Reply(b'{"Parameters": 7, "InvalidParameters": "x"}'), "GetParameters")
    assert bodies(fetch("/app/a", "/app/b")) == ["of /app/a", "of /app/b"]


def test_a_value_beyond_the_cap_is_refused_alone(server, fetch):
    server.parameters.put("/app/b", "x" * ((1 << 20) + 1))
    assert bodies(fetch("/app/a", "/app/b")) == ["of /app/a", SecretTooLarge]


# Which permissions there are.


def test_where_only_single_calls_are_allowed_that_is_remembered(server, clock, fetch):
    server.parameters.denied_calls.add("GetParameters")
    for _ in range(3):
        assert bodies(fetch("/app/a", "/app/b")) == ["of /app/a", "of /app/b"]
    assert server.calls == {"GetParameters": 1, "GetParameter": 6}
    clock.now = 3601.0
    server.parameters.denied_calls.clear()
    assert bodies(fetch("/app/a", "/app/b")) == ["of /app/a", "of /app/b"]
    assert server.calls["GetParameters"] == 2, "the permission may have been added meanwhile"


def test_where_only_calls_for_many_are_allowed_one_is_asked_for_that_way(server, fetch):
    server.parameters.denied_calls.add("GetParameter")
    for _ in range(3):
        assert bodies(fetch("/app/a")) == ["of /app/a"]
    assert server.calls == {"GetParameter": 1, "GetParameters": 3}
    outcomes = fetch("/app/never", "/app/a?version=9", "/app/a?version=1")
    assert bodies(outcomes) == [SecretMissing, SecretMissing, "of /app/a"]
    assert "no such version" in outcomes[1].message


def test_a_denied_parameter_is_kept_out_of_the_calls_for_many(server, clock, fetch):
    server.parameters.denied.add("/app/c")
    expected = ["of /app/a", "of /app/b", AccessDenied]
    assert bodies(fetch("/app/a", "/app/b", "/app/c")) == expected
    server.calls.clear()
    assert bodies(fetch("/app/a", "/app/b", "/app/c")) == expected
    assert server.calls == {"GetParameters": 2, "GetParameter": 1}
    server.parameters.denied.clear()
    assert bodies(fetch("/app/a", "/app/b", "/app/c"))[2] == "of /app/c"
    server.calls.clear()
    fetch("/app/a", "/app/b", "/app/c")
    assert server.calls == {"GetParameters": 1}


def test_an_event_concerns_its_parameter(backend):
    assert backend.concerns("/app/a", "/app/a")
    assert not backend.concerns("/app/a", "/app/b")


def test_there_is_no_second_region_for_parameters():
    # Parameter Store does not replicate; its versions are counted in each region by itself.
    assert "fallback_region" not in ParameterStoreBackend.options_model().model_fields
