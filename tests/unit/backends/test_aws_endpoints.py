"""Addresses of AWS's services, held against the rules that botocore comes with."""

import gzip
import json
from pathlib import Path

import pytest

from secretbridge.backends import _aws_endpoints
from secretbridge.backends._aws_endpoints import ca_bundle, endpoint
from secretbridge.errors import ConfigError

botocore = pytest.importorskip("botocore")

DATA = Path(botocore.__file__).parent / "data"
MODELS = {
    "secretsmanager": "secretsmanager/2017-10-17",
    "ssm": "ssm/2014-11-06",
    "sqs": "sqs/2012-11-05",
    "sts": "sts/2011-06-15",
}
PARTITIONS = json.loads((DATA / "partitions.json").read_bytes())
REGIONS = [
    region
    for partition in PARTITIONS["partitions"]
    for region in partition["regions"]
    if not region.endswith("-global")
] + ["eu-south-9", "us-gov-south-7", "cn-west-3", "mars-north-1"]  # those to come, and none


@pytest.mark.parametrize("service", MODELS)
def test_every_address_is_the_one_of_botocores_rules(service):
    from botocore.endpoint_provider import EndpointProvider
    from botocore.exceptions import EndpointResolutionError

    rules = json.loads(
        gzip.decompress((DATA / MODELS[service] / "endpoint-rule-set-1.json.gz").read_bytes())
    )
    provider = EndpointProvider(rules, PARTITIONS)
    for region in REGIONS:
        for fips in (False, True):
            for dual_stack in (False, True):
                asked = {"Region": region, "UseFIPS": fips, "UseDualStack": dual_stack}
                if service == "sts":
                    asked["UseGlobalEndpoint"] = False
                try:
                    theirs = provider.resolve_endpoint(**asked).url
                except EndpointResolutionError:
                    theirs = None
                try:
                    ours = endpoint(service, region, fips=fips, dual_stack=dual_stack)
                except ConfigError:
                    ours = None
                assert (asked, ours) == (asked, theirs)


def test_a_partition_without_such_an_endpoint_is_told(monkeypatch):
    # As they all were in one of the two ways when they began.
    partition = {"id": "aws", "regionRegex": "^mars", "regions": {}}
    partition["outputs"] = {"supportsFIPS": False, "supportsDualStack": False, "dnsSuffix": "x"}
    monkeypatch.setattr(_aws_endpoints, "_partitions", lambda: [partition])
    assert endpoint("ssm", "mars-1") == "https://ssm.mars-1.x"
    for asked in ({"fips": True}, {"dual_stack": True}):
        with pytest.raises(ConfigError, match="mars-1"):
            endpoint("ssm", "mars-1", **asked)


def test_the_authorities_are_those_that_botocore_trusts():
    from botocore.httpsession import get_cert_path

    assert ca_bundle() == get_cert_path(True)


def test_without_botocore_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(_aws_endpoints, "find_spec", lambda name: None)
    _aws_endpoints._partitions.cache_clear()
    for call in (ca_bundle, lambda: endpoint("sts", "eu-west-1")):
        with pytest.raises(ConfigError, match="not installed"):
            call()
