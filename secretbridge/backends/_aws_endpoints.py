"""Where AWS's services are: the address of each by region, partition, FIPS and dual stack.

The partitions and their domains are botocore's own table, read without loading botocore: it lies
beside its code as a file. The rules on top are those of the services that we call; the tests compare
them with botocore's rule sets for every region that there is.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import ConfigError

__all__ = ["ca_bundle", "endpoint"]

_PLAIN_FIPS = frozenset(("ssm", "sqs", "sts"))
"""Services whose ordinary endpoint in the GovCloud partition is the FIPS one."""

_PLAIN_DUAL = frozenset(("aws", "aws-cn", "aws-us-gov"))
_PLAIN_DUAL_FIPS = frozenset(("aws", "aws-us-gov"))
"""Partitions in which the ordinary name of Secrets Manager has IPv6 addresses too."""


def endpoint(service: str, region: str, *, fips: bool = False, dual_stack: bool = False) -> str:
    """Return the URL of ``service`` (``secretsmanager``, ``ssm``, ``sqs``, ``sts``) in ``region``.

    Raises :class:`ConfigError` when the partition of the region has no such endpoint.
    """
    name, outputs = _partition(region)
    if (fips and not outputs["supportsFIPS"]) or (dual_stack and not outputs["supportsDualStack"]):
        raise ConfigError(
            f"AWS has no {'FIPS' if fips else 'dual-stack'} endpoint in the partition of {region}",
            hint="drop use_fips, or AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT",
        )
    domain = outputs["dnsSuffix"]
    if dual_stack and not (
        service == "secretsmanager" and name in (_PLAIN_DUAL_FIPS if fips else _PLAIN_DUAL)
    ):
        domain = outputs["dualStackDnsSuffix"]
    is_plain = name == "aws-us-gov" and service in _PLAIN_FIPS and not dual_stack
    infix = "-fips" if fips and not is_plain else ""
    return f"https://{service}{infix}.{region}.{domain}"


def ca_bundle() -> str:
    """Return the file of authorities that AWS's library trusts: certifi's, else its own.

    The system's need not be there: slim images have none.
    """
    for package in ("certifi", "botocore"):
        found = find_spec(package)
        for folder in (found.submodule_search_locations or []) if found is not None else []:
            path = Path(folder, "cacert.pem")
            if path.is_file():
                return str(path)
    raise _not_installed()


def _partition(region: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the domains of the partition that ``region`` is in."""
    partitions = _partitions()
    for each in partitions:
        if region in each["regions"]:
            return each["id"], each["outputs"]
    for each in partitions:
        if re.match(each["regionRegex"], region):
            return each["id"], each["outputs"]
    return partitions[0]["id"], partitions[0]["outputs"]  # a region newer than the table


@cache
def _partitions() -> list[dict[str, Any]]:
    found = find_spec("botocore")
    if found is None or not found.submodule_search_locations:
        raise _not_installed()
    path = Path(found.submodule_search_locations[0], "data", "partitions.json")
    partitions: list[dict[str, Any]] = json.loads(path.read_bytes())["partitions"]
    # The commercial one first: it is what a region that is in none belongs to.
    return sorted(partitions, key=lambda each: each["id"] != "aws")


def _not_installed() -> ConfigError:
    return ConfigError(
        "the backends of AWS need the module 'botocore', which is not installed",
        hint="pip install 'secretbridge[aws]'",
    )
