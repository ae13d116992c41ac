"""Every way to log in to Vault, on the in-process server and on a real OpenBao or Vault, over TLS.

The real one of OpenBao has no method for AWS; ``test_vault_methods.py`` has that one, against a
server that computes the signature itself.
"""

from contextlib import ExitStack
from datetime import timedelta
from uuid import uuid4

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends.vault import VaultBackend
from secretbridge.document import Document
from secretbridge.errors import AccessDenied, AuthenticationFailed
from secretbridge.reference import Reference
from tests.servers._vault_admin import write_private
from tests.servers.bao import find_binary, real_vault
from tests.servers.certificates import Authority
from tests.servers.tokens import Reviewer, Signer
from tests.servers.vault import VaultServer

SERVERS = ["in-process", "in-process, as Vault", "real"]
METHODS = ["approle", "approle, wrapped", "jwt", "kubernetes", "cert", "userpass"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def real(authority):
    if find_binary() is None:
        pytest.skip("neither bao nor vault on the PATH, and SECRETBRIDGE_VAULT_BIN is not set")
    with real_vault(certificate=authority.issue("127.0.0.1")) as server:
        yield server


@pytest.fixture(params=SERVERS)
def server(request, authority):
    if request.param == "real":
        yield request.getfixturevalue("real")
        return
    dialect = "vault" if request.param.endswith("Vault") else "openbao"
    certificate = authority.issue("127.0.0.1")
    with VaultServer(dialect=dialect, certificate=certificate, ca_file=authority.ca_file) as server:
        yield server


@pytest.fixture
def signer():
    return Signer()


@pytest.fixture
def place(server, authority, signer, tmp_path):
    with ExitStack() as stack:
        yield Place(server, authority, signer, tmp_path, stack)


class Place:
    """A server with a method of each kind, at paths of its own, and one secret to read."""

    def __init__(self, server, authority, signer, folder, stack):
        self.server = server
        self.authority = authority
        self.signer = signer
        self.folder = folder
        self.stack = stack
        self.name = f"t-{uuid4().hex[:12]}"
        self.role = {"token_policies": [self.name], "token_ttl": "1h"}
        server.policy(self.name, {f"kv/data/{self.name}": ["read"]})
        server.put(f"kv/{self.name}", {"p": "x"})

    def write(self, name, text):
        return write_private(self.folder / name, text)

    def connect(self, auth, **options):
        address = getattr(self.server, "tls_address", self.server.address)
        settings = {"address": address, "ca_file": self.authority.ca_file, "auth": auth, **options}
        backend = VaultBackend.create("vault", settings)
        self.stack.callback(backend.close)
        return backend

    def read(self, backend):
        [outcome] = backend.fetch([Reference.parse(f"vault:kv/{self.name}").document], Deadline(20))
        return outcome

    def outcome(self, auth, **options):
        return self.read(self.connect(auth, **options))

    # The methods ---------------------------------------------------------------------------------

    def approle(self, *, is_wrapped=False):
        role_id = self.server.approle(self.name, [self.name])
        secret_id = self.server.secret_id(self.name, wrap_ttl=60 if is_wrapped else None)
        return {
            "method": "approle",
            "role_id_file": self.write("role_id", role_id),
            "secret_id_file": self.write("secret_id", secret_id),
            "secret_id_wrapped": is_wrapped,
        }

    def jwt(self, **claims):
        mount = f"jwt-{self.name}"
        self.server.auth_method("jwt", mount)
        keys = {"jwt_validation_pubkeys": [self.signer.public_key]}
        self.server.do("POST", f"auth/{mount}/config", keys)
        self.server.do(
            "POST",
            f"auth/{mount}/role/app",
            {
                **self.role,
                "role_type": "jwt",
                "user_claim": "sub",
                "bound_audiences": ["vault"],
            },
        )
        token = self.signer.token(**{"sub": "ci", "aud": "vault", **claims})
        file = self.write("jwt", token)
        return {"method": "jwt", "mount": mount, "role": "app", "jwt_file": file}

    def kubernetes(self, account="orders"):
        reviewer = Reviewer(self.signer, self.authority.issue("127.0.0.1"))
        self.reviewer = self.stack.enter_context(reviewer)
        mount = f"k8s-{self.name}"
        self.server.auth_method("kubernetes", mount)
        config = {
            "kubernetes_host": self.reviewer.address,
            "kubernetes_ca_cert": self.authority.ca_file.read_text(),
            "token_reviewer_jwt": self.signer.service_account("vault", "vault"),
            "disable_local_ca_jwt": True,
            "pem_keys": [self.signer.public_key],
        }
        self.server.do("POST", f"auth/{mount}/config", config)
        role = {
            "bound_service_account_names": ["orders"],
            "bound_service_account_namespaces": ["shop"],
        }
        self.server.do("POST", f"auth/{mount}/role/app", {**self.role, **role})
        file = self.write("service-account", self.signer.service_account("shop", account))
        return {"method": "kubernetes", "mount": mount, "role": "app", "jwt_file": file}

    def cert(self):
        mount = f"cert-{self.name}"
        self.server.auth_method("cert", mount)
        role = {**self.role, "certificate": self.authority.ca_file.read_text()}
        self.server.do("POST", f"auth/{mount}/certs/app", role)
        return {"method": "cert", "mount": mount, "role": "app"}

    def shown(self, name="orders", **options):
        """Return the options of a store that shows a certificate for ``name``."""
        chain, key = self.authority.issue(name, **options)
        return {"client_cert_file": chain, "client_key_file": key}

    def userpass(self, password=" pass\twörd "):
        mount = f"users-{self.name}"
        self.server.auth_method("userpass", mount)
        body = {**self.role, "password": password}
        self.server.do("POST", f"auth/{mount}/users/app", body)
        file = self.write("password", f"{password}\n")
        return {"method": "userpass", "mount": mount, "username": "app", "password_file": file}

    def ready(self, method):
        """Return a client that logs in by ``method``, and its ``auth``."""
        kind, _, is_wrapped = method.partition(", ")
        auth = self.approle(is_wrapped=True) if is_wrapped else getattr(self, kind)()
        return self.connect(auth, **(self.shown() if kind == "cert" else {})), auth


# What all have in common -------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_method_logs_in_and_has_its_policies_and_no_others(place, method):
    backend, _ = place.ready(method)
    assert isinstance(place.read(backend), Document)
    [other] = backend.fetch([Reference.parse("vault:kv/other").document], Deadline(20))
    assert type(other) is AccessDenied


@pytest.mark.parametrize("method", METHODS)
def test_every_method_logs_in_again_when_its_token_is_revoked(place, method):
    backend, _ = place.ready(method)
    assert isinstance(place.read(backend), Document)
    first = backend._session.token(Deadline(20)).value
    place.server.revoke_token(first)
    assert isinstance(place.read(backend), Document)
    assert backend._session.token(Deadline(20)).value != first


@pytest.mark.parametrize("method", METHODS)
def test_who_we_are_and_for_how_long_can_be_asked_and_shows_no_credential(place, method):
    backend, auth = place.ready(method)
    identity = backend.identity(Deadline(20))
    assert identity.who.startswith(method.partition(",")[0])
    assert f"at auth/{auth.get('mount', 'approle')}" in identity.who
    assert 3000 < identity.until <= 3600
    credentials = [path.read_text().strip() for key, path in auth.items() if key.endswith("_file")]
    credentials.append(backend._session.token(Deadline(20)).value)
    assert not any(credential in identity.who for credential in credentials)


@pytest.mark.parametrize("method", METHODS)
def test_what_the_process_logged_in_for_is_given_back_at_the_end(place, method):
    backend, _ = place.ready(method)
    assert isinstance(place.read(backend), Document)
    token = backend._session.token(Deadline(20)).value
    backend.release(Deadline(20), keep_leases=False)
    assert place.server.request("GET", "auth/token/lookup-self", token=token)[0] == 403


@pytest.mark.parametrize("method", ["approle", "jwt", "kubernetes", "userpass"])
def test_a_credential_that_was_replaced_in_its_file_serves_the_next_login(place, method):
    backend, auth = place.ready(method)
    [name] = [k for k in ("secret_id_file", "jwt_file", "password_file") if k in auth]
    good = auth[name].read_text()
    write_private(auth[name], "nonsense")
    assert type(place.read(backend)) is AuthenticationFailed
    write_private(auth[name], good)
    assert isinstance(place.read(backend), Document)


@pytest.mark.parametrize("method", ["jwt", "kubernetes", "cert", "userpass"])
def test_a_mount_that_is_not_there_is_a_failed_login_which_names_it(place, method):
    _, auth = place.ready(method)
    options = place.shown() if method == "cert" else {}
    outcome = place.outcome({**auth, "mount": "team/elsewhere"}, **options)
    assert type(outcome) is AuthenticationFailed
    assert "auth/team/elsewhere" in str(outcome)


# JWT ---------------------------------------------------------------------------------------------


def test_a_token_that_has_ended_is_a_failed_login(place):
    auth = place.jwt()
    write_private(auth["jwt_file"], place.signer.token(-3600, sub="ci", aud="vault"))
    outcome = place.outcome(auth)
    assert type(outcome) is AuthenticationFailed
    assert "has not expired" in outcome.hint


def test_a_token_of_another_signer_is_a_failed_login(place):
    auth = place.jwt()
    write_private(auth["jwt_file"], Signer().token(sub="ci", aud="vault"))
    assert type(place.outcome(auth)) is AuthenticationFailed


def test_a_token_for_another_audience_is_not_sent(place):
    auth = place.jwt(aud="https://kubernetes.default.svc")
    outcome = place.outcome({**auth, "audience": "vault"})
    assert type(outcome) is AuthenticationFailed
    assert "'vault', so it was not sent" in str(outcome)
    write_private(auth["jwt_file"], place.signer.token(sub="ci", aud=["vault", "other"]))
    # Several audiences are what Kubernetes makes of a projected token; the right one is among them.
    assert isinstance(place.outcome({**auth, "audience": "vault"}), Document)


# Kubernetes --------------------------------------------------------------------------------------


def test_a_service_account_that_the_role_is_not_for_is_a_failed_login(place):
    outcome = place.outcome(place.kubernetes(account="stranger"))
    assert type(outcome) is AuthenticationFailed
    assert "bound to this service account" in outcome.hint


def test_the_service_account_token_is_read_again_at_each_login(place):
    backend, auth = place.ready("kubernetes")
    assert isinstance(place.read(backend), Document)
    place.server.revoke_token(backend._session.token(Deadline(20)).value)
    write_private(auth["jwt_file"], place.signer.service_account("shop", "orders", seconds=-60))
    assert type(place.read(backend)) is AuthenticationFailed
    write_private(auth["jwt_file"], place.signer.service_account("shop", "orders"))
    assert isinstance(place.read(backend), Document)


# Client certificate ------------------------------------------------------------------------------


def test_a_certificate_of_another_authority_is_a_failed_login(place, tmp_path):
    auth = place.cert()
    chain, key = Authority.make(tmp_path, "strangers").issue("orders")
    outcome = place.outcome(auth, client_cert_file=chain, client_key_file=key)
    # A server that asks for certificates of its own authority only ends the handshake already.
    assert outcome.exit_code in (3, 4)
    assert not isinstance(outcome, Document)


def test_a_role_that_the_certificate_is_not_for_is_a_failed_login(place):
    outcome = place.outcome({**place.cert(), "role": "other"}, **place.shown())
    assert type(outcome) is AuthenticationFailed


def test_a_renewed_certificate_is_shown_at_the_next_login_though_old_connections_are_open(place):
    auth = place.cert()
    files = place.shown(ends_in=timedelta(seconds=3600))
    backend = place.connect(auth, **files)
    assert isinstance(place.read(backend), Document)
    place.server.revoke_token(backend._session.token(Deadline(20)).value)
    # The same files, another certificate: one that has ended, so that it can be told from the first.
    place.shown(ends_in=timedelta(seconds=-1))
    assert not isinstance(place.read(backend), Document)
    place.shown(ends_in=timedelta(seconds=3600))
    assert isinstance(place.read(backend), Document)


# User and password -------------------------------------------------------------------------------


def test_a_wrong_password_is_a_failed_login_that_shows_nothing_of_it(place):
    auth = place.userpass()
    write_private(auth["password_file"], "canary-password\n")
    outcome = place.outcome(auth)
    assert type(outcome) is AuthenticationFailed
    assert "canary" not in str(outcome)


# AppRole with a wrapped secret id ----------------------------------------------------------------


def test_a_second_unwrapping_raises_the_alarm_once_and_asks_nobody_again(place, caplog):
    auth = place.approle(is_wrapped=True)
    stolen = auth["secret_id_file"].read_text()
    assert place.server.request("POST", "sys/wrapping/unwrap", {}, token=stolen)[0] == 200
    backend = place.connect(auth)
    for _ in range(3):
        outcome = place.read(backend)
        assert type(outcome) is AuthenticationFailed
        assert "ALARM" in str(outcome)
    alarms = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert len(alarms) == 1
    assert stolen not in caplog.text
    if isinstance(place.server, VaultServer):
        assert place.server.count("POST sys/wrapping/lookup") == 1
    fresh = place.server.secret_id(place.name, wrap_ttl=60)
    write_private(auth["secret_id_file"], fresh)
    assert isinstance(place.read(backend), Document)


def test_a_wrapping_token_of_another_mount_raises_the_alarm_and_is_left_alone(place):
    auth = place.approle(is_wrapped=True)
    wrapping = {"X-Vault-Wrap-TTL": "60s"}
    planted = place.server.do("GET", f"kv/data/{place.name}", headers=wrapping)["wrap_info"]
    write_private(auth["secret_id_file"], planted["token"])
    assert "ALARM" in str(place.outcome(auth))
    status, _ = place.server.request("POST", "sys/wrapping/unwrap", {}, token=planted["token"])
    assert status == 200


# Namespaces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_login_within_a_namespace_stays_there(place, is_wrapped):
    if getattr(getattr(place.server, "core", None), "dialect", "openbao") == "vault":
        pytest.skip("this server has no namespaces")
    place.server.put(f"kv/{place.name}", {"p": "of the root"})
    name = f"ns-{place.name}"
    inside = place.server.namespace(name)

    def do(method, path, body=None, headers=None):
        return place.server.do(method, path, body, {**inside, **(headers or {})})

    if not isinstance(place.server, VaultServer):
        do("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        do("POST", "sys/auth/approle", {"type": "approle"})
    do("POST", f"kv/data/{place.name}", {"data": {"p": "of the team"}})
    rule = f'path "kv/data/{place.name}" {{ capabilities = ["read"] }}'
    do("POST", "sys/policies/acl/app", {"policy": rule})
    do("POST", "auth/approle/role/app", {"token_policies": ["app"], "token_ttl": "1h"})
    role_id = do("GET", "auth/approle/role/app/role-id")["data"]["role_id"]
    wrapping = {"X-Vault-Wrap-TTL": "60s"} if is_wrapped else {}
    made = do("POST", "auth/approle/role/app/secret-id", {}, wrapping)
    secret_id = made["wrap_info"]["token"] if is_wrapped else made["data"]["secret_id"]
    backend = place.connect(
        {
            "method": "approle",
            "role_id_file": place.write("role_id", role_id),
            "secret_id_file": place.write("secret_id", secret_id),
            "secret_id_wrapped": is_wrapped,
        },
        namespace=name,
    )
    document = place.read(backend)
    assert isinstance(document, Document), str(document)
    assert b"of the team" in document.body
    assert f"in namespace {name}" in backend.identity(Deadline(20)).who
