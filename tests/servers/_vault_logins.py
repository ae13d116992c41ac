"""The auth methods of the in-process Vault, beside AppRole: what each accepts, and as whom.

The statuses and texts of refusals are those of OpenBao 2.6; OpenBao has no method for AWS, whose
rules here are those that Vault documents.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64decode
from typing import Any

from ._vault_state import Refused, Request
from .tokens import claims_of

__all__ = ["Method"]

AWS_KEYS: dict[str, tuple[str, str]] = {}
"""Secret access key and ARN by access key id: what AWS's STS would know."""


class Method:
    """One mounted method: its configuration, and its roles or users."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.config: dict[str, Any] = {}
        self.roles: dict[str, dict[str, Any]] = {}

    def write(self, path: str, body: dict[str, Any]) -> None:
        section, _, name = path.partition("/")
        if section == "config":
            self.config.update(body)
        else:
            self.roles[name] = body

    def log_in(
        self, name: str, request: Request, now: float
    ) -> tuple[dict[str, Any], dict[str, str], str]:
        """Return the role, metadata and display name of who logs in; raise :class:`Refused`."""
        found: tuple[dict[str, Any], dict[str, str], str]
        found = getattr(self, f"_{self.kind}")(name, request, now)
        return found

    def _userpass(self, name: str, request: Request, now: float) -> Any:
        user = self.roles.get(name)
        if user is None or user["password"] != request.body.get("password"):
            raise Refused(400, "invalid username or password")
        return user, {"username": name}, name

    def _jwt(self, _: str, request: Request, now: float) -> Any:
        name = request.body.get("role") or self.config.get("default_role", "")
        role = self.roles.get(name)
        if role is None:
            raise Refused(400, f'role "{name}" could not be found')
        claims = claims_of(request.body["jwt"], self.config["jwt_validation_pubkeys"], now)
        audiences = claims.get("aud", []) if claims is not None else []
        audiences = [audiences] if isinstance(audiences, str) else audiences
        if claims is None or not set(audiences) & set(role["bound_audiences"]):
            raise Refused(400, "error validating token: invalid")
        return role, {"role": name}, str(claims["sub"])

    def _kubernetes(self, _: str, request: Request, now: float) -> Any:
        name = request.body.get("role", "")
        role = self.roles.get(name)
        if role is None:
            raise Refused(400, f'invalid role name "{name}"')
        claims = claims_of(request.body["jwt"], self.config["pem_keys"], now)
        if claims is None:
            raise Refused(403, "permission denied")
        account = claims["kubernetes.io"]["serviceaccount"]["name"]
        if account not in role["bound_service_account_names"]:
            raise Refused(403, "service account name not authorized")
        return role, {"role": name, "service_account_name": account}, f"apps-{account}"

    def _cert(self, _: str, request: Request, now: float) -> Any:
        if request.peer is None:
            raise Refused(400, "no client certificate found")
        from cryptography import x509

        shown = x509.load_der_x509_certificate(request.peer)
        wanted = request.body.get("name")
        for name, role in self.roles.items():
            authority = x509.load_pem_x509_certificate(role["certificate"].encode())
            try:
                shown.verify_directly_issued_by(authority)
            except Exception:
                continue
            if wanted in (None, name):
                return role, {"cert_name": name}, f"cert-{name}"
        raise Refused(400, "invalid certificate or no client certificate supplied")

    def _aws(self, _: str, request: Request, now: float) -> Any:
        body = request.body
        headers = {
            name.lower(): value[0]
            for name, value in json.loads(b64decode(body["iam_request_headers"])).items()
        }
        role = self.roles.get(body.get("role", ""))
        if role is None:
            raise Refused(400, "entry for role not found")
        wanted = self.config.get("iam_server_id_header_value")
        if wanted is not None and headers.get("x-vault-aws-iam-server-id") != wanted:
            raise Refused(400, "error validating the server id header")
        arn = _sts(body, headers, needs_server_id=wanted is not None)
        if arn is None or arn not in role["bound_iam_principal_arn"]:
            raise Refused(400, "error making upstream request: received error code 403 from STS")
        return role, {"role": body["role"]}, arn.rpartition("/")[2]


def _sts(body: dict[str, Any], headers: dict[str, str], *, needs_server_id: bool) -> str | None:
    """Return whose signature a request bears (Signature Version 4, computed from its text)."""
    url = b64decode(body["iam_request_url"]).decode()
    payload = b64decode(body["iam_request_body"])
    algorithm, _, rest = headers["authorization"].partition(" ")
    fields = dict(part.strip().split("=", 1) for part in rest.split(","))
    key_id, *scope = fields["Credential"].split("/")
    signed = fields["SignedHeaders"].split(";")
    names = {"host", "x-amz-date"} | ({"x-vault-aws-iam-server-id"} if needs_server_id else set())
    if algorithm != "AWS4-HMAC-SHA256" or not names <= set(signed) or key_id not in AWS_KEYS:
        return None
    host = url.removeprefix("https://").rstrip("/")
    if headers["host"] != host or b"Action=GetCallerIdentity" not in payload.split(b"&"):
        return None
    secret, arn = AWS_KEYS[key_id]
    lines = [body["iam_http_request_method"], "/", ""]
    lines += [f"{name}:{headers[name].strip()}" for name in signed]
    lines += ["", ";".join(signed), hashlib.sha256(payload).hexdigest()]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    to_sign = "\n".join([algorithm, headers["x-amz-date"], "/".join(scope), digest])
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    expected = hmac.new(key, to_sign.encode(), "sha256").hexdigest()
    return arn if hmac.compare_digest(expected, fields["Signature"]) else None
