"""How a store reaches AWS: the options that ``aws-sm`` and ``aws-ssm`` share."""

from __future__ import annotations

from .._value import Value, assign

__all__ = ["Options"]


class Options(Value):
    """How a store reaches AWS.

    ``region``: default is that of AWS's configuration. ``endpoint_url``: of a VPC endpoint or an
    emulator. ``role_arn`` and ``external_id``: a role to assume on top of the base credentials.
    ``profile``: of ``~/.aws/config``. ``use_fips``: use AWS's FIPS endpoints. ``timeout``: seconds
    for one call, within the deadline of the fetch that it belongs to. ``allow_plaintext``: accept an
    endpoint without TLS that is not on this machine, such as an emulator's container.
    ``events_queue_url``: an SQS queue that gets events of changes. ``fallback_region`` and
    ``fallback_endpoint_url``: where replicas are read while the region is out of order.
    """

    __slots__ = (
        "allow_plaintext",
        "endpoint_url",
        "events_queue_url",
        "external_id",
        "fallback_endpoint_url",
        "fallback_region",
        "profile",
        "region",
        "role_arn",
        "timeout",
        "use_fips",
    )

    region: str | None
    endpoint_url: str | None
    role_arn: str | None
    external_id: str | None
    profile: str | None
    use_fips: bool
    timeout: float
    allow_plaintext: bool
    events_queue_url: str | None
    fallback_region: str | None
    fallback_endpoint_url: str | None

    def __init__(
        self,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        role_arn: str | None = None,
        external_id: str | None = None,
        profile: str | None = None,
        use_fips: bool = False,
        timeout: float = 10.0,
        allow_plaintext: bool = False,
        events_queue_url: str | None = None,
        fallback_region: str | None = None,
        fallback_endpoint_url: str | None = None,
    ) -> None:
        assign(self, "region", region)
        assign(self, "endpoint_url", endpoint_url)
        assign(self, "role_arn", role_arn)
        assign(self, "external_id", external_id)
        assign(self, "profile", profile)
        assign(self, "use_fips", use_fips)
        assign(self, "timeout", timeout)
        assign(self, "allow_plaintext", allow_plaintext)
        assign(self, "events_queue_url", events_queue_url)
        assign(self, "fallback_region", fallback_region)
        assign(self, "fallback_endpoint_url", fallback_endpoint_url)
