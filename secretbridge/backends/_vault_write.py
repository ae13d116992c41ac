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
from . import Occupied
from ._vault_api import refusal, unusable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._vault_api import Reply
    from ._vault_call import Call
    from ._vault_read import Reader

__all__ = ["VersionChanged", "put_new", "withdraw", "write"]


class VersionChanged(IntegrityError):
    """The current version of the secret is not the one that the write was made for."""


def write(
    locator: str, fields: Mapping[str, Any], cas: int | None, call: Call, reader: Reader
) -> str:
    """Write ``fields`` and return the new version. Raises :class:`SecretBridgeError`."""
    path = _data_path(locator, call, reader)
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


def put_new(locator: str, value: bytes, call: Call, reader: Reader) -> str:
    """Write ``value`` as the field ``value`` of a new secret and return its version.

    Where all versions are deleted there is none either. Raises :class:`Occupied` where there is one.
    """
    try:
        fields = {"value": value.decode()}
    except UnicodeDecodeError:
        fields = None
    if fields is None:
        raise ConfigError(
            "the value is no UTF-8, and Vault keeps texts alone",
            hint="store it in base64 and use ?decode=base64 in the reference",
        )
    taken = Occupied(
        f"there is a secret at {locator!r} already",
        hint="it was not written over; choose another name or prefix",
    )
    try:
        return write(locator, fields, 0, call, reader)
    except VersionChanged:
        pass
    told = _metadata(locator, call, reader)
    if told is None:
        raise taken
    current, versions = told
    state = versions.get(str(current))
    if not isinstance(state, dict) or not (state.get("deletion_time") or state.get("destroyed")):
        raise taken
    return write(locator, fields, current, call, reader)


def withdraw(locator: str, version: str, call: Call, reader: Reader) -> bool:
    """Remove the secret at ``locator`` if ``version`` is current; return whether it was.

    Its whole history goes with it where it has no other version, else that version is destroyed.
    """
    told = _metadata(locator, call, reader)
    if told is None or str(told[0]) != version:
        return False
    data = _data_path(locator, call, reader)
    if len(told[1]) == 1:
        reply, _ = call.ask("DELETE", _beside(data, "metadata"))
    else:
        body = {"versions": [int(version)]}
        reply, _ = call.ask("PUT", _beside(data, "destroy"), body=body)
    _accept(reply, "`delete` on MOUNT/metadata/PATH, or `update` on MOUNT/destroy/PATH")
    return True


def _metadata(locator: str, call: Call, reader: Reader) -> tuple[int, Mapping[str, Any]] | None:
    """Return the current version and all versions, or None when there is no such secret."""
    reply, _ = call.ask("GET", _beside(_data_path(locator, call, reader), "metadata"))
    if reply.status == 404:
        return None
    _accept(reply, "`read` on MOUNT/metadata/PATH")
    data = reply.section("data") or {}
    current, versions = data.get("current_version"), data.get("versions")
    if not isinstance(current, int) or not isinstance(versions, dict):
        raise unusable("metadata without versions")
    return current, versions


def _data_path(locator: str, call: Call, reader: Reader) -> str:
    path = reader.versioned_path(DocumentId("vault", "vault", locator), call)
    if path is None:
        raise ConfigError(
            "only a mount with version 2 of the key-value engine can be written to",
            hint="upgrade it with `vault kv enable-versioning MOUNT`, or name another mount",
        )
    return path


def _beside(path: str, what: str) -> str:
    """Return the path of another part of the engine for the secret at ``path`` (MOUNT/data/...)."""
    mount, _, rest = path.partition("/data/")
    return f"{mount}/{what}/{rest}"


def _accept(reply: Reply, grant: str) -> None:
    if reply.status == 403 and reply.errors is not None:
        raise AccessDenied("the policies of our token do not allow this", hint=f"grant {grant}")
    if reply.status not in (200, 204):
        raise refusal(reply)
