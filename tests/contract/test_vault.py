"""Vault: every rule on the in-process server and on a real OpenBao or Vault.

A real server takes a second to start and is shared by the module; tests use locators of their own.
"""

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote
from uuid import uuid4

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends.vault import VaultBackend, VersionChanged
from secretbridge.broker import Broker
from secretbridge.document import Document, Lease, select
from secretbridge.errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    ConfigError,
    RateLimited,
    SecretBridgeError,
    SecretDeleted,
    SecretExpired,
    SecretMissing,
    SecretTooLarge,
    VersionMissing,
)
from secretbridge.reference import Reference
from secretbridge.testing import BackendContract
from tests.servers._vault_admin import write_private
from tests.servers.bao import find_binary, real_vault
from tests.servers.postgres import SUPERUSER, find_programs, private_postgres
from tests.servers.vault import Scripted, VaultServer

SERVERS = ["in-process", "in-process, as Vault", "real"]


@pytest.fixture(scope="module")
def real():
    if find_binary() is None:
        pytest.skip("neither bao nor vault on the PATH, and SECRETBRIDGE_VAULT_BIN is not set")
    with real_vault() as server:
        yield server


@pytest.fixture(params=SERVERS)
def server(request):
    if request.param == "real":
        yield request.getfixturevalue("real")
        return
    dialect = "vault" if request.param.endswith("Vault") else "openbao"
    with VaultServer(dialect=dialect) as server:
        yield server


@pytest.fixture
def clients():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def as_root(server, tmp_path, clients):
    """A client that may do everything."""
    return client(server, clients, token_file(server, tmp_path))


@pytest.fixture
def name():
    return f"t-{uuid4().hex[:12]}"


def token_file(server, tmp_path, token=None):
    path = server.write_token_file(tmp_path / f"token-{uuid4().hex[:6]}", token)
    return {"method": "token", "token_file": path}


def client(server, clients, auth, **options):
    backend = VaultBackend.create("vault", {"address": server.address, "auth": auth, **options})
    clients.callback(backend.close)
    return backend


def fetch(backend, *references):
    requests = [Reference.parse(reference).document for reference in references]
    return list(backend.fetch(requests, Deadline(20)))


def one(backend, reference):
    [outcome] = fetch(backend, reference)
    return outcome


def value(backend, reference):
    outcome = one(backend, reference)
    assert isinstance(outcome, Document), str(outcome)
    return select(outcome, Reference.parse(reference)).decode()


def probe(backend, reference):
    [outcome] = backend.probe([Reference.parse(reference).document], Deadline(20))
    return outcome


class Contract(BackendContract):
    """The shared rules; a subclass says on which server and mount."""

    supports_binary = False
    supports_empty = False
    tells_news = False  # OpenBao has no events
    least_rules: ClassVar = {
        "kv/data/*": ["read"],
        "kv/metadata/*": ["read"],
        "kv1/*": ["read"],
    }
    mount = "kv"

    @pytest.fixture
    def server(self):
        raise NotImplementedError

    @pytest.fixture
    def backend(self, server, tmp_path):
        self.server = server
        self.rules = dict(self.least_rules)
        self.policy = f"contract-{uuid4().hex[:8]}"
        server.policy(self.policy, self.rules)
        token = server.create_token([self.policy])
        self.least = {"address": server.address, "auth": token_file(server, tmp_path, token)}
        self.token = token
        backend = VaultBackend.create("vault", self.least)
        yield backend
        backend.close()

    def credentials(self, backend):
        return [self.token]

    def leased(self):
        locator = self.server.dynamic_role(3600, 7200)
        rights = {
            locator: ["read"],
            "sys/leases/renew": ["update"],
            "sys/leases/revoke": ["update"],
        }
        self.server.policy(self.policy, {**self.rules, **rights})
        return locator

    def absent_version(self):
        return "99" if self.has_versions else None

    def options(self, backend):
        return self.least

    def locator(self, name):
        return f"{self.mount}/{name}"

    def body(self, text):
        return json.dumps({"value": text}).encode()

    def same_body(self, body, expected):
        return json.loads(body) == json.loads(expected)

    def put(self, locator, body):
        self.server.put(locator, json.loads(body))

    def remove(self, locator):
        self.server.delete(locator)

    def deny(self, locator):
        mount, _, name = locator.partition("/")
        denied = f"{mount}/data/{name}" if mount == "kv" else locator
        self.server.policy(self.policy, {**self.rules, denied: ["deny"]})


class TestInProcess(Contract):
    @pytest.fixture
    def server(self):
        with VaultServer() as server:
            yield server

    def break_store(self):
        self.server.stop()

    def heal_store(self):
        self.server.start()

    def corrupt(self, locator):
        mount, _, name = locator.partition("/")
        self.server.script(f"{mount}/data/{name}", [Scripted(200, '{"data": {"data": 1}}')])


class TestInProcessOnVersion1(TestInProcess):
    mount = "kv1"
    has_versions = False
    keeps_versions = False

    def corrupt(self, locator):
        self.server.script(locator, [Scripted(200, '{"data": "')])


class TestInProcessAsVault(TestInProcess):
    tells_news = True
    least_rules: ClassVar = {
        "kv/data/*": ["read", "subscribe"],
        "kv/metadata/*": ["read"],
        "sys/events/subscribe/kv*": ["read"],
    }

    @pytest.fixture
    def server(self):
        with VaultServer(dialect="vault", enterprise=True) as server:
            yield server


class TestReal(Contract):
    @pytest.fixture
    def server(self, real):
        return real

    def break_store(self):
        self.server.seal()

    def heal_store(self):
        self.server.unseal()


class TestRealOnVersion1(TestReal):
    mount = "kv1"
    has_versions = False
    keeps_versions = False


# Reading -----------------------------------------------------------------------------------------


def test_a_field_is_read_from_either_version_of_the_engine(server, as_root, name):
    for mount in ("kv", "kv1"):
        server.put(f"{mount}/{name}/db", {"password": "pä$$<wörd>&"})
        assert value(as_root, f"vault:{mount}/{name}/db#password") == "pä$$<wörd>&"


def test_a_number_keeps_the_digits_in_which_the_server_wrote_it(server, as_root, name):
    server.put(f"kv/{name}", {"port": 5432, "nested": {"b": 1.5, "a": [1, 2]}})
    assert value(as_root, f"vault:kv/{name}#port") == "5432"
    assert json.loads(value(as_root, f"vault:kv/{name}#nested")) == {"a": [1, 2], "b": 1.5}


def test_the_whole_document_is_the_object_of_its_fields(server, as_root, name):
    server.put(f"kv/{name}", {"a": "1", "b": "2"})
    assert json.loads(one(as_root, f"vault:kv/{name}").body) == {"a": "1", "b": "2"}


def test_a_mount_may_have_several_segments(server, as_root, name):
    server.mount(f"team/{name}", "kv", version=2)
    server.do("POST", f"team/{name}/data/app/db", {"data": {"password": "deep"}})
    assert value(as_root, f"vault:team/{name}/app/db#password") == "deep"


def test_characters_of_a_path_mean_nothing_to_the_server(server, as_root, name):
    odd = "/".join(quote(part, safe="") for part in f"{name}/a b?version=7#x%2f..;é".split("/"))
    server.do("POST", f"kv/data/{odd}", {"data": {"k": "odd"}})
    assert value(as_root, f"vault:kv/{odd}#k") == "odd"


def test_an_empty_secret_is_a_document(server, as_root, name):
    server.put(f"kv/{name}", {})
    assert one(as_root, f"vault:kv/{name}").body == b"{}"


def test_a_version_can_be_pinned(server, as_root, name):
    server.put(f"kv/{name}", {"p": "first"})
    server.put(f"kv/{name}", {"p": "second"})
    assert value(as_root, f"vault:kv/{name}?version=1#p") == "first"
    assert one(as_root, f"vault:kv/{name}?version=1").version == "1"
    assert one(as_root, f"vault:kv/{name}").version == "2"


def test_a_thousand_requests_come_back_in_order(server, as_root, name):
    for index in range(40):
        server.put(f"kv/{name}/{index}", {"p": str(index)})
    outcomes = fetch(as_root, *[f"vault:kv/{name}/{index % 40}" for index in range(1000)])
    expected = [str(index % 40) for index in range(1000)]
    assert [json.loads(outcome.body)["p"] for outcome in outcomes] == expected


# What is not there -------------------------------------------------------------------------------


def test_a_missing_version_is_not_a_missing_secret(server, as_root, name):
    server.put(f"kv/{name}", {"p": "first"})
    assert type(one(as_root, f"vault:kv/{name}?version=9")) is VersionMissing
    assert type(one(as_root, f"vault:kv/{name}-absent?version=9")) is SecretMissing


def test_a_missing_version_of_a_deleted_secret_is_a_missing_version(server, as_root, name):
    server.put(f"kv/{name}", {"p": "first"})
    server.delete(f"kv/{name}")
    assert type(one(as_root, f"vault:kv/{name}?version=9")) is VersionMissing


def test_deleted_and_destroyed_are_told_apart(server, as_root, name):
    server.put(f"kv/{name}", {"p": "first"})
    server.delete(f"kv/{name}")
    deleted = one(as_root, f"vault:kv/{name}")
    assert isinstance(deleted, SecretDeleted)
    assert "version 1 was deleted" in str(deleted)
    server.change_versions("destroy", f"kv/{name}", [1])
    destroyed = one(as_root, f"vault:kv/{name}")
    assert isinstance(destroyed, SecretDeleted)
    assert "version 1 was destroyed" in str(destroyed)


def test_an_undeleted_secret_is_back(server, as_root, name):
    server.put(f"kv/{name}", {"p": "first"})
    server.delete(f"kv/{name}")
    server.change_versions("undelete", f"kv/{name}", [1])
    assert value(as_root, f"vault:kv/{name}#p") == "first"


def test_a_secret_removed_with_all_its_versions_is_missing(server, as_root, name):
    server.put(f"kv/{name}", {"p": "first"})
    server.purge(f"kv/{name}")
    assert type(one(as_root, f"vault:kv/{name}")) is SecretMissing


def test_a_pinned_version_survives_the_deletion_of_a_later_one(server, as_root, name):
    server.put(f"kv/{name}", {"p": "first"})
    server.put(f"kv/{name}", {"p": "second"})
    server.delete(f"kv/{name}")
    assert value(as_root, f"vault:kv/{name}?version=1#p") == "first"
    assert isinstance(one(as_root, f"vault:kv/{name}?version=2"), SecretDeleted)


def test_a_missing_mount_is_missing_for_root_and_says_so(as_root):
    outcome = one(as_root, "vault:no-such-mount/app/db")
    assert type(outcome) is SecretMissing
    assert "no secrets engine is mounted" in str(outcome)


def test_a_path_with_data_gets_a_hint_to_leave_it_out(server, as_root, name):
    server.put(f"kv/{name}", {"p": "x"})
    outcome = one(as_root, f"vault:kv/data/{name}")
    assert type(outcome) is SecretMissing
    assert "leave out `data/`" in str(outcome)


def test_a_version_of_a_mount_without_versions_is_a_mistake_and_not_missing(server, as_root, name):
    server.put(f"kv1/{name}", {"p": "x"})
    outcome = one(as_root, f"vault:kv1/{name}?version=1")
    assert isinstance(outcome, ConfigError)
    assert "keeps none" in str(outcome)


@pytest.mark.parametrize("path", ["kv", "sys/health", "auth/token/lookup-self"])
def test_what_is_no_path_of_a_secret_is_refused(as_root, path):
    assert isinstance(one(as_root, f"vault:{path}"), ConfigError)


def test_parameters_for_a_plain_secret_are_a_mistake(server, as_root, name):
    server.put(f"kv/{name}", {"p": "x"})
    assert isinstance(one(as_root, f"vault:kv/{name}?common_name=x"), ConfigError)


# Who may -----------------------------------------------------------------------------------------


def limited(server, tmp_path, clients, rules, **token):
    policy = f"p-{uuid4().hex[:8]}"
    server.policy(policy, rules)
    made = server.create_token([policy], **token)
    return client(server, clients, token_file(server, tmp_path, made))


def test_denied_is_not_missing_whether_the_secret_exists_or_not(server, tmp_path, clients, name):
    server.put(f"kv/{name}", {"p": "x"})
    backend = limited(server, tmp_path, clients, {f"kv/data/{name}/mine": ["read"]})
    for outcome in fetch(backend, f"vault:kv/{name}", f"vault:kv/{name}-absent"):
        assert type(outcome) is AccessDenied


def test_a_token_that_may_do_nothing_else_reads_what_it_may(server, tmp_path, clients, name):
    server.put(f"kv/{name}", {"p": "mine"})
    rules = {f"kv/data/{name}": ["read"]}
    backend = limited(server, tmp_path, clients, rules, default_policy=False)
    assert value(backend, f"vault:kv/{name}#p") == "mine"
    assert type(one(backend, f"vault:kv/{name}-other")) is AccessDenied


def test_an_unknown_token_is_not_denied_but_unknown(server, tmp_path, clients, name):
    backend = client(server, clients, token_file(server, tmp_path, "s.nonsense"))
    for outcome in fetch(backend, f"vault:kv/{name}", f"vault:kv/{name}-other"):
        assert type(outcome) is AuthenticationFailed


def test_a_revoked_token_fails_until_the_file_holds_a_new_one(server, tmp_path, clients, name):
    server.put(f"kv/{name}", {"p": "x"})
    first = server.create_token(["root"])
    auth = token_file(server, tmp_path, first)
    backend = client(server, clients, auth)
    assert value(backend, f"vault:kv/{name}#p") == "x"
    server.revoke_token(first)
    assert type(one(backend, f"vault:kv/{name}")) is AuthenticationFailed
    server.write_token_file(auth["token_file"], server.create_token(["root"]))
    assert value(backend, f"vault:kv/{name}#p") == "x"


def test_a_token_replaced_in_its_file_is_found_on_the_first_refusal(
    server, tmp_path, clients, name
):
    server.put(f"kv/{name}", {"p": "x"})
    first = server.create_token(["root"])
    auth = token_file(server, tmp_path, first)
    backend = client(server, clients, auth)
    assert value(backend, f"vault:kv/{name}#p") == "x"
    server.write_token_file(auth["token_file"], server.create_token(["root"]))
    server.revoke_token(first)
    assert value(backend, f"vault:kv/{name}#p") == "x"


# AppRole -----------------------------------------------------------------------------------------


def approle(server, tmp_path, name, *, wrapped=False, uses=0, rules=None, **life):
    role = f"role-{name}"
    server.policy(role, rules or {f"kv/data/{name}*": ["read"]})
    role_id = server.approle(role, [role], **life)
    secret_id = server.secret_id(role, wrap_ttl=60 if wrapped else None, uses=uses)
    return {
        "method": "approle",
        "role_id_file": write_private(tmp_path / "role_id", role_id),
        "secret_id_file": write_private(tmp_path / "secret_id", secret_id + "\n"),
        "secret_id_wrapped": wrapped,
    }


def test_approle_logs_in_and_reads(server, tmp_path, clients, name):
    server.put(f"kv/{name}", {"p": "x"})
    backend = client(server, clients, approle(server, tmp_path, name))
    assert value(backend, f"vault:kv/{name}#p") == "x"
    assert type(one(backend, "vault:kv/other")) is AccessDenied


@pytest.mark.parametrize("wrong", ["role_id_file", "secret_id_file"])
def test_a_wrong_role_or_secret_id_is_a_failed_login(server, tmp_path, clients, name, wrong):
    auth = approle(server, tmp_path, name)
    write_private(auth[wrong], "wrong")
    outcome = one(client(server, clients, auth), f"vault:kv/{name}")
    assert type(outcome) is AuthenticationFailed
    assert "login at auth/approle was refused" in str(outcome)


def test_a_wrong_mount_of_approle_is_a_failed_login(server, tmp_path, clients, name):
    auth = {**approle(server, tmp_path, name), "mount": "elsewhere"}
    assert type(one(client(server, clients, auth), f"vault:kv/{name}")) is AuthenticationFailed


def test_a_secret_id_that_is_used_up_fails_the_next_login(server, tmp_path, clients, name):
    server.put(f"kv/{name}", {"p": "x"})
    auth = approle(server, tmp_path, name, uses=1)
    assert value(client(server, clients, auth), f"vault:kv/{name}#p") == "x"
    assert type(one(client(server, clients, auth), f"vault:kv/{name}")) is AuthenticationFailed


def test_a_wrapped_secret_id_is_unwrapped_once_and_serves_later_logins(
    server, tmp_path, clients, name
):
    server.put(f"kv/{name}", {"p": "x"})
    backend = client(server, clients, approle(server, tmp_path, name, wrapped=True))
    assert value(backend, f"vault:kv/{name}#p") == "x"
    server.revoke_token(backend._session.token(Deadline(20)).value)
    assert value(backend, f"vault:kv/{name}#p") == "x"


def test_a_wrapping_token_that_somebody_used_before_raises_the_alarm(
    server, tmp_path, clients, name
):
    auth = approle(server, tmp_path, name, wrapped=True)
    stolen = auth["secret_id_file"].read_text().strip()
    server.request("POST", "sys/wrapping/unwrap", {}, token=stolen)
    outcome = one(client(server, clients, auth), f"vault:kv/{name}")
    assert type(outcome) is AuthenticationFailed
    assert "ALARM" in str(outcome)


def test_a_wrapping_token_from_another_path_raises_the_alarm_and_is_left_alone(
    server, tmp_path, clients, name
):
    auth = approle(server, tmp_path, name, wrapped=True)
    server.put(f"kv/{name}", {"secret_id": "planted"})
    wrapping = {"X-Vault-Wrap-TTL": "60s"}
    planted = server.do("GET", f"kv/data/{name}", headers=wrapping)["wrap_info"]["token"]
    write_private(auth["secret_id_file"], planted)
    outcome = one(client(server, clients, auth), f"vault:kv/{name}")
    assert type(outcome) is AuthenticationFailed
    assert "ALARM" in str(outcome)
    assert server.request("POST", "sys/wrapping/unwrap", {}, token=planted)[0] == 200


# Advice, leases, certificates --------------------------------------------------------------------


def test_the_ttl_field_of_version_1_is_advice_to_look_again(server, as_root, name):
    server.put(f"kv1/{name}", {"password": "x", "ttl": "30s"})
    document = one(as_root, f"vault:kv1/{name}")
    assert document.refresh_after == 30
    assert document.lease is None


@pytest.mark.parametrize("field", [{}, {"ttl": "nonsense"}])
def test_the_default_duration_of_version_1_is_no_advice(server, as_root, name, field):
    server.put(f"kv1/{name}", {"password": "x", **field})
    assert one(as_root, f"vault:kv1/{name}").refresh_after is None


def test_a_version_with_a_time_of_deletion_is_looked_at_again_then(server, as_root, name):
    server.expire(f"kv/{name}", 7200)
    server.put(f"kv/{name}", {"password": "x"})
    document = one(as_root, f"vault:kv/{name}")
    assert 7100 < document.refresh_after <= 7200


def test_a_dynamic_credential_is_one_document_with_a_lease(server, as_root):
    locator = server.dynamic_role(ttl=60, max_ttl=90)
    first, again = fetch(as_root, f"vault:{locator}", f"vault:{locator}")
    assert set(json.loads(first.body)) == {"username", "password"}
    assert first.lease == Lease(first.lease.id, 60, True)
    assert first.lifetime == 60
    assert again.lease.id == first.lease.id, "two requests of one call made two users"


def test_a_lease_is_renewed_by_as_much_as_it_ever_had(server, as_root):
    locator = server.dynamic_role(ttl=60, max_ttl=90)
    lease = one(as_root, f"vault:{locator}").lease
    # What the engine hands over may be shorter than what was granted. Asking for that would
    # shorten the lease on the server.
    renewed = as_root.renew(Lease(lease.id, 5, True), Deadline(20))
    assert 58 <= renewed.duration <= 60
    assert renewed.renewable


def test_a_lease_made_before_a_restart_is_renewed_by_what_its_role_grants(
    server, as_root, tmp_path, clients
):
    lease = one(as_root, f"vault:{server.dynamic_role(ttl=60, max_ttl=90)}").lease
    restarted = client(server, clients, token_file(server, tmp_path))
    assert 58 <= restarted.renew(lease, Deadline(20)).duration <= 60


def test_a_lease_that_is_given_back_cannot_be_renewed(server, as_root):
    lease = one(as_root, f"vault:{server.dynamic_role(ttl=60, max_ttl=90)}").lease
    as_root.revoke(lease, Deadline(20))
    with pytest.raises(SecretExpired):
        as_root.renew(lease, Deadline(20))
    as_root.revoke(lease, Deadline(20))


def test_a_lease_lasts_no_longer_than_the_token_that_made_it(server, tmp_path, clients):
    locator = server.dynamic_role(ttl=3000, max_ttl=9000)
    token = server.create_token(["root"], ttl=100, renewable=False)
    backend = client(server, clients, token_file(server, tmp_path, token))
    lease = one(backend, f"vault:{locator}").lease
    assert 90 < lease.duration <= 100
    assert 90 < backend.renew(lease, Deadline(20)).duration <= 100


def test_a_static_role_of_a_real_database_is_looked_at_again_when_it_is_rotated(
    real, tmp_path, clients
):
    if find_programs() is None:
        pytest.skip("no PostgreSQL: the Debian package postgresql is not installed")
    mount = f"database-{uuid4().hex[:8]}"
    with private_postgres() as database:
        database.execute("CREATE ROLE app LOGIN PASSWORD 'before'")
        real.mount(mount, "database")
        connection = {
            "plugin_name": "postgresql-database-plugin",
            "connection_url": database.url_for_vault,
            "allowed_roles": ["*"],
            "username": SUPERUSER,
            "password": database.password,
        }
        real.do("POST", f"{mount}/config/db", connection)
        role = {"db_name": "db", "username": "app", "rotation_period": "1h"}
        real.do("POST", f"{mount}/static-roles/app", role)
        backend = client(real, clients, token_file(real, tmp_path))
        first = one(backend, f"vault:{mount}/static-creds/app")
        assert 3590 < first.refresh_after <= 3601
        assert first.lease is None
        real.do("POST", f"{mount}/rotate-role/app")
        second = one(backend, f"vault:{mount}/static-creds/app")
        assert second.body != first.body
        real.do("DELETE", f"{mount}/static-roles/app")
        assert type(one(backend, f"vault:{mount}/static-creds/app")) is SecretMissing


@pytest.mark.parametrize("may_revoke", [True, False])
@pytest.mark.parametrize("keeps", [False, True])
def test_a_closed_broker_leaves_the_leases_that_it_was_told_to_leave(
    server, tmp_path, clients, name, may_revoke, keeps
):
    locator = server.dynamic_role(ttl=600, max_ttl=6000)
    rules = {locator: ["read"]}
    if may_revoke:
        rules["sys/leases/revoke"] = ["update"]
    backend = client(server, clients, approle(server, tmp_path, name, rules=rules))
    names = {"user": f"vault:{locator}#username", "password": f"vault:{locator}#password"}
    broker = Broker({"vault": backend}, names)
    broker.watch(names, lambda: None)
    broker.prefetch()
    assert broker.get("user").expires_at is not None
    [lease] = server.leases(locator)
    token = backend._session.token(Deadline(20)).value
    broker.close(keep_leases=keeps)
    expected = [lease] if keeps else []
    # The leases of a token that was revoked are revoked one after the other, behind its back.
    end = time.monotonic() + 20
    while server.leases(locator) != expected and time.monotonic() < end:
        time.sleep(0.01)
    assert server.leases(locator) == expected
    status, _ = server.request("GET", "auth/token/lookup-self", token=token)
    assert status == (200 if keeps else 403)


def test_a_lease_under_a_token_at_its_maximum_is_followed_by_one_of_a_new_login(
    server, tmp_path, clients, name
):
    locator = server.dynamic_role(ttl=600, max_ttl=6000)
    auth = approle(server, tmp_path, name, rules={locator: ["read"]}, ttl=6, max_ttl=6)
    backend = client(server, clients, auth)
    first = one(backend, f"vault:{locator}")
    assert first.lease.duration <= 6, "a lease ends with the token that made it"
    old = backend._session.token(Deadline(20))
    old.can_renew = False  # as at its maximum, and half of its life gone
    old.half = old.due = backend._session._clock()
    second = one(backend, f"vault:{locator}")
    assert backend._session.token(Deadline(20)) is not old
    assert 5 < second.lease.duration <= 6
    assert len(server.leases(locator)) == 2, "the old one lives until the new one is published"


def test_an_unknown_role_is_missing(server, as_root):
    mount = server.dynamic_role(ttl=60, max_ttl=90).split("/")[0]
    outcome = one(as_root, f"vault:{mount}/creds/absent")
    assert type(outcome) is SecretMissing
    assert "no such role" in str(outcome)


def test_a_certificate_is_issued_by_writing_and_ends_with_itself(server, as_root):
    locator = server.certificate_role(generate_lease=False)
    document = one(as_root, f"vault:{locator}?common_name=app.local&ttl=30m")
    assert document.lease is None
    assert 1700 < document.lifetime <= 1801
    assert {"certificate", "private_key"} <= set(json.loads(document.body))


@pytest.mark.parametrize("generate_lease", [False, True])
def test_certificate_key_and_chain_are_of_one_issue(server, as_root, generate_lease):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    locator = server.certificate_role(generate_lease=generate_lease)
    parameters = ("common_name=app.local&ttl=30m", "ttl=30m&common_name=app.local")
    references = [
        Reference.parse(f"vault:{locator}?{parameters[0]}#certificate"),
        Reference.parse(f"vault:{locator}?{parameters[1]}#private_key"),
        Reference.parse(f"vault:{locator}?{parameters[0]}#issuing_ca"),
    ]
    documents = as_root.fetch([reference.document for reference in references], Deadline(20))
    certificate, key, authority = (
        select(document, reference)
        for document, reference in zip(documents, references, strict=True)
    )
    leaf = x509.load_pem_x509_certificate(certificate)
    assert leaf.public_key() == load_pem_private_key(key, None).public_key()
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    lifetime = documents[0].lifetime
    assert 1700 < lifetime <= 1801


def test_a_certificate_with_a_lease_can_be_revoked_but_not_renewed(server, as_root):
    locator = server.certificate_role(generate_lease=True)
    lease = one(as_root, f"vault:{locator}?common_name=app.local&ttl=30m").lease
    assert not lease.renewable
    assert not as_root.renew(lease, Deadline(20)).renewable
    as_root.revoke(lease, Deadline(20))


def test_a_path_that_must_be_written_to_says_which_option_is_missing(server, as_root):
    outcome = one(as_root, f"vault:{server.certificate_role(generate_lease=False)}")
    assert isinstance(outcome, ConfigError)
    assert "?common_name=" in str(outcome)


def test_a_refused_parameter_is_a_mistake_and_the_servers_words_are_not_repeated(server, as_root):
    locator = server.certificate_role(generate_lease=False)
    outcome = one(as_root, f"vault:{locator}?common_name=no%20name")
    assert isinstance(outcome, ConfigError)
    assert "not allowed by this role" not in str(outcome)


def test_the_policy_of_the_documentation_is_one(server, tmp_path, clients, name):
    page = Path(__file__).parents[2] / "docs" / "how-to" / "vault.md"
    text = page.read_text().split("```hcl\n")[1].split("```")[0]
    server.do("POST", f"sys/policies/acl/{name}", {"policy": text})
    server.put(f"kv/orders/{name}", {"p": "x"})
    backend = client(server, clients, token_file(server, tmp_path, server.create_token([name])))
    assert value(backend, f"vault:kv/orders/{name}#p") == "x"
    assert probe(backend, f"vault:kv/orders/{name}") == "1"
    assert type(one(backend, f"vault:kv/other/{name}")) is AccessDenied
    backend.revoke(Lease(f"{name}/gone", 60, True), Deadline(20))  # which it may


# Writing -----------------------------------------------------------------------------------------


def write(backend, locator, fields, cas):
    return backend.write(locator, fields, cas, Deadline(20))


def test_a_write_returns_the_version_that_it_made(server, as_root, name):
    assert write(as_root, f"kv/{name}", {"p": "first"}, 0) == "1"
    assert write(as_root, f"kv/{name}", {"p": "second"}, 1) == "2"
    assert write(as_root, f"kv/{name}", {"p": "third"}, None) == "3"
    document = one(as_root, f"vault:kv/{name}")
    assert (document.version, json.loads(document.body)) == ("3", {"p": "third"})


@pytest.mark.parametrize("cas", [0, 1, 3])
def test_a_write_never_goes_over_a_version_that_was_not_seen(server, as_root, name, cas):
    server.put(f"kv/{name}", {"p": "first"})
    server.put(f"kv/{name}", {"p": "somebody else's"})
    with pytest.raises(VersionChanged, match="nothing was written"):
        write(as_root, f"kv/{name}", {"p": "ours"}, cas)
    assert value(as_root, f"vault:kv/{name}#p") == "somebody else's"


def test_of_two_writers_who_saw_the_same_version_one_wins(server, as_root, tmp_path, clients, name):
    server.put(f"kv/{name}", {"p": "first"})
    other = client(server, clients, token_file(server, tmp_path))
    assert write(other, f"kv/{name}", {"p": "theirs"}, 1) == "2"
    with pytest.raises(VersionChanged):
        write(as_root, f"kv/{name}", {"p": "ours"}, 1)


def test_a_deleted_secret_is_written_over_by_who_knows_its_version(server, as_root, name):
    server.put(f"kv/{name}", {"p": "first"})
    server.delete(f"kv/{name}")
    with pytest.raises(VersionChanged):
        write(as_root, f"kv/{name}", {"p": "ours"}, 0)
    assert write(as_root, f"kv/{name}", {"p": "ours"}, 1) == "2"


def test_a_secret_that_demands_cas_says_so(server, as_root, name):
    server.do("POST", f"kv/metadata/{name}", {"cas_required": True})
    with pytest.raises(ConfigError, match="demands `cas`"):
        write(as_root, f"kv/{name}", {"p": "x"}, None)
    assert write(as_root, f"kv/{name}", {"p": "x"}, 0) == "1"


def test_only_a_mount_with_versions_is_written_to(server, as_root, name):
    for locator in (f"kv1/{name}", server.dynamic_role(ttl=60, max_ttl=60)):
        with pytest.raises(ConfigError, match="only a mount with version 2"):
            write(as_root, locator, {"p": "x"}, 0)


def test_a_write_that_the_policy_forbids_is_denied(server, tmp_path, clients, name):
    backend = limited(server, tmp_path, clients, {f"kv/data/{name}": ["read"]})
    with pytest.raises(AccessDenied, match="allow writing"):
        write(backend, f"kv/{name}", {"p": "canary"}, 0)


def test_what_could_not_be_read_again_is_not_written(server, as_root, name):
    with pytest.raises(SecretTooLarge):
        write(as_root, f"kv/{name}", {"p": "x" * (1 << 20)}, 0)
    assert type(one(as_root, f"vault:kv/{name}")) is SecretMissing


# Probing -----------------------------------------------------------------------------------------


def test_a_probe_tells_the_current_version(server, as_root, name):
    server.put(f"kv/{name}", {"p": "1"})
    assert probe(as_root, f"vault:kv/{name}") == "1"
    server.put(f"kv/{name}", {"p": "2"})
    assert probe(as_root, f"vault:kv/{name}") == "2"
    assert probe(as_root, f"vault:kv/{name}?version=1") == "1"


def test_a_probe_tells_what_was_deleted_or_never_there(server, as_root, name):
    assert type(probe(as_root, f"vault:kv/{name}")) is SecretMissing
    server.put(f"kv/{name}", {"p": "1"})
    server.delete(f"kv/{name}")
    assert isinstance(probe(as_root, f"vault:kv/{name}"), SecretDeleted)
    assert type(probe(as_root, f"vault:kv/{name}?version=5")) is VersionMissing


def test_a_probe_without_access_to_the_metadata_says_nothing(server, tmp_path, clients, name):
    server.put(f"kv/{name}", {"p": "1"})
    backend = limited(server, tmp_path, clients, {f"kv/data/{name}": ["read"]})
    assert probe(backend, f"vault:kv/{name}") is None


def test_a_probe_does_not_hide_that_the_value_may_not_be_read_any_more(
    server, tmp_path, clients, name
):
    server.put(f"kv/{name}", {"p": "1"})
    rules = {f"kv/data/{name}": ["read"], f"kv/metadata/{name}": ["read"]}
    server.policy(f"p-{name}", rules)
    token = server.create_token([f"p-{name}"])
    backend = client(server, clients, token_file(server, tmp_path, token))
    assert probe(backend, f"vault:kv/{name}") == "1"
    server.policy(f"p-{name}", {f"kv/metadata/{name}": ["read"]})
    assert probe(backend, f"vault:kv/{name}") is None
    assert type(one(backend, f"vault:kv/{name}")) is AccessDenied


def test_a_probe_that_may_not_ask_what_it_may_read_says_nothing(server, tmp_path, clients, name):
    server.put(f"kv/{name}", {"p": "1"})
    rules = {f"kv/data/{name}": ["read"], f"kv/metadata/{name}": ["read"]}
    backend = limited(server, tmp_path, clients, rules, default_policy=False)
    assert probe(backend, f"vault:kv/{name}") is None


def test_a_probe_of_a_server_that_is_away_says_so_for_each(server, as_root, name):
    server.put(f"kv/{name}", {"p": "1"})
    assert probe(as_root, f"vault:kv/{name}") == "1"
    server.seal()
    try:
        requests = [Reference.parse(f"vault:kv/{name}?version={n}").document for n in (1, 2)]
        outcomes = as_root.probe(requests, Deadline(20))
    finally:
        server.unseal()
    assert [type(outcome) for outcome in outcomes] == [BackendUnavailable] * 2
    assert str(requests[1]) in str(outcomes[1])


def test_what_has_no_versions_cannot_be_probed(server, as_root, name):
    server.put(f"kv1/{name}", {"p": "1"})
    assert probe(as_root, f"vault:kv1/{name}") is None
    assert probe(as_root, f"vault:{server.dynamic_role(ttl=60, max_ttl=60)}") is None


# The server's states -----------------------------------------------------------------------------


def test_a_sealed_server_is_unavailable_and_named_so(server, as_root, name):
    server.put(f"kv/{name}", {"p": "1"})
    server.seal()
    try:
        outcome = one(as_root, f"vault:kv/{name}")
    finally:
        server.unseal()
    assert type(outcome) is BackendUnavailable
    assert "sealed" in str(outcome)
    assert value(as_root, f"vault:kv/{name}#p") == "1"


@pytest.mark.parametrize("shows_retry_after", [False, True])
def test_a_rate_limit_is_reported_as_one(server, as_root, name, shows_retry_after):
    server.put(f"kv/{name}", {"p": "1"})
    assert value(as_root, f"vault:kv/{name}#p") == "1"
    server.limit_rate("kv/", 1, shows_retry_after=shows_retry_after)
    try:
        outcomes = fetch(as_root, *[f"vault:kv/{name}?version={n}" for n in range(1, 9)])
    finally:
        server.unlimit_rate()
    limits = [outcome for outcome in outcomes if isinstance(outcome, RateLimited)]
    assert limits
    assert (limits[0].retry_after is not None) == shows_retry_after


def test_a_namespace_that_is_not_there_is_no_missing_secret(server, tmp_path, clients, name):
    server.put(f"kv/{name}", {"p": "1"})
    backend = client(server, clients, token_file(server, tmp_path), namespace="nowhere")
    outcome = one(backend, f"vault:kv/{name}")
    assert isinstance(outcome, SecretBridgeError)
    assert not isinstance(outcome, SecretMissing)
