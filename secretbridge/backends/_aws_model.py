"""The keys of ``aws-sm`` and ``aws-ssm`` stores in the configuration. No credential is among them.

Credentials come from AWS's own chain: the role of a pod, task or instance, environment, profile.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from ._dial import Address
from ._options import seconds

_REGION = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,576}")


class StoreModel(BaseModel):
    """See :class:`secretbridge.backends.aws.Options` for the meaning of each key."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, defer_build=True)

    region: str | None = None
    endpoint_url: str | None = None
    role_arn: str | None = None
    external_id: str | None = Field(default=None, min_length=2, max_length=1224)
    profile: str | None = Field(default=None, min_length=1)
    use_fips: bool = False
    timeout: Annotated[float, BeforeValidator(seconds), Field(gt=0, le=300)] = 10.0
    allow_plaintext: bool = False
    events_queue_url: str | None = None

    @field_validator("region")
    @classmethod
    def _is_region(cls, value: str | None) -> str | None:
        if value is not None and not _REGION.fullmatch(value):
            raise ValueError("not the name of an AWS region; write for example eu-west-1")
        return value

    @field_validator("role_arn")
    @classmethod
    def _is_role(cls, value: str | None) -> str | None:
        if value is not None and not _ROLE.fullmatch(value):
            raise ValueError("not the ARN of a role; write arn:aws:iam::ACCOUNT:role/NAME")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> StoreModel:
        if self.external_id is not None and self.role_arn is None:
            raise ValueError("external_id is for assuming a role; give role_arn too, or drop it")
        if self.use_fips and self.endpoint_url is not None:
            raise ValueError(
                "use_fips chooses AWS's endpoint and endpoint_url another; keep one of the two"
            )
        if self.endpoint_url is not None:
            Address(self.endpoint_url, allow_plaintext=self.allow_plaintext)
        if self.events_queue_url is not None:
            queue = Address(self.events_queue_url, allow_plaintext=self.allow_plaintext)
            if len(queue.prefix.split("/")) < 3:
                raise ValueError(
                    "events_queue_url is no URL of a queue; write "
                    "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"
                )
        return self


class SecretsManagerModel(StoreModel):
    """As its base, and a second region: only Secrets Manager replicates with the same versions."""

    fallback_region: str | None = None
    fallback_endpoint_url: str | None = None

    @field_validator("fallback_region")
    @classmethod
    def _is_fallback(cls, value: str | None) -> str | None:
        return cls._is_region(value)

    @model_validator(mode="after")
    def _can_fall_back(self) -> SecretsManagerModel:
        if self.fallback_endpoint_url is not None:
            Address(self.fallback_endpoint_url, allow_plaintext=self.allow_plaintext)
            if self.fallback_region is None:
                raise ValueError("fallback_endpoint_url needs fallback_region")
        if self.fallback_region is not None and self.fallback_region == self.region:
            raise ValueError("fallback_region is the region itself; name another one, or drop it")
        if self.fallback_region and self.endpoint_url and not self.fallback_endpoint_url:
            raise ValueError(
                "endpoint_url serves the first region alone; give fallback_endpoint_url too"
            )
        return self
