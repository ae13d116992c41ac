"""The keys of an ``aws-sm`` store in the configuration. No credential is among them.

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

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    region: str | None = None
    endpoint_url: str | None = None
    role_arn: str | None = None
    external_id: str | None = Field(default=None, min_length=2, max_length=1224)
    profile: str | None = Field(default=None, min_length=1)
    use_fips: bool = False
    timeout: Annotated[float, BeforeValidator(seconds), Field(gt=0, le=300)] = 10.0
    allow_plaintext: bool = False

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
        return self
