"""boto3 with access keys that rotate, against an endpoint that looks at them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError

from secretbridge import Broker
from secretbridge.adapters.boto3 import credentials, session
from secretbridge.testing import FakeBackend
from tests.servers.aws import FaultServer, clean_environment


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    clean_environment(monkeypatch)


@pytest.fixture
def endpoint():
    with FaultServer() as server:
        server.put("app/db", "x")
        yield server


@pytest.fixture
def store():
    fake = FakeBackend()
    put(fake, 0)
    return fake


def put(store, number, **more):
    keys = {"id": f"AKIA{number}", "key": f"secret-{number}", "token": f"token-{number}"}
    store.put("aws", json.dumps(keys))


@pytest.fixture
def broker(store):
    names = {name: f"fake:aws#{name}" for name in ("id", "key", "token")}
    with Broker({"fake": store}, names, refresh_floor=0.05) as made:
        yield made


@pytest.fixture(params=["legacy", "standard", "adaptive"])
def client(request, endpoint, broker, monkeypatch):
    monkeypatch.setenv("AWS_RETRY_MODE", request.param)
    made = session("id", "key", "token", broker=broker, region_name="eu-west-1")
    return made.client("secretsmanager", endpoint_url=endpoint.url)


def read(client):
    return client.get_secret_value(SecretId="app/db")["SecretString"]


def test_requests_are_signed_with_the_current_keys(client, endpoint):
    assert read(client) == "x"
    assert endpoint.requests[-1].access_key == "AKIA0"
    assert endpoint.requests[-1].headers["x-amz-security-token"] == "token-0"


def test_new_keys_sign_the_next_request(client, endpoint, store, broker):
    read(client)
    put(store, 1)
    broker.refresh(timeout=10)
    read(client)
    assert endpoint.requests[-1].access_key == "AKIA1"


def test_refused_keys_are_replaced_and_the_request_repeated(client, endpoint, store):
    read(client)
    for number in range(1, 4):
        put(store, number)
        endpoint.expired_keys.add(f"AKIA{number - 1}")
        assert read(client) == "x"
    assert [call.access_key for call in endpoint.requests[-2:]] == ["AKIA2", "AKIA3"]


def test_keys_that_nothing_replaces_are_told(client, endpoint):
    endpoint.expired_keys.add("AKIA0")
    with pytest.raises(ClientError, match="ExpiredToken"):
        read(client)


def test_they_are_botocore_s_refreshable_credentials(broker):
    made = credentials("id", "key", broker=broker)
    assert isinstance(made, RefreshableCredentials)
    assert (made.access_key, made.secret_key, made.token) == ("AKIA0", "secret-0", None)
    assert not made.refresh_needed()
    assert "secret-0" not in f"{made!r}{vars(made)}"


def test_a_url_is_presigned_with_the_current_keys(broker, store):
    put(store, 7)
    s3 = session("id", "key", broker=broker, region_name="eu-west-1").client("s3")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    assert "AKIA7" in url
    assert datetime.now(UTC).strftime("%Y") in url or "Expires=" in url
