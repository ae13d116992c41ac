"""AWS's Signature Version 4 for what we send: POST, no query, a path without escapes.

Rule by rule as AWS describes it (IAM User Guide, "Create a signed AWS API request"). botocore has a
signer too; loading it takes 120 ms, ten times as long as all that is on this page and the call that
it signs, and it cannot be told the time, which a machine with a wrong clock needs.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._aws_credentials import Keys

__all__ = ["Scope", "signed"]

ALGORITHM = "AWS4-HMAC-SHA256"


class Scope(NamedTuple):
    """What a signature is good for."""

    region: str
    service: str


def signed(
    keys: Keys,
    scope: Scope,
    host: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    moment: float,
) -> dict[str, str]:
    """Return ``headers`` with those added that make a signed POST of them.

    ``host`` is the Host header as it will be sent, ``moment`` seconds since the epoch.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment))
    sent = {**headers, "Host": host, "X-Amz-Date": stamp}
    if keys.token:
        sent["X-Amz-Security-Token"] = keys.token
    lines = sorted((name.lower(), value.strip()) for name, value in sent.items())
    names = ";".join(name for name, _ in lines)
    canonical = "\n".join(
        (
            "POST",
            path,
            "",  # no query
            *(f"{name}:{value}" for name, value in lines),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    validity = f"{stamp[:8]}/{scope.region}/{scope.service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = b"AWS4" + keys.secret_key.encode()
    for part in validity.split("/"):
        key = _hmac(key, part)
    signature = _hmac(key, "\n".join((ALGORITHM, stamp, validity, digest))).hex()
    sent["Authorization"] = (
        f"{ALGORITHM} Credential={keys.access_key}/{validity}, SignedHeaders={names}, "
        f"Signature={signature}"
    )
    return sent


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
