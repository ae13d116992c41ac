"""Digests without OpenSSL.

``hashlib`` and ``hmac`` load it whatever they are used for: 4 MB that stay, and 4 to 20 ms of a start
(measured on CPython 3.11). The interpreter has these functions of its own. Where it was built without
them, OpenSSL's are the same.
"""

from __future__ import annotations

try:
    from _blake2 import blake2b
except ImportError:  # pragma: no cover - an interpreter without its own
    from hashlib import blake2b
try:
    from _operator import _compare_digest as compare_digest
except ImportError:  # pragma: no cover - an interpreter without its own
    from hmac import compare_digest  # type: ignore[no-redef]

__all__ = ["blake2b", "compare_digest"]
