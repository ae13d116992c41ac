"""The proof of an AWS identity: a call of ``sts:GetCallerIdentity`` that is signed and not sent.

This is the one place of the Vault backend that loads botocore, for its chain of credentials and its
signer.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.session import Session

from ..errors import AuthenticationFailed
from ._aws_logs import install, quiet

__all__ = ["signed_identity"]

BODY = "Action=GetCallerIdentity&Version=2011-06-15"


def signed_identity(region: str | None, server_id: str | None) -> dict[str, Any]:
    """Return the body of a login: method, address, body and headers of the signed request.

    Without ``region`` STS's global endpoint is meant, which is what a server that is not told
    otherwise sends such requests to. Raises :class:`AuthenticationFailed` without credentials.
    """
    suffix = "amazonaws.com.cn" if (region or "").startswith("cn-") else "amazonaws.com"
    url = f"https://sts.{region}.{suffix}/" if region else f"https://sts.{suffix}/"
    request = AWSRequest(
        method="POST",
        url=url,
        data=BODY,
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
    )
    if server_id is not None:
        request.headers["X-Vault-AWS-IAM-Server-ID"] = server_id
    request.headers["Host"] = url.split("/")[2]
    install()  # at DEBUG the signer logs what it signs, the session token with it
    problem = ""
    with quiet():
        try:
            found = Session().get_credentials()
            if found is not None:
                SigV4Auth(found.get_frozen_credentials(), "sts", region or "us-east-1").add_auth(
                    request
                )
        except Exception as error:  # noqa: BLE001 - botocore's own may quote what it read
            found, problem = None, f" ({type(error).__name__})"
    if found is None:
        raise AuthenticationFailed(
            f"no AWS credentials to prove an identity with{problem}",
            hint="`aws sts get-caller-identity` shows what AWS's own chain finds",
        )
    headers = {name: [value] for name, value in request.headers.items()}
    return {
        "iam_http_request_method": "POST",
        "iam_request_url": _base64(url),
        "iam_request_body": _base64(BODY),
        "iam_request_headers": _base64(json.dumps(headers)),
    }


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
