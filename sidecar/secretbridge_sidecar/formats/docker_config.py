"""The ``config.json`` of docker, podman, skopeo and Kubernetes' image pull secrets."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .parts import Parts

__all__ = ["write"]

_KEYS = ("registry", "username", "password")


def write(parts: Parts) -> bytes:
    """Return the login at one registry."""
    parts.only(_KEYS, "docker-config")
    registry, username, password = (parts.needed(key, "docker-config") for key in _KEYS)
    user = username.line("a login")
    if ":" in user or not user:
        raise username.refused(
            "is empty or has a ':', which ends the name of a user (RFC 7617)", "check the secret"
        )
    login = f"{user}:{password.line('a login')}"
    auths = {registry.line("an address"): {"auth": b64encode(login.encode()).decode()}}
    return json.dumps({"auths": auths}, indent=2).encode() + b"\n"
