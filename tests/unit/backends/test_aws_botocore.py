"""AWS's configuration files and chain of credentials, as the store reads them through botocore."""

import hashlib
import json
import logging
import time

import pytest

from secretbridge.backends import Deadline
from secretbridge.backends.aws import Options, SecretsManagerBackend
from secretbridge.document import Document
from secretbridge.errors import AuthenticationFailed, BackendUnavailable, ConfigError
from secretbridge.reference import Reference
from tests.servers.aws import REGION, FaultServer, Reply, clean_environment

pytest.importorskip("botocore")

REQUEST = Reference.parse("aws-sm:app/db").document
KEYS = "aws_access_key_id = AKIAFILE\naws_secret_access_key = x\n"


@pytest.fixture
def server(monkeypatch):
    clean_environment(monkeypatch)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with FaultServer() as server:
        server.put("app/db", "value")
        yield server


@pytest.fixture
def write(tmp_path, server, monkeypatch):
    """Write AWS's two files."""

    def write(config="", credentials=""):
        for variable, text in (
            ("AWS_CONFIG_FILE", config),
            ("AWS_SHARED_CREDENTIALS_FILE", credentials),
        ):
            path = tmp_path / variable
            path.write_text(text.format(url=server.url))
            monkeypatch.setenv(variable, str(path))

    return write


@pytest.fixture
def fetch(server):
    made = []

    def fetch(**options):
        made.append(SecretsManagerBackend("aws-sm", Options(**options)))
        [outcome] = made[-1].fetch([REQUEST], Deadline(20))
        return outcome

    yield fetch
    for backend in made:
        backend.close()


def test_region_endpoint_and_keys_come_from_the_files(server, write, fetch):
    write(
        f"[default]\nregion = {REGION}\nservices = local\n"
        "[services local]\nsecrets_manager =\n  endpoint_url = {url}\n",
        f"[default]\n{KEYS}",
    )
    assert type(fetch()) is Document
    [call] = server.requests
    assert (call.region, call.access_key) == (REGION, "AKIAFILE")


CONFIGS = [
    "[default]\nregion = eu-west-1\n",
    "[default]\nregion = eu-west-1\nendpoint_url = https://all.example\n",
    "[default]\nservices = s\n[services s]\nsecrets_manager =\n  endpoint_url = https://sm.example\n",
    "[default]\nservices = s\nendpoint_url = https://all.example\n"
    "[services s]\nssm =\n  endpoint_url = https://ssm.example\n",
    "[default]\nignore_configured_endpoint_urls = true\nendpoint_url = https://all.example\n",
    "[default]\nuse_fips_endpoint = true\n",
    "[default]\nuse_dualstack_endpoint = true\n",
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("variable", [None, "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"])
def test_the_endpoint_is_the_one_that_botocore_would_call(
    write, fetch, monkeypatch, config, variable
):
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    write(config, f"[default]\n{KEYS}")
    if variable is not None:
        monkeypatch.setenv(variable, "https://environment.example")
    asked = []

    def endpoint(self, url):
        asked.append(url)
        raise BackendUnavailable("not asked here", hint="this is a test")

    monkeypatch.setattr("secretbridge.backends._aws_wire.Wire.endpoint", endpoint)
    outcome = fetch(region=REGION)
    try:
        client = Session().create_client("secretsmanager", region_name=REGION)
        theirs = client._resolve_endpoint_ruleset(
            client.meta.service_model.operation_model("GetSecretValue"), {}, {}
        )[0]
    except BotoCoreError:
        assert type(outcome) is ConfigError
        return
    assert asked == [theirs]


def test_a_profile_is_read_with_its_own_keys(server, write, fetch):
    write(credentials=f"[default]\n{KEYS}[other]\n{KEYS.replace('FILE', 'OTHER')}")
    assert type(fetch(region=REGION, endpoint_url=server.url, profile="other")) is Document
    assert server.requests[-1].access_key == "AKIAOTHER"


def test_a_profile_of_the_store_goes_before_keys_of_the_environment(
    server, write, fetch, monkeypatch
):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    write(credentials=f"[other]\n{KEYS.replace('FILE', 'OTHER')}")
    assert type(fetch(region=REGION, endpoint_url=server.url, profile="other")) is Document
    assert server.requests[-1].access_key == "AKIAOTHER"


@pytest.mark.parametrize(
    "config",
    [
        "[default\n",
        "region = x\n",
        "[default]\nservices = nowhere\n",
    ],
    ids=["no end of a section", "no section", "services that are not there"],
)
def test_a_configuration_that_cannot_be_used_is_told_as_that(server, write, fetch, config):
    write(config, f"[default]\n{KEYS}")
    outcome = fetch(region=REGION)
    assert type(outcome) is ConfigError
    assert outcome.hint


def test_a_role_of_a_profile_is_assumed_with_the_keys_of_its_source(server, write, fetch):
    write(
        "[profile app]\nrole_arn = arn:aws:iam::123456789012:role/app\nsource_profile = base\n"
        "external_id = tenant-7\nduration_seconds = 900\n",
        f"[base]\n{KEYS}",
    )
    forms = []
    answer, server.answer_form = server.answer_form, lambda form: forms.append(form) or answer(form)
    assert type(fetch(region=REGION, endpoint_url=server.url, profile="app")) is Document
    [form] = forms
    assert form["Action"] == "AssumeRole"
    assert (form["ExternalId"], form["DurationSeconds"]) == ("tenant-7", "900")
    assert server.requests[-1].access_key == "ASIAEXAMPLE"


# Single sign-on: the one source for which botocore makes a client of its own.


@pytest.fixture
def signed_on(server, write, tmp_path, monkeypatch):
    """A developer who has signed on, and a portal that gives credentials for the token."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", server.url)
    start = "https://portal.example/start"
    write(
        f"[profile dev]\nsso_start_url = {start}\nsso_region = {REGION}\n"
        "sso_account_id = 123456789012\nsso_role_name = app\n"
    )
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr("botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR", str(cache))
    token = {"accessToken": "canary-token", "expiresAt": "2099-01-01T00:00:00Z", "startUrl": start}
    name = hashlib.sha1(start.encode()).hexdigest()
    (cache / f"{name}.json").write_text(json.dumps(token))

    def answer(form):
        keys = {"accessKeyId": "ASIASSO", "secretAccessKey": "canary-key", "sessionToken": "t"}
        keys["expiration"] = int((time.time() + 3600) * 1000)
        return Reply(json.dumps({"roleCredentials": keys}).encode())

    server.answer_form = answer
    return server


def test_credentials_of_single_sign_on_come_over_our_transport(signed_on, fetch, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("botocore", "urllib3"):
        caplog.set_level(logging.DEBUG, logger=name)
    outcome = fetch(region=REGION, endpoint_url=signed_on.url, profile="dev")
    assert type(outcome) is Document
    assert signed_on.requests[-1].access_key == "ASIASSO"
    assert "canary" not in caplog.text


def test_a_sign_on_that_has_ended_says_so(signed_on, fetch):
    refusal = json.dumps({"__type": "UnauthorizedException", "message": "canary"}).encode()
    signed_on.answer_form = lambda form: Reply(refusal, 401)
    outcome = fetch(region=REGION, endpoint_url=signed_on.url, profile="dev")
    assert type(outcome) is AuthenticationFailed
    assert "canary" not in str(outcome)
    assert not signed_on.requests
