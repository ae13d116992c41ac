"""What each login sends, and what it refuses to send. That it works: ``contract/test_vault_logins``."""

import json
from base64 import b64decode

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends._vault_login import read_credential
from secretbridge.backends._vault_methods import SERVICE_ACCOUNT, login
from secretbridge.backends.vault import VaultBackend
from secretbridge.document import Document
from secretbridge.errors import AuthenticationFailed, ConfigError
from secretbridge.reference import Reference
from secretbridge.testing._leaks import assert_no_leak
from tests.servers._vault_admin import write_private
from tests.servers._vault_logins import AWS_KEYS
from tests.servers.tokens import Signer
from tests.servers.vault import VaultServer

KEY_ID, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "canary-wJalrXUtnFEMI"
ARN = "arn:aws:iam::123456789012:role/orders"


@pytest.fixture
def server():
    with VaultServer(dialect="vault") as server:
        server.put("kv/app", {"p": "x"})
        server.policy("app", {"kv/data/app": ["read"]})
        yield server


@pytest.fixture
def connect(server):
    made = []

    def connect(auth):
        backend = VaultBackend.create("vault", {"address": server.address, "auth": auth})
        made.append(backend)
        return backend

    yield connect
    for backend in made:
        backend.close()


def one(backend):
    [outcome] = backend.fetch([Reference.parse("vault:kv/app").document], Deadline(10))
    return outcome


# AWS ---------------------------------------------------------------------------------------------


@pytest.fixture
def aws(server, monkeypatch, tmp_path):
    """The machine has credentials of a role that the server lets in."""
    for name in ("AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    credentials = tmp_path / "credentials"
    write_private(credentials, profile(KEY_ID, SECRET_KEY))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setitem(AWS_KEYS, KEY_ID, (SECRET_KEY, ARN))
    server.auth_method("aws", "aws")
    server.do("POST", "auth/aws/config/client", {"iam_server_id_header_value": "vault.example"})
    role = {"bound_iam_principal_arn": [ARN], "token_policies": ["app"], "token_ttl": "1h"}
    server.do("POST", "auth/aws/role/orders", role)
    return credentials


def profile(key_id, secret_key, token=None):
    lines = ["[default]", f"aws_access_key_id={key_id}", f"aws_secret_access_key={secret_key}"]
    return "\n".join([*lines, *([f"aws_session_token={token}"] if token else []), ""])


AWS = {"method": "aws", "role": "orders", "iam_server_id": "vault.example"}


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("region", [None, "eu-west-1", "cn-north-1"])
def test_an_aws_identity_is_proven_by_a_signed_call(connect, region):
    backend = connect({**AWS, "region": region})
    assert isinstance(one(backend), Document)
    assert "role orders" in backend.identity(Deadline(10)).who


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("region", "host"),
    [
        (None, "sts.amazonaws.com"),
        ("us-gov-west-1", "sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_the_proof_is_for_the_sts_of_its_region_and_holds_no_secret_key(
    server, connect, region, host
):
    assert isinstance(one(connect({**AWS, "region": region})), Document)
    [body] = [r.body for r in server.log if r.path == "auth/aws/login"]
    assert b64decode(body["iam_request_url"]).decode() == f"https://{host}/"
    assert SECRET_KEY not in b64decode(body["iam_request_headers"]).decode()
    assert b64decode(body["iam_request_body"]) == b"Action=GetCallerIdentity&Version=2011-06-15"


@pytest.mark.usefixtures("aws")
def test_a_proof_for_another_server_is_refused(connect):
    outcome = one(connect({**AWS, "iam_server_id": "other.example"}))
    assert type(outcome) is AuthenticationFailed
    assert "iam_server_id" in outcome.hint


def test_aws_credentials_are_read_again_at_each_login(server, connect, aws):
    write_private(aws, profile(KEY_ID, "rotated away"))
    backend = connect(AWS)
    assert type(one(backend)) is AuthenticationFailed
    write_private(aws, profile(KEY_ID, SECRET_KEY, "canary-session"))
    assert isinstance(one(backend), Document)
    [*_, last] = [r.body for r in server.log if r.path == "auth/aws/login"]
    headers = json.loads(b64decode(last["iam_request_headers"]))
    assert headers["X-Amz-Security-Token"] == ["canary-session"]


def test_without_aws_credentials_the_login_says_where_they_are_looked_for(connect, aws):
    aws.unlink()
    outcome = one(connect(AWS))
    assert type(outcome) is AuthenticationFailed
    assert "no AWS credentials" in str(outcome)


@pytest.mark.usefixtures("aws")
def test_the_signer_logs_nothing_of_what_it_signs(connect, caplog):
    caplog.set_level("DEBUG")
    outcome = one(connect(AWS))
    assert isinstance(outcome, Document)
    assert "GetCallerIdentity" not in caplog.text
    assert SECRET_KEY not in caplog.text


def test_without_botocore_the_method_names_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "secretbridge.backends._vault_aws", None)
    way = login("vault", AWS, has_certificate=False)
    with pytest.raises(ConfigError, match="aws needs the module") as caught:
        way.token(None, Deadline(1), lambda: 0.0)
    assert "secretbridge[vault,aws]" in caught.value.hint


# Tokens of other parties -------------------------------------------------------------------------


def test_the_service_account_of_a_pod_is_the_default():
    way = login("vault", {"method": "kubernetes", "role": "app"}, has_certificate=False)
    assert way._jwt_file == SERVICE_ACCOUNT
    assert way.mount == "kubernetes"


@pytest.mark.parametrize(
    "token",
    [
        "canary-in-one-part",
        "canary.!.canary-2",
        "canary.bm8ganNvbg.canary-2",
        Signer().token(sub="x"),
        Signer().token(aud=None),
    ],
    ids=["word", "not base64", "not JSON", "no audience", "null"],
)
def test_a_token_without_the_audience_is_not_sent_whatever_it_is(server, connect, tmp_path, token):
    file = write_private(tmp_path / "jwt", token)
    auth = {"method": "jwt", "role": "app", "jwt_file": file, "audience": "vault"}
    outcome = one(connect(auth))
    assert type(outcome) is AuthenticationFailed
    assert "was not sent" in str(outcome)
    assert_no_leak(outcome, token)
    assert server.count("POST") == server.count("POST kv") + server.count("POST sys")


# Passwords ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [" a b ", "tab\there", "pä$$ wörd", "\u00a0no-break"])
def test_white_space_may_be_part_of_a_password(tmp_path, password):
    path = str(write_private(tmp_path / "password", f"{password}\r\n"))
    assert read_credential(path, "password", is_password=True) == password


@pytest.mark.parametrize("text", ["one\ntwo\n", "nul\0byte", "\n", "\x1b[2J"])
def test_what_is_no_single_line_is_no_password(tmp_path, text):
    path = str(write_private(tmp_path / "password", text))
    with pytest.raises(AuthenticationFailed, match="no password in"):
        read_credential(path, "password", is_password=True)
