"""Sealing bytes for a disk: AES-256-GCM, under a key of this file alone.

A key that is given is never used itself: HKDF makes one of it and of 32 random bytes in the header, so
no nonce can come twice however often a file is written. The header is authenticated with the content,
so nothing of it can be exchanged either. The format is specified in ``docs/formats/last-known-good.md``.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error
from typing import TYPE_CHECKING

from secretbridge.errors import IntegrityError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["FORMAT", "KEY_SIZE", "header", "opened", "sealed"]

FORMAT = "secretbridge.last-known-good/1"
KEY_SIZE = 32
SALT_SIZE = 32
MAX_HEADER = 16 << 10
"""Longest header in bytes; a wrapped data key has some 200."""

_NONCE = bytes(12)  # each file has a key of its own


def sealed(key: bytes, content: bytes, kind: str, wrapped: bytes | None, salt: bytes) -> bytes:
    """Return ``content`` sealed with ``key``. ``kind`` says where the key is to be had.

    ``wrapped`` is the key as only its keeper can open it, if there is one; ``salt`` 32 random bytes.
    """
    shown = {
        "format": FORMAT,
        "key": kind,
        "wrapped": None if wrapped is None else b64encode(wrapped).decode(),
        "salt": b64encode(salt).decode(),
    }
    head = json.dumps(shown).encode() + b"\n"
    return head + _cipher(key, salt).encrypt(_NONCE, content, head)


def header(body: bytes) -> tuple[str, bytes | None, bytes, int]:
    """Return the kind of the key, the wrapped key, the salt, and the length of the header.

    Raises :class:`IntegrityError`.
    """
    end = body.find(b"\n", 0, MAX_HEADER) + 1
    try:
        shown = json.loads(body[:end])
        if shown["format"] != FORMAT or shown["key"] not in ("file", "credential", "kms"):
            raise ValueError
        salt = b64decode(shown["salt"], validate=True)
        if len(salt) != SALT_SIZE:
            raise ValueError
        wrapped = None
        if shown["wrapped"] is not None:
            wrapped = b64decode(shown["wrapped"], validate=True)
        return shown["key"], wrapped, salt, end
    except (ValueError, LookupError, TypeError, AttributeError, Error, RecursionError):
        pass
    raise IntegrityError(
        "the last known good is cut short, damaged, or of another format",
        hint="remove the file; a new one is written when everything is well",
    )


def opened(key: bytes, body: bytes) -> bytes:
    """Return what was sealed. Raises :class:`IntegrityError` when it was another key, or was changed."""
    from cryptography.exceptions import InvalidTag

    _, _, salt, end = header(body)
    try:
        return _cipher(key, salt).decrypt(_NONCE, body[end:], body[:end])
    except InvalidTag:
        pass
    raise IntegrityError(
        "the last known good was sealed with another key, or somebody changed it",
        hint="give the key that it was sealed with, or remove the file",
    )


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(SHA256(), KEY_SIZE, salt, FORMAT.encode()).derive(key)
    return AESGCM(derived)
