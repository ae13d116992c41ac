"""Lists of words, written as text."""

from __future__ import annotations

__all__ = ["among"]


def among(text: str) -> frozenset[str]:
    """Return the words of ``text``."""
    return frozenset(text.split())
