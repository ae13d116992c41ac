"""Writing a secret of the key-value engine in version 2, against the version that was seen.

A migration or a rotation must not write over what somebody else wrote meanwhile. The server compares
(check-and-set), so there is no moment between looking and writing.
"""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING, Any

from ..document import MAX_SIZE, check_size
from ..errors import AccessDenied, ConfigError, IntegrityError
from ..reference import DocumentId
from ._vault_api import refusal, unusable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._vault_call import Call
    from ._vault_read import Reader

__all__ = ["VersionChanged", "write"]


class VersionChanged(IntegrityError):
    """The current version of the secret is not the one that the write was made for."""


def write(
    locator: str, fields: Mapping[str, Any], cas: int | None, call: Call, reader: Reader
) -> str:
    """Write ``fields`` and return the new version. Raises :class:`SecretBridgeError`."""
    path = reader.versioned_path(DocumentId("vault", "vault", locator), call)
    if path is None:
        raise ConfigError(
            "only a mount with version 2 of the key-value engine can be written to",
            hint="upgrade it with `vault kv enable-versioning MOUNT`, or name another mount",
        )
    # What could not be read again is not written.
    check_size(len(dumps(dict(fields)).encode()), MAX_SIZE)
    body: dict[str, Any] = {"data": dict(fields)}
    if cas is not None:
        body["options"] = {"cas": cas}
    reply, _ = call.ask("POST", path, body=body)
    if reply.status == 400 and reply.says("check-and-set parameter did not match"):
        expected = "there is a secret already" if cas == 0 else f"version {cas} is not the current"
        raise VersionChanged(
            f"nothing was written: {expected}",
            hint="somebody else wrote meanwhile; read the current version, then decide again",
        )
    if reply.status == 400 and reply.says("check-and-set parameter required"):
        raise ConfigError(
            "nothing was written: the mount or the secret demands `cas`",
            hint="say which version must be the current one, 0 for none",
        )
    if reply.status == 403 and reply.errors is not None:
        raise AccessDenied(
            "the policies of our token do not allow writing here",
            hint="grant `create` and `update` on MOUNT/data/PATH",
        )
    data = reply.section("data")
    if reply.status != 200 or data is None:
        raise refusal(reply)
    version = data.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise unusable("a write without a version")
    return str(version)
