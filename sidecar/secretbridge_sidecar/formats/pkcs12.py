"""PKCS#12 key stores, which Java reads as they are since version 8: no JKS is needed.

The same key store is never written twice with the same bytes, for its salts are random. The renderer
therefore asks for it again only when a part has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .parts import Refusal

if TYPE_CHECKING:
    from .parts import Part, Parts

__all__ = ["write"]

_KEYS = ("key", "certificate", "chain", "password", "alias")


def write(parts: Parts) -> bytes:
    """Return the key, its certificate and the chain (all PEM), under a password."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        load_pem_private_key,
        pkcs12,
    )

    parts.only(_KEYS, "pkcs12")
    key_part, leaf_part, password = (
        parts.needed(name, "pkcs12") for name in ("key", "certificate", "password")
    )
    key: Any = None
    try:
        key = load_pem_private_key(key_part.raw(), None)
    except Exception:  # noqa: BLE001 - the library's error may quote the key
        key = None
    if key is None:
        raise key_part.refused("is no private key in PEM without a passphrase", "check the secret")
    leaf, *rest = _certificates(leaf_part, x509)
    chain = parts.get("chain")
    rest += _certificates(chain, x509) if chain is not None else []
    if leaf.public_key() != key.public_key():
        raise Refusal(
            "the certificate is not that of the key",
            "take both from one reference, so that they are of one issue",
            leaf_part.reference,
        )
    alias = parts.get("alias")
    secret = password.text("\0", "has a NUL, which a password of a key store cannot have")
    if not secret:
        raise password.refused("is empty", "set one: many readers refuse a store without")
    return pkcs12.serialize_key_and_certificates(
        alias.line("an alias").encode() if alias is not None else b"1",
        key,
        leaf,
        rest or None,
        BestAvailableEncryption(secret.encode()),
    )


def _certificates(part: Part, x509: Any) -> list[Any]:
    found: list[Any] = []
    try:
        found = x509.load_pem_x509_certificates(part.raw())
    except ValueError:
        found = []
    if not found:
        raise part.refused("holds no certificate in PEM", "check the secret")
    return found
