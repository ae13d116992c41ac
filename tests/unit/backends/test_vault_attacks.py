"""Attacks on a client of Vault: each is first seen to work against hvac as it comes, then against ours.

What a library does by itself may change with its versions. When one of the first halves fails, the
library has learnt something, and the test may lose that half.
"""

import json
import os
import resource
import time

import hvac
import pytest

from secretbridge.backends import Deadline
from secretbridge.backends.vault import VaultBackend
from secretbridge.document import Document
from secretbridge.errors import BackendUnavailable, ConfigError, SecretBridgeError
from secretbridge.reference import DocumentId
from tests.servers import hostile
from tests.servers.hostile import HostileServer, response
from tests.servers.vault import VaultServer

TOKEN = "canary-5c0f2a96-token"
BELIEVED = {"data": {"data": {"p": "planted"}, "metadata": {"version": 1, "deletion_time": ""}}}
MOUNT = {"data": {"path": "kv/", "type": "kv", "options": {"version": "2"}}}
KNOWN = {"data": {"ttl": 0, "creation_ttl": 0, "renewable": False}}
MIB = 1024  # ru_maxrss counts in KiB


@pytest.fixture(autouse=True)
def _no_ambient_settings(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("VAULT_"):
            monkeypatch.delenv(name)


@pytest.fixture
def connect(tmp_path):
    made = []

    def connect(address, token=TOKEN, **options):
        path = tmp_path / f"token{len(made)}"
        path.write_text(token)
        auth = {"method": "token", "token_file": path}
        backend = VaultBackend.create("vault", {"address": address, "auth": auth, **options})
        made.append(backend)
        return backend

    yield connect
    for backend in made:
        backend.close()


def by_hvac(address, path="app", timeout=30):
    client = hvac.Client(url=address, token=TOKEN, timeout=timeout)
    return client.secrets.kv.v2.read_secret_version(
        path=path, mount_point="kv", raise_on_deleted_version=True
    )["data"]["data"]["p"]


def by_ours(backend, locator="kv/app", seconds=5):
    [outcome] = backend.fetch([DocumentId("vault", "vault", locator)], Deadline(seconds))
    return outcome


def by_armoured_hvac(backend, path="app"):
    return backend.hvac_client().secrets.kv.v2.read_secret_version(
        path=path, mount_point="kv", raise_on_deleted_version=True
    )


def after_the_preliminaries(last):
    """Answer the token's look-up and the question for the mount honestly, and then with ``last``."""

    def behave(connection):
        while head := connection.read_request():
            if b"lookup-self" in head:
                connection.send(response(KNOWN))
            elif b"sys/internal" in head:
                connection.send(response(MOUNT))
            else:
                last(connection)
                return

    return behave


def sends(data):
    return after_the_preliminaries(lambda connection: connection.send(data))


def test_a_redirect_to_another_origin_gets_no_token_and_is_not_believed(connect):
    with HostileServer(hostile.answer(BELIEVED), host="127.0.0.2") as stranger:
        location = f"{stranger.address}/v1/kv/data/app"
        with HostileServer(sends(response(b"", 307, {"Location": location}))) as server:
            assert by_hvac(server.address) == "planted"
            assert any(TOKEN.encode() in head for head in stranger.heads), "hvac sent the token on"

            stranger.heads.clear()
            backend = connect(server.address)
            assert type(by_ours(backend)) is BackendUnavailable
            with pytest.raises(BackendUnavailable):
                by_armoured_hvac(backend)
            assert stranger.heads == []


def test_dots_in_a_path_do_not_leave_the_mount(connect):
    escape = "../../auth/token/lookup-self"
    with VaultServer() as server:
        client = hvac.Client(url=server.address, token=server.token)
        with pytest.raises(KeyError):  # it reads another kind of answer than a secret's
            client.secrets.kv.v2.read_secret_version(
                path=escape, mount_point="kv", raise_on_deleted_version=True
            )["data"]["data"]["p"]
        assert server.log[-1].path == "auth/token/lookup-self"

        backend = connect(server.address, server.token)
        before = len(server.log)
        assert type(by_ours(backend, f"kv/{escape}")) is ConfigError
        with pytest.raises(ConfigError):
            by_armoured_hvac(backend, escape)
        sent = server.log[before:]
        assert [request.path for request in sent] == ["auth/token/lookup-self"]
        assert sent[0].headers["x-vault-token"] == server.token, "the look-up of our own token"


def test_a_server_that_drips_ends_with_the_deadline(connect):
    def drip(connection):
        for byte in response(BELIEVED):
            connection.send(bytes([byte]))
            if connection.wait(0.01):
                return

    with HostileServer(after_the_preliminaries(drip)) as server:
        start = time.monotonic()
        assert by_hvac(server.address, timeout=0.5) == "planted"
        assert time.monotonic() - start > 1, "a timeout of half a second did not end the call"

        start = time.monotonic()
        assert isinstance(by_ours(connect(server.address), seconds=0.5), BackendUnavailable)
        with pytest.raises(BackendUnavailable):
            by_armoured_hvac(connect(server.address, timeout=0.2))
        assert time.monotonic() - start < 1.7


def test_a_few_kilobytes_do_not_become_many_megabytes(connect):
    with HostileServer(sends(hostile.packed(24 << 20))) as server:
        backend = connect(server.address)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert isinstance(by_ours(backend), SecretBridgeError)
        with pytest.raises(BackendUnavailable):
            by_armoured_hvac(backend)
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert ours < 8 * MIB

        client = hvac.Client(url=server.address, token=TOKEN)
        assert len(client.read("kv/data/app")["data"]["password"]) == 24 << 20


def test_json_that_is_nested_without_end_is_an_error_of_ours(connect):
    deep = b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with HostileServer(sends(response(deep))) as server:
        with pytest.raises(RecursionError):
            by_hvac(server.address)
        backend = connect(server.address)
        assert type(by_ours(backend)) is BackendUnavailable
        with pytest.raises(BackendUnavailable):
            by_armoured_hvac(backend)


def test_a_key_that_stands_twice_is_refused(connect):
    text = json.dumps(BELIEVED).replace('"p": "planted"', '"p": "first", "p": "second"')
    with HostileServer(sends(response(text))) as server:
        assert by_hvac(server.address) == "second"
        backend = connect(server.address)
        assert type(by_ours(backend)) is BackendUnavailable
        with pytest.raises(BackendUnavailable):
            by_armoured_hvac(backend)


def test_credentials_of_the_environment_are_not_sent_along(connect, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("default login stranger password canary-netrc\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with HostileServer(sends(response(BELIEVED))) as server:
        by_hvac(server.address)
        assert any(b"authorization: basic" in head.lower() for head in server.heads)

        server.heads.clear()
        backend = connect(server.address)
        assert isinstance(by_ours(backend), Document)
        by_armoured_hvac(backend)
        assert not any(b"authorization" in head.lower() for head in server.heads)


def test_a_proxy_of_the_environment_does_not_see_the_token(connect, monkeypatch):
    with (
        HostileServer(hostile.answer(BELIEVED)) as proxy,
        HostileServer(sends(response(BELIEVED))) as server,
    ):
        monkeypatch.setenv("http_proxy", proxy.address)
        by_hvac(server.address)
        assert any(TOKEN.encode() in head for head in proxy.heads)

        proxy.heads.clear()
        backend = connect(server.address)
        assert isinstance(by_ours(backend), Document)
        by_armoured_hvac(backend)
        assert proxy.heads == []


def test_an_address_and_a_token_of_the_environment_are_not_used(connect, monkeypatch):
    with VaultServer() as server, HostileServer(hostile.answer(BELIEVED)) as stranger:
        monkeypatch.setenv("VAULT_ADDR", stranger.address)
        monkeypatch.setenv("VAULT_TOKEN", "canary-of-the-environment")
        monkeypatch.setenv("VAULT_NAMESPACE", "elsewhere")
        hvac.Client().read("kv/app")
        assert any(b"canary-of-the-environment" in head for head in stranger.heads)

        stranger.heads.clear()
        server.put("kv/app", {"p": "x"})
        backend = connect(server.address, server.token)
        assert isinstance(by_ours(backend), Document)
        by_armoured_hvac(backend)
        assert stranger.heads == []
        tokens = {request.headers["x-vault-token"] for request in server.log}
        assert tokens == {server.token}
        assert not any("x-vault-namespace" in request.headers for request in server.log)


def test_an_error_of_the_server_is_not_repeated(connect):
    with HostileServer(sends(response({"errors": ["canary-of-a-value"]}, 400))) as server:
        with pytest.raises(hvac.exceptions.InvalidRequest, match="canary-of-a-value"):
            by_hvac(server.address)
        backend = connect(server.address)
        assert "canary" not in str(by_ours(backend))
        with pytest.raises(hvac.exceptions.InvalidRequest) as caught:
            by_armoured_hvac(backend)
        assert "canary" not in str(caught.value)
        assert caught.value.text is None
