"""The secrets engines of the in-process Vault: key-value in both versions, leases, certificates."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ._vault_state import DAY, time_text

__all__ = ["Certificates", "Dynamic", "Engine", "KeyValue1", "KeyValue2"]

Result = tuple[int, dict[str, Any] | None, tuple[float, float, bool] | None]
"""Status, what to put into the answer, and a lease: duration, maximum, whether renewable."""

Issuer = tuple[Any, Any]
"""A certificate and its private key, of the library cryptography (which loads when it is needed)."""

MISSING: Result = (404, {"errors": []}, None)
DONE: Result = (204, None, None)


def refused(status: int, text: str) -> Result:
    return status, {"errors": [text]}, None


UNSUPPORTED = refused(405, "1 error occurred:\n\t* unsupported operation\n\n")


class Engine:
    def __init__(self, kind: str, options: dict[str, str] | None = None) -> None:
        self.type = kind
        self.options = options

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Result:
        raise NotImplementedError


class KeyValue1(Engine):
    def __init__(self) -> None:
        super().__init__("kv", {})
        self.secrets: dict[str, dict[str, Any]] = {}

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Result:
        if method in ("POST", "PUT"):
            self.secrets[path] = body
            return DONE
        if method == "DELETE":
            self.secrets.pop(path, None)
            return DONE
        if path not in self.secrets:
            return MISSING
        found = self.secrets[path]
        advice = str(found.get("ttl", ""))
        duration = int(advice[:-1]) if advice[:-1].isdigit() and advice[-1] == "s" else 2764800
        return 200, {"data": found, "lease_duration": duration}, None


@dataclass(slots=True)
class Version:
    data: dict[str, Any] | None
    created: str
    deletion: str = ""
    destroyed: bool = False

    def state(self) -> dict[str, Any]:
        return {
            "created_time": self.created,
            "deletion_time": self.deletion,
            "destroyed": self.destroyed,
        }

    def metadata(self, number: int) -> dict[str, Any]:
        return {**self.state(), "custom_metadata": None, "version": number}


class KeyValue2(Engine):
    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__("kv", {"version": "2"})
        self.clock = clock
        self.secrets: dict[str, dict[int, Version]] = {}
        self.delete_after: dict[str, float] = {}
        self.cas_required: set[str] = set()

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Result:
        section, _, name = path.partition("/")
        versions = self.secrets.get(name)
        is_write = method in ("POST", "PUT")
        if section == "data" and is_write:
            return self._write(name, body)
        if section == "metadata" and is_write:
            if "delete_version_after" in body:
                self.delete_after[name] = float(str(body["delete_version_after"]).rstrip("s"))
            if body.get("cas_required"):
                self.cas_required.add(name)
            return DONE
        if section not in ("data", "metadata", "delete", "undelete", "destroy"):
            warning = "Invalid path for a versioned K/V secrets engine. See the API docs."
            return 404, {"data": None, "warnings": [warning]}, None
        if not versions:
            return MISSING
        if section == "data" and method == "GET":
            return self._read(versions, query)
        if section == "metadata" and method == "GET":
            return self._metadata(versions)
        if section == "metadata" and method == "DELETE":
            del self.secrets[name]
            return DONE
        for number in body.get("versions", [max(versions)]):
            version = versions[int(number)]
            if section == "undelete":
                version.deletion = ""
            elif section == "destroy":
                version.destroyed, version.data = True, None
            else:
                version.deletion = time_text(self.clock())
        return DONE

    def _write(self, name: str, body: dict[str, Any]) -> Result:
        versions = self.secrets.setdefault(name, {})
        current = max(versions, default=0)
        cas = (body.get("options") or {}).get("cas")
        if cas is not None and cas != current:
            return refused(400, "check-and-set parameter did not match the current version")
        if cas is None and name in self.cas_required:
            return refused(400, "check-and-set parameter required for this call")
        now = self.clock()
        after = self.delete_after.get(name)
        deletion = "" if after is None else time_text(now + after)
        version = versions[current + 1] = Version(body["data"], time_text(now), deletion)
        versions.pop(current + 1 - 10, None)  # ten versions are kept
        return 200, {"data": version.metadata(current + 1)}, None

    def _read(self, versions: dict[int, Version], query: dict[str, str]) -> Result:
        number = int(query.get("version", 0)) or max(versions)
        version = versions.get(number)
        if version is None:
            return MISSING
        is_deleted = version.deletion and version.deletion <= time_text(self.clock())
        is_gone = version.destroyed or is_deleted
        data = {"data": None if is_gone else version.data, "metadata": version.metadata(number)}
        return 404 if is_gone else 200, {"data": data}, None

    def _metadata(self, versions: dict[int, Version]) -> Result:
        data = {
            "cas_required": False,
            "created_time": versions[min(versions)].created,
            "current_version": max(versions),
            "custom_metadata": None,
            "delete_version_after": "0s",
            "max_versions": 0,
            "oldest_version": 0,
            "updated_time": versions[max(versions)].created,
            "versions": {str(number): version.state() for number, version in versions.items()},
        }
        return 200, {"data": data}, None


class Dynamic(Engine):
    """Makes a new user for every read of ``creds/ROLE``, as the database engine does.

    A static role has one user, whose password is another one after each period.
    """

    def __init__(self, kind: str, clock: Callable[[], float]) -> None:
        super().__init__(kind)
        self.clock = clock
        self.roles: dict[str, tuple[float, float, bool]] = {}
        self.static: dict[str, tuple[float, float]] = {}
        self._passwords: dict[tuple[str, int], str] = {}

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Result:
        section, _, role = path.partition("/")
        if section == "static-roles":
            self.static[role] = (float(body["rotation_period"]), self.clock())
            return DONE
        if section == "static-creds" and role in self.static:
            return self._static(role)
        if section == "roles":
            granted = (float(body["ttl"]), float(body["max_ttl"]), body.get("renewable", True))
            self.roles[role] = granted
            return DONE
        if section != "creds" or method != "GET":
            return UNSUPPORTED
        if role not in self.roles:
            return refused(400, f"unknown role: {role}")
        data = {"password": secrets.token_urlsafe(24), "username": f"v-{secrets.token_hex(8)}"}
        return 200, {"data": data}, self.roles[role]

    def _static(self, role: str) -> Result:
        period, since = self.static[role]
        number, into = divmod(self.clock() - since, period)
        key = (role, int(number))
        data = {
            "last_vault_rotation": time_text(since + number * period),
            "password": self._passwords.setdefault(key, secrets.token_urlsafe(24)),
            "rotation_period": int(period),
            "ttl": round(period - into),
            "username": role,
        }
        return 200, {"data": data}, None


class Certificates(Engine):
    """Issues certificates for POST ``issue/ROLE``; the role says whether each has a lease.

    With ``tells_no_end`` in the role an answer has no ``expiration``, as that of older servers.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__("pki")
        self.clock = clock
        self.authority: Issuer | None = None
        self.roles: dict[str, dict[str, Any]] = {}

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Result:
        section, _, role = path.partition("/")
        if section == "roles":
            self.roles[role] = body
            return DONE
        if section != "issue" or method not in ("POST", "PUT"):
            return UNSUPPORTED
        if role not in self.roles:
            return refused(400, f"unknown role: {role}")
        name = body.get("common_name", "")
        if not name or " " in name:
            return refused(400, f"common name {name} not allowed by this role")
        ttl = 60.0 * float(str(body.get("ttl", "60m")).rstrip("m"))
        if self.authority is None:
            self.authority = issued("tests.local", self.clock() + DAY / 2)
        authority, _ = in_pem(self.authority)
        certificate, key = in_pem(issued(name, self.clock() + ttl, self.authority))
        data: dict[str, Any] = {
            "ca_chain": [authority],
            "certificate": certificate,
            "issuing_ca": authority,
            "private_key": key,
            "private_key_type": "ec",
            "serial_number": secrets.token_hex(8),
        }
        if not self.roles[role].get("tells_no_end"):
            data["expiration"] = int(self.clock() + ttl)
        has_lease = self.roles[role].get("generate_lease")
        return 200, {"data": data}, (ttl, ttl, False) if has_lease else None


def issued(name: str, ends: float, issuer: Issuer | None = None) -> Issuer:
    """Return a certificate that ends at ``ends`` with its key; without ``issuer`` an authority's."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signer, signed = (key, subject) if issuer is None else (issuer[1], issuer[0].subject)
    builder = x509.CertificateBuilder(
        signed, subject, key.public_key(), x509.random_serial_number()
    ).add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    end = datetime.fromtimestamp(ends, UTC)
    started = builder.not_valid_before(end - timedelta(days=1)).not_valid_after(end)
    return started.sign(signer, hashes.SHA256()), key


def in_pem(issue: Issuer) -> tuple[str, str]:
    from cryptography.hazmat.primitives import serialization

    certificate, key = issue
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    text = key.private_bytes(pem, form, serialization.NoEncryption()).decode()
    return certificate.public_bytes(pem).decode(), text
