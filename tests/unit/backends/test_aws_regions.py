"""A second region: asked in an outage and for nothing else."""

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends.aws import SecretsManagerBackend
from secretbridge.document import Document
from secretbridge.errors import (
    AccessDenied,
    BackendUnavailable,
    RateLimited,
    SecretDeleted,
    SecretMissing,
)
from secretbridge.reference import Reference
from tests.servers.aws import HANG, REGION, RESET, THROTTLED, FaultServer, clean_environment, error

OTHER = "eu-central-1"
VERSION = "a" * 36
OUTAGES = [RESET, HANG, error("InternalServiceError", status=500), error("ServiceUnavailable")]


@pytest.fixture
def first(monkeypatch):
    clean_environment(monkeypatch)
    with FaultServer() as server:
        for name in ("a", "b"):
            server.put(name, f"of {name}", VERSION)
        yield server


@pytest.fixture
def second(first):
    with FaultServer() as server:
        for name in ("a", "b"):
            server.put(name, f"of {name}", VERSION, region=OTHER)
        yield server


@pytest.fixture
def fetch(first, second):
    backend = SecretsManagerBackend.create(
        "aws-sm",
        {
            "region": REGION,
            "endpoint_url": first.url,
            "fallback_region": OTHER,
            "fallback_endpoint_url": second.url,
        },
    )

    def fetch(*locators, seconds=2.0):
        requests = [Reference.parse(f"aws-sm:{locator}").document for locator in locators]
        return backend.fetch(requests, Deadline(seconds))

    yield fetch
    backend.close()


def test_while_the_first_region_answers_the_second_is_not_asked(fetch, second):
    assert {type(outcome) for outcome in fetch("a", "b")} == {Document}
    assert not second.connections


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("names", [("a",), ("a", "b")], ids=["alone", "in a batch"])
def test_in_an_outage_the_replica_is_read_in_the_same_version(fetch, first, second, outage, names):
    first.fail(outage)
    assert [outcome.version for outcome in fetch(*names)] == [VERSION] * len(names)
    assert {call.region for call in second.requests} == {OTHER}


def test_an_unreachable_region_is_an_outage(fetch, first):
    first.stop_listening()
    assert fetch("a")[0].body == b"of a"


def test_an_arn_of_the_first_region_becomes_that_of_its_replica(fetch, first, second):
    arn = first.put("c", "of c", VERSION)
    second.put("c", "of c", VERSION, region=OTHER)
    first.fail(error("InternalServiceError", status=500))
    assert fetch(arn)[0].body == b"of c"
    assert second.asked("GetSecretValue") == [{"SecretId": arn.replace(REGION, OTHER)}]


@pytest.mark.parametrize(
    ("break_first", "kind"),
    [
        (lambda server: server.denied.add("a"), AccessDenied),
        (lambda server: server.remove("a"), SecretMissing),
        (lambda server: server.mark_for_deletion("a"), SecretDeleted),
        (lambda server: server.fail(THROTTLED), RateLimited),
        (lambda server: server.fail(error("DecryptionFailure")), BackendUnavailable),
    ],
    ids=["denied", "missing", "deleted", "throttled", "key disabled"],
)
def test_what_the_first_region_says_of_the_secret_is_final(fetch, first, second, break_first, kind):
    break_first(first)
    [outcome] = fetch("a")
    assert type(outcome) is kind
    assert not second.connections


@pytest.mark.parametrize(
    "break_second",
    [
        lambda server: server.remove("a"),
        lambda server: server.denied.add("a"),
        lambda server: server.fail(RESET),
    ],
    ids=["missing", "denied", "out of order too"],
)
def test_a_replica_that_is_not_there_does_not_make_the_secret_missing(
    fetch, first, second, break_second
):
    first.fail(error("InternalServiceError", status=500))
    break_second(second)
    [outcome] = fetch("a")
    assert type(outcome) is BackendUnavailable
    assert second.requests
