"""What the in-process Vault keeps, and the small forms of its API."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "DAY",
    "Answer",
    "Lease",
    "Refused",
    "Request",
    "Role",
    "Token",
    "matches",
    "ok",
    "policy",
    "seconds",
    "time_text",
]

DAY = 86400.0


@dataclass(slots=True)
class Request:
    method: str
    path: str  # without /v1/
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)  # lower-case names
    body: dict[str, Any] = field(default_factory=dict)
    peer: bytes | None = None  # the client's certificate, in DER

    @property
    def capability(self) -> str:
        return {"GET": "read", "LIST": "list", "DELETE": "delete"}.get(self.method, "update")


@dataclass(slots=True)
class Answer:
    status: int
    content: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Token:
    id: str
    policies: list[str]
    ends: float | None
    max_ends: float | None
    ttl: float
    created: float
    renewable: bool
    wraps: Answer | None = None
    origin: str = "auth/token/create"
    display: str = "token"
    meta: dict[str, str] = field(default_factory=dict)
    accessor: str = field(default_factory=lambda: secrets.token_urlsafe(18))

    def ttl_left(self, now: float) -> int:
        return 0 if self.ends is None else max(0, round(self.ends - now))


@dataclass(slots=True)
class Lease:
    id: str
    token: str
    ttl: float
    ends: float
    max_ends: float
    renewable: bool


@dataclass(slots=True)
class Role:
    name: str
    id: str
    policies: list[str]
    ttl: float
    max_ttl: float
    secret_ids: dict[str, int] = field(default_factory=dict)  # uses left, 0 for any number


class Refused(Exception):
    """Ends a request with an answer of errors."""

    def __init__(self, status: int, *errors: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.answer = Answer(status, {"errors": list(errors)}, headers or {})


def ok(data: dict[str, Any] | None, **members: Any) -> Answer:
    """Return a success in the form that every one has."""
    content = {
        "request_id": secrets.token_hex(16),
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": None,
        "warnings": None,
        "auth": None,
    }
    return Answer(200, {**content, **members})


def matches(pattern: str, path: str) -> bool:
    """Whether a policy's path covers ``path``: ``+`` is one segment, a final ``*`` any rest."""
    expression = re.escape(pattern.rstrip("*")).replace(r"\+", "[^/]+")
    return re.fullmatch(expression + (".*" if pattern.endswith("*") else ""), path) is not None


def policy(text: str) -> dict[str, set[str]]:
    """Return the capabilities by path of a policy in HCL."""
    rules = {}
    for path, block in re.findall(r'path\s+"([^"]+)"\s*\{([^}]*)\}', text):
        found = re.search(r"capabilities\s*=\s*(\[[^]]*\])", block)
        capabilities = set(json.loads(found[1])) if found else set()
        if "create" in capabilities:
            capabilities.add("update")
        rules[path] = capabilities
    return rules


def seconds(value: object) -> float:
    """Read a duration: a number of seconds, or one with a unit."""
    if value in (None, ""):
        return 0.0
    text = str(value)
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1])
    return float(text) if unit is None else float(text[:-1]) * unit


def time_text(moment: float) -> str:
    """Write a time as the API does, to the nanosecond."""
    text = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{text}000Z"
