"""The ways to a token of Vault: a file that holds one, and AppRole.

Credentials come from files only, and are read again at every login: whoever rotates them replaces
the file, and nobody restarts anything.
"""

from __future__ import annotations

import os
import re
import stat
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import AuthenticationFailed, BackendUnavailable, ConfigError, SecretBridgeError
from ._vault_api import Api, Reply, api_path, is_unknown_token, refusal, unusable

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import Deadline

__all__ = ["AppRole", "Login", "Token", "TokenFile", "number", "read_credential"]

MAX_CREDENTIAL = 64 * 1024
"""Largest credential file in bytes. Batch tokens and JWTs have a few kilobytes."""


class Token:
    """A token and what is known of its life. The repr shows none of it.

    ``ends`` is on the session's clock, None when no end is known. ``due`` is when something should
    be done about the token. ``longest`` is the longest life that it was ever granted, in seconds.
    """

    __slots__ = ("can_renew", "confirmed", "due", "ends", "longest", "value")

    def __init__(self, value: str, now: float) -> None:
        self.value = value
        self.can_renew = False
        self.confirmed = now
        self.ends: float | None = None
        self.due: float | None = None
        self.longest = 0.0

    def __repr__(self) -> str:
        return "<Token>"

    def grant(self, seconds: float, now: float, *, can_renew: bool) -> None:
        """Note that the token lives ``seconds`` from ``now`` (0: without end)."""
        self.confirmed = now
        self.can_renew = can_renew
        if seconds <= 0:
            self.ends = self.due = None
            return
        self.longest = max(self.longest, seconds)
        self.ends = now + seconds
        # Halfway leaves room for a renewal that fails; without one, what is left is used longer.
        self.due = self.ends - self.longest * (1 / 2 if can_renew else 1 / 3)

    def postpone(self, now: float) -> None:
        """Leave the token alone for a tenth of what it has left, within 1 to 30 seconds."""
        self.due = now + min(max(self.remaining(now) / 10, 1.0), 30.0)

    def remaining(self, now: float) -> float:
        """Return the seconds left; infinite when no end is known."""
        return inf if self.ends is None else max(0.0, self.ends - now)


class Login(Protocol):
    """A way to obtain a token."""

    def token(self, api: Api, deadline: Deadline, clock: Callable[[], float]) -> Token:
        """Return a token. Raises :class:`SecretBridgeError`."""

    def forget(self) -> None:
        """Drop what is kept of the credential."""


class TokenFile:
    """A token that somebody else puts into a file, and may replace there."""

    def __init__(self, path: str) -> None:
        self._path = path

    def token(self, api: Api, deadline: Deadline, clock: Callable[[], float]) -> Token:
        """Read the file, and ask the server how long the token lives."""
        now = clock()
        token = Token(read_credential(self._path, "token"), now)
        reply = api.ask("GET", "auth/token/lookup-self", deadline, token=token.value)
        data = reply.section("data")
        if reply.status == 200 and data is not None:
            # The life that it was made with: a renewal for less would shorten what is left.
            token.longest = number(data.get("creation_ttl"))
            token.grant(number(data.get("ttl")), now, can_renew=data.get("renewable") is True)
            return token
        if reply.status == 403 and not is_unknown_token(reply):
            return token  # a token without the policy `default` works, its end is unknown
        if reply.status in (400, 403):
            raise AuthenticationFailed(
                f"the server does not know the token in {self._path}, or no longer",
                hint="put a new token there; it is read again at the next attempt",
            )
        raise _failed(reply)

    def forget(self) -> None:
        """Nothing is kept."""


class AppRole:
    """A role id and a secret id, both read from their files at every login.

    With ``is_wrapped`` the second file holds a response-wrapping token instead: it is unwrapped
    once, and the secret id inside is kept in memory for later logins until the file changes.
    """

    def __init__(
        self, role_id_file: str, secret_id_file: str | None, *, is_wrapped: bool, mount: str
    ) -> None:
        self._role_id_file = role_id_file
        self._secret_id_file = secret_id_file
        self._is_wrapped = is_wrapped
        self._mount = mount
        self._unwrapped: tuple[str, str] | None = None

    def token(self, api: Api, deadline: Deadline, clock: Callable[[], float]) -> Token:
        """Log in."""
        credentials = {"role_id": read_credential(self._role_id_file, "role id")}
        if self._secret_id_file is not None:
            credentials["secret_id"] = self._secret_id(self._secret_id_file, api, deadline)
        now = clock()
        path = f"auth/{api_path(self._mount.split('/'))}/login"
        reply = api.ask("POST", path, deadline, body=credentials)
        auth = reply.section("auth")
        if reply.status == 200 and auth is not None:
            return self._granted(auth, now)
        if reply.status in (400, 401, 403, 404) and reply.errors is not None:
            raise AuthenticationFailed(
                f"the login at auth/{self._mount} was refused (HTTP {reply.status})",
                hint="check role id and secret id, whether the secret id has expired or is used "
                "up, from which networks it may be used, and the name of the mount (`auth.mount`)",
            )
        raise _failed(reply)

    def forget(self) -> None:
        """Drop the unwrapped secret id."""
        self._unwrapped = None

    def _granted(self, auth: dict[str, Any], now: float) -> Token:
        value = auth.get("client_token")
        if auth.get("mfa_requirement"):
            raise AuthenticationFailed(
                f"the login at auth/{self._mount} asks for a second factor",
                hint="exempt machine roles from it",
            )
        if not isinstance(value, str) or not value:
            raise unusable("a login without a token")
        token = Token(value, now)
        can_renew = auth.get("renewable") is True
        token.grant(number(auth.get("lease_duration")), now, can_renew=can_renew)
        return token

    def _secret_id(self, path: str, api: Api, deadline: Deadline) -> str:
        text = read_credential(path, "secret id")
        if not self._is_wrapped:
            return text
        if self._unwrapped is None or self._unwrapped[0] != text:
            self._unwrapped = (text, self._unwrap(text, path, api, deadline))
        return self._unwrapped[1]

    def _unwrap(self, wrapping: str, path: str, api: Api, deadline: Deadline) -> str:
        """Exchange the wrapping token for the secret id.

        Where it was made is looked at first: a wrapping token from any other path is one that an
        attacker made, with a secret id of a role of his own inside.
        """
        looked_up = api.ask("POST", "sys/wrapping/lookup", deadline, body={"token": wrapping})
        data = looked_up.section("data")
        if looked_up.status != 200 or data is None:
            raise self._unwrap_failed(looked_up, path)
        origin = str(data.get("creation_path", ""))
        if api.namespace:
            origin = origin.removeprefix(api.namespace.strip("/") + "/")
        if not re.fullmatch(rf"auth/{re.escape(self._mount)}/role/[^/]+/secret-id", origin):
            raise AuthenticationFailed(
                f"ALARM: the wrapping token in {path} was not made by auth/{self._mount}; somebody "
                "may have put it there in place of the right one",
                hint="do not use it; find out who wrote the file, and wrap a new secret id",
            )
        reply = api.ask("POST", "sys/wrapping/unwrap", deadline, token=wrapping)
        data = reply.section("data")
        if reply.status != 200 or data is None:
            raise self._unwrap_failed(reply, path)
        secret_id = data.get("secret_id")
        if not isinstance(secret_id, str) or not secret_id:
            raise AuthenticationFailed(
                f"the wrapping token in {path} holds no secret id",
                hint="wrap the answer of auth/MOUNT/role/NAME/secret-id",
            )
        return secret_id

    def _unwrap_failed(self, reply: Reply, path: str) -> SecretBridgeError:
        if reply.status in (400, 403, 404) and reply.errors is not None:
            return AuthenticationFailed(
                f"ALARM: the wrapping token in {path} has been used already, or has expired; if "
                "this process did not use it before a restart, somebody else has the secret id",
                hint="revoke the role's secret ids, look into the audit log, and wrap a new one",
            )
        return _failed(reply)


def _failed(reply: Reply) -> SecretBridgeError:
    """Return what an unexpected answer to a login means. It says nothing about any secret."""
    if reply.status == 200:
        return unusable("a login without what it should give")
    error = refusal(reply)
    if isinstance(error, (BackendUnavailable, ConfigError)):
        return error
    return AuthenticationFailed(
        f"the login was refused (HTTP {reply.status})", hint="check `auth` of the store"
    )


def read_credential(path: str, what: str) -> str:
    """Return the text of a credential file without the white space around it.

    Raises :class:`AuthenticationFailed`, which names the file and shows nothing of it.
    """
    problem = None
    raw = b""
    try:
        # Non-blocking, because opening a named pipe waits for a writer.
        descriptor = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                raw = os.read(descriptor, MAX_CREDENTIAL + 1)
            else:
                problem = "it is no regular file"
        finally:
            os.close(descriptor)
    except OSError as error:
        problem = (error.strerror or "it cannot be read").lower()
    text = raw.strip()
    if problem is None:
        if not text:
            problem = "it is empty"
        elif len(raw) > MAX_CREDENTIAL:
            problem = f"it has more than {MAX_CREDENTIAL} bytes"
        elif not all(0x21 <= byte <= 0x7E for byte in text):
            problem = "it holds white space or other characters that no credential has"
    if problem is not None:
        raise AuthenticationFailed(
            f"no {what} in {path}: {problem}",
            hint="check the path, its permissions, and whoever writes it",
        )
    return text.decode("ascii")


def number(value: object) -> float:
    """Return a whole number of the API; 0 for whatever else stands in its place."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else 0.0
