"""What secrets are called where their names are not to be seen: in metrics and traces.

A name says what an application uses and whom it talks to, and metrics are read by more people than the
application's configuration is. An identifier is a keyed digest of the name (BLAKE2b, RFC 7693) and no
plain hash, because names are few and short: whoever guesses one could check the guess. The status, which
not everybody may ask for, gives the identifier with each name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from secretbridge._digest import blake2b
from secretbridge.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from secretbridge.config import MetricsConfig

__all__ = ["Identifiers"]

_SHORTEST_KEY = 16
_LONGEST_KEY = 4096
_LENGTH = 16
"""Hexadecimal digits: among a million names, two are alike once in 37 million times."""


class Identifiers:
    """Identifiers as ``metrics`` wants them. ``former`` are those of the configuration before.

    Without a key file the key is random and lasts as long as the process. Raises
    :class:`ConfigError` when the key file cannot be used.
    """

    def __init__(self, metrics: MetricsConfig, former: Identifiers | None = None) -> None:
        self._shows_names = metrics.names
        if metrics.key_file is not None:
            self._key = blake2b(_read(metrics.key_file)).digest()  # a key has 64 bytes at most
        else:
            self._key = os.urandom(32) if former is None else former._key

    def of(self, name: str) -> str:
        """Return what ``name`` is called."""
        if self._shows_names:
            return name
        return blake2b(name.encode(), key=self._key, digest_size=_LENGTH // 2).hexdigest()


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            key = file.read(_LONGEST_KEY)
    except OSError as error:
        raise ConfigError(
            f"sidecar.metrics.key_file: {path} cannot be read ({error.strerror})",
            hint="make one with: head -c 32 /dev/urandom > FILE",
        ) from None
    if len(key) < _SHORTEST_KEY:
        raise ConfigError(
            f"sidecar.metrics.key_file: {path} holds less than {_SHORTEST_KEY} bytes",
            hint="make one with: head -c 32 /dev/urandom > FILE",
        )
    return key
