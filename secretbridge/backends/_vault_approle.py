"""AppRole: a role id and a secret id, the latter possibly wrapped for its way to us."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from ..errors import AuthenticationFailed, SecretBridgeError
from ._vault_login import (
    MethodLogin,
    Token,
    failed,
    file_option,
    mount_option,
    needed_file,
    read_credential,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from . import Deadline
    from ._vault_api import Api, Reply

__all__ = ["AppRole"]

_log = logging.getLogger("secretbridge.backends.vault")


class AppRole(MethodLogin):
    """A role id and a secret id, both read from their files at every login.

    With ``is_wrapped`` the second file holds a response-wrapping token instead: it is unwrapped
    once, and the secret id inside is kept in memory for later logins until the file changes.
    """

    check = (
        "check role id and secret id, whether the secret id has expired or is used up, from which "
        "networks it may be used, and the name of the mount (`auth.mount`)"
    )

    def __init__(
        self, role_id_file: str, secret_id_file: str | None, *, is_wrapped: bool, mount: str
    ) -> None:
        super().__init__("approle", mount)
        self._role_id_file = role_id_file
        self._secret_id_file = secret_id_file
        self._is_wrapped = is_wrapped
        self._unwrapped: tuple[str, str] | None = None
        self._alarm: tuple[str, AuthenticationFailed] | None = None
        """The wrapping token that raised the alarm, and how: it is not tried a second time."""

    @classmethod
    def from_options(cls, auth: Mapping[str, Any]) -> AppRole:
        """Make the login of a configuration's ``auth``."""
        return cls(
            needed_file(auth, "role_id_file"),
            file_option(auth, "secret_id_file"),
            is_wrapped=auth.get("secret_id_wrapped", False) is True,
            mount=mount_option(auth),
        )

    def token(self, api: Api, deadline: Deadline, clock: Callable[[], float]) -> Token:
        """Log in."""
        credentials = {"role_id": read_credential(self._role_id_file, "role id")}
        if self._secret_id_file is not None:
            credentials["secret_id"] = self._secret_id(self._secret_id_file, api, deadline)
        return self.log_in(api, deadline, clock, credentials)

    def forget(self) -> None:
        """Drop the unwrapped secret id."""
        self._unwrapped = self._alarm = None

    def _secret_id(self, path: str, api: Api, deadline: Deadline) -> str:
        text = read_credential(path, "secret id")
        if not self._is_wrapped:
            return text
        if self._alarm is not None and self._alarm[0] == text:
            raise self._alarm[1].about(None)
        if self._unwrapped is None or self._unwrapped[0] != text:
            try:
                self._unwrapped = (text, self._unwrap(text, path, api, deadline))
            except _AlarmRaised as alarm:
                error = AuthenticationFailed(alarm.message, hint=alarm.hint)
                self._alarm = (text, error)
                _log.critical(
                    "%s", error
                )  # once for each wrapping token, however often it is tried
                raise error.about(None) from None
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
        if not re.fullmatch(rf"auth/{re.escape(self.mount)}/role/[^/]+/secret-id", origin):
            raise _AlarmRaised(
                f"ALARM: the wrapping token in {path} was not made by auth/{self.mount}; somebody "
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
        is_refused = reply.status in (400, 403) and reply.errors is not None
        if is_refused and not reply.says("namespace"):
            return _AlarmRaised(
                f"ALARM: the wrapping token in {path} has been used already, or has expired; if "
                "this process did not use it before a restart, somebody else has the secret id",
                hint="revoke the role's secret ids, look into the audit log, and wrap a new one",
            )
        return failed(reply)


class _AlarmRaised(AuthenticationFailed):
    """Somebody may have the secret id."""
