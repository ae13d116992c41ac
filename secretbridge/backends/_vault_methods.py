"""The auth methods of Vault, from their names in the configuration to the class that logs in.

A method is one small class: where its credential is, and what it sends to ``auth/MOUNT/login``. The
keys that each has in the configuration are in :mod:`._vault_options`.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Any

from ..errors import AuthenticationFailed, ConfigError
from ._transport import read_json
from ._vault_approle import AppRole
from ._vault_login import (
    MethodLogin,
    TokenFile,
    mount_option,
    needed,
    needed_file,
    read_credential,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from . import Deadline
    from ._vault_api import Api
    from ._vault_login import Login, Token

__all__ = ["METHODS", "Aws", "Certificate", "Jwt", "Kubernetes", "UserPass", "login"]

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
"""Where Kubernetes puts the token of a pod's service account."""


class Jwt(MethodLogin):
    """A signed token of another party, from a file that this party keeps fresh."""

    method = "jwt"
    check = (
        "check that the token in the file has not expired, that its audience and subject are those "
        "of the role, the role's name (`auth.role`) and that of the mount (`auth.mount`)"
    )

    def __init__(
        self, role: str | None, jwt_file: str, *, mount: str, audience: str | None = None
    ) -> None:
        super().__init__(self.method, mount)
        self._role = role
        self._jwt_file = jwt_file
        self._audience = audience

    @classmethod
    def from_options(cls, auth: Mapping[str, Any]) -> Jwt:
        """Make the login of a configuration's ``auth``."""
        role = auth.get("role")  # left out, the mount's default role is meant
        return cls(
            role,
            needed_file(auth, "jwt_file"),
            mount=mount_option(auth),
            audience=auth.get("audience"),
        )

    def token(self, api: Api, deadline: Deadline, clock: Callable[[], float]) -> Token:
        """Log in with the token that is in the file now: such tokens live for minutes."""
        credentials = {"jwt": read_credential(self._jwt_file, "token")}
        if self._audience is not None and self._audience not in _audiences(credentials["jwt"]):
            # Whoever receives a token can use it wherever it is accepted. That of a service account
            # is by default for the API server of Kubernetes.
            raise AuthenticationFailed(
                f"the token in {self._jwt_file} is not for the audience {self._audience!r}, so it "
                "was not sent",
                hint="project it with `serviceAccountToken.audience`, or correct `auth.audience`",
            )
        if self._role is not None:
            credentials["role"] = self._role
        return self.log_in(api, deadline, clock, credentials)


def _audiences(token: str) -> list[object]:
    """Return what audiences a token (RFC 7519) says that it is for; its signature is not looked at."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        _, claims = read_json(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return []
    found = claims.get("aud")
    return found if isinstance(found, list) else [found]


class Kubernetes(Jwt):
    """The service account of a pod.

    The audience of the token is that of the projected volume (``serviceAccountToken.audience``), not
    something that a client could choose; one that is not the configured audience is not sent.
    """

    method = "kubernetes"
    check = (
        "check the role (`auth.role`), that it is bound to this service account and namespace, that "
        "the audience of the projected token is the role's, and the mount (`auth.mount`)"
    )

    @classmethod
    def from_options(cls, auth: Mapping[str, Any]) -> Kubernetes:
        """Make the login of a configuration's ``auth``."""
        jwt_file = os.path.expanduser(auth.get("jwt_file") or SERVICE_ACCOUNT)
        return cls(
            needed(auth, "role"),
            jwt_file,
            mount=mount_option(auth),
            audience=auth.get("audience"),
        )


class Certificate(MethodLogin):
    """The client certificate that the store's connections show anyway."""

    # One that is kept open still shows the certificate that was there when it was opened.
    needs_new_connection = True
    check = (
        "check that the certificate (`client_cert_file`) has not expired and is one that a role of "
        "this mount trusts, and the role (`auth.role`); a proxy that ends TLS hides it"
    )

    def __init__(self, role: str | None, *, mount: str) -> None:
        super().__init__("cert", mount)
        self._role = role

    @classmethod
    def from_options(cls, auth: Mapping[str, Any]) -> Certificate:
        """Make the login of a configuration's ``auth``."""
        return cls(auth.get("role"), mount=mount_option(auth))

    def token(self, api: Api, deadline: Deadline, clock: Callable[[], float]) -> Token:
        """Log in as ``role``, or as whichever role trusts the certificate."""
        body = {} if self._role is None else {"name": self._role}
        return self.log_in(api, deadline, clock, body)


class UserPass(MethodLogin):
    """A user and the password in a file."""

    check = "check `auth.username`, the password in the file, and the mount (`auth.mount`)"

    def __init__(self, username: str, password_file: str, *, mount: str) -> None:
        super().__init__("userpass", mount)
        self._username = username
        self._password_file = password_file

    @classmethod
    def from_options(cls, auth: Mapping[str, Any]) -> UserPass:
        """Make the login of a configuration's ``auth``."""
        return cls(
            needed(auth, "username"), needed_file(auth, "password_file"), mount=mount_option(auth)
        )

    def token(self, api: Api, deadline: Deadline, clock: Callable[[], float]) -> Token:
        """Log in."""
        password = read_credential(self._password_file, "password", is_password=True)
        return self.log_in(api, deadline, clock, {"password": password}, self._username)


class Aws(MethodLogin):
    """An identity of AWS, proven by a request to its STS that we sign and the server sends.

    The credentials come from AWS's own chain and never leave this process. ``server_id`` is signed
    along, so that a server which is shown our request cannot show it to another one.
    """

    check = (
        "check that the role (`auth.role`) is bound to this AWS identity, that `auth.iam_server_id` "
        "is the mount's iam_server_id_header_value, the clock, and `auth.region`"
    )

    def __init__(
        self, role: str | None, *, server_id: str | None, region: str | None, mount: str
    ) -> None:
        super().__init__("aws", mount)
        self._role = role
        self._server_id = server_id
        self._region = region

    @classmethod
    def from_options(cls, auth: Mapping[str, Any]) -> Aws:
        """Make the login of a configuration's ``auth``."""
        return cls(
            auth.get("role"),
            server_id=auth.get("iam_server_id"),
            region=auth.get("region"),
            mount=mount_option(auth),
        )

    def token(self, api: Api, deadline: Deadline, clock: Callable[[], float]) -> Token:
        """Sign a request and log in with it."""
        missing = None
        try:
            from ._vault_aws import signed_identity
        except ModuleNotFoundError as error:
            missing = error.name
        if missing is not None:
            raise ConfigError(
                f"the auth method aws needs the module {missing!r}, which is not installed",
                hint="pip install 'secretbridge[vault,aws]'",
            )
        body = signed_identity(self._region, self._server_id, deadline)
        if self._role is not None:
            body["role"] = self._role
        return self.log_in(api, deadline, clock, body)


METHODS: dict[str, Callable[[Mapping[str, Any]], Login]] = {
    "token": TokenFile.from_options,
    "approle": AppRole.from_options,
    "kubernetes": Kubernetes.from_options,
    "jwt": Jwt.from_options,
    "cert": Certificate.from_options,
    "userpass": UserPass.from_options,
    "aws": Aws.from_options,
}
"""Every method by its name in the configuration."""


def login(store: str, auth: Mapping[str, Any], *, has_certificate: bool) -> Login:
    """Return the login that a store's ``auth`` describes. Raises :class:`ConfigError`."""
    method = auth.get("method", "token")
    if method not in METHODS:
        raise ConfigError(
            f"there is no auth method {method!r} here",
            store=store,
            hint=f"set stores.{store}.auth.method to one of {', '.join(METHODS)}",
        )
    if method == "cert" and not has_certificate:
        raise ConfigError(
            "`auth` of method cert shows the store's client certificate, and there is none",
            store=store,
            hint=f"set stores.{store}.client_cert_file and client_key_file",
        )
    try:
        return METHODS[method]({**auth, "method": method})
    except ConfigError as error:
        raise error.about(None, store) from None
