"""The Vault backend against answers that are odd, wrong, or about the whole store."""

import json
import os
import queue
import threading
import time

import pytest

from secretbridge.backends import Deadline, backend_class
from secretbridge.backends._vault_api import api_path
from secretbridge.backends.vault import VaultBackend
from secretbridge.broker import Broker
from secretbridge.document import Document, Lease
from secretbridge.errors import (
    AccessDenied,
    BackendUnavailable,
    ConfigError,
    DeadlineExceeded,
    IntegrityError,
    RateLimited,
    SecretBridgeError,
    SecretDeleted,
    SecretExpired,
    SecretMissing,
    SecretTooLarge,
)
from secretbridge.reference import DocumentId, Reference
from secretbridge.testing._leaks import assert_no_leak
from tests.servers import hostile
from tests.servers.certificates import Authority
from tests.servers.hostile import HostileServer
from tests.servers.vault import Scripted, VaultServer

CANARY = "canary-9b1d7e40-value"
TOKEN = "canary-5c0f2a96-token"


@pytest.fixture
def server():
    with VaultServer() as server:
        server.put("kv/app", {"p": "x"})
        server.put("kv1/app", {"p": "x"})
        yield server


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


@pytest.fixture
def backend(server, connect):
    return connect(server.address, server.token)


@pytest.fixture
def limited(server, connect):
    """A client whose token has one policy."""

    def limited(rules):
        server.policy("limited", rules)
        return connect(server.address, server.create_token(["limited"]))

    return limited


def fetch(backend, *references, seconds=10):
    requests = [Reference.parse(reference).document for reference in references]
    return list(backend.fetch(requests, Deadline(seconds)))


def one(backend, reference="vault:kv/app", seconds=10):
    [outcome] = fetch(backend, reference, seconds=seconds)
    return outcome


def until(condition):
    """Wait for what another thread of the broker does."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def works(backend, reference="vault:kv/app"):
    return isinstance(one(backend, reference), Document)


# What is learnt once -----------------------------------------------------------------------------


def test_a_mount_is_asked_about_once(server, backend):
    outcomes = fetch(backend, *[f"vault:kv/app?version={n}" for n in range(1, 51)])
    assert isinstance(outcomes[0], Document)
    assert server.count("GET sys/internal/ui/mounts") == 1


def test_a_mount_that_was_upgraded_meanwhile_is_noticed(server, backend):
    assert works(backend, "vault:kv1/app")
    server.unmount("kv1")
    server.mount("kv1", "kv", version=2)
    server.put("kv1/app", {"p": "now with versions"})
    assert one(backend, "vault:kv1/app").version == "1"


def test_a_mount_that_was_replaced_by_an_older_kind_is_noticed_after_a_while(server, connect):
    backend = connect(server.address, server.token)
    now = [1000.0]
    backend._reader._clock = backend._reader.mounts._clock = lambda: now[0]
    assert works(backend)
    server.unmount("kv")
    server.mount("kv", "kv", version=1)
    server.put("kv/app", {"p": "no versions"})
    assert type(one(backend)) is SecretMissing
    now[0] += 61
    assert one(backend).body == b'{"p":"no versions"}'


@pytest.fixture
def silent(server):
    """The server does not tell which engine is mounted."""
    refusal = Scripted(403, '{"errors":["preflight capability check returned 403"]}')
    server.script("sys/internal/ui/mounts", [refusal] * 50)


@pytest.mark.usefixtures("silent")
def test_without_the_mount_endpoint_both_forms_are_tried(server, backend):
    locator = server.dynamic_role(ttl=60, max_ttl=60)
    assert one(backend).version == "1"
    assert one(backend, "vault:kv1/app").body == b'{"p":"x"}'
    assert one(backend, f"vault:{locator}").lease is not None
    issue = server.certificate_role(generate_lease=False)
    assert one(backend, f"vault:{issue}?common_name=app.local").lifetime is not None


@pytest.mark.usefixtures("silent")
def test_without_the_mount_endpoint_missing_and_deleted_are_still_told_apart(server, backend):
    assert type(one(backend, "vault:kv/absent")) is SecretMissing
    assert type(one(backend, "vault:kv1/absent")) is SecretMissing
    assert type(one(backend, "vault:nowhere/absent")) is SecretMissing
    server.delete("kv/app")
    assert isinstance(one(backend), SecretDeleted)
    assert type(one(backend, "vault:kv/app?version=7")) is not SecretMissing


@pytest.mark.usefixtures("silent")
def test_without_the_mount_endpoint_missing_and_denied_are_still_told_apart(limited):
    backend = limited({"kv/data/app*": ["read"], "kv1/app*": ["read"]})
    assert type(one(backend, "vault:kv/app-absent")) is SecretMissing
    assert type(one(backend, "vault:kv1/app-absent")) is SecretMissing
    assert type(one(backend, "vault:kv/other")) is AccessDenied
    assert type(one(backend, "vault:nowhere/other")) is AccessDenied


@pytest.mark.usefixtures("silent")
def test_a_server_that_does_not_tell_is_not_asked_again_and_again(server, backend):
    fetch(backend, *[f"vault:kv/absent{n}" for n in range(10)])
    assert server.count("GET sys/internal/ui/mounts") == 1


def test_a_mount_whose_metadata_is_hidden_is_probed_once(server, limited):
    backend = limited({"kv/data/*": ["read"]})
    request = Reference.parse("vault:kv/app").document
    for _ in range(5):
        assert list(backend.probe([request], Deadline(10))) == [None]
    assert server.count("GET kv/metadata/") == 1


# What concerns the whole store -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Scripted(503, '{"errors":["Vault is sealed"]}'), BackendUnavailable, "sealed"),
        (Scripted(503, '{"errors":["Vault is not initialized"]}'), BackendUnavailable, "not init"),
        (Scripted(472), BackendUnavailable, "standby"),
        (Scripted(473), BackendUnavailable, "standby"),
        (Scripted(429, '{"errors":[]}', {"Retry-After": "7"}), RateLimited, "rate limit"),
        (Scripted(429, "<html>"), RateLimited, "rate limit"),
        (Scripted(502, "<html>canary</html>"), BackendUnavailable, "HTTP 502"),
    ],
)
def test_the_remaining_requests_are_not_sent(server, backend, answer, kind, words):
    assert works(backend)
    server.script("kv/data/", [answer] * 100)
    outcomes = fetch(backend, *[f"vault:kv/s{n}" for n in range(100)])
    assert {type(outcome) for outcome in outcomes} == {kind}
    assert all(words in str(outcome) for outcome in outcomes)
    assert server.count("GET kv/data/s") <= 16, "one for each thread at most"


def test_the_seconds_that_a_server_names_are_passed_on(server, backend):
    server.script("kv/data/", [Scripted(429, '{"errors":[]}', {"Retry-After": "7"})])
    assert one(backend).retry_after == 7
    when = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.script("kv/data/", [Scripted(429, '{"errors":[]}', {"Retry-After": when})])
    assert one(backend).retry_after is None


def test_an_engine_that_fails_does_not_fail_the_others(server, backend):
    server.script("kv/data/broken", [Scripted(500, '{"errors":["canary: database is down"]}')] * 9)
    broken = [f"vault:kv/broken{n}" for n in range(9)]
    *failed, last = fetch(backend, *broken, "vault:kv/app")
    assert {type(outcome) for outcome in failed} == {BackendUnavailable}
    assert "canary" not in str(failed[0])
    assert isinstance(last, Document)


def test_a_store_out_of_reach_is_not_dialled_a_hundred_times(server, backend, monkeypatch):
    assert works(backend)
    server.stop()
    dialled = []
    real = backend._api.transport._connect

    def connect(limit):
        dialled.append(1)
        return real(limit)

    monkeypatch.setattr(backend._api.transport, "_connect", connect)
    outcomes = fetch(backend, *[f"vault:kv/s{n}" for n in range(100)])
    assert {type(outcome) for outcome in outcomes} == {BackendUnavailable}
    assert len(dialled) <= 16
    server.start()
    assert works(backend)


def test_a_node_that_lags_behind_is_asked_again(server, connect):
    pauses = []
    backend = connect(server.address, server.token)
    backend._pause = pauses.append
    server.script("kv/data/app", [Scripted(412, '{"errors":["not yet"]}')] * 3)
    assert works(backend)
    assert pauses == [0.05, 0.1, 0.2]


def test_a_node_that_never_catches_up_ends_with_the_deadline(server, backend):
    server.script("kv/data/app", [Scripted(412, '{"errors":["not yet"]}')] * 100)
    start = time.monotonic()
    outcome = one(backend, seconds=0.3)
    assert isinstance(outcome, BackendUnavailable)
    assert time.monotonic() - start < 1


def test_one_request_that_hangs_does_not_fail_the_others(server, connect):
    released = threading.Event()
    real = server.core.answer

    def answer(request):
        if request.path.endswith("slow"):
            released.wait(5)
        return real(request)

    # The server works through one request at a time, so a slow one is put at the end of the batch.
    server.core.answer = answer
    backend = connect(server.address, server.token, timeout=0.3)
    first, last = fetch(backend, "vault:kv/app", "vault:kv/slow")
    released.set()
    assert isinstance(first, Document)
    assert type(last) is DeadlineExceeded


def test_a_process_that_may_start_no_thread_reads_all_the_same(server, backend, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for number in range(20):
        server.put(f"kv1/s{number}", {"p": "x"})
    outcomes = fetch(backend, *[f"vault:kv1/s{number}" for number in range(20)])
    assert all(isinstance(outcome, Document) for outcome in outcomes)


# Odd answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", BackendUnavailable),
        (CANARY, BackendUnavailable),
        ("[]", BackendUnavailable),
        ("{}", BackendUnavailable),
        ('{"data":null}', BackendUnavailable),
        ('{"data":{"data":{"p":"CANARY"}}}', BackendUnavailable),
        ('{"data":{"data":{"p":"CANARY"},"metadata":{"version":"1"}}}', BackendUnavailable),
        ('{"data":{"data":"CANARY","metadata":{"version":1}}}', BackendUnavailable),
        ('{"data":{"data":null,"metadata":{"version":1}}}', SecretMissing),
        ('{"data":{"data":{"p":"CANARY","p":"x"},"metadata":{"version":1}}}', BackendUnavailable),
        ('{"data":{"data":{"p":NaN},"metadata":{"version":1}}}', BackendUnavailable),
        (
            '{"data":{"data":{"p":' + "[" * 500 + "]" * 500 + '},"metadata":{"version":1}}}',
            BackendUnavailable,
        ),
        (
            json.dumps({"data": {"data": {"p": "x" * 1_100_000}, "metadata": {"version": 1}}}),
            SecretTooLarge,
        ),
        ("x" * 9_000_000, SecretTooLarge),
    ],
    ids=range(14),
)
def test_a_success_that_is_none_is_refused_and_not_shown(server, backend, body, kind):
    server.script("kv/data/app", [Scripted(200, body.replace("CANARY", CANARY))])
    outcome = one(backend)
    assert type(outcome) is kind
    assert_no_leak(outcome, CANARY)
    assert_no_leak(outcome, server.token)


def test_another_version_than_the_one_asked_for_is_refused(server, backend):
    body = '{"data":{"data":{"p":"x"},"metadata":{"version":2,"deletion_time":""}}}'
    server.script("kv/data/app", [Scripted(200, body)])
    assert type(one(backend, "vault:kv/app?version=1")) is IntegrityError


@pytest.mark.parametrize("body", ["<html>Not Found</html>", '{"message":"no route"}', ""])
def test_a_404_that_is_not_vaults_is_no_missing_secret(server, backend, body):
    for path, reference in (("kv/data/app", "vault:kv/app"), ("kv1/app", "vault:kv1/app")):
        server.script(path, [Scripted(404, body)])
        assert type(one(backend, reference)) is BackendUnavailable


def test_a_mount_answer_about_another_path_is_not_believed(server, backend):
    lie = '{"data":{"path":"secret/","type":"kv","options":{"version":"1"}}}'
    server.script("sys/internal/ui/mounts", [Scripted(200, lie)])
    assert one(backend).version == "1"


@pytest.mark.parametrize("kind", ["system", "token", "ns_system"])
def test_a_mount_that_is_the_server_itself_is_refused(server, backend, kind):
    body = json.dumps({"data": {"path": "ns/sys/", "type": kind}})
    server.script("sys/internal/ui/mounts", [Scripted(200, body)])
    assert type(one(backend, "vault:ns/sys/raw")) is ConfigError
    assert server.count("GET ns/") == 0


FAULTS = {
    "redirects": hostile.redirect("http://127.0.0.1:1/v1/x"),
    "drips": hostile.drip(hostile.response({"data": {}}), 0.2),
    "hangs": hostile.hang(),
    "nonsense": hostile.raw(f"{CANARY}\r\n\r\n".encode()),
    "html": hostile.answer(f"<html>{CANARY}</html>"),
    "html 403": hostile.answer(f"<html>{CANARY}</html>", 403),
    "html 404": hostile.answer(f"<html>{CANARY}</html>", 404),
    "429": hostile.answer({"errors": [CANARY]}, 429),
    "503": hostile.answer({"errors": [CANARY]}, 503),
    "gzip bomb": hostile.gzip_bomb(1_000_000),
    "deep": hostile.deep_json(5000),
    "twice": hostile.duplicate_keys(),
    "reset": hostile.reset(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_transient_named_and_shows_nothing(connect, fault):
    with HostileServer(FAULTS[fault]) as server:
        backend = connect(server.address)
        start = time.monotonic()
        outcomes = fetch(backend, "vault:kv/a#x", "vault:kv/b#x", seconds=0.5)
        assert time.monotonic() - start < 1.5
        for outcome in outcomes:
            assert isinstance(outcome, BackendUnavailable)
            assert outcome.is_transient
            assert outcome.hint
            assert_no_leak(outcome, CANARY)
            assert_no_leak(outcome, TOKEN)


def test_errors_about_leases_hold_no_token_in_their_frames(connect):
    with HostileServer(hostile.answer({"errors": [CANARY]}, 503)) as server:
        backend = connect(server.address)
        lease = Lease("database/creds/x/1", 60, True)
        for action in (backend.renew, backend.revoke):
            with pytest.raises(BackendUnavailable) as caught:
                action(lease, Deadline(5))
            assert caught.value.store == "vault"
            assert_no_leak(caught.value, TOKEN)


def test_a_lease_answer_about_another_lease_is_refused(server, backend):
    lease = one(backend, f"vault:{server.dynamic_role(ttl=60, max_ttl=60)}").lease
    other = '{"lease_id":"another","lease_duration":3600,"renewable":true}'
    server.script("sys/leases/renew", [Scripted(200, other)])
    with pytest.raises(BackendUnavailable):
        backend.renew(lease, Deadline(5))


def test_a_lease_renewed_by_nothing_has_ended(server, backend):
    lease = one(backend, f"vault:{server.dynamic_role(ttl=60, max_ttl=60)}").lease
    body = json.dumps({"lease_id": lease.id, "lease_duration": 0, "renewable": True})
    server.script("sys/leases/renew", [Scripted(200, body)])
    with pytest.raises(SecretExpired):
        backend.renew(lease, Deadline(5))


# Paths -------------------------------------------------------------------------------------------

ESCAPES = [
    "kv/../sys/mounts",
    "kv/data/../../auth/token/lookup-self",
    "kv/..",
    "kv/./app",
    "kv//app",
    "/kv/app",
    "kv/app/",
    "kv/a\r\nX-Evil: 1",
    "kv/a\x00b",
    "kv/\u202eapp",
]


@pytest.mark.parametrize("locator", ESCAPES)
def test_no_path_leaves_its_mount_even_if_no_parser_saw_it(server, backend, locator):
    before = sum(server.requests.values())
    [outcome] = backend.fetch([DocumentId("vault", "vault", locator)], Deadline(5))
    assert type(outcome) is ConfigError
    sent = [request.path for request in server.log[before:]]
    assert all(path == "auth/token/lookup-self" for path in sent)


def test_what_means_something_in_a_url_is_quoted():
    quoted = api_path(["a b", "c?d#e", "f%2f", "g;h&i=j", "..k"])
    assert quoted == "a%20b/c%3Fd%23e/f%252f/g%3Bh%26i%3Dj/..k"


def test_the_options_of_a_certificate_are_its_parameters_and_not_its_path(server, backend):
    issue = server.certificate_role(generate_lease=False)
    one(backend, f"vault:{issue}?common_name=a%26ttl%3D9h.local&ttl=5m")
    assert server.log[-1].body == {"common_name": "a&ttl=9h.local", "ttl": "5m"}
    assert server.log[-1].query == {}


def test_a_large_secret_is_looked_at_and_sent_again_only_when_it_has_changed(server, backend):
    server.put("kv/large", {"p": "x" * 70_000})
    with Broker({"vault": backend}, {"large": "vault:kv/large#p"}) as broker:
        changes = queue.Queue()
        broker.on_change("large", lambda secret: changes.put(secret.reveal()))
        broker.prefetch()
        looks = server.count("GET kv/metadata/large")
        broker.refresh()
        until(lambda: server.count("GET kv/metadata/large") > looks)
        until(lambda: broker.status()[0]["activity"] == "idle")
        assert server.count("GET kv/data/large") == 1
        server.put("kv/large", {"p": "y" * 70_000})
        broker.refresh()
        assert changes.get(timeout=10) == "y" * 70_000


# Engines that issue ------------------------------------------------------------------------------


def test_all_references_to_one_issue_are_one_document_and_one_request(server, backend):
    role = server.certificate_role(generate_lease=False)
    parts = fetch(
        backend,
        f"vault:{role}?common_name=app.local&ttl=30m#certificate",
        f"vault:{role}?ttl=30m&common_name=app.local#private_key",
        f"vault:{role}?common_name=app.local&ttl=30m#issuing_ca",
    )
    assert len({part.body for part in parts}) == 1
    assert server.count("POST pki/issue") == 1
    [other] = fetch(backend, f"vault:{role}?common_name=app.local&ttl=20m#certificate")
    assert other.body != parts[0].body


def test_a_certificate_that_has_ended_when_it_comes_is_no_value(server, connect):
    role = server.certificate_role(generate_lease=False)
    backend = connect(server.address, server.token)
    backend._reader._wall = lambda: server.now() + 86400
    outcome = one(backend, f"vault:{role}?common_name=app.local&ttl=30m")
    assert type(outcome) is IntegrityError
    assert "clock" in outcome.hint


def test_a_static_role_is_looked_at_again_when_the_server_has_rotated_it(server, backend):
    server.mount("database", "database")
    server.do("POST", "database/static-roles/app", {"rotation_period": "3600"})
    first = one(backend, "vault:database/static-creds/app")
    assert first.lease is None
    assert 3600 <= first.refresh_after <= 3602
    server.advance(first.refresh_after)
    assert one(backend, "vault:database/static-creds/app").body != first.body


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_credential_is_asked_for_once_even_if_the_connection_ends_without_an_answer(
    server, backend, method
):
    assert works(backend)  # leaves a connection open, which a plain read would try first
    if method == "GET":
        locator = server.dynamic_role(ttl=60, max_ttl=60)
        reference = f"vault:{locator}"
    else:
        locator = server.certificate_role(generate_lease=False)
        reference = f"vault:{locator}?common_name=app.local"
    server.script(locator, [Scripted(closes=True)])
    assert isinstance(one(backend, reference), BackendUnavailable)
    assert server.count(f"{method} {locator}") == 1


# Headers, namespaces, TLS ------------------------------------------------------------------------


def test_every_request_carries_the_marker_and_the_namespace(server, connect):
    headers = server.namespace("team/a")
    server.do("POST", "kv/data/app", {"data": {"p": "x"}}, headers)
    server.log.clear()
    backend = connect(server.address, server.token, namespace="team/a")
    assert works(backend)
    assert len(server.log) >= 3
    for request in server.log:
        assert request.headers["x-vault-request"] == "true"
        assert request.headers["x-vault-namespace"] == "team/a"


def test_a_server_behind_tls_is_read_with_its_authority(tmp_path, connect):
    authority = Authority.make(tmp_path)
    certificate = authority.issue()
    with VaultServer(certificate=certificate, ca_file=authority.ca_file) as server:
        server.put("kv/app", {"p": "x"})
        trusting = connect(server.address, server.token, ca_file=authority.ca_file)
        outcomes = fetch(trusting, *[f"vault:kv/app?version={n}" for n in range(1, 50)])
        assert isinstance(outcomes[0], Document)
        assert isinstance(one(connect(server.address, server.token)), BackendUnavailable)


@pytest.mark.parametrize("dialect", ["openbao", "vault", "enterprise"])
def test_a_server_that_would_take_a_namespace_for_the_root_is_refused_before_any_login(
    connect, dialect
):
    kind = {"openbao": "openbao"}.get(dialect, "vault")
    with VaultServer(dialect=kind, enterprise=dialect == "enterprise") as server:
        server.put("kv/app", {"p": "the root's"})
        if dialect != "vault":
            headers = server.namespace("team")
            server.do("POST", "kv/data/app", {"data": {"p": "the team's"}}, headers)
        server.log.clear()
        outcome = one(connect(server.address, server.token, namespace="team"))
        if dialect == "vault":
            assert isinstance(outcome, ConfigError)
            assert "silently" in str(outcome)
            assert [r for r in server.log if "x-vault-token" in r.headers] == []
        else:
            assert json.loads(outcome.body) == {"p": "the team's"}


def test_whether_the_server_knows_namespaces_is_asked_once(server, connect):
    server.do("POST", "kv/data/app", {"data": {"p": "x"}}, server.namespace("team"))
    backend = connect(server.address, server.token, namespace="team")
    assert works(backend)
    server.revoke_token(backend._session._token.value)  # root's own: the file is read again
    assert not works(backend)
    assert server.count("GET sys/health") == 1


def test_an_answer_that_leaves_namespaces_open_is_no_permission(server, connect):
    server.script("sys/health", [Scripted(200, "<html>"), Scripted(503, '{"errors":["x"]}')])
    backend = connect(server.address, server.token, namespace="team")
    server.log.clear()
    assert isinstance(one(backend), BackendUnavailable)
    assert isinstance(one(backend), BackendUnavailable)
    assert [request.path for request in server.log] == ["sys/health"] * 2
    assert all("x-vault-token" not in request.headers for request in server.log)


# Configuration -----------------------------------------------------------------------------------


def model():
    return backend_class("vault").options_model()


GOOD = [
    {},
    {"namespace": "team/a/", "timeout": "500ms", "ca_file": "/ca.pem"},
    {"timeout": 2.5, "server_name": "vault"},
    {"client_cert_file": "/c.pem", "client_key_file": "/c.key"},
    {"auth": {"method": "token", "token_file": "~/.vault-token"}},
    {"auth": {"method": "approle", "role_id_file": "/r", "secret_id_file": "/s"}},
    {"auth": {"method": "approle", "role_id_file": "/r", "mount": "team/approle"}},
]


@pytest.mark.parametrize("options", GOOD, ids=range(len(GOOD)))
def test_options_that_are_right(options):
    checked = model().model_validate({"address": "https://vault:8200", **options})
    VaultBackend.create("vault", checked.model_dump(exclude_unset=True)).close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"address": "http://vault:8200"}, "allow_plaintext"),
        ({"address": "https://u:canary@vault"}, "credentials are given as"),
        ({"address": "vault:8200"}, "https://HOST"),
        ({"token": "canary"}, "Extra inputs"),
        ({"timeout": 0}, "greater than 0"),
        ({"timeout": "canary"}, "valid number"),
        ({"namespace": "../a"}, "names joined by"),
        ({"client_key_file": "/k"}, "client_cert_file"),
        ({"auth": {"method": "kerberos"}}, "'token', 'approle'"),
        ({"auth": {"method": "approle"}}, "role_id_file"),
        ({"auth": {"method": "token", "role_id_file": "/r"}}, "Extra inputs"),
        ({"auth": {"method": "approle", "role_id_file": "/r", "token_file": "/t"}}, "token_file"),
        (
            {"auth": {"method": "approle", "role_id_file": "/r", "secret_id_wrapped": True}},
            "secret_id_file",
        ),
        ({"auth": {"secret_id": "canary"}}, "Extra inputs"),
        ({"auth": {"method": "approle", "role_id_file": "/r", "mount": "a/../b"}}, "joined by"),
        ({"auth": {"method": "kubernetes"}}, "role"),
        ({"auth": {"method": "jwt", "role": "app"}}, "jwt_file"),
        ({"auth": {"method": "cert"}}, "set client_cert_file"),
        ({"auth": {"method": "userpass", "username": "a/b", "password_file": "/p"}}, "not a name"),
        ({"auth": {"method": "userpass", "username": "app", "password": "canary"}}, "Extra inputs"),
        ({"auth": {"method": "aws", "iam_server_id": "a\nX-Evil: canary"}}, "pattern"),
        ({"auth": {"method": "aws", "region": "canary.example/"}}, "pattern"),
    ],
    ids=range(22),
)
def test_options_that_are_wrong_say_so_without_the_value(options, words):
    from pydantic import ValidationError

    with pytest.raises(ValidationError) as caught:
        model().model_validate({"address": "https://vault:8200", **options})
    assert words in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"address": "http://vault"},
        {"address": "https://v", "auth": {"method": "approle"}},
        {"address": "https://v", "auth": {"method": "kubernetes"}},
        {"address": "https://v", "auth": {"method": "cert"}},
        {"address": "https://v", "auth": {"method": "nonsense"}},
    ],
)
def test_a_client_that_cannot_work_is_not_made(options):
    with pytest.raises(ConfigError) as caught:
        VaultBackend.create("eu", options)
    assert caught.value.store == "eu"
    assert caught.value.hint


def test_a_tilde_in_a_path_is_the_home_directory(server, connect, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    server.write_token_file(tmp_path / ".vault-token")
    backend = VaultBackend.create("vault", {"address": server.address})
    assert works(backend)
    backend.close()


def test_importing_the_backend_loads_neither_hvac_nor_requests():
    import subprocess
    import sys

    code = (
        "import sys, secretbridge.backends.vault;"
        "sys.exit(any(m in sys.modules for m in ('hvac', 'requests', 'urllib3', 'pydantic')))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd()}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


def test_no_outcome_is_ever_an_exception_of_the_library(server, backend, monkeypatch):
    def explode(*_):
        raise RuntimeError(CANARY)

    monkeypatch.setattr(backend._reader, "document", explode)
    outcome = one(backend)
    assert isinstance(outcome, SecretBridgeError)
    assert_no_leak(outcome, CANARY)


def test_every_method_of_the_configuration_has_a_login_and_the_other_way_round():
    from typing import get_args

    from secretbridge.backends._vault_methods import METHODS

    models = get_args(model().model_fields["auth"].annotation)
    names = [get_args(m.model_fields["method"].annotation)[0] for m in models]
    assert names == list(METHODS)
