"""STS, as far as we need it: roles to assume, and who we are.

botocore's credential chain calls STS through a client that it has made for it; :class:`StsClient`
is one, without the 50 ms and 6 MiB that botocore's own takes, and over the armoured transport.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ..errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._aws_credentials import Keys

    Ask = Callable[[str, Keys | None, str, bytes], Mapping[str, str]]
    """Sends operation, form to a region, signed with the keys; returns the leaves of the answer."""

__all__ = ["StsClient"]

_VERSION = "2011-06-15"
_TYPE = "application/x-www-form-urlencoded; charset=utf-8"


class StsClient:
    """STS in one region, called with ``keys`` (None: unsigned, as for web identities).

    ``offset`` returns by how many seconds AWS's clock is ahead of this machine's: times of expiry
    come back on this machine's clock, which is the one that botocore compares them with.
    """

    content_type = _TYPE

    def __init__(
        self, ask: Ask, keys: Keys | None, region: str, offset: Callable[[], float]
    ) -> None:
        self._ask = ask
        self._keys = keys
        self._region = region
        self._offset = offset

    def assume_role(self, **parameters: object) -> dict[str, Any]:
        """As ``assume_role`` of botocore's client."""
        return self._assumed("AssumeRole", parameters)

    def assume_role_with_web_identity(self, **parameters: object) -> dict[str, Any]:
        """As ``assume_role_with_web_identity`` of botocore's client."""
        return self._assumed("AssumeRoleWithWebIdentity", parameters)

    def caller(self) -> str:
        """Return the ARN of the identity that the keys belong to."""
        return _leaf(self._call("GetCallerIdentity", {}), "Arn")

    def _assumed(self, operation: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        told = self._call(operation, parameters)
        found: dict[str, Any] = {
            name: _leaf(told, name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
        }
        try:
            end = datetime.fromisoformat(_leaf(told, "Expiration"))
        except ValueError:
            raise _no_answer() from None
        if end.tzinfo is None:
            end = end.replace(tzinfo=UTC)
        found["Expiration"] = end - timedelta(seconds=self._offset())
        return {"Credentials": found, "AssumedRoleUser": {"Arn": told.get("Arn", "")}}

    def _call(self, operation: str, parameters: Mapping[str, object]) -> Mapping[str, str]:
        form = {"Action": operation, "Version": _VERSION, **parameters}
        return self._ask(operation, self._keys, self._region, urlencode(form).encode())


def _leaf(told: Mapping[str, str], name: str) -> str:
    value = told.get(name)
    if value is None:
        raise _no_answer()
    return value


def _no_answer() -> BackendUnavailable:
    return BackendUnavailable(
        "the answer is no answer of AWS STS",
        hint="check AWS_ENDPOINT_URL_STS, and proxies on the way to the endpoint",
    )
