"""Who a server takes us for, in words for people: never a token, nor the accessor of one."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING

from . import Identity
from ._vault_login import number

if TYPE_CHECKING:
    from ._vault_api import Reply
    from ._vault_login import Login, Token

__all__ = ["described"]

_NAMES = ("role_name", "role", "username", "cert_name", "service_account_name")
"""Under what names auth methods tell which of their roles or users a token is for."""

LONGEST = 100
"""Longest name of the server's that is shown, in characters."""


def described(
    login: Login, namespace: str | None, token: Token, reply: Reply, now: float
) -> Identity:
    """Return what a look-up of ``token`` tells; a refused one leaves what the login told."""
    data = reply.section("data") or {}
    meta = data.get("meta")
    named = meta if isinstance(meta, dict) else {}
    hidden = (token.value, data.get("id"), data.get("accessor"))
    parts = [login.who if namespace is None else f"{login.who} in namespace {namespace}"]
    known = ((name.removesuffix("_name").replace("_", " "), named.get(name)) for name in _NAMES)
    for label, value in (*known, ("display name", data.get("display_name"))):
        if _is_plain(value) and not any(isinstance(h, str) and h in str(value) for h in hidden):
            parts.append(f"{label} {value}")
    if token.trouble is not None:
        parts.append(f"though prolonging it fails: {token.trouble.message}")
    left = token.remaining(now)
    until = number(data.get("ttl")) or None if data else (None if isinf(left) else left)
    return Identity(", ".join(parts), until)


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable()
