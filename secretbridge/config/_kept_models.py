"""The models of what a sidecar keeps: for the one after it, and on a disk."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from . import _values
from ._model_base import ConfigPath, Model

__all__ = ["KmsKey", "LastKnownGoodConfig", "StateConfig"]


class StateConfig(Model):
    """What a restart takes over beside the generation that is on the target."""

    take_over: bool = Field(default=True, description="go on with the leases of the sidecar before")
    keep_login: bool = Field(
        default=False, description="keep its logins too, on which its leases hang"
    )


class KmsKey(Model):
    """A key of AWS KMS that encrypts the key of a file."""

    key_id: str = Field(min_length=1, description="id, ARN or alias/NAME of the key")
    region: str | None = Field(default=None, description="its region")
    endpoint_url: Annotated[str, AfterValidator(_values.service_url)] | None = Field(
        default=None, description="where KMS is, other than at the region's own address"
    )


class LastKnownGoodConfig(Model):
    """What was last good, sealed on a disk, for a start at which the stores cannot be reached."""

    path: ConfigPath = Field(description="the sealed file; its directory must exist")
    key_file: ConfigPath | None = Field(default=None, description="file with the key, 32 bytes")
    credential: str | None = Field(
        default=None, min_length=1, description="credential of systemd with the key"
    )
    kms: KmsKey | None = Field(default=None, description="key of AWS KMS that protects the key")

    @model_validator(mode="after")
    def _one_key(self) -> LastKnownGoodConfig:
        given = [key for key in ("key_file", "credential", "kms") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                "not one key; write exactly one of the keys key_file, credential and kms"
            )
        if self.credential is not None and "/" in self.credential:
            raise ValueError("no name of a credential; write its name, as in LoadCredential=NAME")
        return self
