"""Where the configuration file is looked for; kept apart so that finding none costs nothing."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONFIG_VARIABLE", "SEARCHED", "find_config"]

CONFIG_VARIABLE = "SECRETBRIDGE_CONFIG"

SEARCHED = (
    "secretbridge.yaml",
    "secretbridge.toml",
    "/etc/secretbridge/secretbridge.yaml",
    "/etc/secretbridge/secretbridge.toml",
)
"""In this order, the first that exists; the relative ones in the working directory."""


def find_config(environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the path of the configuration file, or None when there is none.

    A path in ``$SECRETBRIDGE_CONFIG`` is returned whether or not the file exists: who names one
    must be told when it is missing, and not get another.
    """
    named = environ.get(CONFIG_VARIABLE)
    if named:
        return named
    for path in SEARCHED:
        if os.path.exists(path):
            return path
    return None
