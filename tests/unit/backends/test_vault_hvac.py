"""hvac on our transport: the parts of its API that applications use, unchanged."""

import hvac
import pytest

from secretbridge.backends.vault import VaultBackend
from secretbridge.errors import AuthenticationFailed, BackendUnavailable, ConfigError
from tests.servers.vault import Scripted, VaultServer


@pytest.fixture
def server():
    with VaultServer() as server:
        yield server


@pytest.fixture
def backend(server, tmp_path):
    auth = {"method": "token", "token_file": server.write_token_file(tmp_path / "token")}
    backend = VaultBackend.create("vault", {"address": server.address, "auth": auth})
    yield backend
    backend.close()


@pytest.fixture
def client(backend):
    return backend.hvac_client()


def test_secrets_are_written_read_and_deleted(client):
    kv = client.secrets.kv.v2
    kv.create_or_update_secret(path="app/db", secret={"p": "ä"}, mount_point="kv")
    read = kv.read_secret_version(path="app/db", mount_point="kv", raise_on_deleted_version=True)
    assert read["data"]["data"] == {"p": "ä"}
    deleted = kv.delete_latest_version_of_secret(path="app/db", mount_point="kv")
    assert deleted.status_code == 204
    with pytest.raises(hvac.exceptions.InvalidPath):
        kv.read_secret_version(path="app/db", mount_point="kv", raise_on_deleted_version=True)


def test_queries_and_health_work(client, server):
    server.put("kv/app", {"p": "1"})
    server.put("kv/app", {"p": "2"})
    kv = client.secrets.kv.v2
    pinned = kv.read_secret_version(
        path="app", version=1, mount_point="kv", raise_on_deleted_version=True
    )
    assert pinned["data"]["data"] == {"p": "1"}
    assert client.sys.read_health_status(method="GET")["sealed"] is False
    assert client.sys.read_health_status(method="HEAD").status_code == 200


def test_a_login_of_its_own_replaces_the_stores_token(client, server):
    role_id = server.approle("app", ["default"])
    client.auth.approle.login(role_id=role_id, secret_id=server.secret_id("app"))
    assert client.token != server.token
    assert client.auth.token.lookup_self()["data"]["id"] == client.token


def test_a_wrapped_answer_can_be_asked_for(client, server):
    server.put("kv/app", {"p": "1"})
    wrapped = client.adapter.get("/v1/kv/data/app", wrap_ttl="60s")
    assert wrapped["wrap_info"]["creation_path"] == "kv/data/app"


def test_a_refusal_is_hvacs_error_in_our_words(client, server, backend):
    server.script("kv/data/app", [Scripted(403, '{"errors":["1 error occurred: canary"]}')])
    with pytest.raises(hvac.exceptions.Forbidden, match="policies") as caught:
        client.secrets.kv.v2.read_secret_version(
            path="app", mount_point="kv", raise_on_deleted_version=True
        )
    assert "canary" not in str(caught.value)


def test_what_is_no_answer_is_our_error(client, server, tmp_path):
    server.script(
        "kv/data/app", [Scripted(200, "<html>"), Scripted(closes=True), Scripted(closes=True)]
    )
    for _ in range(2):
        with pytest.raises(BackendUnavailable):
            client.read("kv/data/app")
    (tmp_path / "token").unlink()
    fresh = VaultBackend.create(
        "vault",
        {"address": server.address, "auth": {"token_file": tmp_path / "token"}},
    )
    with pytest.raises(AuthenticationFailed):
        fresh.hvac_client().read("kv/data/app")


def test_without_hvac_the_remedy_is_named(backend, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "hvac", None)
    monkeypatch.delitem(sys.modules, "secretbridge.backends._vault_hvac", raising=False)
    with pytest.raises(ConfigError, match=r"secretbridge\[vault\]"):
        backend.hvac_client()
