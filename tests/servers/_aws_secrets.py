"""What a stand-in for AWS Secrets Manager holds, and how the service words what it answers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

from secretbridge.testing import watch_for

REGION = "eu-west-1"
ACCOUNT = "123456789012"

MISSING = "Secrets Manager can't find the specified secret."
MISSING_VALUE = "Secrets Manager can't find the specified secret value for {}"
MARKED = "You can't perform this operation on the secret because it was marked for deletion."
DENIED = (
    "User: arn:aws:sts::123456789012:assumed-role/app/i-1 is not authorized to perform: "
    "secretsmanager:{} on resource: {} because no identity-based policy allows the action"
)
UNDECRYPTABLE = (
    "Secrets Manager can't decrypt the protected secret text using the provided KMS key."
)

Refusal = tuple[str, str]
"""Code and message."""


@dataclass
class Secret:
    """One secret with all its versions."""

    arn: str
    name: str
    versions: dict[str, str | bytes] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    is_deleted: bool = False


class Secrets:
    """All secrets, and what is to go wrong with them."""

    def __init__(self) -> None:
        self.page_size: int | None = None
        self.empty_first_page = False
        self.endless_pages = False
        self.lost: set[str] = set()
        self.item_errors: dict[str, Refusal] = {}
        self.denied: set[str] = set()
        self.undecryptable: set[str] = set()
        self._secrets: dict[str, Secret] = {}

    def put(
        self,
        name: str,
        value: str | bytes,
        version: str | None = None,
        *,
        account: str = ACCOUNT,
        region: str = REGION,
        stage: str = "AWSCURRENT",
    ) -> str:
        """Give the secret a new version, current if nothing else is said; return its ARN."""
        watch_for(value, f"aws-sm:{name}")
        suffix = sha256(f"{account}{name}".encode()).hexdigest()[:6]
        arn = f"arn:aws:secretsmanager:{region}:{account}:secret:{name}-{suffix}"
        secret = self._secrets.setdefault(name, Secret(arn, name))
        version = version or str(uuid4())
        secret.versions[version] = value
        if stage == "AWSCURRENT" and stage in secret.stages:
            secret.stages["AWSPREVIOUS"] = secret.stages[stage]
        secret.stages[stage] = version
        secret.is_deleted = False
        return arn

    def put_without_value(self, name: str) -> None:
        self.put(name, "")
        self._secrets[name].versions.clear()

    def remove(self, name: str) -> None:
        self._secrets.pop(name, None)

    def mark_for_deletion(self, name: str) -> None:
        self._secrets[name].is_deleted = True

    def restore(self, name: str) -> None:
        self._secrets[name].is_deleted = False

    def get(self, body: Mapping[str, Any]) -> dict[str, Any] | Refusal:
        return self._find(body["SecretId"], body.get("VersionId"), body.get("VersionStage"))

    def batch(self, body: Mapping[str, Any]) -> dict[str, Any] | Refusal:
        asked = body["SecretIdList"]
        if not 1 <= len(asked) <= 20:
            return ("InvalidParameterException", "SecretIdList must have 1 to 20 items")
        values: list[dict[str, Any]] = []
        errors: list[dict[str, str]] = []
        for name in asked:
            if name in self.lost:
                continue
            found = self._find(name, None, None, in_batch=True)
            if isinstance(found, dict):
                values.append(found)
            else:
                errors.append({"SecretId": name, "ErrorCode": found[0], "Message": found[1]})
        values.reverse()  # nothing promises an order
        return self._page(body.get("NextToken"), values, errors)

    def _page(
        self, token: str | None, values: list[dict[str, Any]], errors: list[dict[str, str]]
    ) -> dict[str, Any]:
        if self.endless_pages:
            return {"SecretValues": values, "Errors": errors, "NextToken": str(uuid4())}
        if self.empty_first_page and token is None:
            return {"SecretValues": [], "Errors": [], "NextToken": "0"}
        if self.page_size is None:
            return {"SecretValues": values, "Errors": errors}
        start = int(token or 0)
        end = start + self.page_size
        page: dict[str, Any] = {"SecretValues": values[start:end]}
        page["Errors"] = errors if start == 0 else []
        if end < len(values):
            page["NextToken"] = str(end)
        return page

    def _find(
        self, asked: str, version: str | None, stage: str | None, in_batch: bool = False
    ) -> dict[str, Any] | Refusal:
        if in_batch and asked in self.item_errors:
            return self.item_errors[asked]
        if asked in self.denied:
            return ("AccessDeniedException", DENIED.format("GetSecretValue", asked))
        secret = self._named(asked)
        if secret is None or (in_batch and ACCOUNT not in secret.arn):
            return ("ResourceNotFoundException", MISSING)
        if secret.is_deleted:
            return ("InvalidRequestException", MARKED)
        if version is not None and stage is not None and secret.stages.get(stage) != version:
            text = "You provided a VersionStage that is not associated to the provided VersionId."
            return ("InvalidRequestException", text)
        label = f"VersionId: {version}" if version else f"staging label: {stage or 'AWSCURRENT'}"
        version = version or secret.stages.get(stage or "AWSCURRENT", "")
        if version not in secret.versions:
            return ("ResourceNotFoundException", MISSING_VALUE.format(label))
        if asked in self.undecryptable:
            return ("DecryptionFailure", UNDECRYPTABLE)
        return _value(secret, version)

    def _named(self, asked: str) -> Secret | None:
        if asked in self._secrets:
            return self._secrets[asked]
        for secret in self._secrets.values():
            if asked in (secret.arn, secret.arn[:-7]):
                return secret
        return None


def _value(secret: Secret, version: str) -> dict[str, Any]:
    value = secret.versions[version]
    stages = [stage for stage, labelled in secret.stages.items() if labelled == version]
    found: dict[str, Any] = {"ARN": secret.arn, "Name": secret.name, "VersionId": version}
    found |= {"VersionStages": stages, "CreatedDate": 1.5e9}
    if isinstance(value, bytes):
        found["SecretBinary"] = b64encode(value).decode()
    else:
        found["SecretString"] = value
    return found
