"""The commands that want something of a sidecar that runs: freeze, unfreeze, rollback and ack."""

from __future__ import annotations

import os
from typing import Any

from secretbridge.config import admin_address, load_config
from secretbridge.errors import AccessDenied, BackendUnavailable, ConfigError, SecretMissing
from secretbridge.generation.layout import DATA_LINK

from .client import ask
from .render import sidecar_of

__all__ = ["current_generation", "order"]

_PATIENCE = 15.0
"""Seconds; the sidecar itself waits ten for its main thread."""


def order(
    config_path: str | None, what: str, fields: dict[str, object]
) -> tuple[bool, dict[str, Any]]:
    """Want ``what`` of the sidecar of a configuration. Returns whether it was done, and its answer.

    Raises :class:`ConfigError` without a socket, :class:`BackendUnavailable` when nobody answers
    there, :class:`AccessDenied` when it is not for this user.
    """
    path = admin_address(config_path)
    if not isinstance(path, str):  # over HTTP nobody can say who asks
        raise ConfigError(
            "the configuration names no socket of the sidecar",
            hint="add sidecar: {listen: {socket: /run/secretbridge-admin/admin.sock}}",
        )
    try:
        status, answer = ask(path, f"/{what}", _PATIENCE, fields)
    except PermissionError:
        raise AccessDenied(
            f"the socket {path} is not open to this user",
            hint="ask as its user, its group, or root",
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no sensible answer"
        raise BackendUnavailable(
            f"no sidecar answers at {path} ({reason})", hint="start it, or look into its log"
        ) from None
    if status == 403:
        raise AccessDenied(
            f"the sidecar refuses it: {answer.get('error')}",
            hint="freeze, unfreeze and rollback are for root and the sidecar's own user",
        )
    return status == 200, answer


def current_generation(config_path: str | None) -> str:
    """Return the name of the generation that readers of the target get now."""
    target = sidecar_of(load_config(config_path)).target
    try:
        return os.readlink(os.path.join(target, DATA_LINK))
    except OSError as error:
        raise SecretMissing(
            f"{target} has no generation ({error.strerror})", hint="wait for the sidecar"
        ) from None
