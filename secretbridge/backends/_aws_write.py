"""New secrets in AWS Secrets Manager, and taking them back.

``CreateSecret`` refuses a name that is taken, so nothing foreign is ever written over. A secret that
was taken back is gone at once: with a recovery window its name would stay taken for a week.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING
from uuid import uuid4

from ..errors import ConfigError, SecretBridgeError
from . import Occupied
from ._aws_errors import Refused, error_for

if TYPE_CHECKING:
    from . import Deadline
    from ._aws_client import Place

__all__ = ["put_new", "withdraw"]


def put_new(place: Place, name: str, value: bytes, deadline: Deadline) -> str:
    """Create the secret ``name`` and return its version. Raises :class:`Occupied`."""
    # The token lets the transport send a request again: with it, there is one secret all the same.
    parameters: dict[str, object] = {"Name": name, "ClientRequestToken": str(uuid4())}
    try:
        parameters["SecretString"] = value.decode()
    except UnicodeDecodeError:
        parameters["SecretBinary"] = b64encode(value).decode()
    failure: SecretBridgeError
    try:
        answer = place.call("CreateSecret", parameters, deadline)
        return str(answer["VersionId"])
    except Refused as refused:
        failure = _explained(refused, name)
    raise failure


def withdraw(place: Place, name: str, version: str, deadline: Deadline) -> bool:
    """Delete the secret ``name`` if ``version`` is current; return whether it was."""
    failure: SecretBridgeError
    try:
        told = place.call("DescribeSecret", {"SecretId": name}, deadline)
        stages = told.get("VersionIdsToStages") or {}
        if told.get("DeletedDate") or "AWSCURRENT" not in stages.get(version, ()):
            return False
        body: dict[str, object] = {"SecretId": name, "ForceDeleteWithoutRecovery": True}
        place.call("DeleteSecret", body, deadline)
        return True
    except Refused as refused:
        if refused.code == "ResourceNotFoundException":
            return False
        failure = _explained(refused, name)
    raise failure


def _explained(refused: Refused, name: str) -> SecretBridgeError:
    if refused.code == "ResourceExistsException":
        return Occupied(
            f"there is a secret {name!r} already",
            hint="it was not written over; choose another name or prefix",
        )
    if refused.code == "InvalidRequestException":
        return Occupied(
            f"the name {name!r} belongs to a secret that is scheduled for deletion",
            hint="restore that secret, wait, or choose another name or prefix",
        )
    if refused.code == "LimitExceededException":
        return ConfigError(
            "the account has as many secrets as it may have", hint="ask AWS for a higher quota"
        )
    return error_for(refused)
