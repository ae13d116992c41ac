"""What tests and demos do to a Vault behind its client's back, over its own API.

The same words work on the in-process server and on a real binary, so that every contract test runs on
both without knowing which one it has.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from secretbridge.testing import watch_for

__all__ = ["VaultAdmin", "write_private"]


class VaultAdmin:
    """Root's view of a server. Subclasses set ``address``, ``token`` and, with TLS, ``ca_file``."""

    address: str
    token: str
    ca_file: Path | None = None
    unseal_key: str = ""

    def __init__(self) -> None:
        self.versions: dict[str, int] = {"secret": 2, "kv": 2, "kv1": 1}  # of KV, by mount
        self._connection: http.client.HTTPConnection | None = None
        self._connection_lock = threading.Lock()

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Send one request; return its status and JSON."""
        sent = {"X-Vault-Token": self.token if token is None else token, **(headers or {})}
        payload = json.dumps(body) if body is not None else None
        with self._connection_lock:
            if self._connection is None:
                self._connection = self._connect()
            try:
                self._connection.request(method, f"/v1/{path}", payload, sent)
                answer = self._connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self._connection.close()
                self._connection = None
                raise
        return answer.status, json.loads(text) if text else {}

    def do(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send one request that has to succeed; return its JSON."""
        status, content = self.request(method, path, body, headers=headers)
        assert status < 300, f"{method} {path}: {status} {content.get('errors')}"
        return content

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # Secrets -------------------------------------------------------------------------------------

    def put(self, locator: str, fields: Mapping[str, Any], *, cas: int | None = None) -> None:
        """Write a secret: ``put("kv/app/db", {"password": "x"})``."""
        mount, _, name = locator.partition("/")
        for field, value in fields.items():
            watch_for(str(value), f"vault:{locator}#{field}")
        if self.versions[mount] == 1:
            self.do("POST", locator, fields)
            return
        body: dict[str, Any] = {"data": fields}
        if cas is not None:
            body["options"] = {"cas": cas}
        self.do("POST", f"{mount}/data/{name}", body)

    def delete(self, locator: str) -> None:
        """Delete the current version (KV version 1: the secret)."""
        mount, _, name = locator.partition("/")
        self.do("DELETE", locator if self.versions[mount] == 1 else f"{mount}/data/{name}")

    def change_versions(self, action: str, locator: str, versions: Sequence[int]) -> None:
        """``delete``, ``undelete`` or ``destroy`` versions of a secret."""
        mount, _, name = locator.partition("/")
        self.do("POST", f"{mount}/{action}/{name}", {"versions": list(versions)})

    def purge(self, locator: str) -> None:
        """Remove a secret with all its versions."""
        mount, _, name = locator.partition("/")
        self.do("DELETE", f"{mount}/metadata/{name}")

    def expire(self, locator: str, seconds: int) -> None:
        """Let versions written from now on be deleted after ``seconds``."""
        mount, _, name = locator.partition("/")
        body = {"delete_version_after": f"{seconds}s"}
        self.do("POST", f"{mount}/metadata/{name}", body)

    # Engines -------------------------------------------------------------------------------------

    def mount(self, path: str, kind: str, *, version: int | None = None) -> None:
        options = {"version": str(version)} if version is not None else None
        self.do("POST", f"sys/mounts/{path}", {"type": kind, "options": options})
        if kind == "kv":
            self.versions[path] = version or 1

    def unmount(self, path: str) -> None:
        self.do("DELETE", f"sys/mounts/{path}")

    def dynamic_role(self, ttl: int, max_ttl: int) -> str:
        """Make a role of an engine with renewable leases; return the locator of its credentials."""
        raise NotImplementedError

    def certificate_role(self, *, generate_lease: bool) -> str:
        """Make a role that issues certificates; return the locator to write to."""
        raise NotImplementedError

    # Who may do what -----------------------------------------------------------------------------

    def policy(self, name: str, rules: Mapping[str, Sequence[str]]) -> None:
        """Write a policy: ``policy("app", {"kv/data/app/*": ["read"]})``."""
        text = "\n".join(
            f'path "{path}" {{ capabilities = {json.dumps(list(capabilities))} }}'
            for path, capabilities in rules.items()
        )
        self.do("POST", f"sys/policies/acl/{name}", {"policy": text})

    def create_token(
        self,
        policies: Sequence[str],
        *,
        ttl: int = 3600,
        max_ttl: int | None = None,
        renewable: bool = True,
        default_policy: bool = True,
    ) -> str:
        body: dict[str, Any] = {
            "policies": list(policies),
            "ttl": f"{ttl}s",
            "renewable": renewable,
            "no_default_policy": not default_policy,
        }
        if max_ttl is not None:
            body["explicit_max_ttl"] = f"{max_ttl}s"
        return str(self.do("POST", "auth/token/create", body)["auth"]["client_token"])

    def revoke_token(self, token: str) -> None:
        self.do("POST", "auth/token/revoke", {"token": token})

    def write_token_file(self, path: Path, token: str | None = None) -> Path:
        """Write a token (root's, if none is given) to a file that only its owner reads."""
        return write_private(path, f"{token or self.token}\n")

    def approle(
        self, name: str, policies: Sequence[str], *, ttl: int = 3600, max_ttl: int = 7200
    ) -> str:
        """Make a role; return its role id."""
        body = {
            "token_policies": list(policies),
            "token_ttl": f"{ttl}s",
            "token_max_ttl": f"{max_ttl}s",
        }
        self.do("POST", f"auth/approle/role/{name}", body)
        return str(self.do("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"])

    def secret_id(self, role: str, *, wrap_ttl: int | None = None, uses: int = 0) -> str:
        """Return a new secret id of a role, or a wrapping token with one inside."""
        headers = {"X-Vault-Wrap-TTL": f"{wrap_ttl}s"} if wrap_ttl is not None else None
        path = f"auth/approle/role/{role}/secret-id"
        content = self.do("POST", path, {"num_uses": uses}, headers)
        if wrap_ttl is not None:
            return str(content["wrap_info"]["token"])
        return str(content["data"]["secret_id"])

    def auth_method(self, kind: str, path: str) -> None:
        """Mount an auth method at ``auth/PATH``."""
        self.do("POST", f"sys/auth/{path}", {"type": kind})

    def namespace(self, name: str) -> dict[str, str]:
        """Make a namespace; return the header that requests in it have."""
        self.do("POST", f"sys/namespaces/{name}", {})
        return {"X-Vault-Namespace": name}

    def accessors(self) -> set[str]:
        """Return the accessors of all living tokens."""
        return set(self.do("LIST", "auth/token/accessors")["data"]["keys"])

    def leases(self, locator: str) -> list[str]:
        """Return the ids of the leases of a dynamic role that the server keeps."""
        status, content = self.request("LIST", f"sys/leases/lookup/{locator}")
        return [f"{locator}/{key}" for key in content["data"]["keys"]] if status == 200 else []

    # States --------------------------------------------------------------------------------------

    def seal(self) -> None:
        self.do("PUT", "sys/seal", {})

    def unseal(self) -> None:
        self.do("PUT", "sys/unseal", {"key": self.unseal_key})

    def limit_rate(self, path: str, rate: float, *, shows_retry_after: bool = False) -> None:
        """Let at most ``rate`` requests a second below ``path`` through."""
        config = {"enable_rate_limit_response_headers": shows_retry_after}
        self.do("POST", "sys/quotas/config", config)
        self.do("POST", "sys/quotas/rate-limit/tests", {"path": path, "rate": rate})

    def unlimit_rate(self) -> None:
        self.do("DELETE", "sys/quotas/rate-limit/tests")

    def _connect(self) -> http.client.HTTPConnection:
        url = urlsplit(self.address)
        assert url.hostname is not None
        if url.scheme == "http":
            return http.client.HTTPConnection(url.hostname, url.port, timeout=30)
        context = ssl.create_default_context(cafile=self.ca_file)
        return http.client.HTTPSConnection(url.hostname, url.port, timeout=30, context=context)


def write_private(path: Path, text: str) -> Path:
    """Write a file with mode 0600 from its first byte on."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with open(os.open(path, flags, 0o600), "w") as file:
        file.write(text)
    return path
