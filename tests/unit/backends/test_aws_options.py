"""The keys of ``aws-sm`` and ``aws-ssm`` stores."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from secretbridge.backends.aws import Options, SecretsManagerBackend
from secretbridge.backends.aws_ssm import ParameterStoreBackend

model = SecretsManagerBackend.options_model()

ROLE = "arn:aws:iam::123456789012:role/team/app"


def test_every_key_of_the_model_is_an_option_with_the_same_default():
    defaults = model().model_dump()
    assert set(defaults) == set(Options.__slots__)
    assert SecretsManagerBackend.create("aws-sm", defaults)._options == Options()


def test_a_store_of_parameters_has_the_same_keys_but_those_of_a_second_region():
    defaults = ParameterStoreBackend.options_model()().model_dump()
    assert set(Options.__slots__) - set(defaults) == {"fallback_region", "fallback_endpoint_url"}
    assert ParameterStoreBackend.create("aws-ssm", defaults)._options == Options()


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"region": "eu-west-1"},
        {"region": "us-gov-east-1", "use_fips": True},
        {"endpoint_url": "https://vpce-1.secretsmanager.eu-west-1.vpce.amazonaws.com"},
        {"endpoint_url": "http://127.0.0.1:4566"},
        {"endpoint_url": "http://localhost:4566"},
        {"endpoint_url": "http://[::1]:4566"},
        {"role_arn": ROLE},
        {"role_arn": ROLE, "external_id": "tenant-7"},
        {"profile": "production"},
        {"endpoint_url": "http://emulator:4566", "allow_plaintext": True},
        {"timeout": 2},
        {"timeout": "500ms"},
    ],
)
def test_what_works_is_accepted(keys):
    model.model_validate(keys)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"region": "Ireland"}, "eu-west-1"),
        ({"region": "eu-west-1.evil.example/"}, "eu-west-1"),
        ({"endpoint_url": "localhost:4566"}, "https://HOST"),
        ({"endpoint_url": "ftp://host"}, "https://HOST"),
        ({"endpoint_url": "http://secrets.example"}, "allow_plaintext"),
        ({"endpoint_url": "http://10.0.0.7"}, "allow_plaintext"),
        ({"endpoint_url": "https://user:password@host"}, "user or password"),
        ({"endpoint_url": "https://host/?x=1"}, "query"),
        ({"role_arn": "app"}, "arn:aws:iam::"),
        ({"external_id": "tenant-7"}, "role_arn"),
        ({"use_fips": True, "endpoint_url": "https://host"}, "keep one"),
        ({"timeout": 0}, "greater than 0"),
        ({"timeout": 301}, "less than or equal"),
        ({"access_key": "AKIA"}, "Extra inputs"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(keys, told):
    with pytest.raises(ValidationError) as caught:
        model.model_validate(keys)
    assert told in str(caught.value)


def test_no_key_holds_a_credential():
    # A key, token or password in the configuration would be in every copy and backup of it.
    words = ("key", "token", "password", "secret")
    assert [name for name in model.model_fields if any(word in name for word in words)] == []


@pytest.mark.parametrize("backend", ["aws-sm", "aws-ssm"])
def test_making_a_store_loads_neither_botocore_nor_pydantic(backend):
    program = (
        "import sys\n"
        "from secretbridge.backends import backend_class\n"
        f"backend_class('{backend}').create('x', {{'region': 'eu-west-1'}}).close()\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert {"botocore", "boto3", "urllib3", "pydantic", "ssl"}.isdisjoint(result.stdout.split())
