"""What a stand-in for AWS Parameter Store holds, and how the service words what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from secretbridge.testing import watch_for

from ._aws_secrets import ACCOUNT, REGION, Refusal

KEY_IS_OFF = (
    "arn:aws:kms:eu-west-1:123456789012:key/0000-1111 is disabled. (Service: AWSKMS; "
    "Status Code: 400; Error Code: DisabledException; Request ID: 0; Proxy: null)"
)
DENIED = (
    "User: arn:aws:sts::123456789012:assumed-role/app/i-1 is not authorized to perform: ssm:{} "
    "on resource: {} because no identity-based policy allows the action"
)


@dataclass
class Parameter:
    """One parameter with its versions, the first of which is 1."""

    name: str
    arn: str
    values: list[str] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)


class Parameters:
    """All parameters, and what is to go wrong with them."""

    def __init__(self) -> None:
        self.denied: set[str] = set()
        self.denied_calls: set[str] = set()
        self.undecryptable: set[str] = set()
        self.lost: set[str] = set()
        self._parameters: dict[str, Parameter] = {}

    def put(
        self,
        name: str,
        value: str,
        *,
        label: str | None = None,
        account: str = ACCOUNT,
        region: str = REGION,
    ) -> str:
        """Give the parameter a new version and return its ARN."""
        watch_for(value, f"aws-ssm:{name}")
        arn = f"arn:aws:ssm:{region}:{account}:parameter/{name.removeprefix('/')}"
        parameter = self._parameters.setdefault(name, Parameter(name, arn))
        parameter.values.append(value)
        if label is not None:
            parameter.labels[label] = len(parameter.values)
        return arn

    def remove(self, name: str) -> None:
        self._parameters.pop(name, None)

    def one(self, body: Mapping[str, Any]) -> dict[str, Any] | Refusal:
        found = self._find("GetParameter", body["Name"])
        return {"Parameter": found} if isinstance(found, dict) else found

    def many(self, body: Mapping[str, Any]) -> dict[str, Any] | Refusal:
        names = body["Names"]
        if not 1 <= len(names) <= 10 or len(set(names)) != len(names):
            return ("ValidationException", "Names must have 1 to 10 different members")
        values, invalid = [], []
        for name in names:
            if name in self.lost:
                continue
            found = self._find("GetParameters", name)
            if isinstance(found, dict):
                values.append(found)
            elif found[0] in ("ParameterNotFound", "ParameterVersionNotFound"):
                invalid.append(name)
            else:
                return found  # one that is denied or cannot be decrypted fails the whole call
        return {
            "Parameters": sorted(values, key=lambda value: value["Name"]),
            "InvalidParameters": invalid,
        }

    def _find(self, call: str, asked: str) -> dict[str, Any] | Refusal:
        base, selector = asked, ""
        if asked.count(":") in (1, 6):  # behind a name, and behind an ARN
            base, _, selector = asked.rpartition(":")
        if call in self.denied_calls or base in self.denied:
            return ("AccessDeniedException", DENIED.format(call, base))
        found = next((p for p in self._parameters.values() if base in (p.name, p.arn)), None)
        if found is None:
            return ("ParameterNotFound", "")
        number = len(found.values)
        if selector:
            number = int(selector) if selector.isdecimal() else found.labels.get(selector, 0)
        if not 1 <= number <= len(found.values):
            return ("ParameterVersionNotFound", "")
        if base in self.undecryptable:
            return ("InvalidKeyId", KEY_IS_OFF)
        answer: dict[str, Any] = {
            "Name": found.name,
            "ARN": found.arn,
            "Type": "SecureString",
            "Value": found.values[number - 1],
            "Version": number,
            "LastModifiedDate": 1.5e9,
            "DataType": "text",
        }
        return answer | ({"Selector": f":{selector}"} if selector else {})
