"""The proof of an AWS identity: a call of ``sts:GetCallerIdentity`` that is signed and not sent.

The credentials come by the same way as those of a store of AWS, so that whatever is asked for them goes
over the armoured transport.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from ..errors import AuthenticationFailed, SecretBridgeError
from ._aws_client import Client
from ._aws_options import Options
from ._aws_signature import Scope, signed

if TYPE_CHECKING:
    from . import Deadline

__all__ = ["signed_identity"]

BODY = "Action=GetCallerIdentity&Version=2011-06-15"


def signed_identity(
    region: str | None, server_id: str | None, deadline: Deadline
) -> dict[str, Any]:
    """Return the body of a login: method, address, body and headers of the signed request.

    Without ``region`` STS's global endpoint is meant, which is what a server that is not told
    otherwise sends such requests to. Raises :class:`AuthenticationFailed` without credentials, and
    other errors of ours when their source cannot be asked.
    """
    suffix = "amazonaws.com.cn" if (region or "").startswith("cn-") else "amazonaws.com"
    host = f"sts.{region}.{suffix}" if region else f"sts.{suffix}"
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    if server_id is not None:
        headers["X-Vault-AWS-IAM-Server-ID"] = server_id
    scope = Scope(region or "us-east-1", "sts")
    client = Client("vault", Options(region=region), time.time, time.monotonic, "us-east-1")
    failure: SecretBridgeError
    try:
        keys = client.keys(deadline)
        sent = signed(keys, scope, host, "/", headers, BODY.encode(), time.time())
    except AuthenticationFailed as error:
        failure = AuthenticationFailed(
            f"no AWS credentials to prove an identity with ({error.message})",
            hint="`aws sts get-caller-identity` shows what AWS's own chain finds",
        )
    else:
        return {
            "iam_http_request_method": "POST",
            "iam_request_url": _base64(f"https://{host}/"),
            "iam_request_body": _base64(BODY),
            "iam_request_headers": _base64(json.dumps({n: [v] for n, v in sent.items()})),
        }
    finally:
        client.close()
    raise failure


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
