"""Who the AWS backend is: the credential chain, roles, expiry, signatures and the clock."""

import hashlib
import hmac
import json
import logging
import os
import threading
import time

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends.aws import Options, SecretsManagerBackend
from secretbridge.document import Document
from secretbridge.errors import AuthenticationFailed, DeadlineExceeded
from secretbridge.reference import Reference
from tests.servers.aws import (
    ACCOUNT,
    ENVIRONMENT,
    HANG,
    REGION,
    FaultServer,
    Reply,
    clean_environment,
    error,
    moto_server,
    sts_answer,
)

REQUESTS = [Reference.parse(f"aws-sm:s{n}").document for n in range(100)]
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"


@pytest.fixture
def server(monkeypatch):
    clean_environment(monkeypatch)
    with FaultServer() as server:
        for request in REQUESTS:
            server.put(request.locator, "value")
        yield server


@pytest.fixture
def make(server):
    made = []

    def make(wall_clock=time.time, **options):
        options = {"region": REGION, "endpoint_url": server.url, **options}
        made.append(SecretsManagerBackend("aws-sm", Options(**options), wall_clock=wall_clock))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def no_keys(server, monkeypatch):
    """An environment without credentials."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    return monkeypatch


def kinds(outcomes):
    return {type(outcome) for outcome in outcomes}


# Expiry.


@pytest.fixture
def rotate(tmp_path, no_keys):
    """A credentials file that its host rotates: ``rotate(KEY)`` replaces it."""
    path = tmp_path / "credentials"

    def rotate(key):
        new = tmp_path / "new"
        new.write_text(
            f"[default]\naws_access_key_id = {key}\naws_secret_access_key = x\n"
            "aws_session_token = t\n"
        )
        new.replace(path)

    no_keys.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    rotate("AKIAOLD")
    return rotate


def test_expired_credentials_are_looked_for_anew_and_the_call_is_repeated(server, rotate, make):
    backend = make()
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    server.expired_keys.add("AKIAOLD")
    server.on_call = lambda call: rotate("AKIANEW")
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    assert [call.access_key for call in server.requests] == ["AKIAOLD", "AKIAOLD", "AKIANEW"]


def test_credentials_that_stay_expired_fail_after_one_repetition(server, rotate, make):
    server.expired_keys.add("AKIAOLD")
    [outcome] = make().fetch(REQUESTS[:1], Deadline(20))
    assert type(outcome) is AuthenticationFailed
    assert "ExpiredTokenException" in outcome.message
    assert server.calls == {"GetSecretValue": 2}


@pytest.mark.parametrize("code", ["UnrecognizedClientException", "InvalidClientTokenId"])
def test_unknown_credentials_are_looked_for_anew_too(server, rotate, make, code):
    server.fail(error(code), times=1)
    assert kinds(make().fetch(REQUESTS[:1], Deadline(20))) == {Document}


def test_eight_calls_that_expire_together_all_go_through(server, rotate, make):
    backend = make()
    backend.fetch(REQUESTS[:1], Deadline(20))
    server.expired_keys.add("AKIAOLD")
    server.on_call = lambda call: rotate("AKIANEW")
    assert kinds(backend.fetch(REQUESTS, Deadline(20))) == {Document}


def test_a_credentials_file_that_changed_is_read_before_the_old_keys_are_refused(
    server, rotate, make
):
    backend = make()
    backend.fetch(REQUESTS[:1], Deadline(20))
    rotate("AKIANEW")
    server.expired_keys.add("AKIAOLD")
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    assert [call.access_key for call in server.requests] == ["AKIAOLD", "AKIANEW"]


def test_a_credentials_file_that_is_away_for_a_moment_keeps_its_last_word(
    server, rotate, make, tmp_path
):
    backend = make()
    backend.fetch(REQUESTS[:1], Deadline(20))
    (tmp_path / "credentials").unlink()
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}


def test_a_credentials_file_that_appears_later_is_found(server, rotate, make, tmp_path):
    (tmp_path / "credentials").unlink()
    backend = make()
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {AuthenticationFailed}
    rotate("AKIALATE")
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}


def test_no_credentials_at_all_is_told_with_what_to_do(server, no_keys, make):
    outcomes = make().fetch(REQUESTS[:2], Deadline(20))
    assert kinds(outcomes) == {AuthenticationFailed}
    assert "role" in outcomes[0].hint
    assert not server.connections


def with_process(tmp_path, environment, command):
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {command}\n")
    environment.setenv("AWS_CONFIG_FILE", str(config))


def test_a_credential_process_that_hangs_ends_with_the_deadline(server, no_keys, make, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with_process(tmp_path, no_keys, f"/bin/cat {pipe}")
    backend = make()
    for _ in range(3):
        assert kinds(backend.fetch(REQUESTS, Deadline(0.3))) == {DeadlineExceeded}
    left = [thread for thread in threading.enumerate() if thread.name == "secretbridge-aws"]
    keys = {"Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "x"}
    pipe.write_text(json.dumps(keys))  # ends the process; a second one would wait for ever
    for thread in left:
        thread.join(20)
        assert not thread.is_alive()
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    assert server.requests[-1].access_key == "AKIAPROCESS"


def test_a_process_that_gives_no_credentials_is_told_without_its_output(
    server, no_keys, make, tmp_path
):
    with_process(tmp_path, no_keys, "/bin/ls /no/such/canary")
    [outcome] = make().fetch(REQUESTS[:1], Deadline(20))
    assert type(outcome) is AuthenticationFailed
    assert "canary" not in str(outcome)


# The clock.


@pytest.mark.parametrize("offset", [3600.0, -86400.0])
def test_a_wrong_clock_is_corrected_by_the_servers_and_told(server, make, caplog, offset):
    server.clock_offset = offset
    backend = make()
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    assert server.calls == {"GetSecretValue": 2}
    [record] = [r for r in caplog.records if r.name == "secretbridge.backends.aws"]
    assert record.levelno == logging.WARNING
    assert abs(record.args[0] - abs(offset)) <= 2  # a Date has whole seconds
    assert kinds(backend.fetch(REQUESTS[1:2], Deadline(20))) == {Document}
    assert server.calls == {"GetSecretValue": 3}, "the correction was not remembered"


def test_eight_calls_with_a_wrong_clock_all_go_through(server, make):
    server.clock_offset = 7200.0
    assert kinds(make().fetch(REQUESTS, Deadline(20))) == {Document}


def test_a_clock_that_is_set_again_later_is_corrected_again(server, make):
    server.clock_offset = 3600.0
    behind = [0.0]
    backend = make(wall_clock=lambda: time.time() - behind[0])
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    behind[0] = 1800.0
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    assert server.calls == {"GetSecretValue": 4}


def test_the_corrected_signature_is_right(server, make):
    server.clock_offset = 7200.0
    make().fetch(REQUESTS[:2], Deadline(20))
    assert len(server.requests) == 2
    for call in server.requests:
        assert call.headers["authorization"].endswith(signature(call))


def test_an_ordinary_signature_is_right(server, make):
    # That the bytes on the wire are those that were signed, the Host header among them.
    make().fetch(REQUESTS[:1], Deadline(20))
    [call] = server.requests
    assert call.headers["authorization"].endswith(signature(call))


def test_with_a_right_clock_a_refused_signature_is_not_tried_again(server, make):
    server.fail(error("InvalidSignatureException", "The request signature does not match"))
    [outcome] = make().fetch(REQUESTS[:1], Deadline(20))
    assert type(outcome) is AuthenticationFailed
    assert "clock" in outcome.hint
    assert server.calls == {"GetSecretValue": 1}


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_without_a_date_of_the_server_a_wrong_clock_cannot_be_corrected(server, make, date):
    server.fail(Reply(error("RequestTimeTooSkewed").body, 400, {"Date": date}))
    [outcome] = make().fetch(REQUESTS[:1], Deadline(20))
    assert type(outcome) is AuthenticationFailed
    assert server.calls == {"GetSecretValue": 1}


def signature(call):
    """Compute the signature of a request as AWS's documentation tells it."""
    authorization = call.headers["authorization"]
    scope = authorization.split("Credential=")[1].split(",")[0].split("/", 1)[1]
    names = authorization.split("SignedHeaders=")[1].split(",")[0]
    headers = "".join(f"{name}:{call.headers[name]}\n" for name in names.split(";"))
    body = hashlib.sha256(call.raw).hexdigest()
    canonical = "\n".join(["POST", "/", "", headers, names, body])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", call.headers["x-amz-date"], scope, digest])
    key = f"AWS4{ENVIRONMENT['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


# Roles.


@pytest.fixture(scope="module")
def moto():
    pytest.importorskip("moto.server", reason="moto is not installed")
    with moto_server() as url:
        yield url


def test_the_configured_role_is_assumed_and_its_credentials_are_used(
    server, make, moto, monkeypatch, caplog
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    backend = make(role_arn=ROLE, external_id="tenant-7")
    assert kinds(backend.fetch(REQUESTS, Deadline(20))) == {Document}
    keys = {call.access_key for call in server.requests}
    tokens = {call.headers["x-amz-security-token"] for call in server.requests}
    assert len(keys) == len(tokens) == 1, "the role was assumed more than once"
    assert keys != {ENVIRONMENT["AWS_ACCESS_KEY_ID"]}
    assert tokens.pop() not in caplog.text
    assert "SecretAccessKey" not in caplog.text


@pytest.fixture
def sts(server, monkeypatch):
    with FaultServer() as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        yield sts


def test_the_role_is_asked_for_with_external_id_and_a_name_that_tells_who(sts, make):
    asked = []
    sts.answer_form = lambda form: asked.append(form) or assumed("ASIA1")
    make(role_arn=ROLE, external_id="tenant-7").fetch(REQUESTS[:1], Deadline(20))
    assert asked[0]["RoleArn"] == ROLE
    assert asked[0]["ExternalId"] == "tenant-7"
    assert asked[0]["RoleSessionName"] == "secretbridge-aws-sm"


def test_the_account_of_the_role_tells_which_arns_a_batch_may_hold(sts, server, make):
    sts.answer_form = lambda form: assumed("ASIA1")
    own = [server.put(name, "x") for name in ("o1", "o2", "o3")]
    foreign = [server.put(name, "x", account="999999999999") for name in ("f1", "f2")]
    backend = make(role_arn=ROLE)

    def fetch(*arns):
        requests = [Reference.parse(f"aws-sm:{arn}").document for arn in arns]
        return kinds(backend.fetch(requests, Deadline(20)))

    assert fetch(own[0]) == {Document}
    server.requests.clear()
    assert fetch(*own, *foreign) == {Document}
    assert [body["SecretIdList"] for body in server.asked("BatchGetSecretValue")] == [own]
    assert sorted(body["SecretId"] for body in server.asked("GetSecretValue")) == sorted(foreign)


def test_when_the_roles_session_is_revoked_the_role_is_assumed_anew(sts, server, make):
    keys = iter(["ASIA1", "ASIA2"])
    sts.answer_form = lambda form: assumed(next(keys))
    backend = make(role_arn=ROLE)
    backend.fetch(REQUESTS[:1], Deadline(20))
    server.expired_keys.add("ASIA1")
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    assert [call.access_key for call in server.requests] == ["ASIA1", "ASIA1", "ASIA2"]


def test_a_role_that_may_not_be_assumed_is_no_denied_secret(sts, server, make):
    sts.answer_form = lambda form: Reply(
        b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>canary-x</Message></Error>"
        b"</ErrorResponse>",
        403,
    )
    [outcome] = make(role_arn=ROLE).fetch(REQUESTS[:1], Deadline(20))
    assert type(outcome) is AuthenticationFailed
    assert "AssumeRole" in outcome.message
    assert "canary-x" not in str(outcome)
    assert not server.connections


def test_an_unreachable_sts_is_transient(sts, make):
    sts.stop_listening()
    [outcome] = make(role_arn=ROLE).fetch(REQUESTS[:1], Deadline(20))
    assert outcome.is_transient


def test_an_sts_that_hangs_ends_with_the_deadline(sts, make):
    sts.answer_form = lambda form: HANG
    assert kinds(make(role_arn=ROLE).fetch(REQUESTS, Deadline(0.5))) == {DeadlineExceeded}


def assumed(key, action="AssumeRole"):
    """Return an answer of STS that gives the access key ``key``."""
    return sts_answer({"Action": action}, key)


def test_a_web_identity_token_is_read_again_each_time_that_it_is_exchanged(
    sts, server, make, no_keys, tmp_path
):
    # The platform replaces the token long before it ends; the old one is refused after that.
    token = tmp_path / "token"
    no_keys.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    no_keys.setenv("AWS_ROLE_ARN", ROLE)
    exchanged = []

    def exchange(form):
        exchanged.append(form["WebIdentityToken"])
        return assumed(f"ASIA{len(exchanged)}", "AssumeRoleWithWebIdentity")

    sts.answer_form = exchange
    backend = make()
    token.write_text("first")
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    token.write_text("second")
    server.expired_keys.add("ASIA1")
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    assert exchanged == ["first", "second"]


def test_a_container_is_asked_with_its_token_read_again_each_time(server, make, no_keys, tmp_path):
    # How a task of ECS and a pod of EKS get the credentials of their role.
    token = tmp_path / "token"
    keys = iter(["ASIA1", "ASIA2"])

    def answer(form):
        found = {"AccessKeyId": next(keys), "SecretAccessKey": "s", "Token": "t"}
        return Reply(json.dumps({**found, "Expiration": "2099-01-01T00:00:00Z"}).encode())

    server.answer_form = answer
    no_keys.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/v1/credentials")
    no_keys.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
    backend = make()
    token.write_text("first")
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    token.write_text("second")
    server.expired_keys.add("ASIA1")
    assert kinds(backend.fetch(REQUESTS[:1], Deadline(20))) == {Document}
    assert [headers["authorization"] for headers in server.form_headers] == ["first", "second"]
    assert [call.access_key for call in server.requests] == ["ASIA1", "ASIA1", "ASIA2"]


# A fork.


def test_a_forked_child_begins_without_the_parents_connections(make):
    backend = make()
    backend.fetch(REQUESTS[:1], Deadline(20))
    client, lock = backend._made[0], backend._lock
    backend.after_fork()
    assert backend._made is None
    assert backend._lock is not lock
    client.close()
