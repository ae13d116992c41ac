"""Vault's HTTP API: what every request carries, and what its refusals mean.

The texts that a server sends along with an error are read and never repeated: what stands in them is
up to the server, and more than once it was part of a secret (CVE-2025-4166, CVE-2025-52893). Known
phrases are translated into our own words, unknown ones into the status. An error that does not have
Vault's JSON form at all comes from a proxy or a wrong address, and is therefore never taken for an
answer about a secret: a load balancer's 404 must not withdraw a password.
"""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ..errors import (
    AccessDenied,
    AuthenticationFailed,
    BackendUnavailable,
    ConfigError,
    RateLimited,
    SecretBridgeError,
    SecretMissing,
)
from ._http1 import retry_after
from ._transport import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from . import Deadline
    from ._transport import Answer, Transport

__all__ = ["Api", "Reply", "api_path", "is_unknown_token", "refusal", "unusable"]


class Reply:
    """An answer of the API. ``content`` is None when it is no JSON object (``text`` is empty then)."""

    __slots__ = ("content", "retry_after", "status", "text")

    def __init__(self, answer: Answer) -> None:
        self.status: int = answer.status
        self.retry_after: float | None = retry_after(answer.headers)
        self.text: str = ""
        self.content: dict[str, Any] | None = None
        if answer.body:
            try:
                self.text, self.content = read_json(answer.body)
            except ValueError:
                return

    def __repr__(self) -> str:
        return f"<Reply {self.status}>"

    @property
    def errors(self) -> list[str] | None:
        """The texts of an error answer; None when the answer has not the form of one."""
        found = (self.content or {}).get("errors")
        if not isinstance(found, list):
            return None
        return [text for text in found if isinstance(text, str)]

    def says(self, *phrases: str) -> bool:
        """Whether one of the error texts contains one of ``phrases`` (in lower case)."""
        return any(
            phrase in text.lower() for text in (self.errors or [])[:20] for phrase in phrases
        )

    @property
    def concerns_the_store(self) -> bool:
        """Whether the server said that it answers nobody now, whatever the path.

        A 5xx in Vault's own form may be the failure of one engine, such as a database that is down.
        """
        if self.status in (429, 472, 473):
            return True
        return self.status >= 500 and (
            self.errors is None or self.says("sealed", "not initialized", "standby")
        )

    def section(self, name: str) -> dict[str, Any] | None:
        """Return the member ``name`` when it is an object."""
        found = (self.content or {}).get(name)
        return found if isinstance(found, dict) else None


class Api:
    """Requests to one server (and namespace), with or without a token."""

    def __init__(self, transport: Transport, namespace: str | None) -> None:
        self.transport = transport
        self.namespace = namespace
        # Listeners may demand the marker, which no browser sends for somebody else's page.
        self._headers = {"X-Vault-Request": "true"}
        if namespace:
            self._headers["X-Vault-Namespace"] = namespace

    def headers(self, token: str | None) -> dict[str, str]:
        """Return what every request carries, and ``token`` where it is somebody's."""
        return self._headers if token is None else {**self._headers, "X-Vault-Token": token}

    def ask(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        token: str | None = None,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        is_fresh: bool = False,
    ) -> Reply:
        """Send one request to ``/v1/`` + ``path`` (see :func:`api_path`) and return the reply.

        ``is_fresh`` wants a new connection. Raises what :meth:`Transport.request` raises.
        """
        sent = self.headers(token)
        payload = None
        if body is not None:
            payload = dumps(body).encode()
            sent = {**sent, "Content-Type": "application/json"}
        if headers:
            sent = {**sent, **headers}
        target = f"/v1/{path}?{urlencode(query)}" if query else f"/v1/{path}"
        return Reply(
            self.transport.request(
                method, target, headers=sent, body=payload, deadline=deadline, is_fresh=is_fresh
            )
        )


def api_path(segments: Iterable[str]) -> str:
    """Join ``segments`` into a path that stays where it begins.

    Servers resolve ``..`` before they look at policies, so that ``kv/data/../../sys/mounts`` is
    ``sys/mounts``. References with such segments do not parse; a :class:`DocumentId` that was made
    without parsing meets this second wall. Raises :class:`ConfigError`.
    """
    quoted = []
    for segment in segments:
        if segment in ("", ".", "..") or "/" in segment or not segment.isprintable():
            raise ConfigError(
                "the path has an empty segment, '.', '..' or an invisible character",
                hint="name the secret by its plain path, such as kv/app/db",
            )
        quoted.append(quote(segment, safe=""))
    return "/".join(quoted)


def is_unknown_token(reply: Reply) -> bool:
    """Whether a 403 says that the token itself is not (or no longer) known.

    A policy that refuses is reported as one of several errors; a token that is unknown as the bare
    phrase (Vault before 1.10, OpenBao) or together with "invalid token" (later Vaults).
    """
    errors = reply.errors or []
    return errors == ["permission denied"] or reply.says("invalid token", "bad token")


def refusal(reply: Reply) -> SecretBridgeError:
    """Return what an answer that is no success means."""
    if reply.status in (429, 472, 473) or reply.status >= 500:
        return _unavailable(reply)
    if reply.errors is None:
        return BackendUnavailable(
            f"an answer (HTTP {reply.status}) that does not come from Vault",
            hint="check that `address` is the server's own and that no proxy answers instead",
        )
    if reply.status == 412:
        return BackendUnavailable(
            "this node has not yet caught up with the others (HTTP 412)",
            hint="it passes by itself; if it does not, check the cluster's replication",
        )
    if reply.status == 403:
        return AccessDenied(
            "the policies of our token do not allow it",
            hint="grant `read` on the path (KV version 2: on MOUNT/data/PATH); Vault also answers "
            "this way when there is no such mount",
        )
    if reply.says("namespace not found", "no namespace"):
        return ConfigError("there is no such namespace", hint="correct `namespace` of the store")
    if reply.status == 404:
        if reply.says("no handler for route", "route entry not found"):
            return SecretMissing(
                "no secrets engine is mounted at this path",
                hint="list them with `vault secrets list`; the path begins with the mount's name",
            )
        return SecretMissing("there is no such secret", hint="check the path, and its mount")
    return _bad_request(reply)


def _unavailable(reply: Reply) -> BackendUnavailable:
    if reply.status == 429 and not reply.says("standby"):
        return RateLimited(
            "the server's rate limit is exceeded",
            retry_after=reply.retry_after,
            hint="raise the quota, or refresh less often",
        )
    if reply.says("sealed"):
        return BackendUnavailable("the server is sealed", hint="unseal it")
    if reply.says("not initialized", "not yet initialized"):
        return BackendUnavailable("the server is not initialized", hint="initialize and unseal it")
    if reply.status in (429, 472, 473) or reply.says("standby"):
        return BackendUnavailable(
            f"the node is a standby and does not answer (HTTP {reply.status})",
            hint="set `address` to the active node, or to the cluster's load balancer",
        )
    return BackendUnavailable(
        f"the server failed (HTTP {reply.status})",
        concerns_store=reply.concerns_the_store,
        hint="its log names the cause",
    )


def _bad_request(reply: Reply) -> SecretBridgeError:
    if reply.says("missing client token"):
        return AuthenticationFailed("no token was sent", hint="check `auth` of the store")
    if reply.says("unknown role", "role not found", "no role found") or (
        reply.says("role ") and reply.says("not found", "does not exist")
    ):
        return SecretMissing("the engine has no such role", hint="check the last part of the path")
    if reply.status == 405 or reply.says("unsupported operation"):
        return ConfigError(
            "this path cannot be read: the engine wants parameters written to it",
            hint="add them, for example vault:pki/issue/web?common_name=app.local",
        )
    if reply.says("relative paths"):
        return ConfigError(
            "the server accepts no '..' inside a path", hint="store the secret under another name"
        )
    return ConfigError(
        f"the server refuses the request (HTTP {reply.status})",
        hint="`vault read PATH` (or `vault write PATH NAME=VALUE`) shows its full explanation",
    )


def unusable(what: str) -> BackendUnavailable:
    """Return the error for a success that lacks what it must have."""
    return BackendUnavailable(
        f"the server's answer cannot be used: {what}",
        hint="check that `address` is the server's own and that no proxy answers instead",
    )
