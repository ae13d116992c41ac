"""What the environment says by itself, held against what botocore makes of the same variables."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secretbridge.backends._aws_environment import Environment, is_enough
from secretbridge.backends._aws_options import Options
from tests.servers.aws import ENVIRONMENT, REGION, FaultServer

pytest.importorskip("botocore")

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "x"}
NO_FILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": "/no/such/file"}

VARIABLES = st.fixed_dictionaries(
    {},
    optional={
        "AWS_ACCESS_KEY_ID": st.sampled_from(["AKIAEXAMPLE", ""]),
        "AWS_SECRET_ACCESS_KEY": st.sampled_from(["secret", ""]),
        "AWS_SESSION_TOKEN": st.sampled_from(["token", ""]),
        "AWS_SECURITY_TOKEN": st.sampled_from(["older", ""]),
        "AWS_ACCOUNT_ID": st.sampled_from(["123456789012", ""]),
        "AWS_DEFAULT_REGION": st.sampled_from(["eu-west-1", ""]),
        "AWS_USE_FIPS_ENDPOINT": st.sampled_from(["true", "True", "false", "1", ""]),
        "AWS_USE_DUALSTACK_ENDPOINT": st.sampled_from(["true", "no"]),
        "AWS_CA_BUNDLE": st.sampled_from(["/etc/ca.pem", ""]),
        "AWS_ENDPOINT_URL": st.sampled_from(["https://all.example", ""]),
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": st.sampled_from(["https://sm.example", ""]),
        "AWS_ENDPOINT_URL_SSM": st.just("https://ssm.example"),
        "AWS_ENDPOINT_URL_STS": st.just("https://sts.example"),
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": st.sampled_from(["true", "false"]),
        "AWS_CREDENTIAL_EXPIRATION": st.just("2099-01-01T00:00:00Z"),
    },
)


@pytest.fixture
def set_variables(monkeypatch):
    def set_variables(variables):
        for name in list(os.environ):
            if name.startswith("AWS_"):
                monkeypatch.delenv(name)
        for name, value in {**NO_FILES, **variables}.items():
            monkeypatch.setenv(name, value)

    return set_variables


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(VARIABLES)
def test_where_it_says_enough_it_says_what_botocore_says(set_variables, variables):
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.credentials import EnvProvider
    from botocore.httpsession import get_cert_path
    from botocore.session import Session

    set_variables(variables)
    found = Environment()
    session = Session()
    read = session.get_config_variable
    assert found.region == (read("region") or None)
    assert found.use_fips == bool(read("use_fips_endpoint"))
    assert found.use_dual_stack == bool(read("use_dualstack_endpoint"))
    assert found.ca_file() == (read("ca_bundle") or get_cert_path(True))
    for service in ("secretsmanager", "ssm", "sqs", "sts"):
        provided = None
        if not read("ignore_configured_endpoint_urls"):
            provided = ConfiguredEndpointProvider({}, {}, service).provide()
        assert found.endpoint_url(service) == provided
    if is_enough(Options()):
        theirs = EnvProvider().load().get_frozen_credentials()
        ours = found.find()()
        assert (ours.access_key, ours.secret_key, ours.token, ours.account) == (
            theirs.access_key,
            theirs.secret_key,
            theirs.token,
            theirs.account_id or None,
        )


def test_keys_without_any_file_are_enough():
    assert is_enough(Options(), {**KEYS, **NO_FILES})
    assert is_enough(Options(region="eu-west-1", use_fips=True), ENVIRONMENT)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"},
        {**KEYS, "AWS_PROFILE": "production"},
        {**KEYS, "AWS_DEFAULT_PROFILE": "production"},
        {**KEYS, "AWS_CREDENTIAL_EXPIRATION": "2099-01-01T00:00:00Z"},
    ],
    ids=["nothing", "half a pair", "profile", "default profile", "keys with an end"],
)
def test_where_more_is_to_be_known_it_is_not_enough(variables):
    assert not is_enough(Options(), {**variables, **NO_FILES})


@pytest.mark.parametrize(
    "options",
    [Options(profile="production"), Options(role_arn="arn:aws:iam::123456789012:role/app")],
)
def test_a_profile_or_a_role_of_the_store_needs_the_chain(options):
    assert not is_enough(options, {**KEYS, **NO_FILES})


@pytest.mark.parametrize("variable", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_a_file_that_says_something_is_botocores_to_read(tmp_path, variable):
    path = tmp_path / "file"
    variables = {**KEYS, **NO_FILES, variable: str(path)}
    assert is_enough(Options(), variables)
    path.touch()
    assert is_enough(Options(), variables)
    path.write_text("[default]\n")
    assert not is_enough(Options(), variables)


def test_a_file_in_the_home_directory_is_looked_for_where_no_variable_names_one(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert is_enough(Options(), KEYS)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text("[default]\nregion = eu-west-1\n")
    assert not is_enough(Options(), KEYS)


def test_a_first_fetch_of_many_secrets_loads_no_library():
    with FaultServer(20) as server:
        program = (
            "import sys\n"
            "from secretbridge.backends import Deadline, backend_class\n"
            "from secretbridge.reference import Reference\n"
            f"options = {{'region': '{REGION}', 'endpoint_url': '{server.url}'}}\n"
            "store = backend_class('aws-sm').create('aws-sm', options)\n"
            "names = [f'aws-sm:app/s{n:04}' for n in range(20)]\n"
            "found = store.fetch([Reference.parse(n).document for n in names], Deadline(20))\n"
            "assert all(document.body for document in found)\n"
            "print(*{name.split('.')[0] for name in sys.modules})"
        )
        result = subprocess.run(
            [sys.executable, "-c", program],
            env={"PATH": os.environ["PATH"], **ENVIRONMENT},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        )
    loaded = set(result.stdout.split())
    assert loaded.isdisjoint({"botocore", "boto3", "urllib3", "pydantic", "logging", "xml"})


def test_keys_show_nothing_of_themselves():
    keys = Environment({**KEYS, "AWS_SECRET_ACCESS_KEY": "canary"}).find()()
    assert "canary" not in repr(keys)
    assert "AKIA" not in repr(keys)
