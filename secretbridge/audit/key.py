"""The key of a log: 32 random bytes in a file that only its user may read."""

from __future__ import annotations

import os

from ..errors import ConfigError, SecretBridgeError

__all__ = ["read_key"]


def read_key(path: str | os.PathLike[str], *, create: bool = False) -> bytes:
    """Return the key in the file at ``path``; with ``create`` make it first if it is not there.

    Raises :class:`ConfigError` when there is none, or others may read it. A key is never made unless
    that was asked for: with a new one, nothing that was logged before can be verified.
    """
    from ..backends._local.keys import KeyFile, create_key_file

    try:
        if create and not os.path.lexists(path):
            create_key_file(path)
        return KeyFile(path).master(None)
    except SecretBridgeError as error:
        raise ConfigError(
            f"audit log: {error.message}",
            hint="name the log's key with key_file (32 random bytes, mode 0600, of the user who runs "
            "this), or set create_key: true to have it made",
        ) from None
