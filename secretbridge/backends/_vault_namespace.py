"""Whether the server knows namespaces at all.

A server without them ignores the header ``X-Vault-Namespace``: every request, the login with its
credentials included, then silently goes to the root. So before the first login of a store with a
namespace, ``sys/health`` is asked for within it, which needs no credentials. It exists in the root
alone: OpenBao refuses it anywhere else (measured on 2.6, sealed or not), Vault Enterprise says what
it is, and whoever answers as if nothing had been asked for does not know namespaces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigError
from ._vault_api import refusal

if TYPE_CHECKING:
    from . import Deadline
    from ._vault_api import Api

__all__ = ["require_namespaces"]

ROOT = "root"
"""What the root is called where it has to have a name."""


def require_namespaces(api: Api, deadline: Deadline) -> None:
    """Raise :class:`ConfigError` when the server would take the namespace for the root.

    Raises :class:`BackendUnavailable` when it gives no answer from which this can be told.
    """
    if api.namespace == ROOT:
        return
    reply = api.ask("GET", "sys/health", deadline)
    content = reply.content or {}
    version = content.get("version")
    if not isinstance(version, str):
        if reply.status in (400, 403, 404) and reply.errors is not None:
            return
        raise refusal(reply)
    if content.get("enterprise") is True or "+ent" in version:
        return
    raise ConfigError(
        "the server knows no namespaces: it would silently read everything from the root",
        hint="leave out `namespace`, or use OpenBao 2.3 or later, or Vault Enterprise",
    )
