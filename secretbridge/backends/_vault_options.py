"""The keys of a Vault store in the configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ._dial import Address

__all__ = ["VaultAuthOptions", "VaultOptions"]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*/?")


def _seconds(value: object) -> object:
    match = (
        re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(ms|s|m)", value)
        if isinstance(value, str)
        else None
    )
    return float(match[1]) * _SECONDS[match[2]] if match else value


def _plain_path(value: str) -> str:
    if not _PATH.fullmatch(value) or any(part in (".", "..") for part in value.split("/")):
        raise ValueError("must be names joined by '/'")
    return value.strip("/")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class VaultAuthOptions(_Model):
    """How to be somebody: a token that stands in a file, or AppRole."""

    method: Literal["token", "approle"] = "token"
    token_file: Path = Path("~/.vault-token")
    role_id_file: Path | None = None
    secret_id_file: Path | None = None
    secret_id_wrapped: bool = False
    mount: Annotated[str, AfterValidator(_plain_path)] = "approle"

    @model_validator(mode="after")
    def _fits_its_method(self) -> Self:
        given = self.model_fields_set - {"method"}
        if self.method == "token":
            if given - {"token_file"}:
                raise ValueError(
                    f"{', '.join(sorted(given - {'token_file'}))}: only for `method: approle`"
                )
        elif "token_file" in given:
            raise ValueError("token_file: only for `method: token`")
        elif self.role_id_file is None:
            raise ValueError("`method: approle` needs role_id_file")
        elif self.secret_id_wrapped and self.secret_id_file is None:
            raise ValueError("`secret_id_wrapped: true` needs secret_id_file")
        return self


class VaultOptions(_Model):
    """One Vault or OpenBao server, or the load balancer of a cluster."""

    address: str
    allow_plaintext: bool = False
    namespace: Annotated[str, AfterValidator(_plain_path)] | None = None
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    server_name: str | None = None
    timeout: Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=3600)] = 10.0
    auth: VaultAuthOptions = Field(default_factory=VaultAuthOptions)

    @model_validator(mode="after")
    def _can_connect(self) -> Self:
        Address(self.address, allow_plaintext=self.allow_plaintext)
        if self.client_key_file is not None and self.client_cert_file is None:
            raise ValueError("client_key_file needs client_cert_file")
        return self
