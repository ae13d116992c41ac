"""TOML: one table, every value a string."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .parts import Parts

__all__ = ["write"]


def write(parts: Parts) -> bytes:
    """Return the table."""
    import tomli_w

    return tomli_w.dumps({part.key: part.text() for part in parts}).encode()
