"""When a certificate ends, for engines that do not tell. The one place here with cryptography."""

from __future__ import annotations

from cryptography import x509

__all__ = ["not_after"]


def not_after(text: str) -> float | None:
    """Return the end of the first PEM certificate in ``text``, in seconds since the epoch.

    None when there is none that can be read.
    """
    try:
        return x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc.timestamp()
    except ValueError:
        return None
