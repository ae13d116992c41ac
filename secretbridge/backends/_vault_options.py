"""The keys of a Vault store in the configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ._dial import Address
from ._options import seconds

__all__ = ["VaultOptions"]

_PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*/?")
_NAME = re.compile(r"[A-Za-z0-9_.@-]+")


def _plain_path(value: str) -> str:
    if not _PATH.fullmatch(value) or any(part in (".", "..") for part in value.split("/")):
        raise ValueError("not a path; write names joined by '/'")
    return value.strip("/")


def _plain_name(value: str) -> str:
    if not _NAME.fullmatch(value) or value in (".", ".."):
        raise ValueError("not a name; write letters, digits, '_', '-', '.' and '@'")
    return value


def _by_token(value: object) -> object:
    """Without a method the token file is meant."""
    return {"method": "token", **value} if isinstance(value, dict) else value


_Path = Annotated[str, AfterValidator(_plain_path)]
_Name = Annotated[str, AfterValidator(_plain_name)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, defer_build=True)


class TokenOptions(_Model):
    """A token that stands in a file."""

    method: Literal["token"] = "token"
    token_file: Path = Path("~/.vault-token")


class AppRoleOptions(_Model):
    """A role id and a secret id."""

    method: Literal["approle"]
    role_id_file: Path
    secret_id_file: Path | None = None
    secret_id_wrapped: bool = False
    mount: _Path = "approle"

    @model_validator(mode="after")
    def _has_what_to_unwrap(self) -> Self:
        if self.secret_id_wrapped and self.secret_id_file is None:
            raise ValueError("`secret_id_wrapped: true` without secret_id_file; set it")
        return self


class KubernetesOptions(_Model):
    """The service account of a pod."""

    method: Literal["kubernetes"]
    role: _Name
    jwt_file: Path | None = None
    audience: str | None = None
    mount: _Path = "kubernetes"


class JwtOptions(_Model):
    """A signed token of another party."""

    method: Literal["jwt"]
    role: _Name | None = None
    jwt_file: Path
    audience: str | None = None
    mount: _Path = "jwt"


class CertOptions(_Model):
    """The client certificate of the store."""

    method: Literal["cert"]
    role: _Name | None = None
    mount: _Path = "cert"


class UserPassOptions(_Model):
    """A user with a password."""

    method: Literal["userpass"]
    username: _Name
    password_file: Path
    mount: _Path = "userpass"


class AwsOptions(_Model):
    """An identity of AWS."""

    method: Literal["aws"]
    role: _Name | None = None
    iam_server_id: Annotated[str, Field(pattern=r"^[\x21-\x7e]+$")] | None = None
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None
    mount: _Path = "aws"


VaultAuthOptions = Annotated[
    TokenOptions
    | AppRoleOptions
    | KubernetesOptions
    | JwtOptions
    | CertOptions
    | UserPassOptions
    | AwsOptions,
    Field(discriminator="method"),
    BeforeValidator(_by_token),
]


class VaultOptions(_Model):
    """One Vault or OpenBao server, or the load balancer of a cluster."""

    address: str
    allow_plaintext: bool = False
    namespace: _Path | None = None
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    server_name: str | None = None
    timeout: Annotated[float, BeforeValidator(seconds), Field(gt=0, le=3600)] = 10.0
    events: bool = True
    auth: VaultAuthOptions = Field(default_factory=TokenOptions)

    @model_validator(mode="after")
    def _can_connect(self) -> Self:
        address = Address(self.address, allow_plaintext=self.allow_plaintext)
        if self.client_key_file is not None and self.client_cert_file is None:
            raise ValueError("client_key_file without client_cert_file; set both")
        if self.auth.method == "cert" and (self.client_cert_file is None or not address.is_tls):
            raise ValueError(
                "`auth.method: cert` shows a client certificate; set client_cert_file and "
                "client_key_file, and an https:// address"
            )
        return self
